"""`--deep`: decode sampled frames again, compare fingerprints and, with the model, the maps themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gazetools.schemas.errors import GazetoolsError, UsageError
from gazetools.validation.deep.alignment import Verdict, judge
from gazetools.validation.deep.frames import FingerprintEvidence, usable
from gazetools.validation.subject import DeepCheck, Subject, spread
from gazetools.video import VideoReader

if TYPE_CHECKING:
    from gazetools.gazemodels.gazelle import GazelleModel

_UNASKED_FRAMES = 8
"""Fingerprints looked at without `--deep` where the video is not the recorded file: is its content at least?"""


def open_deep(
    frames: int | None,
    *,
    model: str | Path | None,
    checkpoint: str | Path | None,
    backbone: str | Path | None,
    heads: str | None,
) -> DeepCheck | None:
    """The settings of `--deep` with the model loaded; None without it.

    Raises UsageError where the options contradict each other, and what `load_model` raises.
    """
    extras = {"--model": model, "--checkpoint": checkpoint, "--backbone": backbone, "--heads": heads}
    if frames is None:
        if given := [name for name, value in extras.items() if value is not None]:
            raise UsageError(f"{', '.join(given)} means something with --deep only.", hint="Add --deep 8.")
        return None
    if frames < 1:
        raise UsageError(f"--deep {frames} is no number of frames.", hint="Give at least 1, such as --deep 8.")
    if model is None and (checkpoint or backbone):
        raise UsageError("--checkpoint and --backbone need --model NAME.", hint="Name the model.")
    if heads is not None and heads != "whole" and not heads.startswith("file:"):
        raise UsageError(f"--heads {heads} must be file:PATH or whole.", hint="Use file:PATH.")
    if model is None:
        return DeepCheck(frames=frames, heads=heads)
    from gazetools.gazemodels.gazelle import load_model

    loaded = load_model(str(model), checkpoint=checkpoint, backbone=backbone, device="auto")
    return DeepCheck(frames=frames, model=loaded, heads=heads)


def check_deep(subject: Subject, deep: DeepCheck | None) -> None:
    """Compare sampled frames of `subject` with its video; what differs and why (a shift by k, ...) is reported."""
    changed = any(f.code == "video-changed" for f in subject.findings)
    if deep is None and not changed:
        return
    if subject.video is None:
        if deep is not None and not any(f.code.startswith("video-") for f in subject.findings):
            subject.report("deep-skipped", "Its video is not at hand.")
        return
    stream = None if subject.provenance is None else subject.provenance.video.stream_index
    try:
        with VideoReader(subject.video.path, stream_index=stream, threads=1) as reader:
            is_right_video = _check_fingerprints(subject, reader, deep)
            if deep is not None and deep.model is not None and is_right_video:
                _check_maps(subject, reader, deep, deep.model)
    except GazetoolsError as error:
        subject.report("deep-skipped", str(error))


def _check_fingerprints(subject: Subject, reader: VideoReader, deep: DeepCheck | None) -> bool:
    """False where the video is another one, shifted or turned: maps then need no model to be wrong."""
    index, thumbnails = subject.fingerprint_index, subject.fingerprints
    if index is None or thumbnails is None or not usable(index, thumbnails):
        if deep is not None and deep.model is None:
            subject.report(
                "deep-skipped", "Its frames have no fingerprints, or are of one colour; --model compares the maps."
            )
        return True
    inside = np.flatnonzero((index >= 0) & (index < reader.frame_count))
    chosen = inside[spread(len(inside), deep.frames if deep else _UNASKED_FRAMES)]
    verdict = judge(FingerprintEvidence(reader, index[chosen], thumbnails[chosen]))
    if verdict.kind == "aligned":
        if deep is not None and deep.model is None and not verdict.identifiable:
            report_static(subject, verdict)
        return True
    report_verdict(subject, verdict, "frame fingerprints")
    return False


def _check_maps(subject: Subject, reader: VideoReader, deep: DeepCheck, model: GazelleModel) -> None:
    from gazetools.validation.deep.maps import MapEvidence
    from gazetools.validation.deep.samples import NoSamples, choose_samples

    provenance = subject.provenance
    if provenance is not None and provenance.model.weights_sha256 != model.weights_sha256:
        subject.report(
            "weights-differ",
            f"--model has the weights {_short(model.weights_sha256)}, the maps were made with "
            f"{_short(provenance.model.weights_sha256)}.",
        )
        return
    try:
        chosen = choose_samples(subject, reader, model, deep)
    except NoSamples as reason:
        subject.report("deep-skipped", str(reason))
        return
    recorded = "float32" if provenance is None else provenance.model.dtype
    exact = recorded == str(model.dtype).removeprefix("torch.") == "float32"
    evidence = MapEvidence(
        reader, model, chosen.samples, chosen.expected, rounding=chosen.rounding, exact=exact and provenance is not None
    )
    with deep.lock:
        verdict = judge(evidence)
    if verdict.kind != "aligned":
        report_verdict(subject, verdict, "maps computed anew")
    elif not verdict.identifiable:
        report_static(subject, verdict)


def report_static(subject: Subject, verdict: Verdict) -> None:
    """The samples agree, but so would their neighbours."""
    subject.report(
        "shift-not-identifiable",
        f"{verdict.of} sampled frames agree, but the scene stands still there: a small shift could not be seen.",
    )


def report_verdict(subject: Subject, verdict: Verdict, by: str) -> None:
    """The finding of a verdict that is not `aligned`."""
    head = f"{len(verdict.frames)} of {verdict.of} sampled frames disagree ({by}): "
    low, high = verdict.shifts
    if verdict.kind == "shifted":
        k = f"by k = {low:+d} frames" if low == high else f"by {low:+d} to {high:+d} frames (the scene is too still)"
        subject.report("content-shifted", f"{head}they show the video shifted {k}.", verdict.frames)
    elif verdict.kind == "drifting":
        subject.report(
            "content-drifts",
            f"{head}the shift grows over the length, from k = {low:+d} to k = {high:+d} frames.",
            verdict.frames,
        )
    elif verdict.kind == "transformed":
        code = {"swapped": "people-swapped", "mirrored": "content-mirrored", "flipped": "content-flipped"}
        what = "they fit other people" if verdict.change == "swapped" else f"they are {verdict.change}"
        subject.report(code.get(verdict.change, "content-turned"), f"{head}{what}.", verdict.frames)
    elif by == "frame fingerprints":
        subject.report("video-differs", f"{head}they are not of this video.", verdict.frames)
    else:
        known = subject.fingerprints is not None
        why = "other weights or other boxes made them" if known else "another video, other weights or other boxes"
        subject.report("maps-differ", f"{head}no frame nearby gives these maps: {why}.", verdict.frames)


def _short(sums: dict[str, str]) -> str:
    return ", ".join(f"{role} {value[:12]}" for role, value in sorted(sums.items())) or "unknown"
