"""Weights of a hub repository through a server on this machine: one file, shards, broken connections, wrong indexes."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gazetools.gazemodels import download, facts_page
from gazetools.gazemodels.hub_repository import obtain_repository
from gazetools.gazemodels.model_table import GAZE_MODELS
from gazetools.gazemodels.weights import RemoteFile, obtain
from gazetools.schemas.errors import CheckpointError, DataFileError, EnvironmentLacksError
from tests.helpers.command_line import run_cli

CONTENT = bytes(range(251)) * 20_000  # five blocks
REPOSITORY = "Octopus1/page-vits"
WHERE = f"/{REPOSITORY}/resolve/main/"


class _Hub(http.server.BaseHTTPRequestHandler):
    """Serves files with ETags and ranges; a file of `breaks` is cut after so many bytes, once for each entry."""

    files: dict[str, bytes]
    breaks: dict[str, list[int]]
    etags: dict[str, list[str]]
    requests: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        name = self.path.removeprefix(WHERE)
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
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A hub with one file of weights; its cache folder of the repository."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "GAZETOOLS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GAZETOOLS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "RETRY_SECONDS", 0.0)
    _Hub.files, _Hub.breaks, _Hub.etags, _Hub.requests = {"model.safetensors": CONTENT}, {}, {}, []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{running.server_address[1]}")
        yield tmp_path / "cache" / "weights" / "Octopus1--page-vits"
        running.shutdown()
        thread.join()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_one_file_and_no_config(hub: Path) -> None:
    found = obtain_repository(REPOSITORY)
    assert found.weights == ((hub / "model.safetensors", sha256(CONTENT)),)
    assert found.config is None
    assert (hub / "model.safetensors.sha256").read_text().startswith(sha256(CONTENT))
    asked = [name for name, _ in _Hub.requests]
    assert asked == ["config.json", "model.safetensors"]
    assert obtain_repository(REPOSITORY, offline=True) == found
    assert len(_Hub.requests) == 2, "with weights in the cache nobody asks again"


def test_shards_by_their_index_and_the_config(hub: Path) -> None:
    index = {
        "metadata": {},
        "weight_map": {"b": "model-2.safetensors", "a": "model-1.safetensors", "c": "model-1.safetensors"},
    }
    _Hub.files = {
        "config.json": b"{}",
        "model.safetensors.index.json": json.dumps(index).encode(),
        "model-1.safetensors": CONTENT,
        "model-2.safetensors": CONTENT[:77],
    }
    found = obtain_repository(REPOSITORY)
    assert [path.name for path, _ in found.weights] == ["model-1.safetensors", "model-2.safetensors"]
    assert [digest for _, digest in found.weights] == [sha256(CONTENT), sha256(CONTENT[:77])]
    assert found.config == hub / "config.json"
    (hub / "model-2.safetensors").unlink()
    with pytest.raises(EnvironmentLacksError, match=r"weights model-2\.safetensors are not in .*offline"):
        obtain_repository(REPOSITORY, offline=True)
    assert obtain_repository(REPOSITORY) == found, "only the missing shard is fetched"
    assert [name for name, _ in _Hub.requests].count("model-1.safetensors") == 1


def test_a_shard_that_the_server_lacks_is_named(hub: Path) -> None:
    _Hub.files = {"model.safetensors.index.json": b'{"weight_map": {"a": "model-1.safetensors"}}'}
    with pytest.raises(EnvironmentLacksError, match=r"model-1\.safetensors could not be opened: Not Found"):
        obtain_repository(REPOSITORY)


BAD_INDEXES = [
    (b'{"weight_map": {"a": "../../x.safetensors"}}', CheckpointError, "a file of another folder"),
    (b'{"weight_map": {"a": "x.bin"}}', CheckpointError, "a pickle"),
    (b'{"weight_map": {}}', CheckpointError, "no shards"),
    (b"[]", CheckpointError, "no object"),
    (b"<html>", DataFileError, "an error page"),
]


@pytest.mark.parametrize(("content", "kind", "why"), BAD_INDEXES, ids=[case[2] for case in BAD_INDEXES])
def test_an_index_that_is_none(hub: Path, content: bytes, kind: type[Exception], why: str) -> None:
    _Hub.files = {"model.safetensors.index.json": content}
    with pytest.raises(kind) as caught:
        obtain_repository(REPOSITORY)
    assert caught.value.exit_code == 2, why  # type: ignore[attr-defined]
    assert not list(hub.parent.rglob("x.*"))


def test_nothing_there_and_no_network_name_the_files(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _Hub.files = {}
    with pytest.raises(EnvironmentLacksError, match=r"model\.safetensors\.index\.json could not be opened: Not Found"):
        obtain_repository(REPOSITORY)
    with pytest.raises(EnvironmentLacksError, match="this run is offline") as caught:
        obtain_repository(REPOSITORY, offline=True)
    assert str(caught.value).count("curl -L --create-dirs") == 2
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(EnvironmentLacksError, match=r"(?s)config\.json and model\.safetensors are not .*refused"):
        obtain_repository(REPOSITORY)


def test_a_connection_that_breaks_off_goes_on_where_it_was(hub: Path) -> None:
    _Hub.breaks = {"model.safetensors": [1_500_000, 2_000_000]}
    found = obtain_repository(REPOSITORY)
    assert found.weights[0][1] == sha256(CONTENT)
    ranges = [wanted for name, wanted in _Hub.requests if name == "model.safetensors"]
    assert ranges == [None, "bytes=1500000-", "bytes=3500000-"]


def test_another_version_of_the_file_is_not_joined_to_the_first(hub: Path) -> None:
    """The server's file changed between two connections: it answers with the whole new one."""
    _Hub.breaks, _Hub.etags = {"model.safetensors": [1_500_000]}, {"model.safetensors": ['"one"', '"two"']}
    assert obtain_repository(REPOSITORY).weights[0][1] == sha256(CONTENT)


@pytest.mark.parametrize(("tag", "requests"), [("", 1), ('W/"weak"', 1), ('"one"', 4)])
def test_when_it_stays_broken_nothing_is_kept(hub: Path, tag: str, requests: int) -> None:
    """Without a strong ETag two versions could be joined, so such a file is not asked for again."""
    _Hub.breaks, _Hub.etags = {"model.safetensors": [1000] * 9}, {"model.safetensors": [tag]}
    with pytest.raises(EnvironmentLacksError, match="broke off"):
        obtain_repository(REPOSITORY)
    assert len([name for name, _ in _Hub.requests if name == "model.safetensors"]) == requests
    assert [path for path in hub.rglob("*") if path.is_file()] == []


def test_the_licence_is_named_before_the_first_download_alone(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = facts_page.FACTS[0]
    monkeypatch.setitem(GAZE_MODELS, facts.name, facts)
    first = run_cli("models", facts.name, "--fetch")
    assert first.exit_code == 0, first.stderr
    said = first.stderr.replace("\n", " ")
    assert said.index("DINOv3 License") < said.index(sha256(CONTENT))
    again = run_cli("models", facts.name, "--fetch", "--json")
    assert "DINOv3 License" not in again.stderr
    (shown,) = json.loads(again.stdout)["models"]
    assert (shown["present"], shown["files"]) == (True, [str(hub / "model.safetensors")])


def test_files_of_one_name_in_two_folders(hub: Path) -> None:
    """Every repository calls its weights model.safetensors."""
    here = [RemoteFile("http://127.0.0.1:9/model.safetensors", "--checkpoint", folder=name) for name in ("a", "b")]
    for number, file in enumerate(here):
        file.cached.parent.mkdir(parents=True)
        file.cached.write_bytes(bytes([number]))
    assert [digest for _, digest in obtain(here, offline=True)] == [sha256(b"\0"), sha256(b"\1")]
