"""Read weight files of every public format: plain state dicts, .safetensors, folders of transformers."""

from __future__ import annotations

import hashlib
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gazetools.gazemodels.gazelle.config import BackboneConfig
from gazetools.io.atomic import sha256_of_file
from gazetools.io.inert_pickle import RefusedPickle, StoredTensor, read_inert
from gazetools.io.json_files import read_json
from gazetools.schemas.errors import CheckpointError

_PICKLE_SUFFIXES = {".pt", ".pth", ".bin"}
WEIGHT_SUFFIXES = (".safetensors", *sorted(_PICKLE_SUFFIXES))
_CODE = re.compile(r"Unsupported (?:global: GLOBAL|class) (\S+)")
"""What torch.load says of an object that a state dict has no need for, with its name."""
_PRINTED_TYPES = {b"<": "an HTML or XML page", b"version https://git-lfs": "a Git LFS pointer, not the file itself"}

_DAMAGED_HINT = "Fetch or copy the file again and compare its size and sha256."
_REFUSED_HINT = (
    "Nothing in it was run. Weights need no such object: ask where the file comes from; do not load it with other "
    "programs."
)


@dataclass(frozen=True)
class WeightFile:
    """The tensors of one file, or of one folder of transformers, and what identifies it."""

    path: Path
    tensors: dict[str, torch.Tensor]
    metadata: dict[str, str] = field(default_factory=dict)
    sha256: str = ""


def load_tensors(path: Path, *, entry: str | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a .pt, .pth, .bin or .safetensors file, read without running pickled code.

    Args:
        path: a plain state dict, or with `entry` also a training checkpoint.
        entry: name of a training checkpoint's state dict, such as `model`. Only its tensors are read; what lies next
            to it may be arguments, numpy scalars or random states (see `gazetools.io.inert_pickle`).

    Raises CheckpointError for no such file, a damaged one, another format, anything but tensors inside, or a pickle
    with an object that could run code, which is named.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise CheckpointError(f"The weight file {path} {what}.", hint="Give the path of a file.", path=str(path))
    suffix = path.suffix.lower()
    if suffix != ".safetensors" and suffix not in _PICKLE_SUFFIXES:
        what = f"weight files end in .safetensors, .pt or .pth, not in {path.suffix!r}"
        raise CheckpointError(f"{path}: {what}.", path=str(path))
    try:
        if suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = _unpickle(path, entry)
    except Exception as error:
        if suffix != ".safetensors" and (code := _CODE.search(str(error))):
            raise CheckpointError(
                f"{path} holds more than tensors: {code[1]}, which could run code. Nothing in it was run.",
                hint="Use a .safetensors file, or a plain state dict saved by torch.save(model.state_dict(), ...).",
                path=str(path),
            ) from error
        raise CheckpointError(
            f"{path} cannot be read as {suffix} ({path.stat().st_size} bytes): {_first_line(error)}{_looks_like(path)}",
            hint=_REFUSED_HINT if isinstance(error, RefusedPickle) else _DAMAGED_HINT,
            path=str(path),
        ) from error
    return _plain_state_dict(content, path)


def _unpickle(path: Path, entry: str | None) -> Any:
    """The content of a pickled file, or what it has under `entry`."""
    try:
        # Mapped, so that an optimizer's state next to the weights is never read.
        mapped = entry is not None and zipfile.is_zipfile(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)  # noqa: TID251 - the guarded place
    except (pickle.UnpicklingError, TypeError, ValueError, LookupError, AttributeError):
        # Not only refusals: torch also calls its own functions with whatever arguments stand in the file.
        if not zipfile.is_zipfile(path):
            raise
        content = read_inert(path)
    if entry is not None and isinstance(content, Mapping) and isinstance(content.get(entry), Mapping):
        content = content[entry]
    if not isinstance(content, Mapping):
        return content
    return {key: _in_memory(value) for key, value in content.items()}


def _in_memory(value: object) -> object:
    """Tensors with memory of their own, whatever becomes of the file; other values as they are."""
    if isinstance(value, StoredTensor):
        return value.read()
    if not isinstance(value, torch.Tensor):
        return value
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise RefusedPickle(f"a tensor {list(value.shape)} has more numbers than its storage")
    return value.clone()


def read_weight_file(path: Path, sha256: str | None = None, *, entry: str | None = None) -> WeightFile:
    """Tensors, safetensors metadata and sha256 (computed unless given) of one file; `entry` as in `load_tensors`."""
    return WeightFile(path, load_tensors(path, entry=entry), read_metadata(path), sha256 or sha256_of_file(path))


def read_metadata(path: Path) -> dict[str, str]:
    """The text metadata of a .safetensors file; empty for other formats."""
    if Path(path).suffix.lower() != ".safetensors":
        return {}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        reason = _first_line(error) + _looks_like(Path(path))
        raise CheckpointError(f"{path} is not a .safetensors file: {reason}", path=str(path)) from error


def keys_of_file(path: Path) -> list[str]:
    """Names of the tensors of one file; of .safetensors its header alone is read. Errors as `load_tensors`."""
    if Path(path).suffix.lower() != ".safetensors":
        return list(load_tensors(path))
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return list(file.keys())
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a .safetensors file: {_first_line(error)}", path=str(path)) from error


def weights_in_folder(folder: Path) -> Path | None:
    """`model.safetensors`, else the index of its shards, else None."""
    names = ("model.safetensors", "model.safetensors.index.json")
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read_weight_folder(folder: Path) -> WeightFile:
    """`model.safetensors` of a folder as transformers and the hub have it, whole or in shards.

    Raises CheckpointError without any, with the names of shards that are missing, or where a shard and the index
    disagree about its tensors.
    """
    place = weights_in_folder(folder)
    if place is None:
        missing = "neither model.safetensors nor model.safetensors.index.json"
        raise CheckpointError(f"{folder} has {missing}.", path=str(folder))
    if place.suffix == ".safetensors":
        whole = read_weight_file(place)
        return WeightFile(folder, whole.tensors, whole.metadata, whole.sha256)
    listed = read_json(place).get("weight_map", {})
    names = sorted({Path(str(name)).name for name in listed.values()}) if isinstance(listed, dict) else []
    absent = [name for name in names if not (folder / name).is_file()]
    if absent or not names:
        what = f"{len(absent)} of {len(names)} are not there: {shorten(absent)}" if names else "it names none"
        raise CheckpointError(
            f"{place} names the shards of a model, and {what}.",
            hint="Fetch or copy the whole folder again.",
            path=str(folder),
        )
    shards = [read_weight_file(folder / name) for name in names]
    tensors = {key: value for shard in shards for key, value in shard.tensors.items()}
    if different := sorted(tensors.keys() ^ listed.keys()):
        raise CheckpointError(
            f"{place} and its shards name different tensors: {shorten(different)}.",
            hint="Fetch or copy the whole folder again.",
            path=str(folder),
        )
    digest = hashlib.sha256("".join(f"{s.sha256}  {s.path.name}\n" for s in shards).encode()).hexdigest()
    return WeightFile(folder, tensors, shards[0].metadata, digest)


def read_transformers_folder(folder: Path, config: BackboneConfig) -> WeightFile:
    """A DINOv2 folder as transformers saves it: config.json with model.safetensors, whole or in shards.

    Raises CheckpointError where a file is missing or config.json describes another model than `config`.
    """
    settings = read_json(folder / "config.json")
    wanted = {
        "model_type": "dinov2",
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "patch_size": config.patch_size,
        "use_swiglu_ffn": False,
    }
    # transformers leaves out of config.json what equals its defaults, which are those of ViT-B/14.
    defaults = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "patch_size": 14}
    found = {key: settings.get(key, defaults.get(key, False)) for key in wanted} if isinstance(settings, dict) else {}
    wrong = [f"{key} is {found.get(key)!r}, not {value!r}" for key, value in wanted.items() if found.get(key) != value]
    if wrong:
        raise CheckpointError(
            f"{folder / 'config.json'} does not describe the backbone {config.name}: {'; '.join(wrong)}.",
            hint=f"Give a folder of {config.name}, or name the model that goes with this backbone.",
            path=str(folder),
        )
    return read_weight_folder(folder)


def _plain_state_dict(content: Any, path: Path) -> dict[str, torch.Tensor]:
    if isinstance(content, Mapping) and content and all(isinstance(key, str) for key in content):
        others = [key for key, value in content.items() if not isinstance(value, torch.Tensor)]
        if not others:
            return dict(content)
        found = f"its entries {shorten(others)} are no tensors"
        nested = [k for k in others if isinstance(content[k], Mapping)]
        hint = f"Save one entry alone, e.g. torch.save(content[{nested[0]!r}], ...)." if nested else None
    else:
        found, hint = f"it holds {'nothing' if not content else type(content).__name__}", None
    raise CheckpointError(f"{path} is not a plain state dict (names -> tensors): {found}.", hint=hint, path=str(path))


def shorten(keys: list[str], limit: int = 20) -> str:
    """The first `limit` keys, and the number of the others."""
    rest = len(keys) - limit
    return ", ".join(keys[:limit]) + (f" and {rest} more" if rest > 0 else "")


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:300]}" if text else type(error).__name__


def _looks_like(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        return " The file is empty."
    for mark, what in _PRINTED_TYPES.items():
        if start.lstrip().startswith(mark):
            return f" It looks like {what}."
    if path.suffix.lower() == ".safetensors" and zipfile.is_zipfile(path):
        return " It looks like a PyTorch file; its name should end in .pt."
    return ""
