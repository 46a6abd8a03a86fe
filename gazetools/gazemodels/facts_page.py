"""Facts about PaGE's released models (OctopusWen/PaGE; weights on huggingface.co/Octopus1)."""

from __future__ import annotations

from gazetools.schemas.model_facts import ModelFacts, PublishedFigures

_SOURCE = "leaderboard of https://github.com/OctopusWen/PaGE (measured in bfloat16 autocast)"
_SIZES = {  # repository -> parameters of both towers and the decoder, nine published figures
    "vits": (58_981_377, (0.964, 0.033, 0.086, 0.964, 0.074, 0.937, 0.970, 0.075, 0.997)),
    "vitsplus": (73_174_017, (0.965, 0.033, 0.086, 0.965, 0.074, 0.939, 0.970, 0.075, 0.997)),
    "vitb": (187_305_729, (0.966, 0.029, 0.081, 0.969, 0.068, 0.945, 0.973, 0.070, 0.997)),
    "vithplus": (1_697_432_321, (0.966, 0.029, 0.080, 0.972, 0.064, 0.951, 0.975, 0.069, 0.995)),
}
_GAZEFOLLOW = ("gazefollow_auc", "gazefollow_min_l2", "gazefollow_avg_l2")
_FIGURES = (*_GAZEFOLLOW, "vat_auc", "vat_l2", "vat_ap", "childplay_auc", "childplay_l2", "childplay_ap")

FACTS = tuple(
    ModelFacts(
        name=f"page_{size}",
        family="PaGE",
        loader="gazetools.gazemodels.page.loading:load",
        in_size=(512, 512),
        grid=(32, 32),
        out_size=(64, 64),
        inout=True,
        needs_boxes=True,
        parameters=parameters,
        figures=PublishedFigures(**dict(zip(_FIGURES, figures, strict=True)), source=_SOURCE),
        code_licence="MIT (Zhoutong Ye)",
        weights_licence="decoder MIT; towers DINOv3 License (commercial use allowed, its text travels with copies)",
        weights="own file",
        file_name=f"page-{size}",
        fetched_by=f"hf download Octopus1/page-{size} --local-dir page-{size}",
        home=f"https://huggingface.co/Octopus1/page-{size}",
    )
    for size, (parameters, figures) in _SIZES.items()
)
