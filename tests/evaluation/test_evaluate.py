"""`evaluate`: known shifts give known scores, benchmarks are read in both forms, what can't be scored is named."""

from __future__ import annotations

import base64
import json
import math
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from gazetools.annotations.label_files import read_labels
from gazetools.evaluation import compared, evaluate, evaluate_models
from gazetools.evaluation.page import write_html
from gazetools.evaluation.scores import HeadScore, estimates, extremes
from gazetools.extraction.run import extract
from gazetools.gazemodels.baselines import CentrePrior
from gazetools.gazemodels.page.loading import load_page
from gazetools.groundtruth import groundtruth
from gazetools.metrics.gaze import gazefollow_auc, gazefollow_l2, vat_auc, vat_l2
from gazetools.scenes.clips import render_scenes
from gazetools.scenes.settings import SceneSettings
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.evaluation import EvaluateOptions
from gazetools.schemas.store import Piece, Rows
from gazetools.store import StoreContent, open_store, write_store
from tests.helpers.command_line import run_cli
from tests.helpers.page_weights import TINY_PAGE, write_page_file
from tests.helpers.synthetic_takes import TAKES, write_root
from tests.helpers.true_gaze import store_true_gaze

TAKE = TAKES[1]


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("truth")
    write_root(folder / "root", [TAKE], draw=False)
    report = groundtruth(folder / "root", folder / "store")
    assert report.exit_code == 0
    return folder / "store"


def _shifted(
    truth: Path, store: Path, *, columns: int = 0, every: int = 1, tracks: int = 1, camera: str = "cam01"
) -> None:
    """A store of predictions: the true maps moved by some columns; with two tracks the first person is another one."""
    video_id = f"{TAKE.name}/{camera}"
    with open_store(truth / f"{video_id}.h5") as source:
        rows, frames, provenance = source.rows(), source.frames, source.provenance
    keep = np.flatnonzero(rows.frame % every == 0)
    repeat = np.repeat(keep, tracks)
    track = np.tile(np.arange(tracks, dtype=np.int32), len(keep)) + 5
    box = rows.box_xyxy[repeat].copy()
    if tracks > 1:
        box[track == 5] = [0.8, 0.8, 0.95, 0.95]
    maps = np.roll(rows.heatmap[repeat], columns, axis=2)
    maps[(track == 5) & (tracks > 1)] = 0
    piece = Piece(
        frame_index=frames.index,
        pts_seconds=frames.pts_seconds,
        fingerprint=frames.fingerprint,
        fingerprint_index=frames.fingerprint_index,
        rows=Rows(
            frame=rows.frame[repeat],
            track_id=track,
            box_xyxy=box,
            inout=np.full(len(repeat), 0.9, np.float32),
            prompt=(rows.frame[repeat] % 2).astype(np.uint8),
            heatmap=maps,
        ),
        batch_size=1,
    )
    write_store(
        store,
        video_id,
        StoreContent(
            provenance=provenance,
            pieces=[lambda: piece],
            track_roles=dict.fromkeys(range(5, 5 + tracks), "other"),
            heatmap_shape=(64, 64),
        ),
    )


@pytest.mark.parametrize("columns", [0, 5, -8])
def test_a_known_shift_gives_the_known_distance(truth: Path, tmp_path: Path, columns: int) -> None:
    for camera in ("cam01", "cam02"):
        _shifted(truth, tmp_path, columns=columns, camera=camera)
    report = evaluate(tmp_path, truth, resamples=50)
    assert report.counts["scored"] == report.overall["avg_l2"].count == 180
    expected = []
    for camera in ("cam01", "cam02"):
        with open_store(truth / TAKE.name / f"{camera}.h5") as store:
            target = store.extra("target_xy")
            assert target is not None
            cell = np.floor(target * 64) / 64  # the predicted point is the cell's corner
            expected.append(np.hypot(cell[:, 0] + columns / 64 - target[:, 0], cell[:, 1] - target[:, 1]))
    assert report.overall["avg_l2"].value == pytest.approx(float(np.concatenate(expected).mean()), abs=1e-7)
    assert report.overall["min_l2"].value == report.overall["avg_l2"].value
    if columns == 0:
        assert report.overall["auc"].value > 0.98
        assert report.overall["angle_deg"].value < 3  # half a cell at about 1 m
        assert report.exit_code == 0
    assert set(report.groups) == {"camera", "distance", "prompt"}
    assert set(report.groups["camera"]) == {"cam01", "cam02"}
    assert sum(group["auc"].count for group in report.groups["prompt"].values()) == 180


def test_auc_is_the_published_metric_row_by_row(truth: Path, tmp_path: Path) -> None:
    _shifted(truth, tmp_path, columns=4, every=10)
    report = evaluate(tmp_path, truth, resamples=0)
    with open_store(truth / TAKE.name / "cam01.h5") as true, open_store(tmp_path / TAKE.name / "cam01.h5") as guess:
        target = true.extra("target_xy")
        assert target is not None
        rows = guess.rows()
        wanted = [
            vat_auc(rows.heatmap[i].astype(np.float32), *target[int(f)].tolist()) for i, f in enumerate(rows.frame)
        ]
    assert report.overall["auc"].value == pytest.approx(float(np.mean(wanted)), abs=1e-9)
    assert report.overall["auc"].low is None
    assert report.counts["truth_without_prediction"] == 81
    assert "no such video" in report.failed[f"{TAKE.name}/cam02"]
    assert report.exit_code == 1


def test_the_person_is_found_by_the_head_box(truth: Path, tmp_path: Path) -> None:
    _shifted(truth, tmp_path, tracks=2, every=5)
    report = evaluate(tmp_path, truth, resamples=0)
    assert report.overall["avg_l2"].count == 18
    assert report.overall["avg_l2"].value < 0.03  # the other track's empty maps would give 0.5


def test_the_angle_is_that_between_the_rays(truth: Path, tmp_path: Path) -> None:
    _shifted(truth, tmp_path, columns=6, every=30)
    angle = evaluate(tmp_path, truth, resamples=0).overall["angle_deg"].value
    wanted = []
    with open_store(truth / TAKE.name / "cam01.h5") as true, open_store(tmp_path / TAKE.name / "cam01.h5") as guess:
        eyes, target = true.extra("eyes_camera"), true.extra("target_camera")
        assert eyes is not None and target is not None
        lens = true.provenance.options["geometry"]["lens"]
        matrix = np.array([[lens["fx"], 0, lens["cx"]], [0, lens["fy"], lens["cy"]], [0, 0, 1]])
        rows = guess.rows()
        for i, frame in enumerate(rows.frame.tolist()):
            row, column = np.unravel_index(int(rows.heatmap[i].argmax()), (64, 64))
            pixel = np.array([[[(column + 0.5) / 64 * 480, (row + 0.5) / 64 * 270]]])
            x, y = cv2.fisheye.undistortPoints(pixel, matrix, np.array(lens["k"]))[0, 0]  # an independent inverse
            ray = np.array([x, y, 1.0]) / math.sqrt(x * x + y * y + 1)
            a = target[frame].astype(float) - eyes[frame]
            b = ray * np.linalg.norm(target[frame].astype(float)) - eyes[frame]
            wanted.append(math.degrees(math.acos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))))
    assert angle == pytest.approx(float(np.mean(wanted)), abs=1e-3)
    assert angle > 5


def test_command_line_page_and_json(truth: Path, tmp_path: Path) -> None:
    _shifted(truth, tmp_path / "store", columns=3, every=15)
    _shifted(truth, tmp_path / "store", columns=9, every=15, camera="cam02")
    page = tmp_path / "scores.html"
    done = run_cli(
        "evaluate", str(tmp_path / "store"), "--truth", str(truth), "--html", str(page), "--examples", "2", "--json"
    )
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["overall"]["avg_l2"]["low"] <= document["overall"]["avg_l2"]["value"]
    assert document["best"][0]["video_id"].endswith("cam01")
    assert document["worst"][0]["video_id"].endswith("cam02")
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") == 4
    assert "By camera" in text and "<script" not in text
    again = run_cli("evaluate", str(tmp_path / "store"), "--truth", str(truth), "--json")
    assert json.loads(again.stdout)["overall"] == document["overall"]  # the bootstrap is seeded


def test_a_picture_shows_the_person_that_was_scored(tmp_path: Path) -> None:
    """Of two people in one frame: the ring is round the target of the one whose score the caption names."""
    settings = SceneSettings(people=(2, 2))
    (video_id,) = render_scenes(tmp_path, clips=1, seconds=0.2, seed=3, settings=settings)
    guess, truth = tmp_path / "store", tmp_path / "truth"
    extract(tmp_path / "videos", guess, model="head-direction", heads=f"file:{tmp_path / 'heads'}", device="cpu")
    store_true_gaze(tmp_path, guess, truth)
    options = EvaluateOptions(resamples=0, examples=1)
    scorings = evaluate_models([str(guess)], truth, options=options)
    report = scorings[0].report
    assert {one.true_track_id for one in (*report.best, *report.worst)} == {1, 2}, "the case has both people"
    write_html(tmp_path / "scores.html", compared(scorings, resamples=0), scorings, truth=truth)
    pictures = re.findall(r"base64,([^\"]+)", (tmp_path / "scores.html").read_text())
    with open_store(truth / f"{video_id}.h5") as store:
        rows, targets = store.rows(), store.extra("target_xy")
    assert targets is not None
    for one, encoded in zip((*report.best, *report.worst), pictures, strict=True):
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(encoded), np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        blue, green, red = np.moveaxis(picture.astype(int), 2, 0)
        ring_y, ring_x = np.nonzero((green > 190) & (blue < 90) & (red < 90))
        (target,) = targets[(rows.frame == one.frame) & (rows.track_id == one.true_track_id)]
        expected = target * (picture.shape[1], picture.shape[0])
        assert np.hypot(np.median(ring_x) - expected[0], np.median(ring_y) - expected[1]) < 5
        assert one.track_id == one.true_track_id, "the truth was made of the predictions' rows"


@pytest.mark.parametrize(
    ("predicted", "says"), [("none", "is not a folder"), ("empty", "Nothing of .* could be scored")]
)
def test_stores_that_cannot_be_scored(truth: Path, tmp_path: Path, predicted: str, says: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=says):
        evaluate(tmp_path / predicted, truth)


def test_an_extracted_store_is_no_truth(truth: Path, tmp_path: Path) -> None:
    _shifted(truth, tmp_path, every=30)
    with pytest.raises(UsageError, match="no ground truth"):
        evaluate(tmp_path, tmp_path)


# --- GazeFollow and VideoAttentionTarget ---

RNG = np.random.default_rng(7)


def _picture(path: Path, width: int, height: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))


def _gazefollow(root: Path) -> tuple[Path, Path]:
    """test_annotations_release.txt with two pictures, three heads and several annotators; the same as prepared JSON."""
    sizes = {"test/00/b.jpg": (120, 80), "test/00/a.jpg": (64, 100)}
    rows, items = [], []
    heads = {
        "test/00/a.jpg": [(0.5, [(0.2, 0.3), (0.25, 0.35)])],
        "test/00/b.jpg": [(0.9, [(0.1, 0.9)]), (0.15, [(0.6, 0.5), (0.7, 0.5), (0.65, 0.4)])],
    }
    for name, (width, height) in sizes.items():
        _picture(root / name, width, height)
        for eye, annotators in heads[name]:
            for x, y in annotators:
                box = (30, 5, 10, 25) if eye == 0.5 else (10, 5, 30, 25)  # one with swapped corners
                rows.append(",".join(map(str, (name, 1, 0, 0, 1, 1, eye, 0.2, x, y, *box, "src", "meta"))))
    for name in sorted(sizes):
        width, height = sizes[name]
        entries = []
        for _, annotators in sorted(heads[name]):
            entries.append(
                {
                    "bbox_norm": [10 / width, 5 / height, 30 / width, 25 / height],
                    "gazex_norm": [x for x, _ in annotators],
                    "gazey_norm": [y for _, y in annotators],
                }
            )
        items.append({"path": name, "width": width, "height": height, "heads": entries})
    text, prepared = root / "test_annotations_release.txt", root / "test_preprocessed.json"
    text.write_text("\n".join(rows) + "\n")
    prepared.write_text(json.dumps(items))
    return text, prepared


def test_predictions_are_found_by_the_rule_of_all_commands(tmp_path: Path) -> None:
    _, prepared = _gazefollow(tmp_path)
    maps = RNG.random((3, 64, 64)).astype(np.float32)
    depth = maps[:, ::-1]
    written: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "named heatmap": ({"heatmap": maps}, {}),
        "another name, [N,1,h,w], behind boxes": ({"boxes": np.zeros((3, 4)), "gaze": maps[:, None]}, {}),
        "two stacks and a key": ({"depth": depth, "gaze": maps}, {"key": "gaze"}),
        "[h,w,N] and axes": ({"gaze": maps.transpose(1, 2, 0)}, {"axes": "HWT"}),
    }
    values = []
    for number, (arrays, options) in enumerate(written.values()):
        np.savez(tmp_path / f"{number}.npz", **arrays)
        values.append(evaluate(str(tmp_path / f"{number}.npz"), prepared, resamples=0, **options).overall)
    assert values[1:] == values[:1] * 3
    np.savez(tmp_path / "open.npz", depth=depth, gaze=maps)
    with pytest.raises(DataFileError, match=r"depth \[3,64,64\].*gaze.*--key"):
        evaluate(str(tmp_path / "open.npz"), prepared)
    with pytest.raises(UsageError, match="for heatmaps of other tools"):
        evaluate("model:gazelle_tiny", prepared, images=str(tmp_path), key="gaze")


def test_gazefollow_in_both_forms(tmp_path: Path) -> None:
    text, prepared = _gazefollow(tmp_path)
    maps = RNG.random((3, 64, 64)).astype(np.float32)
    np.savez(tmp_path / "maps.npz", heatmap=maps)
    reports = [
        evaluate(str(tmp_path / "maps.npz"), form, images=str(tmp_path), resamples=0) for form in (text, prepared)
    ]
    truths = [
        ((0.2, 0.25), (0.3, 0.35), 64, 100),
        ((0.6, 0.7, 0.65), (0.5, 0.5, 0.4), 120, 80),
        ((0.1,), (0.9,), 120, 80),
    ]
    auc = [gazefollow_auc(m, x, y, height=h, width=w) for m, (x, y, w, h) in zip(maps, truths, strict=True)]
    l2 = np.array([gazefollow_l2(m, x, y) for m, (x, y, _, _) in zip(maps, truths, strict=True)])
    for report in reports:
        assert report.protocol == "gazefollow"
        assert report.overall["auc"].value == pytest.approx(float(np.mean(auc)), abs=1e-12)
        assert report.overall["avg_l2"].value == pytest.approx(l2[:, 0].mean(), abs=1e-12)
        assert report.overall["min_l2"].value == pytest.approx(l2[:, 1].mean(), abs=1e-12)
    with pytest.raises(UsageError, match="--images"):
        evaluate(str(tmp_path / "maps.npz"), text)
    np.savez(tmp_path / "few.npz", heatmap=maps[:2])
    with pytest.raises(DataFileError, match="2 in/out scores for 3 annotated heads"):
        evaluate(str(tmp_path / "few.npz"), prepared)


def _vat(root: Path) -> tuple[Path, Path, np.ndarray[Any, Any]]:
    """annotations/test/<show>/<clip>/<person>.txt and the same as prepared JSON, smoothing included."""
    width, height, frames = 200, 100, 14
    clip = root / "annotations" / "test" / "Show" / "10_20"
    clip.mkdir(parents=True)
    raw = RNG.integers(20, 60, (2, frames, 4)).astype(float)
    raw[:, :, 2:] += 70
    gaze = RNG.integers(5, 90, (2, frames, 2)).astype(float)
    gaze[0, 3] = (-1, -1)
    gaze[1, 5] = (50, -1)
    present = [range(frames), range(4, frames)]  # the second person comes later
    items: list[dict[str, Any]] = [{"path": f"images/Show/10_20/{f:05d}.jpg", "heads": []} for f in range(frames)]
    truths = []
    for person in range(2):
        picked = list(present[person])
        numbers = np.concatenate([raw[person], gaze[person]], axis=1).astype(int)
        lines = [",".join([f"{f:05d}.jpg", *map(str, numbers[f])]) for f in picked]
        (clip / f"s0{person}.txt").write_text("\n".join(lines) + "\n")
        for place, f in enumerate(picked):
            window = [raw[person, picked[min(max(place + d, 0), len(picked) - 1)]] for d in range(-5, 6)]
            x0, y0, x1, y1 = np.mean(window, axis=0)
            x, y = gaze[person, f]
            y = 0.0 if x >= 0 > y else y
            items[f]["heads"].append(
                {
                    "bbox_norm": [x0 / width, y0 / height, min(x1, width) / width, min(y1, height) / height],
                    "gazex_norm": [x / width],
                    "gazey_norm": [y / height],
                    "inout": int(x >= 0 and y >= 0),
                }
            )
    for item in items:
        truths += item["heads"]
        _picture(root / item["path"], width, height)
    prepared = root / "test_preprocessed.json"
    prepared.write_text(json.dumps([{"path": "images/Show/10_20", "width": width, "height": height, "frames": items}]))
    return root / "annotations" / "test", prepared, np.array(truths, dtype=object)


def test_videoattentiontarget_in_both_forms(tmp_path: Path) -> None:
    text, prepared, truths = _vat(tmp_path)
    both = [read_labels(form, images=tmp_path) for form in (text, prepared)]
    assert {labels.protocol for labels in both} == {"videoattentiontarget"}
    pictures = [labels.pictures for labels in both]
    assert [p.path for p in pictures[0]] == [p.path for p in pictures[1]]
    for ours, theirs in zip(*pictures, strict=True):
        for a, b in zip(ours.heads, theirs.heads, strict=True):
            np.testing.assert_allclose(a.box_xyxy, b.box_xyxy, atol=1e-12)
            assert (a.gaze_x, a.gaze_y, a.inout) == (b.gaze_x, b.gaze_y, b.inout)
    maps = RNG.random((len(truths), 64, 64)).astype(np.float32)
    inout = RNG.random(len(truths)).astype(np.float32)
    np.savez(tmp_path / "maps.npz", heatmap=maps, inout=inout)
    from sklearn.metrics import average_precision_score

    inside = [i for i, head in enumerate(truths) if head["inout"]]
    points = {i: (truths[i]["gazex_norm"][0], truths[i]["gazey_norm"][0]) for i in inside}
    for form in (text, prepared):
        report = evaluate(str(tmp_path / "maps.npz"), form, images=str(tmp_path), resamples=20)
        assert report.counts == {"scored": len(inside), "target_outside": 1}
        assert report.overall["auc"].value == pytest.approx(np.mean([vat_auc(maps[i], *points[i]) for i in inside]))
        assert report.overall["avg_l2"].value == pytest.approx(np.mean([vat_l2(maps[i], *points[i]) for i in inside]))
        expected = average_precision_score([head["inout"] for head in truths], inout)
        assert report.overall["inout_ap"].value == pytest.approx(expected, abs=1e-9)


def test_a_model_looks_at_the_pictures(tmp_path: Path, tiny_model: Path) -> None:
    _, prepared = _gazefollow(tmp_path)
    report = evaluate(f"model:{tiny_model}", prepared, images=str(tmp_path), resamples=0)
    assert report.overall["auc"].count == 3
    assert evaluate(f"model:{tiny_model}", prepared, images=str(tmp_path), limit=1).counts["scored"] == 1


def test_heads_that_a_model_of_crops_cannot_take_are_counted(tmp_path: Path) -> None:
    """The head at the left of b.jpg has no pixel inside: the other two are scored, each with its own map."""
    _, prepared = _gazefollow(tmp_path)
    items = json.loads(prepared.read_text())
    items[1]["heads"][0]["bbox_norm"] = [1.0, 0.1, 1.0, 0.5]
    prepared.write_text(json.dumps(items))
    file = write_page_file(tmp_path / "page.safetensors", TINY_PAGE)
    report = evaluate(f"model:{file}", prepared, images=str(tmp_path), resamples=0)
    assert report.counts == {"people_not_evaluated": 1, "scored": 2}
    assert any("Heads not evaluated: 1" in note for note in report.notes)
    model, expected = load_page(str(file)), []
    for item, head in ((items[0], items[0]["heads"][0]), (items[1], items[1]["heads"][1])):
        picture = np.full((1, item["height"], item["width"], 3), 90, np.uint8)
        heatmap = model(picture, [[head["bbox_norm"]]]).heatmap[0].numpy()
        expected.append(gazefollow_l2(heatmap, head["gazex_norm"], head["gazey_norm"])[0])
    assert report.overall["avg_l2"].value == pytest.approx(np.mean(expected), abs=1e-6)
    for item in items:
        for head in item["heads"]:
            head["bbox_norm"] = [0.2, 0.2, 0.2, 0.4]
    prepared.write_text(json.dumps(items))
    done = run_cli("evaluate", f"model:{file}", "--truth", str(prepared), "--images", str(tmp_path))
    assert (done.exit_code, "can take none of the 3 head boxes" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("name", ["centre-prior", "head-direction", "gazelle_tiny", "toy"])
def test_every_name_of_a_model_is_taken(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `extract` takes them: controls and registered models too, not only those of Gaze-LLE."""
    monkeypatch.setattr("gazetools.gazemodels.registry._LOADERS", {"toy": CentrePrior.load})
    _, prepared = _gazefollow(tmp_path)
    report = evaluate(f"model:{name}", prepared, images=str(tmp_path), resamples=0)
    assert report.overall["auc"].count == 3
    if name in ("centre-prior", "toy"):
        heads = [head for _, head in read_labels(prepared).heads]
        nearest = [min(np.hypot(np.subtract(head.gaze_x, 0.5), np.subtract(head.gaze_y, 0.5))) for head in heads]
        assert report.overall["min_l2"].value == pytest.approx(np.mean(nearest), abs=0.02)
    with pytest.raises(UsageError, match="did you mean centre-prior"):
        evaluate("model:centre_prior", prepared, images=str(tmp_path))


def test_a_truth_behind_links_is_a_store(tmp_path: Path) -> None:
    """A store's listing follows links, and so does the question whether a folder is one."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "v.h5").write_bytes(b"no HDF5")
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "take").symlink_to(tmp_path / "disk")
    with pytest.raises(UsageError, match="is a store"):
        evaluate("model:gazelle_tiny", tmp_path / "truth")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("test_annotations_release.txt", "a.jpg,1,2\n", "line 1: 3 cells, not 16 or 17"),
        ("test_annotations_release.txt", "a.jpg," + ",".join(["x"] * 15) + "\n", "line 1: could not convert"),
        ("x_preprocessed.json", '[{"heads": [{"gazex_norm": [1]}], "path": "a"}]', "entry 0: KeyError"),
        ("x_preprocessed.json", '{"a": 1}', "no annotation that is known"),
    ],
)
def test_broken_annotations_are_named(tmp_path: Path, name: str, content: str, says: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=says):
        read_labels(tmp_path / name)


def test_intervals_come_from_blocks_not_rows() -> None:
    """100 copies of one value in each of two blocks: rows would claim certainty, blocks don't."""
    rows = [
        HeadScore(video_id=block, frame=frame, block=block, avg_l2=value)
        for block, value in (("a", 0.1), ("b", 0.5))
        for frame in range(100)
    ]
    estimate = estimates(rows, resamples=500)["avg_l2"]
    assert estimate.value == pytest.approx(0.3)
    assert (estimate.low, estimate.high) == (pytest.approx(0.1), pytest.approx(0.5))
    best, worst = extremes(rows, 5)
    assert ([one.video_id for one in best], [one.video_id for one in worst]) == (["a", "b"], ["b", "a"])
