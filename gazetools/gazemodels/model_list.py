"""What `gazetools models` lists: the table's facts joined with this machine's weights, and models from elsewhere."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from gazetools.gazemodels.model_table import GAZE_MODELS
from gazetools.gazemodels.presence import weights_presence
from gazetools.gazemodels.registry import added_models, model_names
from gazetools.schemas.base import StrictModel, nearest_name
from gazetools.schemas.errors import UsageError
from gazetools.schemas.model_facts import ModelFacts


class ListedModel(StrictModel):
    """One gaze model as this machine has it."""

    name: str
    facts: ModelFacts | None
    """None for a model that another package adds: only its loader is known."""
    loader: str
    """`module:function` that makes it."""
    present: bool | None
    """Whether `--model NAME` alone runs without a network; None: only its package knows."""
    files: list[str] = Field(default_factory=list)
    """Where its weights are, or will be after the download."""
    origin: str
    command: str

    def document(self) -> dict[str, Any]:
        """The model as one flat JSON object."""
        facts = {} if self.facts is None else self.facts.model_dump(mode="json")
        family = {} if self.facts else {"family": "from another package"}
        return {**facts, **family, **self.model_dump(mode="json", exclude={"facts"})}


def listed_models(names: list[str]) -> list[ListedModel]:
    """The models called `names`, all where there are none; UsageError for a name that no model has."""
    known = model_names()
    for name in names:
        if name not in known:
            near = nearest_name(name, known)
            raise UsageError(
                f"There is no gaze model named {name!r}" + (f"; did you mean {near}?" if near else "."),
                hint="`gazetools models` lists all.",
                model=name,
            )
    return [_listed(name) for name in names or known]


def _listed(name: str) -> ListedModel:
    added = added_models().get(name)
    if added is not None or name not in GAZE_MODELS:
        runs = f"gazetools extract VIDEO -o STORE --model {name}"
        return ListedModel(
            name=name, facts=None, loader=str(added), present=None, origin="another package", command=runs
        )
    facts = GAZE_MODELS[name]
    found = weights_presence(facts)
    return ListedModel(
        name=name,
        facts=facts,
        loader=facts.loader,
        present=found.present,
        files=[str(file) for file in found.files],
        origin=found.origin,
        command=found.command,
    )
