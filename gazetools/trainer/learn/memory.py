"""Out of memory on the device: a fault that names what to change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gazetools.schemas.errors import FaultError


@contextmanager
def explained_out_of_memory(where: str, clips: int) -> Iterator[None]:
    """FaultError in place of torch's error.

    Args:
        where: such as `in step 3`.
        clips: of the batches.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise FaultError(
            f"Out of memory {where} with batches of {clips} clips: {str(error)[:200]}",
            hint="Halve experiment.optimization.batch_size and double accumulation_steps (the same gradient), "
            "or set use_activation_checkpointing under pretrain_kwargs.predictor, dtype: bfloat16 under "
            "encoder, or fewer arms.",
        ) from error
