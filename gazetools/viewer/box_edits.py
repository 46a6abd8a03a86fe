"""Head boxes of one video while they are corrected by hand: edits that are checked and applied one after the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gazetools.heads.corrections import INTERPOLATED, ORIGINS, CorrectedBoxes, sorted_boxes
from gazetools.schemas.box_edits import AssignId, BoxEdit, HistoryEdit, InterpolateBoxes, RemoveBox, SetBox
from gazetools.schemas.errors import HeadsError

_HAND = ORIGINS.index("hand")
LEAST_PIXELS = 2.0
"""Shortest side of a box that is drawn by hand."""
_DECIMALS = 2
"""Decimals of the pixels of drawn boxes; the other boxes keep all their digits."""
Box = tuple[float, float, float, float]


class MarkedBox(NamedTuple):
    """A box in pixels and where it comes from."""

    box: Box
    origin: int
    """Place in `ORIGINS`."""


class EditedBoxes:
    """The boxes of a video of `width` x `height` pixels and `frame_count` frames."""

    def __init__(self, boxes: CorrectedBoxes, *, width: int, height: int, frame_count: int) -> None:
        self._width, self._height, self._frame_count = width, height, frame_count
        self._roles = boxes.roles
        self._frames: dict[int, dict[int, MarkedBox]] = {}
        self._of_track: dict[int, set[int]] = {}
        rows = zip(boxes.frame.tolist(), boxes.track.tolist(), boxes.box_xyxy.tolist(), boxes.origin, strict=True)
        for frame, track, box, origin in rows:
            self._put(frame, track, MarkedBox(tuple(box), int(origin)))

    def apply(self, edit: BoxEdit, *, time: str) -> HistoryEdit:
        """Apply one edit; returns its line of the history, which `time` dates. Raises HeadsError where it can't be."""
        if isinstance(edit, SetBox):
            return self._set(edit, time)
        if isinstance(edit, RemoveBox):
            return self._remove(edit, time)
        if isinstance(edit, AssignId):
            return self._assign(edit, time)
        return self._interpolate(edit, time)

    def boxes(self) -> CorrectedBoxes:
        """All boxes as they are now."""
        rows = [
            (frame, track, marked.box, marked.origin)
            for frame, people in self._frames.items()
            for track, marked in people.items()
        ]
        return sorted_boxes(rows, self._roles)

    def _set(self, edit: SetBox, time: str) -> HistoryEdit:
        self._check_frame(edit.frame)
        box = self._inside(edit.box, edit.frame, edit.track)
        before = self._frames.get(edit.frame, {}).get(edit.track)
        if before is None and edit.track < 0:
            raise HeadsError(f"The id {edit.track} can't be given to a new box: ids are whole numbers from 0.")
        self._put(edit.frame, edit.track, MarkedBox(box, _HAND))
        old = None if before is None else list(before.box)
        return HistoryEdit(
            what="set",
            time=time,
            frame=edit.frame,
            last_frame=edit.frame,
            before={"track": edit.track, "box": old},
            after={"track": edit.track, "box": list(box)},
            boxes=1,
        )

    def _remove(self, edit: RemoveBox, time: str) -> HistoryEdit:
        frames = self._frames_of(edit.track, edit.frame, onwards=edit.onwards)
        first = self._frames[edit.frame][edit.track]
        for frame in frames:
            self._drop(frame, edit.track)
        return HistoryEdit(
            what="remove",
            time=time,
            frame=edit.frame,
            last_frame=frames[-1],
            before={"track": edit.track, "box": list(first.box)},
            after={"track": edit.track, "box": None},
            boxes=len(frames),
        )

    def _assign(self, edit: AssignId, time: str) -> HistoryEdit:
        if edit.to == edit.track:
            raise HeadsError(f"The box of frame {edit.frame} has the id {edit.to} already.")
        frames = self._frames_of(edit.track, edit.frame, onwards=edit.onwards)
        others = set(self._of_track.get(edit.to, ()))
        others = {frame for frame in others if frame >= edit.frame} if edit.onwards else others & {edit.frame}
        for frame in sorted({*frames, *others}):
            one, other = self._frames[frame].get(edit.track), self._frames[frame].get(edit.to)
            self._drop(frame, edit.track)
            self._drop(frame, edit.to)
            if one is not None:
                self._put(frame, edit.to, one)
            if other is not None:
                self._put(frame, edit.track, other)
        return HistoryEdit(
            what="assign",
            time=time,
            frame=edit.frame,
            last_frame=max(frames[-1], *others, edit.frame) if others else frames[-1],
            before={"track": edit.track},
            after={"track": edit.to, "swapped": len(others)},
            boxes=len(frames) + len(others),
        )

    def _interpolate(self, edit: InterpolateBoxes, time: str) -> HistoryEdit:
        ends = []
        for frame in (edit.first, edit.last):
            self._frames_of(edit.track, frame, onwards=False)
            ends.append(self._frames[frame][edit.track].box)
        replaced = sum(edit.first < frame < edit.last for frame in self._of_track[edit.track])
        for frame in range(edit.first + 1, edit.last):
            share = (frame - edit.first) / (edit.last - edit.first)
            sides = (round(a + share * (b - a), _DECIMALS) for a, b in zip(*ends, strict=True))
            self._put(frame, edit.track, MarkedBox(_four(sides), INTERPOLATED))
        return HistoryEdit(
            what="interpolate",
            time=time,
            frame=edit.first,
            last_frame=edit.last,
            before={"track": edit.track, "replaced": replaced},
            after={"track": edit.track},
            boxes=edit.last - edit.first - 1,
        )

    def _frames_of(self, track: int, frame: int, *, onwards: bool) -> list[int]:
        """The frame, and with `onwards` all later ones, in which `track` has a box; HeadsError where it has none."""
        self._check_frame(frame)
        if frame not in self._of_track.get(track, ()):
            raise HeadsError(f"There is no box of id {track} in frame {frame}.")
        return sorted(one for one in self._of_track[track] if one >= frame) if onwards else [frame]

    def _inside(self, box: Box, frame: int, track: int) -> Box:
        """The box cut at the frame's edges; HeadsError where too little is left of it."""
        limits = (self._width, self._height, self._width, self._height)
        cut = _four(round(min(max(side, 0.0), limit), _DECIMALS) for side, limit in zip(box, limits, strict=True))
        if cut[2] - cut[0] < LEAST_PIXELS or cut[3] - cut[1] < LEAST_PIXELS:
            raise HeadsError(
                f"The box of id {track} in frame {frame} is {list(box)}: less than {LEAST_PIXELS:g} pixels of a side "
                f"lie in the {self._width}x{self._height} video."
            )
        return cut

    def _check_frame(self, frame: int) -> None:
        if frame >= self._frame_count:
            raise HeadsError(f"The video has {self._frame_count} frames, numbered from 0; there is no frame {frame}.")

    def _put(self, frame: int, track: int, marked: MarkedBox) -> None:
        self._frames.setdefault(frame, {})[track] = marked
        self._of_track.setdefault(track, set()).add(frame)

    def _drop(self, frame: int, track: int) -> None:
        if self._frames[frame].pop(track, None) is not None:
            self._of_track[track].discard(frame)


def _four(sides: Iterable[float]) -> Box:
    x0, y0, x1, y1 = sides
    return x0, y0, x1, y1
