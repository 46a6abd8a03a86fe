"""What a training config makes, as one text each: clips, models, learning; and a place with data for every key."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gazetools.gazemodels.vit.blocks import Attention
from gazetools.schemas.errors import GazetoolsError
from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.learn.trunk import build_trunks
from gazetools.trainer.learn.unread import read_together
from gazetools.trainer.models.build import load_pretrained
from gazetools.trainer.models.keys import to_upstream
from gazetools.trainer.plan.arms import plan_learners
from gazetools.trainer.plan.config import load_config
from gazetools.trainer.plan.settle import settle
from gazetools.trainer.processes.world import World
from tests.helpers.clips import write_clip
from tests.helpers.stores import make_piece, make_provenance, make_store
from tests.trainer.conftest import FRAMES, Study

CLASSES = {"verb": 2, "noun": 3, "action": 4}


def digest(*values: Any) -> str:
    """Equal for equal values: plain ones, tensors, arrays, and dataclasses, lists and mappings of them."""
    sha = hashlib.sha256()
    for value in values:
        if isinstance(value, Tensor):
            sha.update(f"{value.dtype} {tuple(value.shape)}".encode())
            sha.update(value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        elif isinstance(value, Mapping):
            sha.update(digest(*(part for item in value.items() for part in item)).encode())
        elif isinstance(value, list | tuple):
            sha.update(f"{len(value)} {digest(*value)}".encode())
        elif is_dataclass(value):
            sha.update(digest(*(getattr(value, field.name) for field in fields(value))).encode())
        else:
            sha.update(f"{value!r} ".encode())
    return sha.hexdigest()


def accepted(config: TrainingConfig) -> str:
    """Whether a run would begin."""
    try:
        settle(config, resume=True, dry_run=True)
    except GazetoolsError as error:
        return type(error).__name__
    return "accepted"


def clips(config: TrainingConfig) -> str:
    """Which clips there are on every side, and what the first ones show."""
    plan = settle(config, resume=True, dry_run=True)
    splits = [plan.data.train, plan.selecting, *plan.data.validation, *plan.horizons.values()]
    facts = [(s.fingerprint(), s.counts, s.anchor, s.anticipation_seconds) for s in splits if s is not None]
    training = plan.dataset(plan.data.train, training=True)
    validation = plan.dataset(plan.data.validation[-1], training=False)
    shown = [training[0], training[1], validation[0]]
    training.epoch = 1  # in which fixed views are those of before
    shown.append(training[0])
    return digest(facts, shown, plan.data.labels.to_plain(), str(training.index_cache), plan.folder)


def models(config: TrainingConfig) -> str:
    """Structure, weights and answers of every model to fixed inputs."""
    trunks, parts = build_trunks(plan_learners(config), load_pretrained(config), CLASSES, 5, world=World()), []
    for trunk in trunks:
        wrapper = trunk.wrapper
        parts.append([wrapper.encode_dtype, wrapper.encoder.state_dict(), trunk.predictor_weights()])
        for module in wrapper.modules():
            if isinstance(module, Attention):
                parts.append(module.sdpa)
            parts.append([getattr(module, "checkpointing", None), getattr(module, "steps", None)])
        tokens, tau, maps = seen(config, wrapper)
        context = trunk.context(tokens, tau, maps, training=False)
        parts.append([context, *(learner.probe(context) for learner in trunk.learners)])
    return digest(parts)


def learning(config: TrainingConfig) -> str:
    """Weights and losses after three steps on fixed inputs, of every model by name."""
    trunks = build_trunks(plan_learners(config), load_pretrained(config), CLASSES, 5, world=World())
    labels = {"verb": torch.tensor([0, 1]), "noun": torch.tensor([2, 0]), "action": torch.tensor([3, 1])}
    for step in (1, 2, 3):
        for trunk in trunks:
            tokens, tau, maps = seen(config, trunk.wrapper)
            for learner in trunk.learners:
                learner.start_step(step)
            context = trunk.context(tokens, tau, maps, training=True)
            for learner in trunk.learners:
                learner.learn(context, labels)
                unread = learner.end_step(2)
                assert learner.take(unread, read_together([unread])) is None
    learners = {
        learner.name: (learner.probe.state_dict(), learner.step_losses) for t in trunks for learner in t.learners
    }
    return digest(learners, [trunk.predictor_weights() for trunk in trunks])


def seen(config: TrainingConfig, wrapper: Any) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Tokens of two clips, their anticipation times, and maps of two sources."""
    data, random = config.experiment.data, torch.Generator().manual_seed(0)
    side = data.heatmap_resolution or data.resolution
    video = torch.randn(2, 3, data.frames_per_clip, data.resolution, data.resolution, generator=random)
    names = ("heatmap", "more", "shuffled:heatmap")
    maps = {name: torch.rand(2, data.frames_per_clip, side, side, generator=random) for name in names}
    return wrapper.encode(video), torch.tensor([0.6, 1.1], dtype=torch.float64), maps


def make_place(study: Study, root: Path) -> Path:
    """The study's videos, another P01_01 in EPIC's layout, and heatmaps of every kind."""
    for folder in ("videos", "slow", "weighted", "long", "mixed", "several", "counted/P01_01"):
        (root / folder).mkdir(parents=True)
    slow = write_clip(root / "videos" / "P01" / "P01_01.MP4", frames=FRAMES, width=64, height=48, fps=15)
    for video_id in ("P01_01", "P01_02", "P02_01"):
        shutil.copy(study.root / "videos" / f"{video_id}.mp4", root / "videos")
        shutil.copy(slow, root / "slow" / f"{video_id}.mp4")
    head = "video_id,start_timestamp,stop_timestamp,verb_class,noun_class\n"
    (root / "more.csv").write_text(head + "P01_01,2,3,0,3\nP01_02,2.1,3,99,3\nP01_02,2,3,0,3\nP02_01,2.1,3,4,3\n")
    (root / "absent.csv").write_text(head + "P01_01,2,3,0,3\nP09_09,2,3,0,3\n")
    members = dict(np.load(study.heatmaps / "P01_01.npz"))
    np.savez(root / "weighted" / "P01_01.npz", **members | {"inout": np.full(FRAMES, 0.25, dtype=np.float32)})
    np.savez(root / "long" / "P01_01.npz", heatmap=np.concatenate([members["heatmap"], members["heatmap"][:3]]))
    np.savez(root / "several" / "P01_01.npz", gaze=members["heatmap"], small=members["heatmap"][:, :4, :4])
    for number, one in enumerate(members["heatmap"], 1):
        np.save(root / "counted" / "P01_01" / f"{number}.npy", one)
    np.savez(root / "mixed" / "P01_01.npz", **members)
    (root / "mixed" / "P01_01.csv").write_text("frame,x,y\n" + "".join(f"{i},0.5,0.5\n" for i in range(FRAMES)))
    lines = "".join(f"P01_01,{i},0.3,0.2,{i % 20 / 19}\n" for i in range(0, FRAMES, 10))
    (root / "gaze.csv").write_text("video_id,frame,x,y,confidence\n" + lines)
    frames = list(range(0, FRAMES, 5))
    rows = [(frame, track) for frame in frames for track in (1, 2)]
    for seed, folder in enumerate(("store", "other_tokens")):
        piece = make_piece(frames, rows, tokens_shape=(2, 2, 3), seed=seed)
        make_store(root / folder, "P01_01", pieces=[piece], provenance=make_provenance("P01_01", frame_count=FRAMES))
    torch.save(_checkpoint(study, root), root / "vitx.pt")
    return root


def _checkpoint(study: Study, root: Path) -> dict[str, Any]:
    """Two encoders and two predictors in one file."""
    found: dict[str, Any] = {}
    for seed, names in ((1, ("target_encoder", "predictor")), (2, ("encoder", "second"))):
        shared = load_pretrained(load_config(study.config(root), [f"seed={seed}"]))
        found[names[0]] = to_upstream(shared.encoder.state_dict())
        found[names[1]] = to_upstream(shared.predictor)
    return found
