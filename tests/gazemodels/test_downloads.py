"""Downloads of weights through a server on this machine: kept once, broken connections, versions that change."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gazetools.gazemodels import download
from gazetools.gazemodels.weights import RemoteFile, obtain
from gazetools.schemas.errors import EnvironmentLacksError

CONTENT = bytes(range(251)) * 20_000  # five blocks
NAME = "weights.pt"


class _Hub(http.server.BaseHTTPRequestHandler):
    """Serves files with ETags and ranges; a file of `breaks` is cut after so many bytes, once for each entry."""

    files: dict[str, bytes]
    breaks: dict[str, list[int]]
    etags: dict[str, list[str]]
    requests: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        name = self.path.removeprefix("/")
        self.requests.append((name, self.headers.get("Range")))
        if name not in self.files:
            self.send_error(404)
            return
        content, start = self.files[name], 0
        tags = self.etags.get(name, ['"one"'])
        tag = tags.pop(0) if len(tags) > 1 else tags[0]
        wanted = self.headers.get("Range")
        if wanted and self.headers.get("If-Range") == tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
        else:
            self.send_response(200)
        if tag:
            self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        cuts = self.breaks.get(name, [])
        stop = start + cuts.pop(0) if cuts else len(content)
        self.wfile.write(content[start:stop])

    def log_message(self, *arguments: object) -> None:
        """Silent."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RemoteFile]:
    """A server with one file of weights."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "GAZETOOLS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GAZETOOLS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "RETRY_SECONDS", 0.0)
    _Hub.files, _Hub.breaks, _Hub.etags, _Hub.requests = {NAME: CONTENT}, {}, {}, []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield RemoteFile(f"http://127.0.0.1:{running.server_address[1]}/{NAME}", "--checkpoint")
        running.shutdown()
        thread.join()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_download_is_kept_with_its_sha256(hub: RemoteFile) -> None:
    found = obtain([hub])
    assert found == [(hub.cached, sha256(CONTENT))]
    assert hub.cached.with_name(f"{NAME}.sha256").read_text().startswith(sha256(CONTENT))
    assert obtain([hub], offline=True) == found
    assert len(_Hub.requests) == 1, "with weights in the cache nobody asks again"


def test_a_connection_that_breaks_off_goes_on_where_it_was(hub: RemoteFile) -> None:
    _Hub.breaks = {NAME: [1_500_000, 2_000_000]}
    found = obtain([hub])
    assert found[0][1] == sha256(CONTENT)
    ranges = [wanted for name, wanted in _Hub.requests if name == NAME]
    assert ranges == [None, "bytes=1500000-", "bytes=3500000-"]


def test_another_version_of_the_file_is_not_joined_to_the_first(hub: RemoteFile) -> None:
    """The server's file changed between two connections: it answers with the whole new one."""
    _Hub.breaks, _Hub.etags = {NAME: [1_500_000]}, {NAME: ['"one"', '"two"']}
    assert obtain([hub])[0][1] == sha256(CONTENT)


@pytest.mark.parametrize(("tag", "requests"), [("", 1), ('W/"weak"', 1), ('"one"', 4)])
def test_when_it_stays_broken_nothing_is_kept(hub: RemoteFile, tag: str, requests: int) -> None:
    """Without a strong ETag two versions could be joined, so such a file is not asked for again."""
    _Hub.breaks, _Hub.etags = {NAME: [1000] * 9}, {NAME: [tag]}
    with pytest.raises(EnvironmentLacksError, match="broke off"):
        obtain([hub])
    assert len([name for name, _ in _Hub.requests if name == NAME]) == requests
    assert [path for path in hub.cached.parent.rglob("*") if path.is_file()] == []
