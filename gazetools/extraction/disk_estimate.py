"""Room that a whole run will take on the disk, estimated from a few of its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypedDict

import numpy as np

from gazetools.extraction.decoding.costs import Declared
from gazetools.extraction.decoding.decoder import Decoder, DecodeSettings
from gazetools.extraction.inputs import VideoItem
from gazetools.gazemodels.registry import heatmap_shape_of
from gazetools.gazemodels.token_channels import usual_token_channels
from gazetools.heads.files import read_heads
from gazetools.io.source_digest import source_bytes
from gazetools.progress import Progress
from gazetools.schemas.errors import HeadsError, UsageError
from gazetools.schemas.extract import PIECE_FRAMES, ExtractOptions
from gazetools.schemas.store import WORK_FOLDER
from gazetools.store.columns import ContentSizes
from gazetools.store.listing import seems_complete
from gazetools.video.fingerprint import FINGERPRINT_EVERY

MARGIN_BYTES = 256 << 10
MARGIN_FILES = 8
"""Sidecar, lock and journal, temporary names, the report, and what the file system itself takes."""
MOST_PROBES = 32
"""Files whose containers are asked for their frames; opening each of 24,236 would take minutes."""
LEAST_FRAME_BYTES = 8
"""No codec makes smaller frames; a container that claims more frames than its bytes can hold is not believed."""
_PEOPLE = {
    "file": "with the people of their box files",
    "whole": "with one row per frame",
    "calib": "with the wearer in every frame",
    "detect": "with one person per frame, which may be too few",
}
"""Rows that are counted, by the source of the head boxes."""


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """What decides how much room a run takes."""

    items: Sequence[VideoItem]
    store: Path
    """Finished videos and unfinished pieces in it need no more room."""
    options: ExtractOptions
    head_files: Mapping[str, Path] | None
    """Box files by video id; videos without one will fail and need nothing. None: `--heads whole`."""
    decoding: DecodeSettings
    parts: Mapping[str, float] = field(default_factory=dict)
    """Share of each video that this run makes; the whole video where none is given."""
    workers: int = 1
    """Videos in progress at a time."""


class RowShapes(TypedDict):
    """Shapes of what a row of a store holds."""

    heatmap_shape: tuple[int, int]
    tokens_shape: tuple[int, int, int] | None
    """(G, G, C); None: scene tokens are not kept."""


@dataclass(frozen=True, kw_only=True)
class SpaceEstimate:
    """Room that a run will take in addition to what is there, at its worst moment."""

    needed_bytes: int
    needed_files: int
    videos: int
    """Number of videos that are not complete yet."""
    probed: int
    """Number of videos whose containers said how many frames they have; the others are taken to be alike per byte."""
    people: str


@dataclass(frozen=True, kw_only=True)
class _Video:
    item: VideoItem
    size_bytes: int
    replaced_bytes: int
    """Size of the store file that this video's new one replaces."""


@dataclass(frozen=True, kw_only=True)
class _Guess:
    frames: float
    stored_bytes: float


def estimate_space(run: PlannedRun, progress: Progress) -> SpaceEstimate | None:
    """Room for the store files of `run`'s incomplete videos and the pieces of the largest; None: frames unknown."""
    videos = _unfinished(run)
    probed = _probe(videos, run, progress)
    if videos and not any(probed.values()):
        return None
    guesses = _extrapolated(videos, probed)

    joined = 0.0
    for video_id, guess in guesses.items():
        joined += max(guess.stored_bytes * run.parts.get(video_id, 1.0) - videos[video_id].replaced_bytes, 0.0)
    in_pieces = [guess for guess in guesses.values() if guess.frames > PIECE_FRAMES]  # others stay in memory
    in_progress = sorted(in_pieces, key=lambda guess: guess.stored_bytes)[-run.workers :]
    # joining removes the unfinished pieces; those of a sharded store may be another shard's
    there = list((run.store / WORK_FOLDER).glob("*/piece_*.npz")) if run.options.shard is None else []
    pieces_bytes = sum(guess.stored_bytes for guess in in_progress) - sum(map(file_size, there))
    pieces_files = sum(int(guess.frames // PIECE_FRAMES) + 1 for guess in in_progress) - len(there)

    new = [video_id for video_id in guesses if not videos[video_id].replaced_bytes]
    folders = {run.store / folder for video_id in new for folder in PurePosixPath(video_id).parents}
    new_folders = sum(not folder.exists() for folder in folders)
    files_each = 2 if run.options.detection() is None else 4  # payload and sidecar, boxes and their record
    return SpaceEstimate(
        needed_bytes=max(int(joined + pieces_bytes), 0) + MARGIN_BYTES * bool(guesses),
        needed_files=max(files_each * len(new) + new_folders + pieces_files, 0) + MARGIN_FILES * bool(guesses),
        videos=len(guesses),
        probed=sum(guess is not None for guess in probed.values()),
        people=_PEOPLE[run.options.heads.partition(":")[0]],
    )


def _unfinished(run: PlannedRun) -> dict[str, _Video]:
    """The videos that this run will have to make, by id."""
    videos = {}
    for item in run.items:
        if run.head_files is not None and run.options.detection() is None and item.video_id not in run.head_files:
            continue
        try:
            done = seems_complete(run.store, item.video_id)
        except UsageError:  # a link leads out of the store: the result of this video will say so
            continue
        if done is not None and not run.options.overwrite:
            continue
        if size_bytes := file_size(item.path):
            replaced_bytes = done.payload_bytes if done else 0
            videos[item.video_id] = _Video(item=item, size_bytes=size_bytes, replaced_bytes=replaced_bytes)
    return videos


def _probe(videos: Mapping[str, _Video], run: PlannedRun, progress: Progress) -> dict[str, _Guess | None]:
    """Guesses for `MOST_PROBES` videos in equal steps of size, from what containers declare; None: it will fail."""
    if not videos:
        return {}
    by_size = sorted(videos.values(), key=lambda video: (video.size_bytes, video.item.video_id))
    count = min(len(by_size), MOST_PROBES)
    shapes = row_shapes(run.options)
    probed: dict[str, _Guess | None] = {}
    progress.start("estimating space", count, unit="videos")
    with Decoder(run.decoding) as decoder:
        for k in range(count):
            video = by_size[(2 * k + 1) * len(by_size) // (2 * count)]
            video_id = video.item.video_id
            declared = decoder.declared(video.item.path)
            if declared is None:
                probed[video_id] = None
            elif declared.frames:  # a container may state nothing; then it is taken to be like the others
                box_file = (run.head_files or {}).get(video_id)
                probed[video_id] = _guess(declared, video, run.options, box_file, shapes)
            progress.advance("estimating space")
    progress.finish("estimating space")
    return probed


def _extrapolated(videos: Mapping[str, _Video], probed: Mapping[str, _Guess | None]) -> dict[str, _Guess]:
    """A guess for each video that may succeed: its own, or by its size as the probed ones."""
    known = {video_id: guess for video_id, guess in probed.items() if guess is not None}
    known_bytes = sum(videos[video_id].size_bytes for video_id in known)
    frames = sum(guess.frames for guess in known.values())
    stored_bytes = sum(guess.stored_bytes for guess in known.values())
    guesses = dict(known)
    for video_id, video in videos.items():
        if video_id not in probed:
            ratio = video.size_bytes / known_bytes
            guesses[video_id] = _Guess(frames=frames * ratio, stored_bytes=stored_bytes * ratio)
    return guesses


def _guess(
    declared: Declared, video: _Video, options: ExtractOptions, box_file: Path | None, shapes: RowShapes
) -> _Guess | None:
    """One video's frames and store file; None where no frame is chosen or its boxes can't be read."""
    frames = min(declared.frames, video.size_bytes // LEAST_FRAME_BYTES)
    first, stop, kept = chosen_frames(frames, declared.seconds, options)
    if not kept:
        return None
    rows: float = kept
    if box_file is not None and options.heads.startswith("file:"):
        try:
            table = read_heads(box_file, options.box_files(), video_id=video.item.video_id, settle=False)
            table = table.fill_gaps(options.fill_gaps).choose(options.people)
        except HeadsError:
            return None
        low, high = np.searchsorted(table.frame, [first, stop])
        rows = int(high - low) * kept / max(stop - first, 1)
    sizes = ContentSizes(frames=kept, rows=round(rows), fingerprints=fingerprints_of(kept), **shapes)
    return _Guess(frames=kept, stored_bytes=sizes.store_file_bytes())


def chosen_frames(frames: int, seconds: float, options: ExtractOptions) -> tuple[int, int, int]:
    """(first, stop, kept): the chosen range of `frames` in `seconds` and how many are kept, at a constant rate.

    >>> chosen_frames(300, 10.0, ExtractOptions(start=2, end=4, stride=2))
    (60, 120, 30)
    """
    rate = frames / seconds if seconds > 0 else 30.0
    first = min(max(round((options.start or 0.0) * rate), 0), frames)
    stop = frames if options.end is None else min(max(round(options.end * rate), first), frames)
    kept = -(-(stop - first) // (options.stride or 1))
    if options.fps is not None:
        kept = min(kept, int((stop - first) / rate * options.fps) + 1)
    return first, stop, kept


def row_shapes(options: ExtractOptions) -> RowShapes:
    """Shapes of what a row holds, by the name of the model alone."""
    grid, model = options.kept_token_grid, options.model
    tokens = None if grid is None else (grid, grid, usual_token_channels(model))
    return {"heatmap_shape": heatmap_shape_of(model), "tokens_shape": tokens}


def fingerprints_of(frames: int) -> int:
    """Number of fingerprints that are kept for so many frames."""
    return -(-frames // FINGERPRINT_EVERY)


def file_size(path: Path) -> int:
    """Bytes of the file or folder of pictures; 0 where it can't be read, which is reported when it is opened."""
    try:
        return source_bytes(path)
    except OSError:
        return 0
