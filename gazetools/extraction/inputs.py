"""Expand files, folders (also of frames), globs, lists and Ego-Exo4D roots into videos with their ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gazetools.egoexo.takes import choose_cameras, choose_takes, is_egoexo_root, takes_command
from gazetools.egoexo.takes_file import TAKES_NAME
from gazetools.io.find_files import SearchNotes
from gazetools.io.video_files import VideoFile, find_videos, merged
from gazetools.schemas.errors import UsageError
from gazetools.schemas.picture_times import PictureTimes
from gazetools.schemas.video_id import refuse_duplicate_ids, reserved_reason
from gazetools.video.frame_clock import clock_of


@dataclass(frozen=True, kw_only=True)
class VideoItem:
    """One video to work on."""

    video_id: str
    path: Path
    problem: str | None = None
    """Reason why this video can't be worked on, reported as a failed item; None: usable.

    A data set's own list says so, or the file's name can't be an id."""


def plan_inputs(
    inputs: Sequence[str | Path],
    *,
    takes: str | None = None,
    cameras: str | None = None,
    views: str = "exo",
    notes: SearchNotes | None = None,
) -> list[VideoItem]:
    """Videos of all inputs, sorted by id; unusable ones follow at the end, with a `problem`.

    Ids and lists are as `find_videos` has them. An Ego-Exo4D root (a folder with takes.json and takes/) gives the
    downloaded videos of `takes`, `cameras` and `views`, with the ids `take/camera`. `notes` receives what is left out.
    UsageError: a missing path, no videos, ids that collide.
    """
    notes = SearchNotes() if notes is None else notes
    groups: list[list[VideoFile]] = []
    for one in inputs:
        if not str(one):
            raise UsageError("An input is empty.", hint="Name a file or folder; '.' is the working folder.")
        if is_egoexo_root(Path(one).expanduser()):
            groups.append(_from_egoexo(Path(one).expanduser(), takes=takes, cameras=cameras, views=views))
        elif takes or cameras:
            raise UsageError(
                f"--takes and --cameras choose from an Ego-Exo4D root, but {one} has no takes.json next to takes/.",
                hint="Pass the folder that `egoexo -o` filled, or leave these options out.",
            )
        else:
            groups.append(find_videos(one, notes))
    unusable = {(found.video_id, found.path): found for group in groups for found in group if found.problem is not None}
    usable = merged(([found for found in group if found.problem is None] for group in groups), notes)
    planned = [_item(found) for found in sorted(usable, key=lambda found: found.video_id)]
    if not planned and not unusable:
        raise UsageError("No input video was given.", hint="Name files, folders, globs or @list.txt.")
    refuse_duplicate_ids((item.video_id, item.path) for item in planned)
    planned.sort(key=lambda item: item.problem is not None)
    return planned + [_item(found) for found in unusable.values()]


def refuse_untimed(items: Sequence[VideoItem], times: PictureTimes) -> None:
    """Raise UsageError where nothing says when the pictures of a folder were taken: of no rate is a default."""
    untimed: list[UsageError] = []
    for item in items:
        if item.problem is None and item.path.is_dir():
            try:
                clock_of(item.path, times)
            except UsageError as error:
                untimed.append(error)
    if untimed:
        first, others = untimed[0], len(untimed) - 1
        more = f" The same holds for {others} other folder(s)." if others else ""
        raise UsageError(f"{first.message}{more}", hint=first.hint, **first.details)


def _item(found: VideoFile) -> VideoItem:
    problem = found.problem or reserved_reason(found.video_id)
    return VideoItem(video_id=found.video_id, path=found.path, problem=problem)


def _from_egoexo(root: Path, *, takes: str | None, cameras: str | None, views: str) -> list[VideoFile]:
    chosen, unusable = choose_takes(root, takes)
    listing = root / TAKES_NAME
    items = [VideoFile(video_id=entry.item_id, path=listing, problem=entry.message) for entry in unusable]
    absent = []
    for take in chosen:
        wanted = choose_cameras(take, views=views, cameras=cameras)
        if not wanted and cameras is None:
            problem = f"{listing} lists no {views} video of it."
            items.append(VideoFile(video_id=take.name, path=listing, problem=problem))
        for camera in wanted:
            if camera.problem is not None:
                items.append(VideoFile(video_id=take.video_id(camera), path=listing, problem=f"{camera.problem}."))
            elif camera.path is None:
                absent.append(take.video_id(camera))
            else:
                items.append(VideoFile(video_id=take.video_id(camera), path=camera.path))
    if not items:
        command = takes_command(root, chosen, "downscaled_takes/448", views=views)
        lacking = f" ({len(absent)} are listed but not downloaded, such as {absent[0]})" if absent else ""
        raise UsageError(
            f"No {views} video of the chosen takes and cameras is in {root}{lacking}.",
            hint=f"Get them with: {command} (`takes` instead for full-size videos)",
        )
    return items
