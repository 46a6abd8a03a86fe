"""Hostile and damaged files: a finding and exit 1, bounded memory, nothing run, nothing outside the folder touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gazetools.packing import pack
from gazetools.schemas.findings import ValidationReport
from gazetools.validation import validate
from tests.helpers.stores import make_video
from tests.validation.make_corpus import CORPUS

NAMES = sorted(path.name for path in CORPUS.iterdir())
MEMORY_BYTES = 400 << 20
"""Data that a hostile file of a few KB may make validate allocate, the libraries that are loaded then included."""
_LIMITED = """
import resource, sys
from pathlib import Path
import numpy, h5py, gazetools
from gazetools.validation import validate
from gazetools.validation.load import load
used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_DATA, (used + int(sys.argv[1]),) * 2)
for root in sys.argv[2:]:
    report = validate(root)
    codes = [f.code for f in report.findings]
    assert report.exit_code == 1, (root, codes)
    assert "check-failed" not in codes, (root, report.findings)
"""


def _planted(folder: Path, name: str) -> Path:
    """The corpus file where validate would meet it: among heatmaps, in a store, or as a manifest."""
    folder.mkdir(parents=True)
    source = CORPUS / name
    if name.endswith(".manifest"):
        shutil.copy(source, folder / "manifest.json")
    else:
        shutil.copy(source, folder / name)
    return folder


def _tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def test_the_corpus_is_refused_in_bounded_memory_and_leaves_no_trace(tmp_path: Path) -> None:
    """One process with a memory limit for all of it: a bomb that went off would end it."""
    roots = [str(_planted(tmp_path / name / "root", name)) for name in NAMES]
    assert len(roots) >= 30
    before = _tree(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(MEMORY_BYTES), *roots],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert _tree(tmp_path) == before, "something was written"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store and a dataset of each layout."""
    root = tmp_path_factory.mktemp("fuzz")
    make_video(root / "store", frame_count=4)
    for layout in ("npz", "npy", "hdf5"):
        pack(root / "store", root / layout, layout=layout, normalize="max")
    return root


TARGETS = {
    "store payload": ("store", "clip.h5"),
    "store sidecar": ("store", "clip.json"),
    "npz": ("npz", "clip.npz"),
    "frame": ("npy", "clip/frame_000001.npy"),
    "frame index": ("npy", "clip/index.npz"),
    "packed h5": ("hdf5", "clip.h5"),
    "manifest": ("npz", "manifest.json"),
    "origin": ("npz", "clip.origin.json"),
}


def _mutate(data: bytes, kind: str, where: float, piece: bytes) -> bytes:
    place = int(where * len(data))
    if kind == "cut":
        return data[:place]
    if kind == "insert":
        return data[:place] + piece + data[place:]
    if kind == "drop":
        return data[:place] + data[place + len(piece) :]
    return data[:place] + piece + data[place + len(piece) :]


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["cut", "insert", "drop", "overwrite"]),
    where=st.floats(0, 0.999),
    piece=st.binary(min_size=1, max_size=24),
)
def test_no_mutation_ends_the_report(
    good: Path, tmp_path_factory: pytest.TempPathFactory, target: str, kind: str, where: float, piece: bytes
) -> None:
    """Whatever became of the bytes: a report, and no alarm only where they are what they were (or white space)."""
    folder, name = TARGETS[target]
    root = tmp_path_factory.mktemp("mutant") / folder
    shutil.copytree(good / folder, root)
    before = (root / name).read_bytes()
    after = _mutate(before, kind, where, piece)
    (root / name).write_bytes(after)
    report = validate(root)
    assert isinstance(report, ValidationReport)
    assert "check-failed" not in {f.code for f in report.findings}, report.findings
    if name.endswith((".h5", ".npz", ".npy")) and after != before:
        assert report.exit_code == 1
    shutil.rmtree(root.parent)
