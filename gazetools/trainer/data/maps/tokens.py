"""Scene tokens of a store (`extract --keep tokens`) for training, as maps whose cells have many channels."""

from __future__ import annotations

import functools
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.io.find_files import SearchNotes, walk
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.store import STORE_SUFFIX
from gazetools.schemas.training_data import HOW_TO_KEEP_TOKENS, HeatmapSourceSettings
from gazetools.store import StoreReader, open_store
from gazetools.store.listing import StoreEntry
from gazetools.trainer.data.maps.base import KnownMaps, WantedSource
from gazetools.trainer.data.maps.store import StoreMaps

_KEY = "experiment.data.gaze_tokens.store"


class StoreTokens(StoreMaps):
    """Scene tokens from the store `root`, shown as `StoreMaps` shows heatmaps: [n, G, G * C] instead of [n, H, W].

    Frames without a row are zeros and counted as invalid. The in/out probability does not act on tokens.
    """

    def __init__(self, wanted: WantedSource) -> None:
        settings = HeatmapSourceSettings(path=str(wanted.path), people=wanted.settings.people)
        super().__init__(wanted.path, settings, missing=wanted.missing, inout="keep")

    @functools.cached_property
    def size(self) -> tuple[int, int]:
        """(G, C): cells per side and channels of every video's tokens."""
        return token_size(self.root)

    def _inspect(self, entry: StoreEntry | None) -> KnownMaps | None:
        known = super()._inspect(entry)
        if entry is not None:
            with open_store(entry.payload) as store:
                self._shape(store)
        return known

    def _shape(self, store: StoreReader) -> tuple[int, int]:
        grid, channels = self.size
        if store.tokens_shape != (grid, grid, channels):
            found = "no tokens" if store.tokens_shape is None else f"tokens {list(store.tokens_shape)}"
            raise DataFileError(
                f"{store.path} has {found}, other videos of {self.root} have [{grid}, {grid}, {channels}].",
                hint=f"Make all of them alike: {HOW_TO_KEEP_TOKENS}.",
            )
        return grid, grid * channels

    def _frame(self, store: StoreReader, people: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The mean over the people of a frame, [G, G * C]."""
        first, last = int(people[0]), int(people[-1])
        tokens = store.read_tokens(first, last + 1)[people - first].astype(np.float32)
        if not np.isfinite(tokens).all():
            message = f"{store.path} holds scene tokens that are not finite."
            raise DataFileError(message, hint="Run gazetools validate on it.")
        mean: npt.NDArray[np.float32] = tokens.mean(axis=0)
        return mean.reshape(len(mean), -1)


def token_size(root: Path) -> tuple[int, int]:
    """(G, C) of the tokens in the store `root`, as the first file that can be read says.

    Raises UsageError, which names the key and the command that makes such a store, where there are none.
    """
    if not root.exists():
        raise UsageError(f"{_KEY}: {root} does not exist.", hint=f"Make it: {HOW_TO_KEEP_TOKENS}.")
    for path in walk(root, SearchNotes()):
        if path.suffix == STORE_SUFFIX:
            with suppress(DataFileError), open_store(path) as store:
                if store.tokens_shape is None:
                    raise UsageError(
                        f"{_KEY}: {root} is a store without scene tokens.",
                        hint=f"Make one with them: {HOW_TO_KEEP_TOKENS} (for a store that is there with --overwrite).",
                    )
                grid, _, channels = store.tokens_shape
                return grid, channels
    raise UsageError(f"{_KEY}: {root} holds no finished store file.", hint=f"Make it: {HOW_TO_KEEP_TOKENS}.")
