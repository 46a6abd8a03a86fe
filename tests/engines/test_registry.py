"""An engine from outside the package: registered, chosen on the command line, run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pydantic import Field

from gazetools.engines.registry import ENGINES, Engine, register
from gazetools.extraction.run import extract
from gazetools.progress import Progress
from gazetools.schemas.base import StrictModel
from gazetools.schemas.errors import UsageError
from gazetools.schemas.extract import ENGINE_NAMES, ExtractOptions, ExtractReport
from tests.helpers.command_line import run_cli


class ToyOptions(StrictModel):
    """Settings of an engine that is not part of gazetools."""

    stride: int = 1
    notes: list[str] = Field(default_factory=list)


def run(
    inputs: Sequence[str], output: Path, options: ExtractOptions, settings: ToyOptions, progress: Progress
) -> ExtractReport:
    """The engine's work: every `settings.stride`-th frame."""
    options = options.model_copy(update={"stride": settings.stride})
    return extract(inputs, output, options=options, progress=progress)


@pytest.fixture
def toy() -> Iterator[Engine]:
    engine = Engine(name="toy", module=__name__, settings=ToyOptions)
    register(engine)
    yield engine
    del ENGINES["toy"]
    ENGINE_NAMES.remove("toy")


@pytest.mark.usefixtures("toy")
def test_an_engine_from_outside_is_chosen_on_the_command_line(clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    store = tmp_path / "s"
    done = run_cli("extract", str(clip), "-o", str(store), "--model", str(tiny_model), "--engine", "toy", "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["options"]["engine"], report["options"]["stride"]) == ("toy", 1)
    assert [item["status"] for item in report["items"]] == ["done"]
    done = run_cli("extract", str(clip), "-o", str(store), "--engine", "toy", "--slurm", "jobs=2")
    assert done.exit_code == 2
    assert "needs --engine slurm" in done.stderr


def test_pairs_become_the_settings_of_an_engine(toy: Engine) -> None:
    assert toy.parse(["stride=3", "notes=a", "notes=b=c"]) == ToyOptions(stride=3, notes=["a", "b=c"])
    with pytest.raises(UsageError, match=r"extract --toy: unknown key 'strid'; did you mean 'stride'\?"):
        toy.parse(["strid=3"])
    with pytest.raises(ValueError, match="taken"):
        register(toy)


def test_the_table_is_read_without_the_engines() -> None:
    """`--help` reads it: what takes long to import must not come along."""
    script = "import sys, gazetools.engines.registry; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "av", "numpy", "h5py", "ray", "submitit", "gazetools.extraction.run"} & set(loaded)
