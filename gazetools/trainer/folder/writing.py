"""Checkpoints written by a thread while training goes on: tensors are copied first, errors come with the next call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gazetools.schemas.errors import FaultError
from gazetools.trainer.folder.checkpoints import new_place, save_checkpoint
from gazetools.trainer.folder.shard_files import (
    SAME_KEY,
    TreePath,
    own_copies,
    same_as_text,
    same_tensors,
    with_tensors,
    without_tensors,
)
from gazetools.trainer.processes.world import World

_PATIENCE_SECONDS = 60.0  # for a checkpoint that is half written when a run ends by an error


class CheckpointWriter:
    """Writes one checkpoint at a time below `folder`, all processes of `world` together."""

    def __init__(self, folder: Path, world: World) -> None:
        self._folder, self._world = folder, world
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(self, state: Mapping[str, Any], *, step: int, shared: Callable[[TreePath], bool]) -> Path:
        """Copy `state` and begin to write it; returns where it will lie.

        Every process must call it. `shared` says of a path whether all processes have that tensor. Waits for the
        checkpoint before, and raises its error.
        """
        self.wait()
        place, problem = None, None
        if self._world.leads:
            try:
                place = new_place(self._folder, step=step)
            except FaultError as error:
                problem = error
        place, problem = self._world.gather((place, problem))[0]
        if problem is not None:
            raise problem
        copies = own_copies(state, world=self._world, shared=shared)
        own = with_tensors(without_tensors(dict(state)) if self._world.leads else {}, copies)
        if self._world.leads and (same := same_tensors(state, shared=shared)):
            own[SAME_KEY] = same_as_text(same)

        def write() -> None:
            try:
                save_checkpoint(self._folder, own, step=step, world=self._world, place=place)
            except BaseException as error:
                self._error = error

        # A daemon: a thread that waits for a lost process must not keep this one alive.
        self._thread = threading.Thread(target=write, name="gazetools-checkpoint", daemon=True)
        self._thread.start()
        return place.path

    def failed(self) -> bool:
        """Whether writing has failed, as far as this process knows by now."""
        return self._error is not None

    def wait(self) -> None:
        """Wait until the last checkpoint lies in its place. Raises the error that kept it from it."""
        if self._thread is not None:
            self._thread.join()
        self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def close(self) -> None:
        """Let a checkpoint that is being written be finished, where a run ends by another error."""
        if self._thread is not None:
            self._thread.join(None if self._world.size == 1 else _PATIENCE_SECONDS)
