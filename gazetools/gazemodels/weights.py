"""The cache of released weights: find, download and verify, or say exactly how to get them."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gazetools.gazemodels.without_weights import RUNS_NOW
from gazetools.io.atomic import atomic_path, sha256_of_file, write_bytes_atomic
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.errors import EnvironmentLacksError

CACHE_VARIABLE = "GAZETOOLS_CACHE"
OFFLINE_VARIABLE = "GAZETOOLS_OFFLINE"
TIMEOUT_SECONDS = 30.0
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class RemoteFile:
    """One released file: where it is published, its name in the cache, and the option that takes a local copy."""

    url: str
    option: str
    """`--checkpoint` or `--backbone`."""

    @property
    def file_name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


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
    folder = cache_folder()
    absent = [file for file in files if not (folder / file.file_name).is_file()]
    if absent and is_offline(offline):
        raise _lacking(absent, "this run is offline")
    for position, file in enumerate(absent):
        _download(file, folder / file.file_name, progress, still_absent=absent[position:])
    return [(folder / file.file_name, _verified_sha256(folder / file.file_name)) for file in files]


def hub_folder(repository: str, *, option: str) -> Path:
    """The folder of the cache with the weights of `OWNER/NAME` of the Hugging Face hub, whole or in shards.

    Files are fetched by the user, with the command of the error: a licence may have to be accepted there first. The
    sha256 of each weight file is recorded at its first use, as `obtain` does.

    Raises EnvironmentLacksError where it is not there, or a file changed since its first use.
    """
    folder = cache_folder() / repository.replace("/", "--")
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        command = f"hf download {repository} --local-dir '{folder}'"
        raise EnvironmentLacksError(
            f"The weights {repository} are not in {folder}.",
            hint=f"Fetch them where there is a network (pip install huggingface_hub):\n  {command}\n"
            f"or give a local copy: {option} FOLDER\n{RUNS_NOW}",
            commands=[command],
        )
    for path in found:
        _verified_sha256(path)
    return folder


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


def _download(file: RemoteFile, target: Path, progress: Progress, *, still_absent: list[RemoteFile]) -> None:
    """Stream to a temporary file, compare its length with the announced one, record the sha256, then commit."""
    digest, received = hashlib.sha256(), 0
    # Errors of the network are OSErrors too; they must not reach atomic_path, which reports those of the disk.
    with atomic_path(target) as temp:
        with _network(file, still_absent, "could not be opened"):
            response: http.client.HTTPResponse = urllib.request.urlopen(file.url, timeout=TIMEOUT_SECONDS)
        try:
            announced = response.headers.get("Content-Length")
            total = int(announced) if announced and announced.isdigit() else None
            progress.start(file.file_name, total, unit="bytes")
            with temp.open("wb") as out:
                while True:
                    with _network(file, still_absent, "broke off"):
                        block = response.read(_BLOCK_BYTES)
                    if not block:
                        break
                    out.write(block)
                    digest.update(block)
                    received += len(block)
                    progress.advance(file.file_name, len(block))
        finally:
            response.close()
            progress.finish(file.file_name)
        if received == 0 or (total is not None and received != total):
            raise _lacking(still_absent, f"{file.url} broke off after {received} of {total} bytes")
        _write_record(target, digest.hexdigest())
    progress.say(f"{target} sha256 {digest.hexdigest()}")


@contextmanager
def _network(file: RemoteFile, still_absent: list[RemoteFile], what: str) -> Iterator[None]:
    """Turn errors of the network into an EnvironmentLacksError that says `what` happened to the file's address."""
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise _lacking(still_absent, f"{file.url} {what}: {reason}") from error


def _lacking(files: list[RemoteFile], why: str) -> EnvironmentLacksError:
    folder = cache_folder()
    names = " and ".join(file.file_name for file in files)
    commands = [f"curl -L --create-dirs -o '{folder / file.file_name}' {file.url}" for file in files]
    options = " ".join(f"{file.option} FILE" for file in files)
    return EnvironmentLacksError(
        f"The weights {names} are not in {folder}, and {why}.",
        hint="Fetch them where there is a network:\n  "
        + "\n  ".join(commands)
        + f"\nor give local copies: {options}\n{RUNS_NOW}",
        commands=commands,
    )
