"""Clips on which an arm gains or loses most against the baseline: what it saw, and what both predicted."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gazetools.preview.overlay import PersonOverlay, draw_overlay
from gazetools.schemas.errors import GazetoolsError
from gazetools.schemas.training_data import TOKEN_SOURCE
from gazetools.schemas.training_study import PRIMARY_TASK
from gazetools.trainer.data.anchors import resolve_anchors
from gazetools.trainer.data.clips import ClipDataset, ClipOptions
from gazetools.trainer.data.maps.build import build_sources
from gazetools.trainer.data.survey import plan_data
from gazetools.trainer.data.transforms import MEAN_RGB, STD_RGB
from gazetools.trainer.folder.paths import RunFolder
from gazetools.trainer.folder.predictions import Predictions, class_text
from gazetools.trainer.learn.controls import centre_prior
from gazetools.trainer.plan.arms import LearnerSpec, plan_learners
from gazetools.trainer.plan.config import load_config
from gazetools.trainer.report.compare import known_clips
from gazetools.trainer.report.load import ModelOfRun, Study

Example = tuple[dict[str, Any], str | None]  # entry in report.json; base64 of a JPEG: last frame with the arm's map


def examples_of(study: Study, split: str, baseline: str, *, each: int) -> tuple[list[Example], list[str]]:
    """Per arm `each` clips with the largest gain and as many with the largest loss; and why pictures are missing.

    The gain of a clip is the binary logarithm of how many times better the rank of the true action is (ranks from 1,
    the mean over an arm's seeds), so that from rank 8 to rank 1 counts as much as from 80 to 10.
    """
    others = study.of(baseline, split)
    found: list[Example] = []
    notes: list[str] = []
    for arm in study.arms if each else ():
        models = study.of(arm, split)
        if arm == baseline or not models or not others or PRIMARY_TASK not in models[0].splits[split].tasks:
            continue
        gains = _gains(models, split) - _gains(others, split)
        known = np.flatnonzero(known_clips(models[0].splits[split]))
        order = known[np.argsort(-gains[known], kind="stable")]
        chosen = [("gain", p) for p in order[:each] if gains[p] > 0]
        chosen += [("loss", p) for p in order[::-1][:each] if gains[p] < 0]
        seen, trouble = _clips_of(study, models[0], split)
        notes += [f"No pictures of {arm}: {trouble}"] if trouble else []
        for kind, place in chosen:
            row = _row(kind, arm, models, others, split, int(place), float(gains[place]))
            picture = None
            if seen is not None:
                picture, note = _picture(seen, int(models[0].splits[split].arrays["clip"][place]))
                row["map"] = note
            found.append((row, picture))
    return found, notes


def _gains(models: list[ModelOfRun], split: str) -> npt.NDArray[np.float64]:
    """Minus the binary logarithm of the true action's mean rank (from 1), [N]."""
    ranks = np.mean([model.splits[split].arrays[f"rank_{PRIMARY_TASK}"] for model in models], axis=0)
    return -np.log2(1.0 + ranks)


def _row(
    kind: str, arm: str, models: list[ModelOfRun], others: list[ModelOfRun], split: str, place: int, gain: float
) -> dict[str, Any]:
    predictions = models[0].splits[split]
    arrays = predictions.arrays

    def ranks(group: list[ModelOfRun]) -> list[int]:
        return [1 + int(model.splits[split].arrays[f"rank_{PRIMARY_TASK}"][place]) for model in group]

    return {
        "arm": arm,
        "kind": kind,
        "clip": predictions.clip_names[place] if any(predictions.clip_names) else None,
        "video": predictions.video_ids[int(arrays["video"][place])],
        "annotation_row": int(arrays["row"][place]),
        "true": _named(predictions, [arrays[f"label_{PRIMARY_TASK}"][place]])[0],
        "gain": gain,
        "rank": ranks(models),
        "baseline_rank": ranks(others),
        "predicted": _best(predictions, place),
        "baseline_predicted": _best(others[0].splits[split], place),
        "map": None,
    }


def _best(predictions: Predictions, place: int) -> list[str]:
    """The three classes with the best scores."""
    return _named(predictions, predictions.arrays[f"top_{PRIMARY_TASK}"][place][:3])


def _named(predictions: Predictions, classes: Any) -> list[str]:
    return [class_text(predictions, PRIMARY_TASK, int(index)) for index in classes]


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """The clips of a split as the arm's model reads them."""

    dataset: ClipDataset
    spec: LearnerSpec


def _clips_of(study: Study, model: ModelOfRun, split: str) -> tuple[_Seen | None, str | None]:
    """The clips of a run, planned again from its config; or None and the reason why that is not possible any more."""
    known = RunFolder(Path(model.run)).frame_indexes  # spares reading whole videos for their frame times
    try:
        config = load_config(study.runs[model.run]["config"])
        data = config.experiment.data.model_copy(update={"dataset_test": None})
        plan = plan_data(data, resolve_anchors(config), compat=config.compat, index_cache=known)
        if plan.gone_videos:
            return None, f"{plan.gone_videos} video(s) are not below {data.base_path} any more."
        clips = next((one for one in plan.validation if f"val_{one.anchor.name}" == split), None)
        if clips is None:
            return None, f"{split} is no split of the annotations."
        spec = next(spec for spec in plan_learners(config) if spec.name == model.name)
        cache = known if not data.index_cache and known.is_dir() else None
        options = ClipOptions(training=False, seed=config.seed, compat=config.compat, index_cache=cache)
        maps = build_sources(data) if spec.source else {}
        dataset = ClipDataset(clips, data, plan.labels, options, heatmaps=maps)
    except GazetoolsError as error:
        return None, error.message
    return _Seen(dataset=dataset, spec=spec), None


def _picture(seen: _Seen, clip: int) -> tuple[str | None, str]:
    """Base64 of a clip's picture, None where it cannot be made; and what its map is, or why there is no picture."""
    place = next((number for number, one in enumerate(seen.dataset.split.clips) if one.index == clip), None)
    if place is None:
        return None, "the annotations have changed since the run"
    sample = seen.dataset[place]
    video = getattr(sample, "video", None)
    if video is None:
        return None, getattr(sample, "reason", "the clip cannot be read")
    shown, note = _map_of(seen.spec, getattr(sample, "heatmaps", {}))
    people = [] if shown is None else [PersonOverlay(track_id=None, heatmap=shown, box_xyxy=None, inout=None)]
    drawn = draw_overlay(cv2.resize(_last_frame(video), (256, 256), interpolation=cv2.INTER_LINEAR), people)
    picture = cv2.imencode(".jpg", drawn[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])[1]
    return base64.b64encode(bytes(picture)).decode(), note


def _last_frame(video: Tensor) -> npt.NDArray[np.uint8]:
    """uint8 [side, side, 3] of a normalised clip [3, T, side, side]."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN_RGB, STD_RGB))
    pixels = ((video[:, -1] * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())


def _map_of(spec: LearnerSpec, heatmaps: dict[str, Tensor]) -> tuple[npt.NDArray[np.float32] | None, str]:
    """The arm's map [h, w] at the last frame, None where there is none to draw, and what it is."""
    if spec.source is None:
        return None, "no heatmap"
    if spec.source == TOKEN_SOURCE:
        return None, "scene tokens, not drawn"
    maps = heatmaps.get(spec.source, next(iter(heatmaps.values())))
    if spec.control in ("zeros", "shuffled"):
        return None, "zeros" if spec.control == "zeros" else "another video's map, not drawn"
    if spec.control == "centre":
        return centre_prior(maps.shape[-2:]).numpy(), "centre prior"
    if spec.control == "time_shifted":
        return maps[-1 - maps.shape[0] // 2].numpy(), "half a clip earlier"
    return maps[-1].numpy(), "none here" if float(maps[-1].max()) == 0 else spec.source
