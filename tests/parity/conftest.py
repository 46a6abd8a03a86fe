"""Golden vectors: which folder, which files, and how tests take their cases from it.

`GAZETOOLS_PARITY` names the folder; without it the small committed set beside this file is used. Files are
`FAMILY[_variant].json` with a `.safetensors` of the same name; whatever else lies in the folder is ignored.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

COMMITTED = Path(__file__).parent / "data"


def parity_folder() -> Path:
    """The folder of golden vectors of this run."""
    return Path(os.environ.get("GAZETOOLS_PARITY") or COMMITTED)


@dataclass(frozen=True)
class Golden:
    """One recorded case file."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    @cached_property
    def spec(self) -> dict[str, Any]:
        return json.loads(self.path.read_text(encoding="utf-8"))

    @cached_property
    def own_tensors(self) -> dict[str, torch.Tensor]:
        """Tensors of the file's own safetensors; {} where the committed set keeps all of them in another."""
        path = self.path.with_suffix(".safetensors")
        return load_file(path) if path.exists() or "shared_tensors" not in self.spec else {}

    @cached_property
    def tensors(self) -> dict[str, torch.Tensor]:
        """`own_tensors` and, in the committed set, those of the file that `shared_tensors` names."""
        shared = self.spec.get("shared_tensors")
        return {**({} if shared is None else load_file(self.path.parent / shared)), **self.own_tensors}

    def state_dict(self, prefix: str = "sd.") -> dict[str, torch.Tensor]:
        """Recorded parameters by upstream's names, in the recorded order where there is one."""
        found = {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}
        return {key: found[key] for key in self.spec.get("state_dict_keys", found)}

    def state_dict_of(self, part: str) -> dict[str, torch.Tensor]:
        """Recorded parameters of the `encoder` or `predictor` of a file that has both."""
        state = self.state_dict(self.spec[f"{part}_state_dict_prefix"])
        return {key: state[key] for key in self.spec[f"{part}_keys"]}


def golden_files(family: str, *, other: str | None = None) -> list[Golden]:
    """Every case file of `family` (`FAMILY.json` and `FAMILY_*.json`) in the folder, by name.

    `other` is a family whose longer name begins with `family`; its files are left out.
    """
    folder = parity_folder()
    paths = {*folder.glob(f"{family}.json"), *folder.glob(f"{family}_*.json")}
    return [Golden(path) for path in sorted(paths) if other is None or not path.stem.startswith(other)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`@pytest.mark.golden(FAMILY)` runs a test with the fixture `golden` once per file of the family.

    A family without any file is a failing test, not a skipped one.
    """
    marker = metafunc.definition.get_closest_marker("golden")
    if marker is None:
        return
    family = marker.args[0]
    files = golden_files(family, **marker.kwargs)
    if files:
        metafunc.parametrize("golden", files, ids=lambda golden: golden.name, scope="session")
    else:
        metafunc.parametrize("golden", [family], ids=[f"no_{family}_in_the_folder"], indirect=True)


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Golden:
    """Replaced by `pytest_generate_tests`; reached only where the folder has no file of the family."""
    pytest.fail(f"{parity_folder()} has no file {request.param}[_variant].json")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker here, so that this folder works on its own."""
    config.addinivalue_line("markers", "golden(family): run once per golden file of the family")
