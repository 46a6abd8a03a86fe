"""Tokens of the frozen encoder on disk, one file per clip, under a key of everything that they depend on."""

from __future__ import annotations

import hashlib
import json
import platform
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gazetools._version import __version__
from gazetools.gazemodels.vit.blocks import Attention
from gazetools.io.atomic import remove_stale_temps, write_bytes_atomic
from gazetools.io.folders import below
from gazetools.io.json_files import read_json, write_json_atomic
from gazetools.schemas.errors import FaultError, UsageError
from gazetools.schemas.training_data import FeatureCacheSettings

_FORMAT = 1
_SUFFIX = ".safetensors"
_TOKENS, _CHECKSUM = "tokens", "crc32"


class FeatureCache:
    """Tokens by key. Loader workers read, the training process writes; several runs may share a folder.

    Every file is written whole or not at all and carries a checksum; a damaged file counts as absent and is written
    again. `root`/<id of the encoder> holds `encoder.json`, the facts behind the id.

    Args:
        settings: folder, budget and number format.
        encoder_facts: as from encoder_facts().
        dtype: number format of the tokens as computed.
        share: part of the free budget that this process may use (1 / number of processes).
        say: called once, with the reason, when storing ends.
    """

    def __init__(
        self,
        settings: FeatureCacheSettings,
        encoder_facts: Mapping[str, Any],
        *,
        dtype: torch.dtype,
        share: float = 1.0,
        say: Callable[[str], object] = lambda text: None,
    ) -> None:
        self.root = Path(settings.folder)
        self.dtype: torch.dtype = getattr(torch, settings.dtype) if settings.dtype else dtype
        self.facts = {**encoder_facts, "format": _FORMAT, "stored_as": str(self.dtype)}
        self.folder = self.root / _digest(self.facts)[:16]
        self.budget_bytes = int(settings.budget_gib * 2**30)
        self.share = share
        self._say: Callable[[str], object] | None = say
        self._left_bytes = 0
        """Bytes that this process may still write; 0 in a loader's worker, which only reads."""
        self.stopped: str | None = None
        """Why storing has ended; None: it goes on."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_say": None, "_left_bytes": 0}

    def open(self, *, leads: bool) -> str:
        """Prepare for writing and describe the cache in one line; FaultError where the folder cannot be written.

        `leads`: whether this process cleans up and writes `encoder.json`, as one of all processes does.
        """
        if leads:
            remove_stale_temps(self.root)
            write_json_atomic(self.folder / "encoder.json", self.facts)
        sizes = [size for path in below(self.root) if (size := _size_if_entry(path)) is not None]
        self._left_bytes = int(max(self.budget_bytes - sum(sizes), 0) * self.share)
        here = sum(1 for path in below(self.folder) if path.suffix == _SUFFIX)
        return (
            f"Feature cache {self.folder}: {here} clips of this encoder; {sum(sizes) / 2**30:.2f} of "
            f"{self.budget_bytes / 2**30:.2f} GiB in use."
        )

    def key(self, clip_facts: Mapping[str, Any]) -> str:
        """Key of one clip's tokens, from the facts that determine what the encoder sees."""
        return _digest({**clip_facts, "gazetools": __version__})

    def holds(self, key: str, size_bytes: int) -> bool:
        """Whether there is a file for `key` with room for tokens of `size_bytes`; its checksum is read by `load`."""
        try:
            return self._path(key).stat().st_size >= size_bytes
        except OSError:
            return False

    def require_features(self, gone_videos: int) -> None:
        """Raise UsageError where there are no features of this encoder, which videos that are gone would need."""
        if any(path.suffix == _SUFFIX for path in below(self.folder)):
            return
        others = "; or ".join(self._other_encoders())
        raise UsageError(
            f"{gone_videos} video(s) are gone, and {self.root} has no features of this run's encoder"
            + (f"; those that are there differ in {others}." if others else "."),
            hint="Run as the cache was filled (encoder, device, number of threads), or fill it by gazetools train "
            "--cache-only where the videos are.",
        )

    def _other_encoders(self) -> list[str]:
        """For each other encoder with features in the same folder: in which facts this one differs."""
        found = []
        for path in sorted(self.root.glob("*/encoder.json")):
            if path.parent != self.folder and any(one.suffix == _SUFFIX for one in below(path.parent)):
                theirs = read_json(path)
                names = [name for name in sorted({*self.facts, *theirs}) if self.facts.get(name) != theirs.get(name)]
                found.append(", ".join(_difference(name, theirs.get(name), self.facts.get(name)) for name in names))
        return found

    @property
    def left_bytes(self) -> int:
        """Bytes that this process may still write."""
        return self._left_bytes

    def load(self, key: str) -> Tensor | None:
        """Tokens [N, D] in the stored number format, or None."""
        from safetensors import SafetensorError, safe_open

        path = self._path(key)
        try:
            with safe_open(path, framework="pt") as file:
                tokens: Tensor = file.get_tensor(_TOKENS)
                promised = (file.metadata() or {}).get(_CHECKSUM)
        except (OSError, SafetensorError):
            return None
        return tokens if promised == _checksum(tokens) else None

    def store(self, key: str, tokens: Tensor) -> Tensor:
        """Store `tokens` [N, D] while the budget lasts; returns them as later epochs load them, on their device."""
        from safetensors.torch import save

        rounded = tokens.to(self.dtype)
        needed = rounded.numel() * rounded.element_size() + 1024
        if needed > self._left_bytes:
            self._stop(f"its budget of {self.budget_bytes / 2**30:g} GiB is used up")
            return rounded
        plain = rounded.detach().cpu().contiguous()
        data = save({_TOKENS: plain}, metadata={_CHECKSUM: _checksum(plain)})
        try:
            write_bytes_atomic(self._path(key), data)
        except FaultError as error:  # a cache is no result: the run goes on without it
            self._stop(error.message)
            self._left_bytes = 0
        self._left_bytes = max(self._left_bytes - len(data), 0)
        return rounded

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}{_SUFFIX}"

    def _stop(self, reason: str) -> None:
        self.stopped = reason
        if self._say is not None:
            self._say(f"Feature cache {self.root}: {reason}; further clips are computed in every epoch.")
            self._say = None


def _difference(name: str, theirs: Any, own: Any) -> str:
    texts = [text if len(text := str(value)) <= 40 else "..." for value in (theirs, own)]
    return f"{name} ({texts[0]} there, {texts[1]} here)" if texts[0] != texts[1] else name


def _size_if_entry(path: Path) -> int | None:
    """Bytes of a cached clip; None for another file, and for one that another run has just removed."""
    try:
        return path.stat().st_size if path.suffix == _SUFFIX else None
    except OSError:
        return None


def encoder_facts(encoder: nn.Module, *, autocast: bool, device: torch.device, compiled: bool) -> dict[str, Any]:
    """Facts on which tokens depend in addition to the clip: weights, structure, precision, device and libraries."""
    sha = hashlib.sha256()
    for name, value in sorted(encoder.state_dict().items()):
        sha.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        sha.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    on_cuda, cpu = device.type == "cuda", torch.backends.cpu.get_cpu_capability()
    attention = next((part for part in encoder.modules() if isinstance(part, Attention)), None)
    return {
        "weights_sha256": sha.hexdigest(),
        "structure": str(encoder),
        "heads": attention.num_heads if attention is not None else None,
        "attention": None if attention is None else ("sdpa" if attention.sdpa else "eager"),
        "autocast": autocast,
        "compiled": compiled,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if on_cuda else f"{platform.machine()} {cpu}",
        "threads": None if on_cuda else torch.get_num_threads(),
        "matmul_precision": torch.get_float32_matmul_precision(),
    }


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _checksum(tokens: Tensor) -> str:
    return str(zlib.crc32(tokens.contiguous().flatten().view(torch.uint8).numpy().data))
