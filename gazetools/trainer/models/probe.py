"""The attentive probe: self-attention over all tokens, then one query per task, then a linear layer each."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from gazetools.gazemodels.vit.blocks import Mlp, split_heads
from gazetools.schemas.errors import UsageError
from gazetools.trainer.models.blocks import init_like_upstream

PROBE_NORM_EPS = 1e-5
TASKS = ("verb", "noun", "action")


class _SelfAttention(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (split_heads(part, self.num_heads) for part in self.qkv(x).chunk(3, dim=-1))
        return self.proj(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class _SelfAttentionBlock(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=PROBE_NORM_EPS)
        self.attn = _SelfAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=PROBE_NORM_EPS)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _CrossAttention(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)

    def forward(self, queries: Tensor, x: Tensor) -> Tensor:
        q = split_heads(self.q(queries), self.num_heads)
        k, v = (split_heads(part, self.num_heads) for part in self.kv(x).chunk(2, dim=-1))
        return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class _CrossAttentionBlock(nn.Module):
    """As in V-JEPA 2, queries are not normalised and there is no output projection."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=PROBE_NORM_EPS)
        self.xattn = _CrossAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=PROBE_NORM_EPS)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, queries: Tensor, x: Tensor) -> Tensor:
        queries = queries + self.xattn(queries, self.norm1(x))
        return queries + self.mlp(self.norm2(queries))


class AttentivePooler(nn.Module):
    """Tokens [B, N, width] -> one vector per query [B, num_queries, width]."""

    def __init__(self, *, width: int, num_heads: int, depth: int, num_queries: int) -> None:
        super().__init__()
        self.query_tokens = nn.Parameter(torch.empty(1, num_queries, width))
        self.cross_attention_block = _CrossAttentionBlock(width, num_heads)
        self.blocks = nn.ModuleList(_SelfAttentionBlock(width, num_heads) for _ in range(depth - 1))

    def forward(self, x: Tensor) -> Tensor:
        """One vector per query from `x` [B, N, width]."""
        for block in self.blocks:
            x = block(x)
        return self.cross_attention_block(self.query_tokens.expand(len(x), -1, -1), x)


class AttentiveClassifier(nn.Module):
    """Verb, noun and action logits (or action logits only) from tokens [B, N, embed_dim].

    Layer and key names, query order (verb, noun, action) and initialisation are those of facebookresearch/vjepa2
    evals/action_anticipation_frozen/models.py and src/models/attentive_pooler.py, so that its released probes fit.

    Args:
        num_classes: task -> number of classes; `{"action": n}` or all of verb, noun and action.
        depth: blocks in all: depth - 1 of self-attention and one of cross-attention.
    """

    def __init__(self, *, num_classes: Mapping[str, int], embed_dim: int, num_heads: int = 16, depth: int = 4) -> None:
        super().__init__()
        self.tasks = tuple(task for task in TASKS if task in num_classes)
        if self.tasks not in (("action",), TASKS) or set(num_classes) - set(TASKS):
            raise ValueError(f"tasks must be action alone or verb, noun and action, got {list(num_classes)}")
        if embed_dim % num_heads:
            raise UsageError(
                f"The probe's num_heads {num_heads} does not divide the encoder's width {embed_dim}.",
                hint="Change experiment.classifier.num_heads.",
            )
        self.pooler = AttentivePooler(width=embed_dim, num_heads=num_heads, depth=depth, num_queries=len(self.tasks))
        for task in self.tasks:
            setattr(self, f"{task}_classifier", nn.Linear(embed_dim, num_classes[task]))
        nn.init.trunc_normal_(self.pooler.query_tokens, std=0.02)
        init_like_upstream(self.pooler, self.pooler.blocks, output_layers=("attn.proj", "mlp.fc2"))
        with torch.no_grad():  # the cross-attention block has the factor of the last block
            self.pooler.cross_attention_block.mlp.fc2.weight.div_(math.sqrt(2.0 * max(len(self.pooler.blocks), 1)))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits float32 [B, classes] by task.

        The last layer never computes in 16 bits: bfloat16 has 8 bits of precision, so that logits around 15 would be
        equal up to 0.06, and what no loss sees, an offset common to all classes, would decide about ranks.
        """
        pooled = self.pooler(x)
        with torch.autocast(x.device.type, enabled=False):
            vectors = pooled.to(self.pooler.query_tokens.dtype)
            return {task: getattr(self, f"{task}_classifier")(vectors[:, i]) for i, task in enumerate(self.tasks)}
