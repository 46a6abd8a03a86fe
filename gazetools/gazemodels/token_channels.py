"""Channels of a model's scene tokens by its name alone, for estimates of room; imports no torch."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from gazetools.gazemodels.gazelle.config import TINY_MODEL, config_from_metadata
from gazetools.schemas.errors import CheckpointError

USUAL_CHANNELS = 256
"""Channels of the scene tokens of the released models."""


def usual_token_channels(name_or_path: str) -> int:
    """C of a model's scene tokens without loading it: exact for a self-describing file, else `USUAL_CHANNELS`."""
    if name_or_path == TINY_MODEL.name:
        return TINY_MODEL.dim
    path = Path(name_or_path)
    if path.suffix.lower() == ".safetensors" and path.is_file():
        from gazetools.gazemodels.gazelle.checkpoints import read_metadata

        with suppress(CheckpointError):  # loading reports it
            if config := config_from_metadata(read_metadata(path), path=name_or_path):
                return config.dim
    return USUAL_CHANNELS
