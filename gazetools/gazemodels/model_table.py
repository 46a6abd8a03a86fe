"""The one table of gaze models: registry, messages, `gazetools models` and docs/models.md are made from it."""

from __future__ import annotations

from gazetools.gazemodels import facts_gazelle, facts_gazelle_dinov3, facts_own, facts_page
from gazetools.schemas.model_facts import ModelFacts

GAZE_MODELS: dict[str, ModelFacts] = {
    facts.name: facts
    for facts in (
        *facts_gazelle.FACTS,
        *facts_gazelle_dinov3.FACTS,
        *facts_page.FACTS,
        *facts_own.FACTS,
    )
}
"""Name -> facts, in the order in which they are listed."""
