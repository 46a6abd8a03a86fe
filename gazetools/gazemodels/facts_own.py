"""Facts about the models that need no download: our small one, whose weights are packaged, and two controls."""

from __future__ import annotations

from gazetools.gazemodels.without_weights import CONTROLS, TINY
from gazetools.schemas.model_facts import ModelFacts

CONTROL = "control"
"""Family of the models without weights."""
_CONTROL_LOADERS = ("CentrePrior.load", "HeadDirection.load")

FACTS = (
    ModelFacts(
        name=TINY,
        family="gazelle_tiny",
        loader="gazetools.gazemodels.gazelle.loading:load",
        in_size=(224, 224),
        grid=(16, 16),
        out_size=(64, 64),
        inout=True,
        parameters=1_386_721,
        code_licence="that of gazetools",
        weights_licence="that of gazetools",
        weights="package",
        home="docs/gazelle-tiny.md",
    ),
    *(
        ModelFacts(
            name=name,
            family=CONTROL,
            loader=f"gazetools.gazemodels.baselines:{loader}",
            in_size=(64, 64),
            grid=(64, 64),
            out_size=(64, 64),
            inout=False,
            parameters=0,
            code_licence="that of gazetools",
            weights_licence="no weights",
            weights="none",
            home="docs/models.md",
        )
        for name, loader in zip(CONTROLS, _CONTROL_LOADERS, strict=True)
    ),
)
