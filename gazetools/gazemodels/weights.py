"""The cache of released weights: find, download and verify, or say exactly how to get them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from gazetools.gazemodels.download import DownloadError, download
from gazetools.gazemodels.without_weights import RUNS_NOW
from gazetools.io.atomic import sha256_of_file, write_bytes_atomic
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.errors import EnvironmentLacksError

CACHE_VARIABLE = "GAZETOOLS_CACHE"
OFFLINE_VARIABLE = "GAZETOOLS_OFFLINE"


@dataclass(frozen=True)
class RemoteFile:
    """One released file: where it is published, its name in the cache, and the option that takes a local copy."""

    url: str
    option: str
    """`--checkpoint` or `--backbone`."""

    @property
    def file_name(self) -> str:
        return self.url.rsplit("/", 1)[-1]

    @property
    def cached(self) -> Path:
        """Where it is kept, present or not."""
        return cache_folder() / self.file_name


def cache_folder() -> Path:
    """Where released weights are kept: `$GAZETOOLS_CACHE/weights`, else `~/.cache/gazetools/weights`."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "gazetools") / "weights"


def is_offline(offline: bool | None) -> bool:
    """`offline` itself, or where it is None whether `$GAZETOOLS_OFFLINE` is set to anything but 0, false or no."""
    if offline is not None:
        return offline
    return os.environ.get(OFFLINE_VARIABLE, "").strip().lower() not in {"", "0", "false", "no"}


def obtain(
    files: list[RemoteFile], *, offline: bool | None = None, progress: Progress | None = None
) -> list[tuple[Path, str]]:
    """Path in the cache and sha256 of each file; those not there are downloaded.

    No sha256 of the released files is published, so that of the first use is recorded next to a file (`NAME.sha256`, in
    the format of `sha256sum`), and a file with another sum is refused: trust on first use.

    Raises EnvironmentLacksError without a network (with the commands that fetch what is missing), for a download that
    broke off and for a file that changed since its first use; FaultError where the cache cannot be written.
    """
    progress = progress or NoProgress()
    absent = [file for file in files if not file.cached.is_file()]
    if absent and is_offline(offline):
        raise _lacking(absent, "this run is offline")
    for position, file in enumerate(absent):
        _download(file, progress, still_absent=absent[position:])
    return [(file.cached, _verified_sha256(file.cached)) for file in files]


def _verified_sha256(path: Path) -> str:
    digest = sha256_of_file(path)
    record = _record_of(path)
    if not record.is_file():
        _write_record(path, digest)
        return digest
    match = re.match(r"([0-9a-f]{64})\b", record.read_text(encoding="utf-8", errors="replace"))
    if match is None or match.group(1) != digest:
        raise EnvironmentLacksError(
            f"The cached weights {path} have the sha256 {digest}, but {record.name} recorded "
            f"{match.group(1) if match else 'nothing readable'} when they were first used.",
            hint=f"If you did not change them, remove both and run again: rm '{path}' '{record}'",
            path=str(path),
        )
    return digest


def _record_of(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _write_record(path: Path, digest: str) -> None:
    write_bytes_atomic(_record_of(path), f"{digest}  {path.name}\n".encode())


def _download(file: RemoteFile, progress: Progress, *, still_absent: list[RemoteFile]) -> None:
    """Fetch one file into the cache and record its sha256."""
    target = file.cached
    try:
        digest = download(file.url, target, progress)
    except DownloadError as error:
        raise _lacking(still_absent, str(error)) from error
    _write_record(target, digest)
    progress.say(f"{target} sha256 {digest}")


def _lacking(files: list[RemoteFile], why: str) -> EnvironmentLacksError:
    names = " and ".join(file.file_name for file in files)
    folders = " and ".join(dict.fromkeys(str(file.cached.parent) for file in files))
    commands = [f"curl -L --create-dirs -o '{file.cached}' {file.url}" for file in files]
    options = " ".join(dict.fromkeys(f"{file.option} FILE" for file in files))
    return EnvironmentLacksError(
        f"The weights {names} are not in {folders}, and {why}.",
        hint="Fetch them where there is a network:\n  "
        + "\n  ".join(commands)
        + f"\nor give local copies: {options}\n{RUNS_NOW}",
        commands=commands,
    )
