"""The facts of a source video that every store keeps in its provenance."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Protocol

from gazetools.io.atomic import sha256_of_file
from gazetools.schemas.provenance import SourceVideo
from gazetools.schemas.video import VideoInfo


class OpenVideo(Protocol):
    """A reader of this process or of a decoding child."""

    @property
    def info(self) -> VideoInfo: ...

    @property
    def frame_count(self) -> int: ...


def source_video(
    reader: OpenVideo, counted_by: Literal["decoding", "index"], *, sha256: str | None = None
) -> SourceVideo:
    """Facts of the open video, with the sha256 of the whole file; computed here unless given."""
    info = reader.info
    facts: dict[str, Any] = {
        name: getattr(info, name)
        for name in (
            "path",
            "size_bytes",
            "stream_index",
            "container",
            "codec",
            "width",
            "height",
            "rotation_degrees",
            "pixel_format",
            "colour_matrix",
            "colour_matrix_source",
            "colour_range",
            "declared_frame_count",
            "decoder",
        )
    }
    return SourceVideo(
        **facts,
        sha256=sha256 or sha256_of_file(Path(info.path)),
        rate=f"{info.rate.numerator}/{info.rate.denominator}",
        frame_count=reader.frame_count,
        counted_by=counted_by,
    )
