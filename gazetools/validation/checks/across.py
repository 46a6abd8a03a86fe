"""Comparison of all videos: unusual sizes and origins, and one video under two ids."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from gazetools.schemas.findings import Finding
from gazetools.validation.catalogue import finding
from gazetools.validation.subject import Subject

ValueT = TypeVar("ValueT")
_Identity = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Traits:
    """The properties of a checked subject that are compared with the others; None where unknown."""

    video_id: str
    size_hw: tuple[int, int] | None
    origin: tuple[str, ...] | None
    """Model, weights and options of a store file whose maps a model made."""
    video: _Identity | None
    maps: _Identity | None


def traits_of(subject: Subject) -> Traits:
    """The traits of a subject whose numbers are still loaded."""
    provenance, origin = subject.provenance, None
    # the sums of a ground truth are those of its take's recordings, which differ from take to take
    if provenance is not None and subject.kind == "store" and not subject.is_ground_truth:
        model = provenance.model
        origin = (model.name, *sorted(model.weights_sha256.values()), str(provenance.options))
    return Traits(
        video_id=subject.video_id,
        size_hw=subject.size_hw,
        origin=origin,
        video=_video_identity(subject),
        maps=_maps_identity(subject),
    )


def compare(traits: Sequence[Traits]) -> list[Finding]:
    """Findings about videos that differ from most, and about videos or maps that occur twice."""
    findings: list[Finding] = []
    usual = _most_common(one.size_hw for one in traits)
    most = _most_common(one.origin for one in traits)
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


def _most_common(values: Iterable[ValueT | None]) -> ValueT | None:
    counts = Counter(value for value in values if value is not None)
    return counts.most_common(1)[0][0] if counts else None


def _video_identity(subject: Subject) -> _Identity | None:
    """The file's sha256 and stream from the provenance, else the number and checksum of all decoded pictures."""
    if (provenance := subject.provenance) is not None:
        return None if subject.is_ground_truth else (provenance.video.sha256, provenance.video.stream_index)
    if (video := subject.video) is None or len(np.unique(video.luma_digests)) < 2:  # all black: many are
        return None
    return len(video.luma_digests), zlib.crc32(video.luma_digests.data)


def _maps_identity(subject: Subject) -> _Identity | None:
    """Number and checksum of another tool's maps, unless all are equal; maps with a provenance may rightly be equal."""
    stats = subject.stats
    if stats is None or subject.provenance is not None or len(np.unique(stats.digest)) < 2:
        return None
    return len(stats), zlib.crc32(stats.digest.data)
