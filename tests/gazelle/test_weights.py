"""The weight cache against a server on this machine: whole, truncated, changed, absent, offline."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gazetools.gazemodels import download
from gazetools.gazemodels.gazelle import loading
from gazetools.gazemodels.gazelle.config import RELEASED_MODELS
from gazetools.gazemodels.gazelle.loading import load_model
from gazetools.gazemodels.gazelle.matching import BACKBONE_PREFIX
from gazetools.gazemodels.weights import RemoteFile, cache_folder, is_offline, obtain
from gazetools.schemas.errors import EnvironmentLacksError, FaultError
from tests.helpers.random_checkpoints import random_model_tensors, tiny_config

CONTENT = bytes(range(256)) * 9000  # more than two blocks
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    files: dict[str, bytes]
    requests: list[str]

    def do_GET(self) -> None:
        self.requests.append(self.path)
        name = self.path.rsplit("/", 1)[-1]
        content = self.files.get(name.removeprefix("short-").removeprefix("chunked-").removeprefix("moved-"))
        if name.startswith("moved-"):
            self.send_response(302)
            self.send_header("Location", f"/{name.removeprefix('moved-')}")
            self.end_headers()
            return
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        if not name.startswith("chunked-"):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if name.startswith("short-") else content)

    def log_message(self, *arguments: object) -> None:
        """Silent."""


@pytest.fixture
def server() -> Iterator[str]:
    _Handler.files, _Handler.requests = {"w.pt": CONTENT}, []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GAZETOOLS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GAZETOOLS_OFFLINE", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache" / "weights"


class _Recorder:
    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []

    def start(self, task: str, total: int | None, *, unit: str = "frames") -> None:
        self.events.append(("start", task, total, unit))

    def advance(self, task: str, steps: int = 1) -> None:
        self.events.append(("advance", steps))

    def finish(self, task: str) -> None:
        self.events.append(("finish", task))

    def say(self, message: str) -> None:
        self.events.append(("say", message))


def remote(server: str, name: str = "w.pt") -> RemoteFile:
    return RemoteFile(f"{server}/{name}", "--checkpoint")


def test_a_whole_download_is_kept_recorded_and_not_repeated(server: str, cache: Path) -> None:
    progress = _Recorder()
    (path, digest), *_ = obtain([remote(server)], progress=progress)
    assert path == cache / "w.pt" and path.read_bytes() == CONTENT and digest == DIGEST
    assert (cache / "w.pt.sha256").read_text() == f"{DIGEST}  w.pt\n"
    assert progress.events[0] == ("start", "w.pt", len(CONTENT), "bytes")
    assert sum(e[1] for e in progress.events if e[0] == "advance") == len(CONTENT)  # type: ignore[misc]
    assert ("finish", "w.pt") in progress.events
    assert DIGEST in str(progress.events[-1])
    assert obtain([remote(server)], offline=True) == [(path, DIGEST)]
    assert _Handler.requests == ["/w.pt"]
    assert sorted(p.name for p in cache.iterdir()) == ["w.pt", "w.pt.sha256"]


@pytest.mark.parametrize("name", ["chunked-w.pt", "moved-w.pt"])
def test_redirects_and_unknown_lengths(server: str, cache: Path, name: str) -> None:
    assert obtain([remote(server, name)])[0] == (cache / name, DIGEST)


@pytest.mark.parametrize(
    ("name", "words"), [("short-w.pt", "broke off"), ("absent.pt", "could not be opened: Not Found")]
)
def test_a_failed_download_leaves_nothing(server: str, cache: Path, name: str, words: str) -> None:
    with pytest.raises(EnvironmentLacksError, match=words) as caught:
        obtain([remote(server, name)])
    assert caught.value.exit_code == 3
    assert f"curl -L --create-dirs -o '{cache / name}' {server}/{name}" in str(caught.value)
    assert not list(cache.iterdir())


def test_no_server_at_all(cache: Path) -> None:
    with pytest.raises(EnvironmentLacksError, match=r"(?s)could not be opened: .*refused.*curl -L"):
        obtain([remote("http://127.0.0.1:9")])


def test_a_changed_file_is_refused(server: str, cache: Path) -> None:
    obtain([remote(server)])
    (cache / "w.pt").write_bytes(CONTENT[:-1])
    with pytest.raises(EnvironmentLacksError, match=f"recorded {DIGEST}.*rm '") as caught:
        obtain([remote(server)])
    assert caught.value.exit_code == 3


def test_an_unreadable_record_is_refused(server: str, cache: Path) -> None:
    obtain([remote(server)])
    (cache / "w.pt.sha256").write_text("")
    with pytest.raises(EnvironmentLacksError, match="recorded nothing readable"):
        obtain([remote(server)])


def test_a_file_put_there_by_hand_is_recorded_at_first_use(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "w.pt").write_bytes(CONTENT)
    assert obtain([remote("http://127.0.0.1:9")], offline=True) == [(cache / "w.pt", DIGEST)]
    (cache / "w.pt").write_bytes(b"other")
    with pytest.raises(EnvironmentLacksError, match="recorded"):
        obtain([remote("http://127.0.0.1:9")], offline=True)


def test_an_unwritable_cache_is_a_fault_not_a_network_error(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("GAZETOOLS_CACHE", str(tmp_path / "file"))
    with pytest.raises(FaultError, match="Writing"):
        obtain([remote(server)])


@pytest.mark.parametrize(
    ("value", "offline", "expected"),
    [(None, None, False), ("1", None, True), ("true", None, True), ("0", None, False), ("No", None, False),
     ("1", False, False), (None, True, True)],
)  # fmt: skip
def test_offline(monkeypatch: pytest.MonkeyPatch, value: str | None, offline: bool | None, expected: bool) -> None:
    if value is not None:
        monkeypatch.setenv("GAZETOOLS_OFFLINE", value)
    assert is_offline(offline) is expected


def test_the_default_cache_is_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAZETOOLS_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "gazetools" / "weights"


def test_offline_names_both_files_and_both_options() -> None:
    with pytest.raises(EnvironmentLacksError) as caught:
        load_model("gazelle_dinov2_vitb14", offline=True)
    text = str(caught.value)
    assert "gazelle_dinov2_vitb14_hub.pt and dinov2_vitb14_pretrain.pth" in text and "this run is offline" in text
    assert "https://github.com/fkryan/gazelle/releases/download/v1.0.0/gazelle_dinov2_vitb14_hub.pt" in text
    assert "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth" in text
    assert "--checkpoint FILE --backbone FILE" in text
    with pytest.raises(EnvironmentLacksError, match=r"weights gazelle_dinov2_vitl14_inout\.pt are not"):
        load_model("gazelle_dinov2_vitl14_inout", backbone="anything.pth", offline=True)


def test_a_model_by_name_through_the_download(
    server: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config().model_copy(update={"name": "gazelle_test"})
    tensors = random_model_tensors(config, seed=0)
    save_file({k: v for k, v in tensors.items() if not k.startswith("backbone.")}, tmp_path / "d.safetensors")
    hub = {k.removeprefix(BACKBONE_PREFIX): v for k, v in tensors.items() if k.startswith(BACKBONE_PREFIX)}
    torch.save(hub, tmp_path / "h.pth")
    _Handler.files = {name: (tmp_path / name).read_bytes() for name in ("d.safetensors", "h.pth")}
    monkeypatch.setitem(RELEASED_MODELS, "gazelle_test", config)
    monkeypatch.setitem(loading.DECODER_URLS, "gazelle_test", f"{server}/d.safetensors")
    monkeypatch.setitem(loading.BACKBONE_URLS, config.backbone.name, f"{server}/h.pth")
    model = load_model("gazelle_test")
    assert _Handler.requests == ["/d.safetensors", "/h.pth"]
    assert model.weights_sha256 == {
        "checkpoint": hashlib.sha256(_Handler.files["d.safetensors"]).hexdigest(),
        "backbone": hashlib.sha256(_Handler.files["h.pth"]).hexdigest(),
    }
    assert load_model("gazelle_test", offline=True).weights_sha256 == model.weights_sha256


def test_importing_the_cache_and_the_registry_does_not_import_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys, gazetools.gazemodels.gazelle.config, gazetools.gazemodels.weights\n"
        "import gazetools.gazemodels.gazelle.prompts as p\n"
        "p.box_cells((0, 0, 1, 1), (4, 4)); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert download.TIMEOUT_SECONDS > 0
