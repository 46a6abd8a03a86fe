"""`push`: the real library against a hub on this machine; nothing leaves it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazetools.heatmaps import HeatmapReader
from gazetools.packing import convert
from tests.helpers.command_line import run_cli
from tests.helpers.fake_hub import TOKEN, FakeHub, fake_hub

NEEDS_HUB = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("huggingface_hub", "pyarrow")),
    reason="the extra [hub] is not installed: pip install -e '.[hub]'",
)
_COMMAND = "from gazetools.cli.app import main; main()"


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign")
    generator = np.random.default_rng(3)
    for name in ("a", "b", "c"):
        (folder / "take").mkdir(exist_ok=True)
        maps = generator.random((300, 32, 32), dtype=np.float32).astype(np.float16)
        np.savez(folder / "take" / f"{name}.npz", maps=maps)
    return folder


@pytest.fixture
def dataset(foreign: Path, tmp_path: Path) -> Path:
    """Two shards, without any package."""
    convert(foreign, tmp_path / "data", layout="webdataset", shard_size=1)
    return tmp_path / "data"


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with fake_hub() as made:
        yield made


def _push(hub: FakeHub, *arguments: str, token: str | None = TOKEN, **more: str) -> subprocess.CompletedProcess[str]:
    """A process of its own: the library reads its environment when it is imported."""
    home = str(Path(arguments[0]).parent / "home")
    names = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    env = {**names, "HF_ENDPOINT": hub.address, "HF_HUB_DISABLE_XET": "1", "HF_HOME": home, **more}
    if token is not None:
        env["HF_TOKEN"] = token
    return subprocess.run(
        [sys.executable, "-c", _COMMAND, "push", *arguments, "--json"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def _own(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@NEEDS_HUB
@pytest.mark.slow
def test_what_arrives_is_the_folder_and_a_second_push_sends_no_shard_again(
    foreign: Path, tmp_path: Path, hub: FakeHub
) -> None:
    data = tmp_path / "data"
    convert(foreign, data, layout="hf", shard_size=1)
    done = _push(hub, str(data), "org/gaze", "--message", "First maps")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["address"] == f"{hub.address}/datasets/org/gaze/commit/{'a' * 40}"
    assert (hub.repos, hub.messages) == ({"org/gaze": True}, ["First maps"])
    assert hub.files == _own(data)
    assert [file["name"] for file in report["files"]] == sorted(hub.files)
    shards = [name for name in hub.files if name.endswith(".arrow")]
    assert len(hub.uploads) == len(shards) > 1
    assert _push(hub, str(data), "org/gaze", "--public").returncode == 0
    assert len(hub.uploads) == len(shards)  # the hub had them by their sha256
    copy = tmp_path / "copy"  # as a snapshot of the hub's dataset
    for name, content in hub.files.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(content)
    ours, theirs = (HeatmapReader(folder, "take/b").read(range(300)) for folder in (data, copy))
    np.testing.assert_array_equal(ours, theirs)


@NEEDS_HUB
@pytest.mark.slow
@pytest.mark.parametrize(
    ("refuse", "token", "more", "code", "words"),
    [
        ({}, "hf_" + "y" * 30, {}, 3, ["does not accept the token", "hf auth login"]),
        ({}, None, {}, 3, ["token", "hf auth login"]),
        ({"/preupload/": 403}, TOKEN, {}, 2, ["may not write to org/gaze", "permission to write"]),
        ({"/commit/": 500}, TOKEN, {}, 4, ["answered 500", "Run the same command again"]),
        ({}, TOKEN, {"HF_HUB_OFFLINE": "1"}, 3, ["HF_HUB_OFFLINE is set"]),
        ({}, TOKEN, {"HF_ENDPOINT": "http://127.0.0.1:9"}, 4, ["Run the same command again"]),
    ],
    ids=["wrong token", "no token", "no permission", "fault of the hub", "offline", "not reached"],
)
def test_refusals_say_what_to_do(
    dataset: Path, hub: FakeHub, refuse: dict[str, int], token: str | None, more: dict[str, str], code: int, words: Any
) -> None:
    hub.refuse = refuse
    done = _push(hub, str(dataset), "org/gaze", token=token, **more)
    assert done.returncode == code, done.stderr
    error = json.loads(done.stdout)["error"]
    for word in words:
        assert word in f"{error['message']} {error['hint']}"
    assert TOKEN not in done.stdout + done.stderr
    assert hub.files == {}


def test_a_dry_run_asks_nobody(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    (dataset / ".cache").mkdir()
    (dataset / ".cache" / "secret").write_text("not listed")
    done = run_cli("push", str(dataset), "org/gaze", "--dry-run", "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    sizes = {name: len(content) for name, content in _own(dataset).items() if not name.startswith(".")}
    assert {file["name"]: file["bytes"] for file in report["files"]} == sizes
    assert report["address"] is None and "paths of the videos" in report["notes"][0]
    assert "Nothing was uploaded" in run_cli("push", str(dataset), "org/gaze", "--dry-run").stdout
    done = run_cli("push", str(dataset), "org/gaze")
    assert done.exit_code == 3 and "pip install 'gazetools[hub]'" in done.stderr


def _stray(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")


def _unfinished(folder: Path) -> None:
    (folder / ".work").mkdir()


def _flipped(folder: Path) -> None:
    shard = folder / "shards" / "maps-000001.tar"
    data = bytearray(shard.read_bytes())
    data[700] ^= 1
    shard.write_bytes(data)


def _without_index(folder: Path) -> None:
    (folder / "take" / "b.tarindex").unlink()


def _without_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def _no_list(folder: Path) -> None:
    (folder / "index.json").write_text('{"shards": 3}')


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_stray, ["notes.txt", "not of the dataset"]),
        (_unfinished, ["did not finish"]),
        (_flipped, ["maps-000001.tar is not the one"]),
        (_without_index, ["b.tarindex is missing"]),
        (_without_manifest, ["is no dataset"]),
        (_no_list, ["index.json is not a list of shards"]),
    ],
)
def test_an_unfit_folder_is_refused_before_anything_is_sent(dataset: Path, change: Any, words: list[str]) -> None:
    change(dataset)
    done = run_cli("push", str(dataset), "org/gaze", "--dry-run")
    assert done.exit_code == 2
    for word in words:
        assert word in done.stderr


def test_other_layouts_and_names_are_refused(foreign: Path, tmp_path: Path) -> None:
    convert(foreign, tmp_path / "npz")
    done = run_cli("push", str(tmp_path / "npz"), "org/gaze")
    assert done.exit_code == 2 and "--layout hf" in done.stderr
    for name in ("gaze", "org/", "org/gaze/x", "https://huggingface.co/datasets/org/gaze", "../x"):
        done = run_cli("push", str(tmp_path / "npz"), name)
        assert done.exit_code == 2 and "is no name of a dataset" in done.stderr
