"""Check of content: sampled frames are decoded again; fingerprints and, with the model, the maps are compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gazetools.sampling import spread
from gazetools.schemas.errors import GazetoolsError, UsageError
from gazetools.schemas.findings import Finding
from gazetools.schemas.heads import BoxFileOptions
from gazetools.schemas.provenance import Provenance
from gazetools.schemas.validate import ValidateOptions
from gazetools.validation.deep.alignment import judge
from gazetools.validation.deep.curves import Evidence
from gazetools.validation.deep.frames import FingerprintEvidence, usable
from gazetools.validation.rates import mistake_of
from gazetools.validation.subject import DeepCheck, Subject, stated_frames
from gazetools.validation.verdict import Jump, Verdict
from gazetools.validation.videos import open_video

if TYPE_CHECKING:
    from gazetools.gazemodels import GazeModel
    from gazetools.video import VideoReader

_CODES_OF_CHANGES = {"swapped": "people-swapped", "mirrored": "content-mirrored", "flipped": "content-flipped"}
_ROUNDED_FRAMES = 0.6  # by which k at an end of a drift may be off, so that its speed names a mistake of rate
_UNASKED_FRAMES = 8
"""Fingerprints compared without `--deep` where the video is not the recorded file: its content may still be equal."""


def open_deep(options: ValidateOptions) -> DeepCheck | None:
    """`--deep` with its model loaded, or None. UsageError for contradicting options, and the errors of `load_model`."""
    frames, heads, model = options.deep, options.heads, options.model
    people, weights = options.people, {"--checkpoint": options.checkpoint, "--backbone": options.backbone}
    extras = {"--model": model, **weights, "--heads": heads, "--people": people}
    if not (heads or "").startswith("file:") and options.box_files() != BoxFileOptions():
        raise UsageError("--heads-format and its like say how a box file is read.", hint="Add --heads file:PATH.")
    if frames is None:
        if given := [name for name, value in extras.items() if value is not None]:
            raise UsageError(f"{', '.join(given)} means something with --deep only.", hint="Add --deep 8.")
        return None
    if frames < 1:
        raise UsageError(f"--deep {frames} is no number of frames.", hint="Give at least 1, such as --deep 8.")
    if model is None and any(weights.values()):
        raise UsageError("--checkpoint and --backbone need --model NAME.", hint="Name the model.")
    if heads is not None and heads != "whole" and not heads.startswith("file:"):
        raise UsageError(f"--heads {heads} must be file:PATH or whole.", hint="Use file:PATH.")
    if heads is not None and heads != "whole":
        from gazetools.heads.spec import box_place

        if not (place := box_place(heads)).exists():
            raise UsageError(f"The head boxes {place} do not exist.", hint="Check the path after --heads file:.")
    if people is not None and not (heads or "").startswith("file:"):
        hint = "Give --heads file:PATH; a store and a dataset record whose maps they hold."
        raise UsageError(f"--people {people} chooses among the people of --heads file:PATH.", hint=hint)
    if model is None:
        return DeepCheck(frames=frames, heads=heads, people=people, box_files=options.box_files())
    from gazetools.gazemodels import load_gaze_model

    checkpoint, backbone = (None if path is None else str(path) for path in (options.checkpoint, options.backbone))
    loaded = load_gaze_model(str(model), checkpoint=checkpoint, backbone=backbone, device="auto")
    return DeepCheck(frames=frames, model=loaded, heads=heads, people=people, box_files=options.box_files())


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
            # maps of another video, or of a turned one, are wrong without running the model
            if deep is not None and deep.model is not None and (not found or _is_about_time(subject.content)):
                found = list(_compare_maps(subject, reader, deep, deep.model)) or found
            yield from found
    except GazetoolsError as error:
        yield subject.finding("deep-skipped", str(error))


def _is_about_time(verdict: Verdict | None) -> bool:
    """Whether maps, of which every frame has one, can tell the place more exactly than fingerprints."""
    return verdict is not None and verdict.kind in ("shifted", "jumping", "drifting")


def _compare_fingerprints(subject: Subject, reader: VideoReader, deep: DeepCheck | None) -> Iterator[Finding]:
    index, thumbnails = subject.fingerprint_index, subject.fingerprints
    is_only_evidence = deep is not None and deep.model is None
    if index is None or thumbnails is None or not usable(index, thumbnails):
        if is_only_evidence:
            message = "Its frames have no fingerprints, or are of one colour; --model compares the maps."
            yield subject.finding("deep-skipped", message)
        return
    known = np.flatnonzero(index >= 0)
    chosen = known[spread(len(known), deep.frames if deep else _UNASKED_FRAMES)]
    evidence = FingerprintEvidence(reader, index, thumbnails, chosen.tolist())
    verdict = subject.content = _judge(subject, evidence)
    if verdict.kind != "aligned":
        yield _finding_of(subject, verdict, "frame fingerprints")
    elif is_only_evidence and not verdict.identifiable:
        yield _finding_of_still_scene(subject, verdict)


def _judge(subject: Subject, evidence: Evidence) -> Verdict:
    video = subject.video
    stated = stated_frames(subject)
    if video is None or stated is None:
        return judge(evidence)
    return judge(evidence, difference=video.decoded_frames - stated, rate=float(video.rate))


def _compare_maps(subject: Subject, reader: VideoReader, deep: DeepCheck, model: GazeModel) -> Iterator[Finding]:
    from gazetools.validation.deep.maps import ALONE, MapEvidence
    from gazetools.validation.deep.samples import NoSamples, choose_samples

    provenance = subject.provenance
    if provenance is not None and (other := _other_model(provenance, model)):
        yield subject.finding("weights-differ", other)
        return
    try:
        chosen = choose_samples(subject, reader, model, deep)
    except NoSamples as reason:
        yield subject.finding("deep-skipped", str(reason))
        return
    dtypes = {provenance.model.dtype if provenance else "unknown", str(model.dtype).removeprefix("torch.")}
    evidence = MapEvidence(reader, model, chosen, exact=dtypes == {"float32"})
    with deep.lock:
        verdict = _judge(subject, evidence)
    if verdict.kind == "transformed" and verdict.change.startswith(ALONE):
        track = verdict.change.removeprefix(ALONE)
        message = f"Its maps are those of person {track} alone, of several people in {deep.heads}: --people {track}."
        yield subject.finding("people-unstated", message)
        yield from _compare_maps(subject, reader, replace(deep, people=track), model)
        return
    if verdict.identifiable:
        subject.content = verdict
    if verdict.kind != "aligned":
        yield _finding_of(subject, verdict, "maps computed again")
    elif not verdict.identifiable:
        yield _finding_of_still_scene(subject, verdict)


def _other_model(provenance: Provenance, model: GazeModel) -> str | None:
    """The message about a model that is not the recorded one; models without weights are known by their name."""
    recorded = provenance.model
    if recorded.weights_sha256 != model.weights_sha256:
        given, made = _short(model.weights_sha256), _short(recorded.weights_sha256)
        return f"--model has the weights {given}, the maps were made with {made}."
    if not recorded.weights_sha256 and recorded.name != model.name:
        return f"--model is {model.name}, the maps were made by {recorded.name}."
    return None


def _finding_of_still_scene(subject: Subject, verdict: Verdict) -> Finding:
    """The samples agree, but their neighbours agree as well."""
    return subject.finding(
        "shift-not-identifiable",
        f"{verdict.of} sampled frames agree, but the scene stands still there: a small shift could not be seen.",
    )


def _finding_of(subject: Subject, verdict: Verdict, by: str) -> Finding:
    """The finding of a verdict that is not `aligned`; `by` names the evidence."""
    low, high = verdict.shifts
    off = f"{len(verdict.frames)} of {verdict.of} sampled frames disagree"
    if verdict.kind == "shifted":
        k = f"by k = {low:+d} frames" if low == high else f"by {low:+d} to {high:+d} frames (the scene is too still)"
        code, what = "content-shifted", f"they show the video shifted {k}"
    elif verdict.kind == "drifting":
        code, what = "content-drifts", _drift_text(subject, verdict)
    elif verdict.kind == "jumping":
        code, off = "content-jumps", "Samples lie off their frames in parts of the video"
        what = "; ".join(_jump_text(jump) for jump in verdict.jumps)
    elif verdict.kind == "transformed":
        code = _CODES_OF_CHANGES.get(verdict.change, "content-turned")
        what = "they fit other people" if verdict.change == "swapped" else f"they are {verdict.change}"
    elif by == "frame fingerprints":
        code, what = "video-differs", "they are not of this video"
    else:
        known = subject.fingerprints is not None
        why = "other weights or other boxes made them" if known else "another video, other weights or other boxes"
        code, what = "maps-differ", f"no frame nearby gives these maps: {why}"
    return subject.finding(code, f"{off} ({by}): {what}.", verdict.frames)


def _drift_text(subject: Subject, verdict: Verdict) -> str:
    (low, high), (first, last) = verdict.shifts, verdict.span
    text = f"they drift, from k = {low:+d} frames at frame {first} to k = {high:+d} at frame {last}"
    if last > first and subject.video is not None:
        ratio = 1 / max(verdict.speed, 1e-6)
        within = _ROUNDED_FRAMES * ratio * ratio / (last - first)
        text += f"; each map is {verdict.speed:.4g} frames of the video after the one before"
        if mistake := mistake_of(ratio, within=within, rate=float(subject.video.rate)):
            text += f", as where {mistake}"
    return text


def _jump_text(jump: Jump) -> str:
    """Where k jumps, from what to what, and what that means."""
    where = f"from frame {jump.first} on"
    if jump.last - jump.first > 1:
        where = f"from a frame in {jump.first}..{jump.last} on"
    size = abs(jump.after - jump.before)
    frames, one = (f"{size} frame{'s' if size > 1 else ''}", "one twice" if size == 1 else f"{size} more")
    cause = f"the video lost {frames} there, or the maps have {one}"
    if jump.after > jump.before:
        cause = f"{frames} left out when the maps were made, or the video has {one}"
    return f"{where} k = {jump.after:+d} instead of {jump.before:+d}: {cause}"


def _short(sums: dict[str, str]) -> str:
    return ", ".join(f"{role} {value[:12]}" for role, value in sorted(sums.items())) or "unknown"
