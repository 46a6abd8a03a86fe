"""A training that reads heatmaps from shards ends like one that reads them from .npz."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from gazetools.packing import convert
from gazetools.trainer import train
from tests.trainer.conftest import Study

pytestmark = pytest.mark.slow
NEEDS_ARROW = pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None, reason="the extra [hub] is not installed: pip install -e '.[hub]'"
)


@pytest.mark.parametrize("layout", ["webdataset", pytest.param("hf", marks=NEEDS_ARROW)])
def test_every_metric_is_that_of_npz(study: Study, tmp_path: Path, layout: str) -> None:
    found = []
    for name in ("npz", layout):
        convert(study.heatmaps, tmp_path / name, layout=name)
        config = study.config(tmp_path / f"run_{name}", heatmap_base_path=str(tmp_path / name), num_workers=1)
        found.append(train(config, overrides=["experiment.optimization.num_epochs=1"]).metrics)
    assert found[0] == found[1] and found[0]["train_clips"] > 0
