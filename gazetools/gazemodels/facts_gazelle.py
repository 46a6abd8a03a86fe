"""Facts about Gaze-LLE's released models (fkryan/gazelle, release v1.0.0)."""

from __future__ import annotations

from gazetools.schemas.model_facts import ModelFacts, PublishedFigures

_RELEASE = "https://github.com/fkryan/gazelle/releases/download/v1.0.0"
_DINOV2 = "https://dl.fbaipublicfiles.com/dinov2"
_PAPER = "Gaze-LLE's paper, arXiv 2412.09586, table of GazeFollow and VideoAttentionTarget"

DECODER_URLS = {  # from fkryan/gazelle's hubconf.py
    "gazelle_dinov2_vitb14": f"{_RELEASE}/gazelle_dinov2_vitb14_hub.pt",
    "gazelle_dinov2_vitl14": f"{_RELEASE}/gazelle_dinov2_vitl14.pt",
    "gazelle_dinov2_vitb14_inout": f"{_RELEASE}/gazelle_dinov2_vitb14_inout.pt",
    "gazelle_dinov2_vitl14_inout": f"{_RELEASE}/gazelle_dinov2_vitl14_inout.pt",
}
BACKBONE_URLS = {
    "dinov2_vitb14": f"{_DINOV2}/dinov2_vitb14/dinov2_vitb14_pretrain.pth",
    "dinov2_vitl14": f"{_DINOV2}/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
}
_PARAMETERS = {
    "gazelle_dinov2_vitb14": 89_407_232,
    "gazelle_dinov2_vitl14": 307_260_928,
    "gazelle_dinov2_vitb14_inout": 89_440_513,
    "gazelle_dinov2_vitl14_inout": 307_294_209,
}
# GazeFollow was measured with the models without in/out, VideoAttentionTarget with those fine-tuned on it.
_FIGURES = {
    "gazelle_dinov2_vitb14": PublishedFigures(
        gazefollow_auc=0.956, gazefollow_min_l2=0.045, gazefollow_avg_l2=0.104, source=_PAPER
    ),
    "gazelle_dinov2_vitl14": PublishedFigures(
        gazefollow_auc=0.958, gazefollow_min_l2=0.041, gazefollow_avg_l2=0.099, source=_PAPER
    ),
    "gazelle_dinov2_vitb14_inout": PublishedFigures(vat_auc=0.933, vat_l2=0.107, vat_ap=0.897, source=_PAPER),
    "gazelle_dinov2_vitl14_inout": PublishedFigures(vat_auc=0.937, vat_l2=0.103, vat_ap=0.903, source=_PAPER),
}

FACTS = tuple(
    ModelFacts(
        name=name,
        family="Gaze-LLE",
        loader="gazetools.gazemodels.gazelle.loading:load",
        in_size=(448, 448),
        grid=(32, 32),
        out_size=(64, 64),
        inout=name.endswith("_inout"),
        parameters=_PARAMETERS[name],
        figures=_FIGURES[name],
        code_licence="MIT (Fiona Ryan)",
        weights_licence="decoder MIT; DINOv2 Apache-2.0",
        weights="download",
        urls=(url, BACKBONE_URLS[name.removeprefix("gazelle_").removesuffix("_inout")]),
        home="https://github.com/fkryan/gazelle",
    )
    for name, url in DECODER_URLS.items()
)
