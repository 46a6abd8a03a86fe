"""Find the video of an id: below the root that was given, else where the provenance says."""

from __future__ import annotations

from pathlib import Path

from gazetools.egoexo.takes import is_egoexo_root, read_takes
from gazetools.io.find_files import FileLookup, existing_path
from gazetools.io.picture_names import holds_pictures
from gazetools.io.source_file import find_source, not_there
from gazetools.io.video_files import lookup_videos
from gazetools.schemas.errors import UsageError
from gazetools.schemas.provenance import Provenance
from gazetools.schemas.video_id import check_video_id


class VideoPlaces:
    """Videos by id. Raises UsageError where the root does not exist or its takes can't be read."""

    def __init__(self, root: Path | None) -> None:
        self._file: Path | None = None
        self._lookup: FileLookup | None = None
        self._takes: dict[str, Path] = {}
        self._root = root
        if root is None:
            return
        root = self._root = existing_path(root)
        if root.is_file() or holds_pictures(root):
            self._file = root
        elif not root.is_dir():
            raise UsageError(f"The video root {root} does not exist.", hint="Pass a folder of videos, or one video.")
        else:
            self._lookup = lookup_videos(root)
            if is_egoexo_root(root):
                self._add_takes(root)

    def find(self, video_id: str, provenance: Provenance | None, maps_folder: Path) -> tuple[Path | None, str]:
        """(the video of the id, "") or (None, a sentence that says where it was looked for).

        `maps_folder`: the store or dataset whose `provenance` names a file.
        """
        if self._file is not None:
            return self._file, ""
        if self._lookup is not None:
            found = self._takes.get(video_id) or self._lookup.find(video_id) or self._pictures(video_id)
            return (found, "") if found else (None, f"{self._root} has no video {video_id!r}.")
        if provenance is None:
            return None, "These heatmaps do not say where their video is: give --videos."
        source = find_source(provenance.video, maps_folder)
        if source is None:
            return None, f"{not_there(provenance.video)}: give --videos."
        if not source.is_same:
            return None, f"{source.path} is another file than the one of the heatmaps: give --videos."
        return source.path, ""

    def _pictures(self, video_id: str) -> Path | None:
        assert self._root is not None
        folder = self._root / check_video_id(video_id)
        return folder if holds_pictures(folder) else None

    def _add_takes(self, root: Path) -> None:
        for take in read_takes(root)[0]:
            for camera in take.cameras:
                if camera.path is not None:
                    self._takes[take.video_id(camera)] = camera.path
