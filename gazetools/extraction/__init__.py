"""Video to raw heatmaps: plan the inputs, run the model over every frame, commit one store file per video.

`extract` is imported on first use: decoding processes live in this package too and must start in a moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gazetools.extraction.run import extract

__all__ = ["extract"]


def __getattr__(name: str) -> Any:
    if name == "extract":
        from gazetools.extraction.run import extract

        return extract
    raise AttributeError(f"module 'gazetools.extraction' has no attribute {name!r}")
