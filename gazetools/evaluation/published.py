"""Published figures of a benchmark, each with the definitions by which it was measured."""

from __future__ import annotations

from gazetools.gazemodels.model_table import GAZE_MODELS
from gazetools.schemas.evaluation import PublishedScore
from gazetools.schemas.gaze_labels import Protocol

_PAGE_TABLE = "table of https://github.com/OctopusWen/PaGE"
_LISTED = "as PaGE's repository lists it; by which AUC the paper measured it is not said there"
_PAGE = "VideoAttentionTarget's definitions (rectangle), bfloat16"
_CHILDPLAY_OTHERS: dict[str, tuple[float | None, float, float]] = {
    "Gupta 2022": (0.919, 0.113, 0.983),
    "Tafasca 2023": (0.935, 0.107, 0.986),
    "Tafasca 2024": (None, 0.106, 0.990),
    "Gaze-LLE ViT-L": (0.951, 0.101, 0.994),
    "human": (0.911, 0.048, 0.993),
}
TEST_SET_WATCHED = (
    "Published figures of Gaze-LLE, gazelle-dinov3 and PaGE: their training scripts look at the test set after every "
    "epoch and have no validation split; gazelle-dinov3 also selects its epoch there."
)


def published_scores(protocol: Protocol) -> list[PublishedScore]:
    """The figures known for a benchmark; empty for GOO-Real, of which none could be read."""
    found = []
    for facts in GAZE_MODELS.values():
        figures = facts.figures
        if figures is None:
            continue
        values = {
            "gazefollow": (figures.gazefollow_auc, figures.gazefollow_avg_l2, figures.gazefollow_min_l2, None),
            "videoattentiontarget": (figures.vat_auc, figures.vat_l2, None, figures.vat_ap),
            "childplay": (figures.childplay_auc, figures.childplay_l2, None, figures.childplay_ap),
        }.get(protocol)
        if values is not None and any(value is not None for value in values):
            auc, average, minimum, precision = values
            defined = _PAGE if protocol == "childplay" else f"{_TITLES[protocol]}'s definitions"
            found.append(
                PublishedScore(
                    model=facts.name, protocol=defined, auc=auc, avg_l2=average, min_l2=minimum, inout_ap=precision,
                    source=figures.source,
                )
            )  # fmt: skip
    if protocol == "childplay":
        for name, (auc, l2, ap) in _CHILDPLAY_OTHERS.items():
            found.append(
                PublishedScore(model=name, protocol=_LISTED, auc=auc, avg_l2=l2, inout_ap=ap, source=_PAGE_TABLE)
            )
    return found


_TITLES: dict[Protocol, str] = {"gazefollow": "GazeFollow", "videoattentiontarget": "VideoAttentionTarget"}
