"""One run at a time in a run folder: two that train in one would mix their checkpoints and logs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gazetools.schemas.errors import GazetoolsError
from gazetools.store.lock import BusyError, locked
from gazetools.trainer.processes.world import World

_NAME = "training"


@contextmanager
def only_run_in(folder: Path, world: World) -> Iterator[None]:
    """Hold the run folder for the processes of this run while the block runs. Every process must call it.

    The first process takes the lock for all of them. It ends with that process, however that ends, so that a run that
    was killed is in nobody's way.

    Raises BusyError (exit code 2), in every process, where another run has the folder.
    """
    with ExitStack() as stack:
        refusal: GazetoolsError | None = None
        if world.leads:
            try:
                stack.enter_context(locked(folder, _NAME))
            except BusyError as error:
                refusal = _busy(folder, error)
            except GazetoolsError as error:
                refusal = error
        refusal = world.gather(refusal)[0]
        if refusal is not None:
            raise refusal
        yield


def _busy(folder: Path, error: BusyError) -> BusyError:
    holder = error.details.get("holder", "another process")
    return BusyError(
        f"Another run trains in {folder} ({holder}).",
        hint="Wait for it to end, stop it, or choose another folder or tag.",
        holder=holder,
    )
