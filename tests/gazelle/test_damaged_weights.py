"""Files that are no weights: empty, cut, pages, pickled code, other contents; each is refused by its name."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from gazetools.gazemodels.gazelle.checkpoints import load_tensors
from gazetools.gazemodels.gazelle.loading import load_model
from gazetools.schemas.errors import CheckpointError
from tests.helpers.weight_files import Tensors, write_pt, write_st

pytestmark = pytest.mark.usefixtures("a_released_tiny_model")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.pt", b"", "The file is empty"),
        ("empty.safetensors", b"", "The file is empty"),
        ("page.pt", b"<!DOCTYPE html><html>Not found</html>", "looks like an HTML"),
        ("pointer.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer"),
        ("text.pth", b"hello, this is no checkpoint", "cannot be read as .pth"),
        ("weights.ckpt", b"", r"end in \.safetensors, \.pt or \.pth, not in '\.ckpt'"),
    ],
)
def test_files_that_are_no_weights(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=words) as caught:
        load_tensors(tmp_path / name)
    assert name in str(caught.value)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_truncated_files(tmp_path: Path, whole: Tensors, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    (write_pt if suffix == ".pt" else write_st)(path, whole)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_tensors(path)


class _Attack:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_code_is_not_run(tmp_path: Path, zipped: bool) -> None:
    target = tmp_path / "code_ran"
    if zipped:
        write_pt(tmp_path / "evil.pt", {"linear.weight": _Attack(target)})
    else:
        (tmp_path / "evil.pt").write_bytes(pickle.dumps(_Attack(target), protocol=2))
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_tensors(tmp_path / "evil.pt")
    assert not target.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"model": {"a": torch.zeros(1)}, "epoch": 3}, r"entries model, epoch are no tensors.*content\['model'\]"),
        ([torch.zeros(1)], "it holds list"),
        ({}, "it holds nothing"),
    ],
)
def test_pickles_that_are_no_state_dict(tmp_path: Path, content: object, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        load_tensors(write_pt(tmp_path / "x.pt", content))


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        load_model("gazelle_test", checkpoint=tmp_path / "no.pt")
    with pytest.raises(CheckpointError, match="is a folder"):
        load_model("gazelle_test", checkpoint=tmp_path)
