"""`gazetools.load_model`: any gaze model by name or path, with the options that its family has."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gazetools.gazemodels.gazelle.loading import load as load_gazelle
from gazetools.gazemodels.gazelle.loading import load_model as load_gazelle_model
from gazetools.gazemodels.interface import LoadSettings
from gazetools.gazemodels.registry import find_loader
from gazetools.schemas.errors import UsageError

if TYPE_CHECKING:
    import torch

    from gazetools.gazemodels.devices import DtypeName
    from gazetools.gazemodels.gazelle.packed import PackKind
    from gazetools.gazemodels.gazelle.preprocess import PreprocessKind
    from gazetools.gazemodels.interface import GazeModel
    from gazetools.progress import Progress


def load_model(
    name_or_path: str | os.PathLike[str],
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    backbone: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
    dtype: DtypeName = "auto",
    in_size: tuple[int, int] | None = None,
    offline: bool | None = None,
    preprocess: PreprocessKind = "exact",
    pack: PackKind = "auto",
    progress: Progress | None = None,
) -> GazeModel:
    """Load any gaze model for inference: Gaze-LLE, gazelle-dinov3, PaGE, an ONNX file, a control or a plug-in's.

    Args:
        name_or_path: a name that `gazetools models` lists, or the path of weights that describe themselves.
        checkpoint: weights of a named model, in the forms of docs/models.md. Without it those of Gaze-LLE are taken
            from the cache or downloaded; the other families need it.
        backbone: DINOv2 weights, for Gaze-LLE, see `gazetools.gazemodels.gazelle.loading.load_model`.
        device: `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`.
        dtype: `auto` is float32; `gazetools models NAME --check-precision VIDEO` shows which other one may be used.
        in_size: (height, width) of the model input, multiples of 14, for Gaze-LLE; default as released, (448, 448).
        offline: True never touches the network; None asks `$GAZETOOLS_OFFLINE`. Only Gaze-LLE downloads by itself.
        preprocess: `exact` or `fast`, see `gazetools.gazemodels.gazelle.preprocess.preprocess`.
        pack: oneDNN's layout for the wide linear layers on the CPU; `auto` where it pays; `on` for Gaze-LLE only.
        progress: shows downloads.

    PaGE takes uint8 frames and a head box for every person (`model.needs_boxes`), the others also people without one.

    Raises CheckpointError for weights that do not fit, with every missing, unexpected and mis-shaped tensor (exit 2),
    EnvironmentLacksError without weights and network or the device, with the remedy (exit 3), UsageError for an unknown
    name, or an option that the model does not have (exit 2).
    """
    name = os.fspath(name_or_path)
    loader = find_loader(name)
    if loader is load_gazelle:
        return load_gazelle_model(
            name,
            checkpoint=checkpoint,
            backbone=backbone,
            device=device,
            dtype=dtype,
            in_size=in_size,
            offline=offline,
            preprocess=preprocess,
            pack=pack,
            progress=progress,
        )
    if in_size is not None:
        raise UsageError(
            f"in_size={in_size!r} is for Gaze-LLE; the input of {name!r} has the size that its weights were made for.",
            hint="Leave out in_size.",
        )
    if pack == "on":
        raise UsageError(f"pack={pack!r} is for Gaze-LLE, not for {name!r}.", hint="Use pack='auto' or 'off'.")
    if offline is not None and not loader.__module__.startswith("gazetools."):
        raise UsageError(
            f"offline={offline!r} can't be passed to {name!r}, which {loader.__module__} loads.",
            hint="Set GAZETOOLS_OFFLINE=1, and see that package.",
        )
    settings = LoadSettings(
        name=name,
        checkpoint=None if checkpoint is None else os.fspath(checkpoint),
        backbone=None if backbone is None else os.fspath(backbone),
        device=str(device),
        dtype=dtype,
        preprocess=preprocess,
        pack=pack,
        progress=progress,
    )
    return loader(settings)
