"""The videos of a new config: which layout of the folder has them, their frame rates and sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gazetools.schemas.errors import UsageError, VideoError
from gazetools.trainer.data.videos import EGO4D_FOLDERS, find_videos
from gazetools.video.probe import probe

_LOOKED_AT = 40
"""Videos that are opened, evenly over all ids."""


@dataclass(frozen=True, kw_only=True)
class FoundVideos:
    """What was seen of the videos of the annotations."""

    looked_at: int
    rates: dict[float, int]
    """Frames per second -> number of videos, of those looked at."""
    sizes: dict[str, int]
    """`width x height` -> number of videos."""
    unreadable: dict[str, str]
    """Video id -> reason."""


def best_file_format(folder: Path, ids: Sequence[str]) -> int | None:
    """The `file_format` under which the most videos are found; None, which looks for `<video_id>`, where it is enough.

    Raises UsageError where `folder` is none.
    """
    counts: dict[int | None, int] = {
        form: len(find_videos(folder, ids, form, folders=EGO4D_FOLDERS)) for form in (None, 0, 1)
    }
    return max(counts, key=lambda form: counts[form])  # the first of equal ones


def look_at_videos(videos: dict[str, Path]) -> FoundVideos:
    """Open some of the videos. Raises UsageError where none of them can be opened."""
    names = sorted(videos)
    chosen = [names[place * len(names) // _LOOKED_AT] for place in range(_LOOKED_AT)]
    rates: Counter[float] = Counter()
    sizes: Counter[str] = Counter()
    unreadable: dict[str, str] = {}
    for name in dict.fromkeys(chosen):
        try:
            info = probe(videos[name], None)
        except VideoError as error:
            unreadable[name] = error.message
            continue
        rates[round(float(info.rate), 3)] += 1
        sizes[f"{info.width}x{info.height}"] += 1
    if not rates:
        name, reason = next(iter(unreadable.items()))
        raise UsageError(
            f"None of {len(unreadable)} videos can be opened; the first, {name!r}: {reason}",
            hint="Check --videos, and look at one with gazetools validate or a player.",
        )
    return FoundVideos(
        looked_at=sum(rates.values()) + len(unreadable),
        rates=dict(rates.most_common()), sizes=dict(sizes.most_common()), unreadable=unreadable,
    )  # fmt: skip
