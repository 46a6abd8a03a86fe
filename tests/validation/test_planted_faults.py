"""Faults planted one at a time in good files: each is found by its code (and frames), and good files raise no alarm."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from gazetools.packing import pack
from gazetools.schemas.findings import Finding
from gazetools.validation import validate
from gazetools.validation.catalogue import CATALOGUE, finding
from tests.helpers.runs import Listener
from tests.helpers.stores import make_video
from tests.validation.faults import (
    cut,
    edit_entry,
    edit_npz,
    edit_origin,
    edit_provenance,
    edit_store,
    flip_bit,
    put,
    rewrite_json,
    vouch,
)

PEOPLE = {frame: [1, 2] if frame % 2 else [1] for frame in range(12)}
Plant = Callable[[Path], None]


def _keep_tokens(nan_at: tuple[int, ...] | None) -> Callable[[h5py.File], None]:
    """Scene tokens of 2 x 2 cells for every row, one number of which is NaN."""

    def change(file: h5py.File) -> None:
        tokens = np.ones((len(file["rows/frame"]), 2, 2, 4), np.float16)
        if nan_at is not None:
            tokens[nan_at] = np.nan
        file.create_dataset("extra/tokens", data=tokens)

    return change


def _alarms(findings: list[Finding]) -> list[Finding]:
    """Errors and warnings, without that of heatmaps whose videos are nowhere, as those of this page are."""
    return [f for f in findings if f.severity != "note" and f.code != "videos-not-compared"]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two videos, datasets of it, and folders as other tools leave them."""
    root = tmp_path_factory.mktemp("good")
    make_video(root / "store", people=PEOPLE)
    make_video(root / "store", "take/cam01")
    pack(root / "store", root / "npz", normalize="max", people="1")
    pack(root / "store", root / "npy", layout="npy", normalize="max", people="1")
    pack(root / "store", root / "sums", normalize="sum", dtype="float32")
    generator = np.random.default_rng(0)
    (root / "foreign" / "b").mkdir(parents=True)
    np.savez_compressed(root / "foreign" / "a.npz", anything=generator.random((6, 1, 5, 7), dtype=np.float32))
    for k in range(6):
        np.save(root / "foreign" / "b" / f"frame_{k:06d}.npy", generator.random((5, 7), dtype=np.float32))
    return root


@pytest.fixture
def spoilt(good: Path, tmp_path: Path) -> Path:
    """A copy to plant a fault in."""
    return Path(shutil.copytree(good, tmp_path / "copy"))


@pytest.mark.parametrize("kind", ["store", "npz", "npy", "sums", "foreign"])
def test_no_alarm_on_good_files(good: Path, kind: str) -> None:
    report = validate(good / kind)
    assert _alarms(report.findings) == []
    assert report.exit_code_for("error") == 0
    assert report.summary["videos"] == 2
    not_compared = next(f for f in report.findings if f.code in ("videos-not-compared", "videos-unstated"))
    warnings = 0 if kind == "foreign" else 1
    assert not_compared.code == ("videos-not-compared" if warnings else "videos-unstated"), (
        "maps of other tools name no video"
    )
    assert (report.summary["errors"], report.summary["warnings"]) == (0, warnings)


STORE_FAULTS: dict[str, tuple[Plant, str, list[int] | None]] = {
    # name: (plant, expected code, expected frames)
    "bit flip": (lambda r: flip_bit(r / "clip.h5"), "checksum-mismatch", None),
    "truncated": (lambda r: cut(r / "clip.h5"), "size-mismatch", None),
    "longer": (lambda r: (r / "clip.h5").write_bytes((r / "clip.h5").read_bytes() + b"x"), "size-mismatch", None),
    "empty": (lambda r: (r / "clip.h5").write_bytes(b""), "size-mismatch", None),
    "no sidecar": (lambda r: (r / "clip.json").unlink(), "sidecar-missing", None),
    "no payload": (lambda r: (r / "clip.h5").unlink(), "payload-missing", None),
    "sidecar no json": (lambda r: (r / "clip.json").write_text("{"), "sidecar-unreadable", None),
    "sidecar of another": (
        lambda r: rewrite_json(r / "clip.json", lambda s: s.update(video_id="other")),
        "id-mismatch",
        None,
    ),
    "stray": (lambda r: (r / "notes.txt").write_text("hello"), "stray-file", None),
    "temp file": (lambda r: (r / ".clip.h5.gazetools-tmp-host-1-ab").write_text(""), "unfinished-work", None),
    "pieces": (
        lambda r: ((r / ".work" / "ab").mkdir(parents=True), (r / ".work" / "ab" / "piece_000000.npz").write_text("")),
        "unfinished-work",
        None,
    ),
    "case twin": (lambda r: make_video(r, "CLIP", people=PEOPLE), "duplicate-id", None),
    "other size": (lambda r: make_video(r, "third", size_hw=(4, 4)), "mixed-sizes", None),
    "other weights": (
        lambda r: (
            [make_video(r, f"v{k}") for k in range(2)]
            + [edit_provenance(r, lambda p: p["model"]["weights_sha256"].update(checkpoint="d" * 64))]
        ),
        "mixed-models",
        None,
    ),
    "not hdf5": (
        lambda r: [(r / "clip.json").unlink(), (r / "clip.h5").write_bytes(b"not hdf5" * 999)],
        "file-unreadable",
        None,
    ),
    "link to a file": (
        lambda r: edit_store(
            r, lambda f: [f.pop("rows/heatmap"), f.__setitem__("rows/heatmap", h5py.ExternalLink("/etc/passwd", "x"))]
        ),
        "file-unreadable",
        None,
    ),
    "no provenance": (lambda r: edit_store(r, lambda f: f.attrs.pop("provenance")), "provenance-missing", None),
    "provenance cut": (
        lambda r: edit_store(r, lambda f: f.attrs.modify("provenance", "{")),
        "provenance-unreadable",
        None,
    ),
    "provenance from the future": (
        lambda r: edit_provenance(r, lambda p: p.update(schema_version=9)),
        "schema-unknown",
        None,
    ),
    "provenance of another": (lambda r: edit_provenance(r, lambda p: p.update(video_id="other")), "id-mismatch", None),
    "nan": (lambda r: edit_store(r, put("rows/heatmap", (4, 0, 0), np.nan)), "nan-values", [3]),
    "inf": (lambda r: edit_store(r, put("rows/heatmap", (4, 0, 0), np.inf)), "inf-values", [3]),
    "nan in tokens": (lambda r: edit_store(r, _keep_tokens((4, 1, 0, 2))), "tokens-not-finite", [3]),
    "tokens of other rows": (
        lambda r: edit_store(r, lambda f: f.create_dataset("extra/tokens", data=np.zeros((3, 2, 2, 4), np.float16))),
        "file-unreadable",
        None,
    ),
    "negative": (lambda r: edit_store(r, put("rows/heatmap", (0, 1, 1), -0.25)), "negative-values", [0]),
    "above one": (lambda r: edit_store(r, put("rows/heatmap", (17, 1, 1), 1.5)), "above-one", [11]),
    "zero map": (lambda r: edit_store(r, put("rows/heatmap", 2, 0)), "zero-maps", [1]),
    "constant map": (lambda r: edit_store(r, put("rows/heatmap", 2, 0.5)), "constant-maps", [1]),
    "inout 2": (lambda r: edit_store(r, put("rows/inout", 3, 2.0)), "inout-out-of-range", [2]),
    "box swapped": (lambda r: edit_store(r, put("rows/box", 3, [0.4, 0.1, 0.1, 0.5])), "box-out-of-range", [2]),
    "box in pixels": (lambda r: edit_store(r, put("rows/box", 3, [10, 10, 40, 50])), "box-out-of-range", [2]),
    "box nan": (lambda r: edit_store(r, put("rows/box", 3, np.nan)), "box-out-of-range", [2]),
    "unknown prompt": (lambda r: edit_store(r, put("rows/prompt", 3, 7)), "prompt-unknown", [2]),
    "frame twice": (lambda r: edit_store(r, put("frames/index", 5, 4)), "frames-not-ascending", [4]),
    "row of no frame": (lambda r: edit_store(r, put("rows/frame", 17, 99)), "rows-without-frame", [99]),
    "row of nobody": (lambda r: edit_store(r, put("rows/track_id", 17, 5)), "rows-without-track", [11]),
    "rows out of order": (
        lambda r: edit_store(r, put("rows/frame", slice(0, 3), [2, 1, 1])),
        "rows-not-ascending",
        [1],
    ),
    "row twice": (lambda r: edit_store(r, put("rows/track_id", 2, 1)), "rows-duplicated", [1]),
    "frame too far": (lambda r: edit_store(r, put("frames/index", 11, 12)), "frames-beyond-video", [12]),
    "time goes back": (lambda r: edit_store(r, put("frames/pts_seconds", 5, 0.01)), "pts-not-ascending", [5]),
    "time is nan": (lambda r: edit_store(r, put("frames/pts_seconds", 5, np.nan)), "pts-not-ascending", [5]),
    "nobody at all": (lambda r: make_video(r, people={}), "no-heatmaps", None),
}

NPZ_FAULTS: dict[str, tuple[Plant, str, list[int] | None]] = {
    "bit flip": (lambda r: flip_bit(r / "clip.npz"), "checksum-mismatch", None),
    "truncated": (lambda r: cut(r / "clip.npz"), "size-mismatch", None),
    "truncated and vouched for": (lambda r: [cut(r / "clip.npz"), vouch(r)], "file-unreadable", None),
    "bit flip and vouched for": (lambda r: [flip_bit(r / "clip.npz", 0.3), vouch(r)], "file-unreadable", None),
    "gone": (lambda r: (r / "clip.npz").unlink(), "payload-missing", None),
    "stray": (lambda r: np.savez(r / "other.npz", heatmap=np.zeros((2, 2, 2))), "stray-file", None),
    "unfinished": (
        lambda r: ((r / ".work").mkdir(), (r / ".work" / "x.json").write_text("{}")),
        "unfinished-work",
        None,
    ),
    "manifest broken": (lambda r: cut(r / "manifest.json"), "manifest-unreadable", None),
    "manifest of the future": (
        lambda r: rewrite_json(r / "manifest.json", lambda m: m.update(schema_version=99)),
        "manifest-unreadable",
        None,
    ),
    "entry broken": (lambda r: edit_entry(r, lambda e: e.pop("sha256")), "manifest-unreadable", None),
    "entry leads out": (lambda r: edit_entry(r, lambda e: e.update(file="../clip.npz")), "manifest-unreadable", None),
    "one row less": (lambda r: edit_npz(r, lambda a: {k: v[:-1] for k, v in a.items()}), "manifest-mismatch", None),
    "H and W swapped": (
        lambda r: edit_npz(r, lambda a: a.update(heatmap=a["heatmap"].swapaxes(1, 2))),
        "manifest-mismatch",
        None,
    ),
    "other dtype": (
        lambda r: edit_npz(r, lambda a: a.update(heatmap=a["heatmap"].astype(np.float64))),
        "manifest-mismatch",
        None,
    ),
    "no inout": (lambda r: edit_npz(r, lambda a: {k: v for k, v in a.items() if k != "inout"}), "member-missing", None),
    "valid as int": (
        lambda r: edit_npz(r, lambda a: a.update(valid=a["valid"].astype(np.int64))),
        "member-missing",
        None,
    ),
    "objects": (
        lambda r: edit_npz(r, lambda a: a.update(heatmap=np.array([{}], dtype=object))),
        "file-unreadable",
        None,
    ),
    "nan": (lambda r: edit_npz(r, put("heatmap", (5, 0, 0), np.nan)), "nan-values", [5]),
    "negative": (lambda r: edit_npz(r, put("heatmap", (5, 0, 0), -0.5)), "negative-values", [5]),
    "peak of 2": (lambda r: edit_npz(r, put("heatmap", (5, 0, 0), 2)), "above-one", [5]),
    "peak of one half": (
        lambda r: edit_npz(r, lambda a: a["heatmap"].__imul__(np.float16(0.5))),
        "normalisation-off",
        list(range(12)),
    ),
    "zero map": (lambda r: edit_npz(r, put("heatmap", 7, 0)), "zero-maps", [7]),
    "map without frame": (lambda r: edit_npz(r, put("valid", 7, False)), "nonzero-without-frame", [7]),
    "inout -1": (lambda r: edit_npz(r, put("inout", 7, -1)), "inout-out-of-range", [7]),
    "times repeat": (lambda r: edit_npz(r, put("pts_seconds", 7, 0.2)), "pts-not-ascending", [7]),
    "nothing valid": (
        lambda r: edit_npz(r, lambda a: [a["valid"].fill(False), a["heatmap"].fill(0)]),
        "no-heatmaps",
        None,
    ),
    "no provenance": (lambda r: edit_entry(r, lambda e: e.update(provenance={})), "provenance-missing", None),
    "odd provenance": (lambda r: edit_origin(r, lambda o: o["provenance"].pop("model")), "provenance-unreadable", None),
    "provenances disagree": (
        lambda r: edit_entry(r, lambda e: e["provenance"]["model"].update(name="other")),
        "manifest-mismatch",
        None,
    ),
    "no origin": (lambda r: (r / "clip.origin.json").unlink(), "origin-missing", None),
    "origin no json": (lambda r: (r / "clip.origin.json").write_text("{"), "provenance-unreadable", None),
    "origin edited": (
        lambda r: rewrite_json(r / "clip.origin.json", lambda o: o["rows"].pop()),
        "checksum-mismatch",
        None,
    ),
    "origin of another": (lambda r: edit_origin(r, lambda o: o.update(video_id="other")), "id-mismatch", None),
    "fingerprints cut": (
        lambda r: edit_origin(r, lambda o: o.update(fingerprints=o["fingerprints"][:-8])),
        "provenance-unreadable",
        None,
    ),
    "no inverse": (
        lambda r: edit_npz(r, lambda a: {k: v for k, v in a.items() if k != "norm_scale"}),
        "member-missing",
        None,
    ),
}

NPY_FAULTS: dict[str, tuple[Plant, str, list[int] | None]] = {
    "frame gone": (lambda r: (r / "clip" / "frame_000004.npy").unlink(), "frame-file-missing", [4]),
    "last frame gone": (lambda r: (r / "clip" / "frame_000011.npy").unlink(), "manifest-mismatch", None),
    "frame cut": (lambda r: cut(r / "clip" / "frame_000004.npy"), "file-unreadable", [4]),
    "frame of another size": (
        lambda r: np.save(r / "clip" / "frame_000004.npy", np.ones((3, 3), np.float16)),
        "frame-file-unlike",
        [4],
    ),
    "bit flip": (lambda r: flip_bit(r / "clip" / "frame_000004.npy", 0.99), "checksum-mismatch", None),
    "index gone": (lambda r: (r / "clip" / "index.npz").unlink(), "member-missing", None),
    "folder gone": (lambda r: shutil.rmtree(r / "clip"), "payload-missing", None),
    "something beside": (lambda r: (r / "clip" / "x.txt").write_text(""), "stray-file", None),
    "frames twice": (
        lambda r: shutil.copy(r / "clip" / "frame_000004.npy", r / "clip" / "f_4.npy"),
        "file-unreadable",
        None,
    ),
}

FOREIGN_FAULTS: dict[str, tuple[Plant, str, list[int] | None]] = {
    "cut npz": (lambda r: cut(r / "a.npz"), "file-unreadable", None),
    "flipped npz": (lambda r: flip_bit(r / "a.npz", 0.4), "file-unreadable", None),
    "text": (lambda r: (r / "a.npz").write_text("no zip"), "file-unreadable", None),
    "objects": (
        lambda r: np.savez(r / "a.npz", x=np.array([{}], dtype=object), allow_pickle=True),
        "file-unreadable",
        None,
    ),
    "rank 5": (lambda r: np.savez(r / "a.npz", x=np.zeros((1, 1, 2, 2, 2))), "file-unreadable", None),
    "colour": (lambda r: np.savez(r / "a.npz", x=np.ones((2, 3, 5, 7), np.float32) / 3), "unexpected-shape", None),
    "int32": (lambda r: np.savez(r / "a.npz", x=np.ones((6, 5, 7), np.int32)), "unexpected-dtype", None),
    "0..255 as float": (
        lambda r: np.savez(r / "a.npz", x=np.linspace(0, 255, 70, dtype=np.float32).reshape(2, 5, 7)),
        "scale-unknown",
        [0, 1],
    ),
    "logits": (lambda r: np.savez(r / "a.npz", x=-np.ones((6, 5, 7), np.float32)), "negative-values", [*range(6)]),
    "nan": (lambda r: np.savez(r / "a.npz", x=np.full((2, 5, 7), np.nan, np.float32)), "nan-values", [0, 1]),
    "zeros": (lambda r: np.savez(r / "a.npz", x=np.zeros((2, 5, 7), np.float32)), "zero-maps", [0, 1]),
    "frames from 1": (
        lambda r: (r / "b" / "frame_000000.npy").rename(r / "b" / "frame_000006.npy"),
        "frame-file-missing",
        [0],
    ),
    "frame missing": (lambda r: (r / "b" / "frame_000003.npy").unlink(), "frame-file-missing", [3]),
    "two of one id": (lambda r: np.save(r / "a.npy", np.ones((6, 5, 7), np.float32) / 2), "duplicate-id", None),
    "name that is no id": (lambda r: (r / "a.npz").rename(r / "a\u200bb.npz"), "bad-id", None),
    "other size": (
        lambda r: np.savez(r / "c.npz", x=np.random.default_rng(0).random((2, 9, 9), dtype=np.float32)),
        "mixed-sizes",
        None,
    ),
}

ALL = {
    **{("store", name): fault for name, fault in STORE_FAULTS.items()},
    **{("npz", name): fault for name, fault in NPZ_FAULTS.items()},
    **{("npy", name): fault for name, fault in NPY_FAULTS.items()},
    **{("foreign", name): fault for name, fault in FOREIGN_FAULTS.items()},
}


@pytest.mark.parametrize(("kind", "name"), ALL, ids=["-".join(key).replace(" ", "_") for key in ALL])
def test_planted_fault_is_found(spoilt: Path, kind: str, name: str) -> None:
    plant, code, frames = ALL[kind, name]
    plant(spoilt / kind)
    report = validate(spoilt / kind)
    found = [f for f in report.findings if f.code == code]
    assert found, [f"{f.code}: {f.message}" for f in report.findings]
    assert "check-failed" not in {f.code for f in report.findings}, report.findings
    if frames is not None:
        assert [f.frames for f in found] == [frames]
    assert report.exit_code == 1
    assert found[0].severity == CATALOGUE[code].severity
    assert found[0].remedy == CATALOGUE[code].cure
    # the other video of the folder stays clean
    others = [f for f in _alarms(report.findings) if f.video_id in ("take/cam01", "b") and kind != "foreign"]
    assert others == []


def test_good_tokens_raise_no_alarm_and_are_not_packed(spoilt: Path, tmp_path: Path) -> None:
    edit_store(spoilt / "store", _keep_tokens(None))
    assert _alarms(validate(spoilt / "store").findings) == []
    told = Listener()
    assert not pack(spoilt / "store", tmp_path / "packed", progress=told).failed
    assert [line for line in told.said if "scene tokens, which are not packed" in line]
    with np.load(tmp_path / "packed" / "clip.npz") as packed:
        assert "tokens" not in packed.files


def test_sums_that_are_off_are_found(spoilt: Path) -> None:
    edit_npz(spoilt / "sums", lambda a: a["heatmap"].__setitem__(3, a["heatmap"][3] * 1.1))
    (found,) = _alarms(validate(spoilt / "sums").findings)
    assert (found.code, found.frames) == ("normalisation-off", [3])


def test_the_frames_of_a_finding_are_capped() -> None:
    assert len(finding("nan-values", "x", frames=range(500)).frames or []) == 100


def test_the_report_is_plain_json(spoilt: Path) -> None:
    edit_store(spoilt / "store", put("rows/heatmap", (4, 0, 0), np.nan))
    report = validate(spoilt / "store")
    document = json.loads(json.dumps(report.model_dump(mode="json"), allow_nan=False))
    first = document["findings"][0]
    assert list(first) == ["code", "severity", "video_id", "frames", "message", "remedy"]
    assert document["summary"]["errors"] == 1


@pytest.mark.parametrize(
    "options",
    [
        {"missing": "hold"},
        {"missing": "interpolate", "normalize": "sum", "dtype": "float32"},
        {"inout": "gate", "normalize": "max"},
        {"inout": "weight", "normalize": "softmax", "temperature": 0.1},
        {"inout": "weight", "normalize": "minmax", "dtype": "uint8"},
        {"align": "native", "normalize": "minmax"},
        {"fps": 12.0, "people": "mean"},
        {"fps": 60.0, "layout": "npy", "dtype": "uint8"},
        {"size": "16x12", "normalize": "sum"},
        {"size": "video", "dtype": "float32"},
    ],
    ids=str,
)
def test_no_alarm_whatever_the_pack_options(tmp_path: Path, options: dict[str, Any]) -> None:
    """Including frames without people, rows with low inout, and maps so weak that weighting makes them zero."""
    make_video(
        tmp_path / "store",
        people={0: [], 1: [1], 2: [1, 2], 3: [], 4: [2], 7: [1]},
        index=[0, 1, 2, 3, 4, 7, 8],
        make_inout=lambda f, t: (0.0, 0.9, 0.49, 0.51, 1e-7)[(f + t) % 5],
    )
    assert not pack(tmp_path / "store", tmp_path / "data", **options).failed
    assert _alarms(validate(tmp_path / "data").findings) == []
