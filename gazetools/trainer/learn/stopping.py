"""When a model ends before the last epoch: its loss on the held-out videos has stopped falling."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from gazetools.schemas.training_options import EarlyStoppingSettings


@dataclass(kw_only=True)
class EarlyStop:
    """The held-out losses of one model so far. Nothing here depends on other models of the run.

    >>> stop = EarlyStop(settings=EarlyStoppingSettings(patience=2))
    >>> [stop.ends(loss) for loss in (1.0, 0.5, 0.6, 0.5)]
    [False, False, False, True]
    """

    settings: EarlyStoppingSettings
    lowest: float | None = None
    waited: int = 0
    """Epochs in a row without an improvement."""

    def ends(self, loss: float) -> bool:
        """Note the loss of an epoch; whether it is the last one."""
        if self.lowest is None or loss < self.lowest - self.settings.min_delta:
            self.lowest, self.waited = loss, 0
        else:
            self.waited += 1
        return self.waited >= self.settings.patience

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {name: value for name, value in asdict(self).items() if name != "settings"}
