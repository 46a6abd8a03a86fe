"""Facts about gazelle-dinov3's released models (PINTO0309/gazelle-dinov3, release tag `weights`)."""

from __future__ import annotations

from typing import NamedTuple

from gazetools.schemas.model_facts import ModelFacts, PublishedFigures

_HOME = "https://github.com/PINTO0309/gazelle-dinov3/releases/tag/weights"
_SOURCE = "README of https://github.com/PINTO0309/gazelle-dinov3"
_DINOV3 = "MIT; derived from DINOv3 (so treat as under the DINOv3 License; not stated there)"
_MIT = "MIT (of the repository; nothing else stated there)"


class _Size(NamedTuple):
    """One size, with and without in/out."""

    name: str
    side: int
    """Input, in pixels; the grid has cells of 16."""
    heatmap: int
    millions: float
    """Parameters as printed in the README."""
    gazefollow: tuple[float, float, float]
    """AUC, min L2, avg L2 of the model without in/out."""
    vat: tuple[float, float, float]
    """AUC, L2, AP of the one with in/out."""


_SIZES = (
    _Size("hgnetv2_atto", 320, 32, 2.93, (0.9267, 0.0826, 0.1482), (0.9055, 0.1523, 0.8749)),
    _Size("hgnetv2_femto", 416, 48, 3.15, (0.9391, 0.0656, 0.1289), (0.9166, 0.1372, 0.8779)),
    _Size("hgnetv2_pico", 640, 64, 3.51, (0.9491, 0.0544, 0.1149), (0.9247, 0.1245, 0.8861)),
    _Size("hgnetv2_n", 640, 64, 4.61, (0.9481, 0.0549, 0.1158), (0.9218, 0.1258, 0.9012)),
    _Size("dinov3_vit_tiny", 640, 64, 8.17, (0.9545, 0.0484, 0.1118), (0.9286, 0.1155, 0.8945)),
    _Size("dinov3_vit_tinyplus", 640, 64, 12.37, (0.9564, 0.0462, 0.1042), (0.9325, 0.1133, 0.8953)),
    _Size("dinov3_vits16", 640, 64, 24.33, (0.9593, 0.0418, 0.0992), (0.9347, 0.1026, 0.9011)),
    _Size("dinov3_vits16plus", 640, 64, 31.43, (0.9604, 0.0395, 0.0966), (0.9366, 0.1050, 0.9118)),
    _Size("dinov3_vitb16", 640, 64, 88.50, (0.9593, 0.0405, 0.0973), (0.9399, 0.0943, 0.9051)),
)


def _file(size: _Size, suffix: str) -> str:
    """Name of the released file: those on HGNetV2 were distilled."""
    return f"gazelle_{size.name}{suffix}{'_distill' if 'hgnetv2' in size.name else ''}.pt"


def _figures(size: _Size, inout: bool) -> PublishedFigures:
    if inout:
        auc, l2, ap = size.vat
        return PublishedFigures(vat_auc=auc, vat_l2=l2, vat_ap=ap, source=_SOURCE)
    auc, min_l2, avg_l2 = size.gazefollow
    return PublishedFigures(gazefollow_auc=auc, gazefollow_min_l2=min_l2, gazefollow_avg_l2=avg_l2, source=_SOURCE)


FACTS = tuple(
    ModelFacts(
        name=f"gazelle_{size.name}{suffix}",
        family="gazelle-dinov3",
        loader="gazetools.gazemodels.gazelle_dinov3.loading:load",
        in_size=(size.side, size.side),
        grid=(size.side // 16, size.side // 16),
        out_size=(size.heatmap, size.heatmap),
        inout=bool(suffix),
        parameters=round(size.millions * 1e6),
        figures=_figures(size, bool(suffix)),
        code_licence="MIT (Katsuya Hyodo); parts under the DINOv3 License",
        weights_licence=_MIT if "hgnetv2" in size.name else _DINOV3,
        weights="own file",
        file_name=_file(size, suffix),
        fetched_by=f"curl -L -O {_HOME.replace('/tag/', '/download/')}/{_file(size, suffix)}",
        home=_HOME,
    )
    for size in _SIZES
    for suffix in ("", "_inout")
)
