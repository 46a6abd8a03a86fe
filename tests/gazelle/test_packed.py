"""Packed linear layers: the same numbers, only where asked for or where they pay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gazetools.gazemodels.gazelle.packed import PackedLinear, pack_linears, pays

CPU = torch.device("cpu")
needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN: PyPI's for x86-64 has it"
)


@needs_onednn
@pytest.mark.parametrize("rows", [1, 7, 1025, 2050])
@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_a_packed_layer_gives_the_layers_numbers(rows: int, bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(384, 512, bias=bias)
    x = torch.randn(2, rows, 384)
    wanted = nn.functional.linear(x.double(), linear.weight.double(), linear.bias.double() if bias else None)
    torch.testing.assert_close(PackedLinear(linear)(x).double(), wanted, atol=2e-5, rtol=2e-5)


@needs_onednn
@torch.inference_mode()
def test_only_wide_layers_are_packed_and_the_model_stays_the_same() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(300, 256), nn.GELU(), nn.Sequential(nn.Linear(256, 16), nn.Linear(16, 256))).eval()
    x = torch.randn(3, 300)
    before = model(x)
    assert pack_linears(model) == 1
    assert [type(m).__name__ for m in model.modules() if "Linear" in type(m).__name__] == [
        "PackedLinear", "Linear", "Linear",
    ]  # fmt: skip
    torch.testing.assert_close(model(x), before, atol=1e-5, rtol=1e-5)


CHOICES = [
    ("off", CPU, torch.float32, "AVX512", False),
    ("auto", CPU, torch.float32, "AVX512", True),
    ("auto", CPU, torch.float32, "AVX2", False),
    ("on", CPU, torch.float32, "AVX2", True),
    ("on", CPU, torch.float16, "AVX512", False),
    ("on", torch.device("cuda"), torch.float32, "AVX512", False),
]


@needs_onednn
@pytest.mark.parametrize(("kind", "device", "dtype", "cpu", "wanted"), CHOICES)
def test_auto_follows_the_kind_of_cpu(kind, device, dtype, cpu, wanted, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: cpu)
    assert pays(kind, device, dtype) is wanted
