"""Size and sums of what a video is read from: a file, or a folder of pictures."""

from __future__ import annotations

import hashlib
from pathlib import Path

from gazetools.io.atomic import sha256_of_file
from gazetools.io.picture_names import files_in, holds_pictures, is_picture

_PROBE_BYTES = 1 << 20


def is_source(path: Path) -> bool:
    """Whether a video can be there: a file, or a folder with pictures directly in it."""
    return path.is_file() or (path.is_dir() and holds_pictures(path))


def source_bytes(path: Path) -> int:
    """Bytes of the file, or of all pictures of the folder; OSError where they can't be read."""
    return sum((path / name).stat().st_size for name in _pictures(path)) if path.is_dir() else path.stat().st_size


def source_sha256(path: Path) -> str:
    """Hex sha256 of the file, or of the lines `name size sha256` of all pictures of the folder in the order of names.

    OSError where they can't be read.
    """
    if not path.is_dir():
        return sha256_of_file(path)
    digest = hashlib.sha256()
    for name in _pictures(path):
        place = path / name
        digest.update(_line(name, place.stat().st_size, sha256_of_file(place)))
    return digest.hexdigest()


def quick_digest(path: Path) -> str:
    """Size, and sha256 of the first and last MiB, so that thousands of finished videos need not be read whole.

    For a folder of pictures: the names and sizes of all of them, and the content of the first and the last one.
    OSError where they can't be read.
    """
    if not path.is_dir():
        size = path.stat().st_size
        return f"{size}:{_ends(path, size).hexdigest()}"
    names, total, digest = _pictures(path), 0, hashlib.sha256()
    for place, name in enumerate(names):
        size = (path / name).stat().st_size
        total += size
        content = _ends(path / name, size).hexdigest() if place in (0, len(names) - 1) else ""
        digest.update(_line(name, size, content))
    return f"{total}:{digest.hexdigest()}"


def _pictures(folder: Path) -> list[str]:
    return [name for name in files_in(folder) if is_picture(name)]


def _line(name: str, size: int, content: str) -> bytes:
    return f"{name}\0{size}\0{content}\n".encode("utf-8", "surrogateescape")


def _ends(path: Path, size: int) -> hashlib._Hash:
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(_PROBE_BYTES))
        file.seek(max(size - _PROBE_BYTES, 0))
        digest.update(file.read(_PROBE_BYTES))
    return digest
