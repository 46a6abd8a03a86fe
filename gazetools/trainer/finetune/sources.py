"""Read the sources of a config: labels of pictures and video frames, stores, synthetic kitchens."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gazetools.annotations.gaze_labels import BenchmarkPicture, Head
from gazetools.annotations.label_files import read_labels
from gazetools.io.picture_size import picture_size
from gazetools.io.source_file import find_source, folder_of_id, not_there
from gazetools.io.video_files import lookup_videos
from gazetools.progress import Progress
from gazetools.schemas.errors import DataFileError, UsageError, VideoError
from gazetools.schemas.finetune_data import GazeStoreSource, LabelSource, Source
from gazetools.schemas.finetune_learning import StoreDistillation
from gazetools.schemas.store import Prompt
from gazetools.store import open_store
from gazetools.store.listing import StoreEntry, list_store
from gazetools.store.reader import StoreReader
from gazetools.trainer.finetune.kitchens import kitchen_heads
from gazetools.trainer.finetune.labelled import HeadSet, LabelledHead, PicturePlace
from gazetools.video import VideoReader


def read_sources(
    sources: Sequence[Source],
    *,
    scenes: Path,
    least_pixels: float,
    taught: StoreDistillation | None,
    progress: Progress,
) -> HeadSet:
    """The heads of all sources, in their order, whose boxes have no side shorter than `least_pixels`.

    `scenes` is the folder for drawn kitchens; `taught`: stores hold a teacher's heatmaps, not people's labels. Raises
    UsageError for a source that can't be read, and where nothing is left.
    """
    found = HeadSet()
    for source in sources:
        if isinstance(source, LabelSource):
            found.add(_labels(source, least_pixels))
        elif isinstance(source, GazeStoreSource):
            found.add(_store(source, least_pixels, taught=taught, progress=progress))
        else:
            found.add(kitchen_heads(source, Path(source.folder or scenes), progress))
    if not found.heads:
        reasons = "; ".join(found.in_words()) or "the sources are empty"
        raise UsageError(f"There is no labelled head to learn from: {reasons}.", hint="Check data.train.")
    return found


def _labels(source: LabelSource, least_pixels: float) -> HeadSet:
    path = Path(source.path).expanduser()
    root = Path(source.images).expanduser() if source.images else path.parent
    labels = read_labels(path, kind=source.form, images=root, split=source.split, check_pictures=True).for_training()
    found = HeadSet()
    for reason, noted in labels.left_out.items():
        found.leave_out(reason, noted.places[0] if noted.places else str(path), noted.count)
    videos = _Videos(root)
    for picture in _every(labels.pictures, source.every):
        file = videos.find(picture.path) if picture.is_video else root / picture.path
        if file is None:
            for head in picture.heads:
                found.leave_out("video_missing", head.place)
            continue
        place = PicturePlace(path=file, frame=picture.frame if picture.is_video else None)
        problem, size = videos.checked(place)
        for head in picture.heads:
            if problem is not None:
                found.leave_out(problem, head.place)
            elif _shortest_side(head.box_xyxy, size) < least_pixels:
                found.leave_out("head_too_small", head.place)
            else:
                found.heads.append(_head(picture, head, place))
    return found


def _every(pictures: Sequence[BenchmarkPicture], every: int) -> list[BenchmarkPicture]:
    """Every N-th labelled frame of each clip, counted in the clip; single pictures are kept."""
    seen: dict[str, int] = defaultdict(int)
    kept = []
    for picture in pictures:
        clip = f"{picture.video}/{picture.clip}"
        if not picture.clip and not picture.video:
            kept.append(picture)
            continue
        if seen[clip] % every == 0:
            kept.append(picture)
        seen[clip] += 1
    return kept


class _Videos:
    """Files of labelled videos, their sizes and lengths; each is looked for, and opened, once."""

    def __init__(self, root: Path) -> None:
        self._root, self._lookup = root, lookup_videos(root)
        self._files: dict[str, Path | None] = {}
        self._facts: dict[Path, tuple[int, int, int] | None] = {}

    def find(self, name: str) -> Path | None:
        """File of a video's path or id below the root; None: it is missing."""
        if name not in self._files:
            files = [self._root / name] if (self._root / name).is_file() else self._lookup.find_all(name)
            self._files[name] = files[0] if files else None
        return self._files[name]

    def checked(self, place: PicturePlace) -> tuple[str | None, tuple[int, int]]:
        """Why a picture can't be read (None: it can), and its (width, height) in pixels."""
        if place.frame is None:
            return None, picture_size(place.path)
        if place.path not in self._facts:
            self._facts[place.path] = _facts_of(place.path)
        facts = self._facts[place.path]
        if facts is None:
            return "video_not_readable", (0, 0)
        width, height, count = facts
        return (None if 0 <= place.frame < count else "frame_missing"), (width, height)


def _facts_of(path: Path) -> tuple[int, int, int] | None:
    """Width, height and number of frames of a video; None: it can't be read."""
    try:
        with VideoReader(path, threads=1) as reader:
            return reader.info.width, reader.info.height, reader.frame_count
    except VideoError:
        return None


def _shortest_side(box_shares: Sequence[float], size_wh: tuple[int, int]) -> float:
    """Pixels of the shorter side of a box."""
    x0, y0, x1, y1 = box_shares
    return min((x1 - x0) * size_wh[0], (y1 - y0) * size_wh[1])


def _head(picture: BenchmarkPicture, head: Head, place: PicturePlace) -> LabelledHead:
    video = picture.video or picture.clip or picture.path
    person = head.person if head.person and picture.video else head.place
    return LabelledHead(
        place=place,
        box_shares=head.box_xyxy,
        gaze_shares=tuple(zip(head.gaze_x, head.gaze_y, strict=True)),
        inside=head.inout == 1,
        video=video,
        person=person,
        row=head.place,
    )


def _store(
    source: GazeStoreSource, least_pixels: float, *, taught: StoreDistillation | None, progress: Progress
) -> HeadSet:
    root = Path(source.path).expanduser()
    found = HeadSet()
    entries = list_store(root)
    progress.start("labels", len(entries), unit="videos")
    for entry in entries:
        try:
            if entry.problem is not None:
                raise DataFileError(f"it is incomplete: {entry.problem}")
            found.add(_video_of_store(entry, source, least_pixels, taught=taught))
        except (DataFileError, VideoError) as error:
            found.leave_out("video_not_usable", f"{entry.video_id}: {error.message}")
        progress.advance("labels")
    progress.finish("labels")
    return found


def _video_of_store(
    entry: StoreEntry, source: GazeStoreSource, least_pixels: float, *, taught: StoreDistillation | None
) -> HeadSet:
    found = HeadSet()
    with open_store(entry.payload) as store:
        path = _video_file(store, source)
        targets = None if taught else store.extra("target_xy")
        if targets is None and not taught:
            raise DataFileError(
                f"{entry.payload} has no ground truth (extra/target_xy): it was not made by groundtruth."
            )
        # Cameras of one take show the same moments: `take/camera` are one group.
        group = entry.video_id if taught else entry.video_id.split("/")[0]
        frames = set(np.unique(store.row_frame)[:: source.every].tolist())
        for row in range(len(store)):
            frame = int(store.row_frame[row])
            if frame not in frames:
                continue
            where = f"{entry.payload}, row {row}"
            if reason := _unusable(store, row, least_pixels, taught):
                found.leave_out(reason, where)
                continue
            x, y = (-1.0, -1.0) if targets is None else (float(value) for value in targets[row])
            found.heads.append(
                LabelledHead(
                    place=PicturePlace(path=path, frame=frame),
                    box_shares=_box(store.row_box[row].tolist()),
                    gaze_shares=((x, y),),
                    inside=bool(taught or store.row_inout[row] == 1),
                    video=group,
                    person=f"{group}#{int(store.row_track_id[row])}",
                    row=where,
                    teacher_row=(entry.payload, row) if taught else None,
                )
            )
    return found


def _unusable(store: StoreReader, row: int, least_pixels: float, taught: StoreDistillation | None) -> str | None:
    """Why a row is left out; None: it is used."""
    video = store.provenance.video
    if store.row_prompt[row] == Prompt.NONE:
        return "head_not_in_picture"
    if _shortest_side(store.row_box[row].tolist(), (video.width, video.height)) < least_pixels:
        return "head_too_small"
    if taught is None:
        return "inout_unknown" if math.isnan(float(store.row_inout[row])) else None
    if taught.least_peak and float(store.read_heatmaps(row, row + 1).max()) < taught.least_peak:
        return "teacher_sees_no_gaze"
    return None


def _box(sides: list[float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = sides
    return x0, y0, x1, y1


def _video_file(store: StoreReader, source: GazeStoreSource) -> Path:
    recorded = store.provenance.video
    if source.videos is not None:
        files = lookup_videos(Path(source.videos).expanduser()).find_all(store.video_id)
        if not files:
            raise VideoError(f"{source.videos} has no video {store.video_id}.")
        return files[0]
    file = find_source(recorded, folder_of_id(store.path, store.video_id))
    if file is None or not file.is_same:
        raise VideoError(f"{not_there(recorded)}; name data.train[].videos.")
    return file.path
