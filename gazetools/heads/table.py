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


def frame_sides(units: str, width: int, height: int) -> npt.NDArray[np.float64]:
    """What x and y of a box [xmin, ymin, xmax, ymax] are divided by to be in 0..1 of the frame: [4]."""
    whole = {"percent": (100, 100), "fraction": (1, 1)}.get(units, (width, height))
    return np.array([*whole, *whole], np.float64)


def outside(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """[N] whether a box in 0..1 reaches over the frame by more than `OVERSHOOT`, or has nothing inside it."""
    cut = np.clip(boxes, 0.0, 1.0)
    far = (boxes < -OVERSHOOT).any(axis=1) | (boxes > 1 + OVERSHOOT).any(axis=1)
    return np.asarray(far | (cut[:, 2:] <= cut[:, :2]).any(axis=1), dtype=np.bool_)


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
    """[N] number of the row in the file, from 1."""
    row_word: str = "line"
    """What a row of the file is called: `line`, `annotation` ..."""
    roles: dict[int, str] = field(default_factory=dict)
    """track id -> `wearer` or `other`."""
    units: str = "pixels"
    """Unit of the boxes as read: `pixels`, `percent` of the frame's side or `fraction`."""
    form: str | None = None
    """Name of the format that was read; None: boxes that come from no file."""
    reading: str = ""
    """How the columns were read, for people; empty where there is nothing to say, as of our own format."""
    notes: tuple[str, ...] = ()
    """What the user should know of the file."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Reason -> rows that the file itself marks as not to be used."""
    interpolated: int = 0
    """Number of boxes that the file's tool put between two keyframes."""
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
        *,
        what: str = "xmin, ymin, xmax, ymax",
        row_word: str = "line",
    ) -> HeadTable:
        """Sort, and refuse what is wrong for any video: NaN, swapped corners, two boxes of one person in a frame.

        `what` says in messages what the columns of a row are, `row_word` what a row is.
        """
        table = cls(
            source=source,
            frame=frame,
            track_id=track_id,
            box_xyxy=box_xyxy,
            line=line,
            roles=roles or {},
            row_word=row_word,
        )
        for wrong, rule in (
            (~np.isfinite(box_xyxy).all(axis=1), "is not finite"),
            ((box_xyxy[:, 2:] <= box_xyxy[:, :2]).any(axis=1), "has xmax <= xmin or ymax <= ymin (swapped corners?)"),
            (frame < 0, "has a negative frame number"),
        ):
            hint = f"Correct the row, which is read as {what}; --heads-format and --heads-units read it otherwise."
            if "negative" in rule:
                hint = "The video's first frame is 0 (--heads-count-from)."
            table._refuse(wrong, "the box {box} of frame {frame} " + rule, hint)
        table = table._rows(np.lexsort((track_id, frame)))
        table._refuse_twice()
        return table

    def _refuse_twice(self) -> None:
        """HeadsError for two boxes of one track in a frame; a row that is there twice and ids of -1 have own words."""
        twice = np.flatnonzero((np.diff(self.frame) == 0) & (np.diff(self.track_id) == 0))
        if not len(twice):
            return
        first, second = self.line[twice[0] : twice[0] + 2].tolist()
        track, frame = self.track_id[twice[0]], self.frame[twice[0]]
        what = f"two boxes of track {track} in frame {frame}"
        hint = "Keep one, or give the second person another track_id."
        if (self.box_xyxy[twice] == self.box_xyxy[twice + 1]).all():
            what += ", with the same numbers: the row is there twice"
            hint = f"Remove the {len(twice)} repeated row(s)."
        elif (self.track_id == -1).all():
            what += "; all ids are -1, as in detections that are not tracked"
            hint = "Run a tracker first: every person needs one id in all frames."
        elif (self.track_id == 0).all():
            what += "; all boxes are of track 0"
            hint = "Add a column track_id with one id per person, the same in all frames."
        raise HeadsError(f"{self.source}, {self.row_word}s {first} and {second}: {what}.", hint=hint, line=second)

    def _rows(self, places: npt.NDArray[np.intp]) -> HeadTable:
        columns = {name: getattr(self, name)[places] for name in ("frame", "track_id", "box_xyxy", "line")}
        return dataclasses.replace(self, **columns)

    def normalised(self, *, width: int, height: int, frame_count: int) -> HeadTable:
        """The table with boxes in 0..1 of a `width` x `height` video of `frame_count` frames.

        Boxes over the edge by up to `OVERSHOOT` are cut there and counted. HeadsError names the row of a box further
        out or outside altogether, or of a frame that the video does not have.
        """
        late = self.frame >= frame_count
        what = f"the video has {frame_count} decoded frames, numbered from 0"
        hint = "Check that the file belongs to this video and counts frames from 0."
        if late.any() and self.frame.max() == frame_count and self.frame.min() >= 1:
            hint = "Does the file count from 1? Pass --heads-count-from 1."
        self._refuse(late, "frame {frame} does not exist; " + what + " ({count} such rows)", hint)
        side = frame_sides(self.units, width, height)
        boxes = self.box_xyxy / side
        cut = np.clip(boxes, 0.0, 1.0)
        what = f"lies outside the {width}x{height} video"
        hint = "Boxes are pixels of this video after rotation; were they made at another resolution?"
        if self.units != "pixels":
            hint = f"Boxes are read as {self.units} of the frame (--heads-units)."
        self._refuse(outside(boxes), "the box {box} of frame {frame} " + what + " ({count} such rows)", hint)
        most = self.box_xyxy.max(initial=-np.inf)
        if self.units == "pixels" and len(boxes) and most <= 1 + OVERSHOOT and min(width, height) > 16:
            raise HeadsError(
                f"{self.source}: every coordinate is at most {most:g}, so the boxes seem to be relative, not pixels.",
                hint=f"Pass --heads-units fraction, or multiply x by {width} and y by {height}.",
            )
        return dataclasses.replace(self, box_xyxy=cut, clipped=self.clipped + int((cut != boxes).any(axis=1).sum()))

    def _refuse(self, wrong: npt.NDArray[np.bool_] | np.bool_, what: str, hint: str) -> None:
        """Raise HeadsError for the first of the `wrong` rows [N]; `what` has places for {box}, {frame} and {count}."""
        if wrong.any():
            row = int(np.argmax(wrong))
            line, box = int(self.line[row]), self.box_xyxy[row].tolist()
            text = what.format(box=box, frame=self.frame[row], count=int(wrong.sum()))
            raise HeadsError(f"{self.source}, {self.row_word} {line}: {text}.", hint=hint, line=line)

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
