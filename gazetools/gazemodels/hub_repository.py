"""Weights of a repository on huggingface.co: one .safetensors file, or shards that an index names."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from gazetools.gazemodels.weights import RemoteFile, obtain, obtain_if_published
from gazetools.io.json_files import read_json
from gazetools.progress import Progress
from gazetools.schemas.errors import CheckpointError

WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
_HUB = "https://huggingface.co"
_SHARD = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*\.safetensors")
_MAX_INDEX_BYTES = 16 << 20


@dataclass(frozen=True)
class RepositoryFiles:
    """What a repository's model is made of, in the cache."""

    weights: tuple[tuple[Path, str], ...]
    """(file, hex sha256): one, or every shard in the order of the index."""
    config: Path | None
    """`config.json`; None: the repository has none."""


def repository_file(repository: str, name: str, *, licence: str = "") -> RemoteFile:
    """The file `name` of OWNER/NAME; `$HF_ENDPOINT` names another hub, as for huggingface_hub."""
    hub = os.environ.get("HF_ENDPOINT", "").rstrip("/") or _HUB
    folder = repository.replace("/", "--")
    return RemoteFile(f"{hub}/{repository}/resolve/main/{name}", "--checkpoint", folder=folder, licence=licence)


def cached_weights(repository: str) -> list[RemoteFile]:
    """The weight files that the cache says the repository has, present or not; [] before the first download."""
    if repository_file(repository, WEIGHTS).cached.is_file():
        return [repository_file(repository, WEIGHTS)]
    index = repository_file(repository, INDEX).cached
    return [repository_file(repository, name) for name in _shards(index)] if index.is_file() else []


def obtain_repository(
    repository: str, *, licence: str = "", offline: bool | None = None, progress: Progress | None = None
) -> RepositoryFiles:
    """The model of OWNER/NAME from the cache; what is not there is downloaded after its `licence` was named.

    Raises CheckpointError for an index that is none, and EnvironmentLacksError as `obtain`.
    """
    config = repository_file(repository, CONFIG)
    if not cached_weights(repository):
        first, index = (repository_file(repository, name, licence=licence) for name in (WEIGHTS, INDEX))
        # config.json first: with weights in the cache nobody asks the server for it again
        obtain_if_published(config, needed_next=(first,), offline=offline, progress=progress)
        if obtain_if_published(first, offline=offline, progress=progress) is None:
            obtain([index], offline=offline, progress=progress)
    weights = obtain(cached_weights(repository), offline=offline, progress=progress)
    here = config.cached.is_file()
    return RepositoryFiles(tuple(weights), obtain([config])[0][0] if here else None)


def _shards(index: Path) -> list[str]:
    """Names of the shards in an index file, sorted; CheckpointError where it names no files of its own folder."""
    document = read_json(index, max_bytes=_MAX_INDEX_BYTES)
    places = document.get("weight_map") if isinstance(document, dict) else None
    names = sorted({str(name) for name in places.values()}) if isinstance(places, dict) else []
    if not names or not all(_SHARD.fullmatch(name) for name in names):
        raise CheckpointError(
            f"{index} is no index of shards: its weight_map must name .safetensors files of the same folder.",
            hint=f"Remove it and fetch the model again: rm '{index}' '{index}.sha256'",
            path=str(index),
        )
    return names
