"""Read a PyTorch file whose pickle holds more than tensors, without running anything that is in it.

`torch.load(weights_only=True)` refuses training checkpoints with an argparse.Namespace or numpy scalars. Here such
objects become inert placeholders: their class is never imported and nothing is called. Tensors stay in the
file until one asks for them. Every name outside the two lists below is refused.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

MOST_PICKLE_BYTES = 1 << 26
"""Largest pickle that is read; a training checkpoint of a model with 100,000 tensors has 30 MB."""

_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_PLACEHOLDERS = frozenset(
    {
        "_codecs.encode",
        "argparse.Namespace",
        "collections.Counter",
        "collections.defaultdict",
        "numpy.dtype",
        "numpy.ndarray",
        "pathlib.Path",
        "pathlib.PosixPath",
        "pathlib.PurePosixPath",
        "pathlib.WindowsPath",
        "pathlib.PureWindowsPath",
        "pathlib._local.Path",
        "pathlib._local.PosixPath",
        "torch.Size",
        "torch.device",
        "types.SimpleNamespace",
        *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
        *(f"{module}.set" for module in ("builtins", "__builtin__")),
    }
)
"""What becomes a placeholder: things that optimizers, schedulers, arguments and random states are saved with."""


class RefusedPickle(ValueError):
    """The pickle names something that is neither a tensor nor on the list of placeholders, or is malformed."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that is still in the file; `read` checks its extent first."""

    path: Path
    member: str
    """Name of the file's part that holds the numbers."""
    dtype: torch.dtype
    numel: int
    """Numbers in that part."""
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def __setstate__(self, state: object) -> None:
        """Ignore a state that the pickle wants to set."""

    def read(self) -> torch.Tensor:
        """The tensor with memory of its own; RefusedPickle where it reaches outside its part of the file."""
        last = self.offset + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        empty = 0 in self.size
        if not empty and last >= self.numel:
            raise RefusedPickle(f"a tensor {list(self.size)} reaches outside its storage of {self.numel} numbers")
        with zipfile.ZipFile(self.path) as archive:
            try:
                info = archive.getinfo(self.member)
            except KeyError:
                raise RefusedPickle(f"its part {self.member} is missing") from None
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != self.numel * self.dtype.itemsize:
                raise RefusedPickle(
                    f"its part {self.member} is compressed or has another size than {self.numel} numbers"
                )
            content = bytearray(archive.read(info))
        if empty:
            return torch.empty(self.size, dtype=self.dtype)
        numbers = torch.frombuffer(content, dtype=self.dtype)
        # An expanded tensor (stride 0) of a small storage could ask for any amount of memory.
        if torch.Size(self.size).numel() > self.numel:
            raise RefusedPickle(f"a tensor {list(self.size)} has more numbers than its storage, {self.numel}")
        return numbers.as_strided(self.size, self.stride, self.offset).clone(memory_format=torch.contiguous_format)


def read_inert(path: Path) -> Any:
    """The content of a .pt file: plain values, containers, `StoredTensor`s, and placeholders for the objects listed.

    Raises RefusedPickle, naming it, for any other object, a malformed or an oversized pickle, and for files that are no
    zip archives (PyTorch before 1.6); OSError and zipfile.BadZipFile as they come.
    """
    if not zipfile.is_zipfile(path):
        raise RefusedPickle("it is no archive, as PyTorch writes since 1.6")
    with zipfile.ZipFile(path) as archive:
        pickles = [info for info in archive.infolist() if info.filename.endswith("data.pkl")]
        if len(pickles) != 1 or pickles[0].file_size > MOST_PICKLE_BYTES:
            raise RefusedPickle(f"it has {len(pickles)} parts data.pkl, or one of over {MOST_PICKLE_BYTES >> 20} MiB")
        content = archive.read(pickles[0])
        folder = pickles[0].filename.removesuffix("data.pkl")
        order = [info for info in archive.infolist() if info.filename == f"{folder}byteorder"]
        if order and archive.read(order[0]).strip() != b"little":
            raise RefusedPickle("its numbers are not little-endian")
    check_opcodes(content)
    try:
        return _InertUnpickler(content, path, folder).load()
    except RefusedPickle:
        raise
    except Exception as error:  # whatever a malformed pickle makes the unpickler raise
        raise RefusedPickle(f"its pickle is malformed ({type(error).__name__}: {error})"[:300]) from error


class _InertUnpickler(pickle.Unpickler):
    """Gives classes and functions of its own for every name; those of one file are made for it alone."""

    def __init__(self, content: bytes, path: Path, folder: str) -> None:
        super().__init__(io.BytesIO(content))
        self._path, self._folder = path, folder
        self._made: dict[str, Any] = {
            "collections.OrderedDict": type("OrderedEntries", (OrderedDict,), {"__setstate__": _ignore}),
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_parameter": _parameter,
            **{f"torch.{name}": dtype for name, dtype in _STORAGES.items()},
        }

    def find_class(self, module: str, name: str) -> Any:
        """Ours for `module.name`; never imports."""
        full = f"{module}.{name}"
        if full in _PLACEHOLDERS and full not in self._made:
            self._made[full] = _placeholder(full)
        elif (
            full.startswith("torch.") and full not in self._made and isinstance(getattr(torch, name, None), torch.dtype)
        ):
            self._made[full] = _placeholder(full)()
        if full not in self._made:
            raise RefusedPickle(f"it contains {full!r}, which could run code")
        return self._made[full]

    def persistent_load(self, pid: Any) -> Any:
        """A storage: ("storage", type, name of the part, device, numbers)."""
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage" and isinstance(pid[1], torch.dtype)):
            raise RefusedPickle(f"it refers to something that is no storage of numbers: {repr(pid)[:80]}")
        _, dtype, name, _, numel = pid
        if not (isinstance(name, str) and name.isascii() and name.isalnum()) or not _is_count(numel):
            raise RefusedPickle(f"its storage {name!r} of {numel!r} numbers is malformed")
        return StoredTensor(self._path, f"{self._folder}data/{name}", dtype, numel, 0, (numel,), (1,))

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> StoredTensor:
        counts = isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride) <= 16
        if not isinstance(storage, StoredTensor) or not counts or not all(map(_is_count, (offset, *size, *stride))):
            raise RefusedPickle(f"a tensor of size {repr(size)[:80]} and stride {repr(stride)[:80]} is malformed")
        return StoredTensor(self._path, storage.member, storage.dtype, storage.numel, offset, size, stride)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 40


def _ignore(self: object, *_: object, **__: object) -> None:
    """Do nothing, whatever the pickle asks for."""


def _placeholder(full: str) -> Any:
    """A class for one name: any arguments, any state, any items."""
    make: Callable[..., object] = lambda cls, *_, **__: object.__new__(cls)  # noqa: E731 - it needs no name
    names = ("__init__", "__setstate__", "__setitem__", "append", "extend", "add", "update")
    return type("Placeholder", (), {"__new__": make, "stands_for": full, **dict.fromkeys(names, _ignore)})


def check_opcodes(content: bytes, *, allowed: frozenset[str] = frozenset()) -> None:
    """RefusedPickle for a memo index that would make the unpickler ask for gigabytes, and for extension codes.

    `allowed`: instructions that are usual in this kind of file, though not in PyTorch's.
    """
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name in {"PUT", "BINPUT", "LONG_BINPUT"} and int(argument or 0) > len(content):
                raise RefusedPickle(f"its pickle has an entry numbered {argument}")
            if opcode.name in {"EXT1", "EXT2", "EXT4", "BYTEARRAY8", "NEXT_BUFFER"} - allowed:
                raise RefusedPickle(f"its pickle has the unusual instruction {opcode.name}")
    except RefusedPickle:
        raise
    except Exception as error:
        raise RefusedPickle(f"its pickle is malformed ({type(error).__name__}: {error})"[:300]) from error
