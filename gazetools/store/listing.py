"""The videos of a store folder, and whether each file in it is complete."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from gazetools.io.atomic import sha256_of_file
from gazetools.io.find_files import SearchNotes, target_of, walk
from gazetools.io.json_files import read_json
from gazetools.schemas.errors import DataFileError, GazetoolsError, UsageError
from gazetools.schemas.store import REPORT_NAMES, SIDECAR_SUFFIX, STORE_SUFFIX, Sidecar
from gazetools.schemas.video_id import check_video_id, path_of_id


@dataclass(frozen=True, kw_only=True)
class StoreEntry:
    """One video of a store, judged by names and sizes only (`is_complete` also checks the sha256)."""

    video_id: str
    payload: Path
    sidecar: Path
    problem: str | None
    """Why it is not complete, None if size and sidecar agree."""


def read_sidecar(path: Path) -> Sidecar:
    """The sidecar at `path`; DataFileError where it is missing, broken or not a sidecar."""
    try:
        return Sidecar.model_validate(read_json(path, max_bytes=1 << 20))
    except ValidationError as error:
        raise DataFileError(f"{path} is not a store sidecar: {error.errors()[0]['msg']}.", path=str(path)) from None


def list_store(root: Path, notes: SearchNotes | None = None) -> list[StoreEntry]:
    """Every video of the store `root`, sorted by id, also behind links; hidden files and reports are no videos.

    `notes` receives what is left out, such as links that lead nowhere. Raises UsageError where `root` is no folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise UsageError(f"The store {root} is not a folder.", hint="Pass the folder that `extract -o` wrote.")
    notes = SearchNotes() if notes is None else notes
    files = []
    for path in walk(root, notes, broken_links=True):
        files.append(path.relative_to(root))
        if path.suffix == "" and path.is_symlink() and not path.exists():  # of a folder: it may hide videos
            notes.leave_out("broken-link", path, target_of(path))
    stems = {
        file.with_suffix("").as_posix()
        for file in files
        if file.suffix in (STORE_SUFFIX, SIDECAR_SUFFIX) and str(file) not in REPORT_NAMES
    }
    return [_entry(root, stem) for stem in sorted(stems)]


def _entry(root: Path, stem: str) -> StoreEntry:
    payload, sidecar = root / (stem + STORE_SUFFIX), root / (stem + SIDECAR_SUFFIX)
    problem: str | None = None
    try:
        video_id = check_video_id(stem)
        if not payload.exists():
            problem = "the sidecar has no payload next to it"
        elif not sidecar.exists():
            problem = "the payload has no sidecar: its writing did not finish"
        else:
            stated = read_sidecar(sidecar)
            if stated.video_id != video_id:
                problem = f"the sidecar is of video {stated.video_id!r}"
            elif payload.stat().st_size != stated.payload_bytes:
                problem = f"the payload has {payload.stat().st_size} bytes, its sidecar says {stated.payload_bytes}"
    except GazetoolsError as error:
        video_id, problem = stem, error.message
    return StoreEntry(video_id=video_id, payload=payload, sidecar=sidecar, problem=problem)


def is_complete(root: Path, video_id: str) -> Sidecar | None:
    """The sidecar of `video_id` if payload and sidecar agree in size and sha256, else None."""
    sidecar = seems_complete(root, video_id)
    with suppress(OSError):
        if sidecar and sha256_of_file(path_of_id(root, video_id, STORE_SUFFIX)) == sidecar.payload_sha256:
            return sidecar
    return None


def seems_complete(root: Path, video_id: str) -> Sidecar | None:
    """As `is_complete`, but compare only the sizes; the payload is not read."""
    try:
        sidecar = read_sidecar(path_of_id(root, video_id, SIDECAR_SUFFIX))
        size = path_of_id(root, video_id, STORE_SUFFIX).stat().st_size
    except (DataFileError, OSError):
        return None
    return sidecar if size == sidecar.payload_bytes and sidecar.video_id == video_id else None
