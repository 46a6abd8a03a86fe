"""One download: whole or not at all, going on where a connection broke off, with the sha256 of what arrived."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gazetools.io.atomic import atomic_path
from gazetools.progress import Progress

TIMEOUT_SECONDS = 30.0
RETRY_SECONDS = 1.0
"""Wait before a download that broke off goes on."""
_RETRIES = 3
_BLOCK_BYTES = 1 << 20


class DownloadError(Exception):
    """A file that can't be had from its address; the text says why."""

    def __init__(self, message: str, *, absent: bool = False) -> None:
        super().__init__(message)
        self.absent = absent
        """Whether the server answered that it has no such file."""


def download(url: str, target: Path, progress: Progress) -> str:
    """Stream `url` to a temporary file, compare its length with the announced one, commit it; the hex sha256.

    A connection that breaks off is opened again up to three times and goes on at the byte that is missing, where the
    server names the version of the file (a strong ETag): otherwise two versions could be joined. Raises DownloadError,
    and FaultError for a failed write.
    """
    # Errors of the network are OSErrors too; they must not reach atomic_path, which reports those of the disk.
    with atomic_path(target) as temp:
        stream = _Stream(url, target.name, temp, progress)
        try:
            stream.run()
        finally:
            progress.finish(target.name)
        return stream.digest.hexdigest()


class _Stream:
    """The state of one download over several connections."""

    def __init__(self, url: str, name: str, temp: Path, progress: Progress) -> None:
        self._url, self._name, self._temp, self._progress = url, name, temp, progress
        self.digest = hashlib.sha256()
        self._received = 0
        self._total: int | None = None
        self._version: str | None = None

    def run(self) -> None:
        """Receive the whole file; DownloadError where it can't be had."""
        for left in reversed(range(_RETRIES + 1)):
            try:
                self._receive()
            except DownloadError:
                if self._version is None or not left:
                    raise
            else:
                if self._received and self._total in (None, self._received):
                    return
                if self._version is None or not left:
                    raise DownloadError(f"{self._url} broke off after {self._received} of {self._total} bytes")
            time.sleep(RETRY_SECONDS)

    def _receive(self) -> None:
        """Append what one connection delivers."""
        resuming = self._version is not None and self._received > 0
        headers = {"Range": f"bytes={self._received}-", "If-Range": str(self._version)} if resuming else {}
        with _network(self._url, "could not be opened"):
            request = urllib.request.Request(self._url, headers=headers)
            response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
        with response:
            if not (resuming and response.status == http.HTTPStatus.PARTIAL_CONTENT):
                self._begin(response)
            with self._temp.open("ab" if self._received else "wb") as out:
                while True:
                    with _network(self._url, "broke off"):
                        block = response.read(_BLOCK_BYTES)
                    if not block:
                        return
                    out.write(block)
                    self.digest.update(block)
                    self._received += len(block)
                    self._progress.advance(self._name, len(block))

    def _begin(self, response: http.client.HTTPResponse) -> None:
        """Start from the first byte."""
        announced, version = response.headers.get("Content-Length"), response.headers.get("ETag")
        self.digest, self._received = hashlib.sha256(), 0
        self._total = int(announced) if announced and announced.isdigit() else None
        self._version = version if version and version.startswith('"') else None
        self._progress.start(self._name, self._total, unit="bytes")


@contextmanager
def _network(url: str, what: str) -> Iterator[None]:
    """Turn errors of the network into a DownloadError that says `what` happened to the address."""
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error or type(error).__name__
        absent = isinstance(error, urllib.error.HTTPError) and error.code == http.HTTPStatus.NOT_FOUND
        raise DownloadError(f"{url} {what}: {reason}", absent=absent) from error
