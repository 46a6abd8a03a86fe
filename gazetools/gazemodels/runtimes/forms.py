"""Which form the graphs of a loaded gaze model have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gazetools.gazemodels.gazelle.model import GazelleModel
from gazetools.gazemodels.interface import GazeModel
from gazetools.gazemodels.page.model import PageModel
from gazetools.gazemodels.runtimes.gazelle_form import GazelleForm
from gazetools.gazemodels.runtimes.page_form import PageForm
from gazetools.schemas.errors import UsageError

if TYPE_CHECKING:
    from gazetools.gazemodels.runtimes.graphs import GraphForm


def form_of(model: GazeModel) -> GraphForm:
    """The form of `model`, loaded in float32 on the CPU without packed layers.

    A plugin's model offers a `GraphForm` by a method `graph_form()`. Raises UsageError for a model without graphs.
    """
    if hasattr(model, "graph_form"):
        form: GraphForm = model.graph_form()
        return form
    if isinstance(model, GazelleModel):
        return GazelleForm(model)
    if isinstance(model, PageModel):
        return PageForm(model)
    raise UsageError(
        f"The model {model.name} ({model.implementation}) cannot be written as ONNX: it has no form for it.",
        hint="Gaze-LLE, gazelle-dinov3 and PaGE can; a plugin offers a form by graph_form() (docs/runtimes.md).",
    )
