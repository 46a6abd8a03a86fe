"""What only shows when videos are compared: odd sizes and origins, and one video under two ids."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gazetools.schemas.findings import Finding
from gazetools.schemas.provenance import GROUND_TRUTH
from gazetools.validation.catalogue import finding
from gazetools.validation.subject import Subject

_Identity = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What of a checked subject is compared with the others; None each where it is not known."""

    video_id: str
    size_hw: tuple[int, int] | None
    origin: tuple[str, ...] | None
    """Model, weights and options of a store file."""
    video: _Identity | None
    maps: _Identity | None


def traits_of(subject: Subject) -> Traits:
    """Gathered while the subject still holds its numbers."""
    provenance = subject.provenance
    # a ground truth has the recordings of its own take where others have weights
    model = None if provenance is None or provenance.model.name == GROUND_TRUTH else provenance.model
    origin = None
    if model is not None and provenance is not None and subject.kind == "store":
        origin = (model.name, *sorted(model.weights_sha256.values()), str(provenance.options))
    return Traits(
        video_id=subject.video_id,
        size_hw=subject.size_hw,
        origin=origin,
        video=_video_identity(subject),
        maps=_maps_identity(subject),
    )


def compare(traits: Sequence[Traits]) -> list[Finding]:
    """Findings about the ones that differ from most, and about those that are alike where none should be."""
    findings: list[Finding] = []
    sizes = Counter(one.size_hw for one in traits if one.size_hw is not None)
    usual = sizes.most_common(1)[0][0] if sizes else None
    origins = Counter(one.origin for one in traits if one.origin is not None)
    most = origins.most_common(1)[0][0] if origins else None
    seen: dict[_Identity, str] = {}
    for one in traits:
        if one.size_hw is not None and usual is not None and one.size_hw != usual:
            message = f"Its maps are {one.size_hw}, those of most videos {usual}."
            code = "maps-transposed" if one.size_hw == usual[::-1] else "mixed-sizes"
            findings.append(finding(code, message, video_id=one.video_id))
        if one.origin is not None and most is not None and one.origin != most:
            message = f"Made by {one.origin[0]} with weights or options unlike most videos ({most[0]})."
            findings.append(finding("mixed-models", message, video_id=one.video_id))
        for what, identity in (("video", one.video), ("maps", one.maps)):
            other = one.video_id if identity is None else seen.setdefault((what, *identity), one.video_id)
            if other != one.video_id:
                message = f"It has the same {what} as {other!r}."
                findings.append(finding("duplicate-video", message, video_id=one.video_id))
                break
    return findings


def _video_identity(subject: Subject) -> _Identity | None:
    """The file's sha256 and stream where a provenance has them, else a sum over all decoded pictures."""
    if (provenance := subject.provenance) is not None:
        if provenance.model.name == GROUND_TRUTH:
            return None
        return provenance.video.sha256, provenance.video.stream_index
    if (video := subject.video) is None or len(np.unique(video.luma_digests)) < 2:  # all black: many are
        return None
    return len(video.luma_digests), zlib.crc32(video.luma_digests.data)


def _maps_identity(subject: Subject) -> _Identity | None:
    """A sum over all maps of another tool, unless they are all one; ours know their video, and equal maps of the same
    pictures in two containers are right."""
    stats = subject.stats
    if stats is None or subject.provenance is not None or len(np.unique(stats.digest)) < 2:
        return None
    return len(stats), zlib.crc32(stats.digest.data)
