"""Head boxes of one video as columns, checked against the video's size and length."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.schemas.errors import HeadsError

OVERSHOOT = 0.1
"""A box may reach over the frame's edge by this share of the frame's side (detectors do) and is cut there; boxes
further out belong to another resolution and are an error."""


@dataclass(frozen=True, kw_only=True)
class HeadTable:
    """Boxes sorted by (frame, track_id), at most one per frame and track."""

    source: str
    """File they come from, for messages."""
    frame: npt.NDArray[np.int64]
    """[N] index among the decoded frames."""
    track_id: npt.NDArray[np.int32]
    box_xyxy: npt.NDArray[np.float64]
    """[N, 4] xmin, ymin, xmax, ymax: pixels as read, 0..1 after `normalised`."""
    line: npt.NDArray[np.int64]
    """[N] line number in the file, from 1."""
    roles: dict[int, str] = field(default_factory=dict)
    """track id -> `wearer` or `other`."""
    clipped: int = 0
    """Number of boxes that were cut at the frame's edge; `filled`: made by `fill_gaps`."""
    filled: int = 0

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def from_columns(
        cls,
        source: str,
        frame: npt.NDArray[np.int64],
        track_id: npt.NDArray[np.int32],
        box_xyxy: npt.NDArray[np.float64],
        line: npt.NDArray[np.int64],
        roles: dict[int, str] | None = None,
    ) -> HeadTable:
        """Sort, and refuse what is wrong for any video: NaN, swapped corners, two boxes of one person in a frame."""
        table = cls(source=source, frame=frame, track_id=track_id, box_xyxy=box_xyxy, line=line, roles=roles or {})
        for wrong, rule in (
            (~np.isfinite(box_xyxy).all(axis=1), "is not finite"),
            ((box_xyxy[:, 2:] <= box_xyxy[:, :2]).any(axis=1), "has xmax <= xmin or ymax <= ymin (swapped corners?)"),
            (frame < 0, "has a negative frame number"),
        ):
            hint = "Correct the row (boxes are xmin,ymin,xmax,ymax in pixels)."
            table._refuse(wrong, "the box {box} of frame {frame} " + rule, hint)
        table = table._rows(np.lexsort((track_id, frame)))
        twice = np.flatnonzero((np.diff(table.frame) == 0) & (np.diff(table.track_id) == 0))
        if len(twice):
            first, second = table.line[twice[0] : twice[0] + 2].tolist()
            raise HeadsError(
                f"{source}, lines {first} and {second}: two boxes of track {table.track_id[twice[0]]} in frame "
                f"{table.frame[twice[0]]}.",
                hint="Keep one, or give the second person another track_id.",
                line=second,
            )
        return table

    def _rows(self, places: npt.NDArray[np.intp]) -> HeadTable:
        columns = {name: getattr(self, name)[places] for name in ("frame", "track_id", "box_xyxy", "line")}
        return dataclasses.replace(self, **columns)

    def normalised(self, *, width: int, height: int, frame_count: int) -> HeadTable:
        """The table with boxes in 0..1 of a `width` x `height` video of `frame_count` frames.

        Boxes over the edge by up to `OVERSHOOT` are cut there and counted. HeadsError names the row of a box further
        out or outside altogether, or of a frame that the video does not have.
        """
        what = f"the video has {frame_count} decoded frames, numbered from 0"
        hint = "Check that the file belongs to this video and counts frames from 0."
        self._refuse(self.frame >= frame_count, "frame {frame} does not exist; " + what + " ({count} such rows)", hint)
        side = np.array([width, height, width, height], dtype=np.float64)
        boxes = self.box_xyxy / side
        cut = np.clip(boxes, 0.0, 1.0)
        far = (boxes < -OVERSHOOT).any(axis=1) | (boxes > 1 + OVERSHOOT).any(axis=1)
        outside = (cut[:, 2:] <= cut[:, :2]).any(axis=1)
        what = f"lies outside the {width}x{height} video"
        hint = "Boxes are pixels of this video after rotation; were they made at another resolution?"
        self._refuse(far | outside, "the box {box} of frame {frame} " + what + " ({count} such rows)", hint)
        if len(boxes) and self.box_xyxy.max() <= 1.0 and min(width, height) > 16:
            raise HeadsError(
                f"{self.source}: every coordinate is at most 1, so the boxes seem to be relative, not pixels.",
                hint=f"Multiply x by {width} and y by {height}.",
            )
        return dataclasses.replace(self, box_xyxy=cut, clipped=self.clipped + int((cut != boxes).any(axis=1).sum()))

    def _refuse(self, wrong: npt.NDArray[np.bool_] | np.bool_, what: str, hint: str) -> None:
        """Raise HeadsError for the first of the `wrong` rows [N]; `what` has places for {box}, {frame} and {count}."""
        if wrong.any():
            row = int(np.argmax(wrong))
            line, box = int(self.line[row]), self.box_xyxy[row].tolist()
            text = what.format(box=box, frame=self.frame[row], count=int(wrong.sum()))
            raise HeadsError(f"{self.source}, line {line}: {text}.", hint=hint, line=line)

    def fill_gaps(self, max_frames: int) -> HeadTable:
        """The table with boxes added, on straight lines, where a track is missing for 1 to `max_frames` frames.

        A filled box depends on the next seen one, so it looks into the future; `filled` counts them.

        >>> track = HeadTable.from_columns("x", np.array([0, 2]), np.array([1, 1], np.int32),
        ...     np.array([[0., 0, 2, 2], [2, 0, 4, 2]]), np.array([2, 3]))
        >>> track.fill_gaps(1).box_xyxy[1].tolist()
        [1.0, 0.0, 3.0, 2.0]
        """
        by_track = np.lexsort((self.frame, self.track_id))
        before, after = by_track[:-1], by_track[1:]
        missing = self.frame[after] - self.frame[before] - 1
        fill = (self.track_id[after] == self.track_id[before]) & (missing > 0) & (missing <= max_frames)
        before, after, missing = before[fill], after[fill], missing[fill]
        first = np.repeat(before, missing)
        last = np.repeat(after, missing)
        step = np.concatenate([np.arange(0), *(np.arange(1, m + 1) for m in missing)])
        share = (step / (np.repeat(missing, missing) + 1))[:, None]
        between = self.box_xyxy[first] + share * (self.box_xyxy[last] - self.box_xyxy[first])
        table = dataclasses.replace(
            self,
            frame=np.concatenate((self.frame, self.frame[first] + step)),
            track_id=np.concatenate((self.track_id, self.track_id[first])),
            box_xyxy=np.concatenate((self.box_xyxy, between)),
            line=np.concatenate((self.line, self.line[first])),
            filled=self.filled + len(step),
        )
        return table._rows(np.lexsort((table.track_id, table.frame)))

    def of_frame(self, frame_index: int) -> slice:
        """Slice of the rows of one frame."""
        return slice(*np.searchsorted(self.frame, [frame_index, frame_index + 1]).tolist())

    def people_in(self, frames: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Number of boxes in each of `frames`: [len(frames)]."""
        return np.searchsorted(self.frame, frames, side="right") - np.searchsorted(self.frame, frames, side="left")

    def choose(self, people: str) -> HeadTable:
        """Only the people asked for: `all`, `largest` (per frame), `wearer` or ids separated by commas."""
        if people == "all":
            return self
        if people == "largest":
            area = (self.box_xyxy[:, 2] - self.box_xyxy[:, 0]) * (self.box_xyxy[:, 3] - self.box_xyxy[:, 1])
            by_size = np.lexsort((-area, self.frame))
            _, first = np.unique(self.frame[by_size], return_index=True)
            keep = np.sort(by_size[first])
        else:
            keep = np.flatnonzero(np.isin(self.track_id, self._ids_of(people)))
        return self._rows(keep)

    def _ids_of(self, people: str) -> list[int]:
        present = np.unique(self.track_id).tolist()
        if people == "wearer":
            if not (wanted := [i for i in present if self.roles.get(i) == "wearer"]):
                raise HeadsError(
                    f"{self.source}: no track has the role wearer, which --people wearer asks for.",
                    hint="Add a column 'role' (wearer or other), or name track ids.",
                )
            return wanted
        wanted = [int(i) for i in people.split(",")]
        if unknown := sorted(set(wanted) - set(present)):
            raise HeadsError(
                f"{self.source}: --people {people} asks for tracks {unknown}; the file has {present[:20]}.",
                hint="Name tracks that the file has.",
            )
        return wanted


@dataclass(frozen=True, kw_only=True)
class FoundBoxes:
    """Boxes in pixels as a source gives them."""

    table: HeadTable
    counts: dict[str, float] = field(default_factory=dict)
    """What the source says about itself, such as frames without a box by reason."""
    detector: dict[str, Any] | None = None
    """Options and weights of the detector that made the boxes."""
    notes: tuple[str, ...] = ()
    """Choices that the user should know of."""
