"""Training checkpoints with more than tensors are read; nothing in them runs, whatever it is."""

from __future__ import annotations

import argparse
import collections
import datetime
import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gazetools.gazemodels.gazelle.checkpoints import load_tensors
from gazetools.io.inert_pickle import RefusedPickle, StoredTensor, read_inert
from gazetools.schemas.errors import CheckpointError
from tests.helpers.random_dinov3 import TINY_VIT, random_dinov3_tensors, write_training_checkpoint


def test_a_training_checkpoint_gives_its_state_dict(tmp_path: Path) -> None:
    """Such files are refused by weights_only, which is why they need the inert reader at all."""
    tensors = random_dinov3_tensors(TINY_VIT, 0)
    path = write_training_checkpoint(tmp_path / "run.pt", tensors)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    found = load_tensors(path, entry="model")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[key], tensors[key]) for key in tensors)


def test_views_dtypes_and_parameters_keep_their_numbers(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "rows": base[1:3],
        "transposed": base.T,
        "half": base.half(),
        "bfloat": base.bfloat16(),
        "count": torch.tensor(3),
        "flags": torch.tensor([True, False]),
        "nothing": torch.empty(0, 5),
        "parameter": torch.nn.Parameter(base),
        "double": base.double(),
    }
    torch.save({"model": tensors, "args": argparse.Namespace(a=1)}, tmp_path / "x.pt")
    found = load_tensors(tmp_path / "x.pt", entry="model")
    assert found.keys() == tensors.keys()
    for key, tensor in tensors.items():
        assert found[key].dtype == tensor.dtype and torch.equal(found[key], tensor), key


def test_other_entries_are_plain_values_or_inert(tmp_path: Path) -> None:
    torch.save(
        {
            "epoch": 3,
            "args": argparse.Namespace(path=Path("/x")),
            "scale": np.float32(2),
            "counts": collections.Counter("aab"),
            "dtype": torch.float16,
            "state": np.random.RandomState(0).get_state(),
        },
        tmp_path / "x.pt",
    )
    content = read_inert(tmp_path / "x.pt")
    assert content["epoch"] == 3
    for key in ("args", "scale", "counts", "dtype"):
        assert type(content[key]).__name__ == "Placeholder", key
    assert not isinstance(content["args"], argparse.Namespace)


class _Calls:
    """Pickles as a call."""

    def __init__(self, function: object, *arguments: object, state: object = None) -> None:
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.parts


class _Setter:
    def __setstate__(self, state: object) -> None:
        raise AssertionError("ran")


def _marker() -> Path:
    return Path(os.environ["GAZETOOLS_TEST_MARKER"])


def _builtin(name: str) -> object:
    return getattr(__import__("builtins"), name)


ATTACKS: list[tuple[str, Callable[[], object], str]] = [
    ("os.system", lambda: _Calls(os.system, f"touch {_marker()}"), "system"),
    ("eval", lambda: _Calls(_builtin("eval"), f"open({str(_marker())!r}, 'w')"), "eval"),
    ("exec", lambda: _Calls(_builtin("exec"), f"open({str(_marker())!r}, 'w')"), "exec"),
    ("getattr", lambda: _Calls(getattr, "text", "upper"), "getattr"),
    ("open", lambda: _Calls(open, str(_marker()), "w"), "open"),
    ("__import__", lambda: _Calls(_builtin("__import__"), "os"), "__import__"),
    ("a call in a call", lambda: _Calls(argparse.Namespace, _Calls(os.system, f"touch {_marker()}")), "system"),
    ("a call as state", lambda: _Calls(argparse.Namespace, state=_Calls(os.system, f"touch {_marker()}")), "system"),
    ("a class with __setstate__", _Setter, "_Setter"),
    ("torch.load", lambda: _Calls(torch.load, "x.pt"), "torch"),
    ("a model object", lambda: torch.nn.Linear(2, 2), "torch.nn"),
    ("torch._utils with odd arguments", lambda: _Calls(torch._utils._rebuild_tensor_v2, 1, 2, 3, 4), "malformed"),
    ("another function of torch._utils", lambda: _Calls(torch._utils._import_dotted_name, "os"), "_import_dotted_name"),
    ("a date", lambda: datetime.date(2026, 1, 1), "datetime"),
]


@pytest.mark.parametrize(("make", "word"), [row[1:] for row in ATTACKS], ids=[row[0] for row in ATTACKS])
@pytest.mark.parametrize("entry", [None, "model"])
def test_code_is_refused_by_name_and_not_run(
    make: Callable[[], object], word: str, entry: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAZETOOLS_TEST_MARKER", str(tmp_path / "ran"))
    path = tmp_path / "evil.pt"
    torch.save({"model": {"linear.weight": torch.zeros(2)}, "extra": make(), "args": argparse.Namespace()}, path)
    with pytest.raises(CheckpointError, match=r"evil\.pt cannot be read") as caught:
        load_tensors(path, entry=entry)
    assert word in str(caught.value)
    assert "Nothing in it was run" in str(caught.value.hint)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "ran").exists()


def _archive(path: Path, content: bytes, parts: dict[str, bytes] | None = None, **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
        for name, part in (parts or {}).items():
            archive.writestr(f"archive/{name}", part)
    return path


def _tensor(numel: str, size: str, stride: str, name: str = "0", offset: str = "0", key: str = "storage") -> bytes:
    """A pickle {"w": tensor, "n": Namespace()} in which the numbers are text of our choosing (protocol 0)."""
    return (
        b"(dS'w'\nctorch._utils\n_rebuild_tensor_v2\n((S'"
        + key.encode()
        + b"'\nctorch\nFloatStorage\nS'"
        + name.encode()
        + f"'\nS'cpu'\nI{numel}\ntQI{offset}\n({size}t({stride}tI00\nNtRsS'n'\ncargparse\nNamespace\n(tRs.".encode()
    )


FOUR = {"data/0": struct.pack("<4f", 1, 2, 3, 4)}
TENSORS = [
    ("sound", _tensor("4", "I2\nI2\n", "I2\nI1\n"), None),
    ("a size beyond the storage", _tensor("4", "I3\nI2\n", "I2\nI1\n"), "outside its storage"),
    ("an offset beyond it", _tensor("4", "I2\nI2\n", "I2\nI1\n", offset="3"), "outside its storage"),
    ("a negative offset", _tensor("4", "I2\n", "I1\n", offset="-1"), "malformed"),
    ("a negative stride", _tensor("4", "I2\n", "I-1\n"), "malformed"),
    ("a huge size", _tensor("4", "I99999999999999\n", "I0\n"), "malformed"),
    ("one number expanded to gigabytes", _tensor("4", "I9999999999\n", "I0\n"), "more numbers than its storage"),
    ("more numbers than stored", _tensor("400", "I400\n", "I1\n"), "another size"),
    ("sizes that are text", _tensor("4", "S'a'\n", "I1\n"), "malformed"),
    ("a part outside the folder", _tensor("4", "I2\n", "I1\n", name="../version"), "malformed"),
    ("a part that is missing", _tensor("4", "I2\n", "I1\n", name="7"), "data/7 is missing"),
    ("another persistent id", _tensor("4", "I2\n", "I1\n", key="module"), "no storage"),
]


@pytest.mark.parametrize(("content", "words"), [row[1:] for row in TENSORS], ids=[row[0] for row in TENSORS])
def test_tensors_stay_in_their_part_of_the_file(content: bytes, words: str | None, tmp_path: Path) -> None:
    path = _archive(tmp_path / "x.pt", content, FOUR)

    def read() -> torch.Tensor:
        stored = read_inert(path)["w"]
        assert isinstance(stored, StoredTensor)
        return stored.read()

    if words is None:
        assert read().tolist() == [[1, 2], [3, 4]]
        return
    with pytest.raises(RefusedPickle, match=words):
        read()


MALFORMED = [
    ("an entry numbered two billion", b"\x80\x02Nr\xff\xff\xff\x7f.", "entry numbered"),
    ("an extension code", b"\x80\x02\x82\x01.", "EXT1"),
    ("text of four gigabytes", b"\x80\x02X\xff\xff\xff\xff.", "malformed"),
    ("bytes of exabytes", b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", "malformed"),
    ("a byte array of exabytes", b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f.", "BYTEARRAY8|malformed"),
    ("an end without a value", b"\x80\x02.", "malformed"),
    ("nothing", b"", "malformed"),
    ("a reduce of a number", b"\x80\x02K\x01)R.", "malformed"),
    ("state for a list", b"\x80\x02]K\x01b.", "malformed"),
    ("a dotted name", b"\x80\x04\x8c\x05torch\x8c\x0a_utils.sys\x93.", "_utils.sys"),
    ("a name of the reader's own", b"\x80\x02cgazetools.io.inert_pickle\nread_inert\n.", "read_inert"),
]


@pytest.mark.parametrize(("content", "words"), [row[1:] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
def test_malformed_pickles_are_refused(content: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedPickle, match=words):
        read_inert(_archive(tmp_path / "x.pt", content))


def test_state_set_on_a_placeholders_class_has_no_effect(tmp_path: Path) -> None:
    content = b"\x80\x02cargparse\nNamespace\n}X\x01\x00\x00\x00aK\x01sb."
    assert not hasattr(read_inert(_archive(tmp_path / "x.pt", content)), "a")


def test_a_plain_state_dict_cannot_ask_for_gigabytes(tmp_path: Path) -> None:
    """One stored number, seen as ten billion; weights_only itself takes such a file."""
    torch.save({"w": torch.zeros(1).expand(100_000, 100_000)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="more numbers than its storage"):
        load_tensors(tmp_path / "x.pt")


def test_compressed_parts_and_foreign_byte_order_are_refused(tmp_path: Path) -> None:
    content = _tensor("4", "I2\nI2\n", "I2\nI1\n")
    packed = _archive(tmp_path / "packed.pt", content, FOUR, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(RefusedPickle, match="compressed"):
        read_inert(packed)["w"].read()
    with pytest.raises(RefusedPickle, match="little-endian"):
        read_inert(_archive(tmp_path / "big.pt", content, {"byteorder": b"big"}))


def test_one_file_cannot_change_how_the_next_is_read(tmp_path: Path) -> None:
    """State set on an entry of an ordered dict, or on placeholders, stays without effect."""
    entries = collections.OrderedDict(a=torch.ones(2))
    entries._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]
    torch.save({"model": entries, "args": argparse.Namespace(append=1, __setstate__=2)}, tmp_path / "x.pt")
    for _ in range(2):
        assert load_tensors(tmp_path / "x.pt", entry="model")["a"].tolist() == [1, 1]


def test_an_old_file_that_is_no_archive_is_refused_as_before(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"a": _Calls(os.getcwd)}, buffer, _use_new_zipfile_serialization=False)
    (tmp_path / "old.pt").write_bytes(buffer.getvalue())
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_tensors(tmp_path / "old.pt")
    with pytest.raises(RefusedPickle, match="no archive"):
        read_inert(tmp_path / "old.pt")
