"""Check of content: sampled frames are decoded again; fingerprints and, with the model, the maps are compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from gazetools.sampling import spread
from gazetools.schemas.errors import GazetoolsError, UsageError
from gazetools.schemas.findings import Finding
from gazetools.schemas.heads import BoxFileOptions
from gazetools.schemas.validate import ValidateOptions
from gazetools.validation.deep.alignment import Verdict, judge
from gazetools.validation.deep.frames import FingerprintEvidence, usable
from gazetools.validation.subject import DeepCheck, Subject
from gazetools.validation.videos import open_video

if TYPE_CHECKING:
    from gazetools.gazemodels.gazelle.model import GazelleModel
    from gazetools.video import VideoReader

_CODES_OF_CHANGES = {"swapped": "people-swapped", "mirrored": "content-mirrored", "flipped": "content-flipped"}
_UNASKED_FRAMES = 8
"""Fingerprints compared without `--deep` where the video is not the recorded file: its content may still be equal."""


def open_deep(options: ValidateOptions) -> DeepCheck | None:
    """`--deep` with its model loaded, or None. UsageError for contradicting options, and the errors of `load_model`."""
    frames, heads, model = options.deep, options.heads, options.model
    checkpoint, backbone = options.checkpoint, options.backbone
    extras = {"--model": model, "--checkpoint": checkpoint, "--backbone": backbone, "--heads": heads}
    if not (heads or "").startswith("file:") and options.box_files() != BoxFileOptions():
        raise UsageError("--heads-format and its like say how a box file is read.", hint="Add --heads file:PATH.")
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
        return DeepCheck(frames=frames, heads=heads, box_files=options.box_files())
    from gazetools.gazemodels.gazelle.loading import load_model

    loaded = load_model(str(model), checkpoint=checkpoint, backbone=backbone, device="auto")
    return DeepCheck(frames=frames, model=loaded, heads=heads, box_files=options.box_files())


def check_deep(subject: Subject) -> Iterator[Finding]:
    """Sampled frames show what their fingerprints show and give the stored maps.

    Without `--deep` only fingerprints are compared, and only where the video is not the recorded file.
    """
    deep = subject.deep
    if deep is None and not subject.has_finding("video-changed"):
        return
    if subject.video is None:
        if deep is not None and not subject.has_finding("video-"):
            yield subject.finding("deep-skipped", "Its video is not available.")
        return
    try:
        with open_video(subject, subject.video.path) as reader:
            found = list(_compare_fingerprints(subject, reader, deep))
            yield from found
            # maps of another video, or of a shifted or turned one, are wrong without running the model
            if deep is not None and deep.model is not None and not found:
                yield from _compare_maps(subject, reader, deep, deep.model)
    except GazetoolsError as error:
        yield subject.finding("deep-skipped", str(error))


def _compare_fingerprints(subject: Subject, reader: VideoReader, deep: DeepCheck | None) -> Iterator[Finding]:
    index, thumbnails = subject.fingerprint_index, subject.fingerprints
    is_only_evidence = deep is not None and deep.model is None
    if index is None or thumbnails is None or not usable(index, thumbnails):
        if is_only_evidence:
            message = "Its frames have no fingerprints, or are of one colour; --model compares the maps."
            yield subject.finding("deep-skipped", message)
        return
    inside = np.flatnonzero((index >= 0) & (index < reader.frame_count))
    chosen = inside[spread(len(inside), deep.frames if deep else _UNASKED_FRAMES)]
    verdict = judge(FingerprintEvidence(reader, index[chosen], thumbnails[chosen]))
    if verdict.kind != "aligned":
        yield _finding_of(subject, verdict, "frame fingerprints")
    elif is_only_evidence and not verdict.identifiable:
        yield _finding_of_still_scene(subject, verdict)


def _compare_maps(subject: Subject, reader: VideoReader, deep: DeepCheck, model: GazelleModel) -> Iterator[Finding]:
    from gazetools.validation.deep.maps import MapEvidence
    from gazetools.validation.deep.samples import NoSamples, choose_samples

    provenance = subject.provenance
    if provenance is not None and provenance.model.weights_sha256 != model.weights_sha256:
        given, recorded = _short(model.weights_sha256), _short(provenance.model.weights_sha256)
        message = f"--model has the weights {given}, the maps were made with {recorded}."
        yield subject.finding("weights-differ", message)
        return
    try:
        chosen = choose_samples(subject, reader, model, deep)
    except NoSamples as reason:
        yield subject.finding("deep-skipped", str(reason))
        return
    dtypes = {provenance.model.dtype if provenance else "unknown", str(model.dtype).removeprefix("torch.")}
    evidence = MapEvidence(reader, model, chosen, exact=dtypes == {"float32"})
    with deep.lock:
        verdict = judge(evidence)
    if verdict.kind != "aligned":
        yield _finding_of(subject, verdict, "maps computed again")
    elif not verdict.identifiable:
        yield _finding_of_still_scene(subject, verdict)


def _finding_of_still_scene(subject: Subject, verdict: Verdict) -> Finding:
    """The samples agree, but their neighbours agree as well."""
    return subject.finding(
        "shift-not-identifiable",
        f"{verdict.of} sampled frames agree, but the scene stands still there: a small shift could not be seen.",
    )


def _finding_of(subject: Subject, verdict: Verdict, by: str) -> Finding:
    """The finding of a verdict that is not `aligned`; `by` names the evidence."""
    low, high = verdict.shifts
    if verdict.kind == "shifted":
        k = f"by k = {low:+d} frames" if low == high else f"by {low:+d} to {high:+d} frames (the scene is too still)"
        code, what = "content-shifted", f"they show the video shifted {k}"
    elif verdict.kind == "drifting":
        code = "content-drifts"
        what = f"the shift grows over the length, from k = {low:+d} to k = {high:+d} frames"
    elif verdict.kind == "transformed":
        code = _CODES_OF_CHANGES.get(verdict.change, "content-turned")
        what = "they fit other people" if verdict.change == "swapped" else f"they are {verdict.change}"
    elif by == "frame fingerprints":
        code, what = "video-differs", "they are not of this video"
    else:
        known = subject.fingerprints is not None
        why = "other weights or other boxes made them" if known else "another video, other weights or other boxes"
        code, what = "maps-differ", f"no frame nearby gives these maps: {why}"
    message = f"{len(verdict.frames)} of {verdict.of} sampled frames disagree ({by}): {what}."
    return subject.finding(code, message, verdict.frames)


def _short(sums: dict[str, str]) -> str:
    return ", ".join(f"{role} {value[:12]}" for role, value in sorted(sums.items())) or "unknown"
