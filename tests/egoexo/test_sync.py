"""The sync check measures planted offsets, and says so where nothing can be measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gazetools.groundtruth import groundtruth
from gazetools.schemas.store import Piece, Rows
from gazetools.store import StoreContent, open_store, write_store
from gazetools.validation import validate
from gazetools.validation.checks.sync import measure_offset
from tests.helpers.synthetic_takes import TAKES

TAKE = TAKES[1]
CAMERA = TAKE.cameras[0]


@pytest.fixture(scope="module")
def truth(egoexo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("truth")
    groundtruth(egoexo_root, store, takes=TAKE.name, cameras="cam01")
    return store


def _detected(
    truth: Path, store: Path, *, offset: int, spec: str = "file:boxes.csv", still: bool = False, jitter: float = 1.0
) -> Path:
    """A store whose boxes are the closed-form head boxes of `offset` frames later, as a detector would frame them.

    Boxes are 20 % larger, displaced by a fifth of a head, and jitter by `jitter` pixels.
    """
    with open_store(truth / TAKE.name / "cam01.h5") as source:
        rows, frames, provenance = source.rows(), source.frames, source.provenance
    rng = np.random.default_rng(3)
    boxes = np.array([CAMERA.head_box(0.0 if still else (frame + offset) / 30) for frame in rows.frame.tolist()])
    size = boxes[:, 2:] - boxes[:, :2]
    boxes = np.concatenate([boxes[:, :2] - 0.1 * size, boxes[:, 2:] + 0.1 * size], axis=1)
    boxes += 0.2 * np.tile(size, 2) + rng.normal(0, jitter, boxes.shape)
    piece = Piece(
        frame_index=frames.index,
        pts_seconds=frames.pts_seconds,
        fingerprint=frames.fingerprint,
        fingerprint_index=frames.fingerprint_index,
        rows=Rows(
            frame=rows.frame,
            track_id=np.full(len(rows), 4, np.int32),
            box_xyxy=(boxes / [480, 270, 480, 270]).astype(np.float32),
            inout=rows.inout,
            prompt=rows.prompt,
            heatmap=rows.heatmap,
        ),
        batch_size=1,
    )
    model = provenance.model.model_copy(update={"name": "tiny"})
    heads = provenance.heads.model_copy(update={"spec": spec})
    write_store(
        store,
        f"{TAKE.name}/cam01",
        StoreContent(
            provenance=provenance.model_copy(update={"model": model, "heads": heads}),
            pieces=[lambda: piece],
            track_roles={4: "other"},
            heatmap_shape=(64, 64),
        ),
    )
    return store


@pytest.mark.parametrize(("offset", "says"), [(6, r"\+6"), (-4, "-4")])
def test_a_planted_offset_is_measured(truth: Path, tmp_path: Path, offset: int, says: str) -> None:
    findings = {f.code: f for f in validate(_detected(truth, tmp_path, offset=offset)).findings}
    assert f"frame i {says}".replace("\\", "") in findings["sync-offset"].message
    assert findings["sync-offset"].severity == "warning"


def test_a_video_in_step_has_no_finding(truth: Path, tmp_path: Path, egoexo_root: Path) -> None:
    store = _detected(truth, tmp_path, offset=0)
    # The root's videos are found by take/camera. The maps are copies of the truth, which a model would not repeat.
    assert {f.code for f in validate(store, videos=egoexo_root).findings if f.severity != "note"} <= {"frozen-maps"}
    assert not {"sync-offset", "sync-unknown"} & {f.code for f in validate(store).findings}


def test_boxes_that_do_not_follow_the_wearer_say_nothing(truth: Path, tmp_path: Path) -> None:
    codes = {f.code for f in validate(_detected(truth, tmp_path, offset=0, still=True)).findings}
    assert "sync-offset" not in codes
    assert "sync-unknown" in codes


@pytest.mark.parametrize("spec", ["calib", "whole"])
def test_boxes_from_the_trajectory_itself_prove_nothing(truth: Path, tmp_path: Path, spec: str) -> None:
    codes = {f.code for f in validate(_detected(truth, tmp_path, offset=6, spec=spec)).findings}
    assert not {"sync-offset", "sync-unknown"} & codes


def test_too_few_boxes_measure_nothing() -> None:
    frame = np.arange(20)
    xy = np.stack([frame * 5.0, frame * 0.0], axis=1)
    assert measure_offset(frame, xy, np.full(20, 10.0), xy) is None


@pytest.mark.parametrize(("offset", "says"), [(20, "+15 frames"), (-20, "-15 frames"), (15, "+15 frames")])
def test_an_offset_beyond_the_search_is_said_to_be_at_its_edge(
    truth: Path, tmp_path: Path, offset: int, says: str
) -> None:
    findings = {f.code: f for f in validate(_detected(truth, tmp_path, offset=offset)).findings}
    (found,) = (findings[code] for code in ("sync-offset", "sync-unknown") if code in findings)
    assert f"The best offset, {says}, is at the edge of the search (15 frames either way)" in found.message
    assert "sync-first-row" not in findings


@pytest.mark.parametrize(("offset", "supported"), [(0, "start"), (1, "start+1")])
def test_the_boxes_say_which_first_row_they_support(truth: Path, tmp_path: Path, offset: int, supported: str) -> None:
    """Boxes that lie a frame later fit the rows from timesync_start_idx + 1 on, as the tutorials read them."""
    store = _detected(truth, tmp_path, offset=offset, jitter=0.2)
    findings = {f.code: f for f in validate(store).findings}
    codes = ("sync-offset", "sync-first-row")
    text = " ".join(findings[code].message for code in codes if code in findings)
    assert f"--first-row {supported}`" in text
    assert all(findings[code].severity == {"sync-offset": "warning", "sync-first-row": "note"}[code]
               for code in codes if code in findings)  # fmt: skip


def test_boxes_that_do_not_tell_the_two_rows_apart_say_so(truth: Path, tmp_path: Path) -> None:
    findings = {f.code: f for f in validate(_detected(truth, tmp_path, offset=0, jitter=4.0)).findings}
    text = findings["sync-first-row"].message if "sync-first-row" in findings else findings["sync-unknown"].message
    assert "Neither reading" in text or "No track follows" in text
