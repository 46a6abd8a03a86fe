"""Evaluation tables of synthetic sets in all released forms equal numbers that numpy and scikit-learn give alone."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from gazetools.evaluation import evaluate
from gazetools.schemas.evaluation import EvaluationReport
from tests.helpers.command_line import run_cli
from tests.helpers.gaze_labels import (
    HEIGHT,
    WIDTH,
    Person,
    annotators,
    eye_of,
    made_up_people,
    write_childplay,
    write_gazefollow,
    write_gooreal,
    write_pictures,
    write_prepared,
    write_vat,
)

PEOPLE = made_up_people()
RANDOM = np.random.default_rng(7)
MAPS = RANDOM.random((len(PEOPLE), 64, 64)).astype(np.float32)
INOUT = np.clip(RANDOM.normal([0.7 if person.inside else 0.4 for person in PEOPLE], 0.25), 0, 1).astype(np.float32)
Table = dict[str, float]


def _resized(values: Any, height: int, width: int) -> Any:
    """Bilinear with half-pixel centres and no antialiasing, written out."""

    def places(length: int, source: int) -> tuple[Any, Any, Any]:
        at = np.clip((np.arange(length) + 0.5) * source / length - 0.5, 0, source - 1)
        low = np.floor(at).astype(int)
        return low, np.minimum(low + 1, source - 1), at - low

    (top, bottom, v), (left, right, h) = places(height, values.shape[0]), places(width, values.shape[1])
    rows = values[top] * (1 - v)[:, None] + values[bottom] * v[:, None]
    return rows[:, left] * (1 - h) + rows[:, right] * h


def _peak(values: Any) -> Any:
    row, column = np.unravel_index(np.argmax(values), values.shape)
    return np.array([column, row]) / 64


def _target(person: Person) -> Any:
    return np.array(person.gaze) / (WIDTH, HEIGHT)


def _rectangle_auc(values: Any, target: Any) -> float:
    x, y = target * 64
    truth = np.zeros((64, 64))
    truth[max(0, int(y - 9)) : min(int(y + 10), 63), max(0, int(x - 9)) : min(int(x + 10), 63)] = 1
    return float(roc_auc_score(truth.ravel(), values.ravel()))


def _as_vat(people: Sequence[Person]) -> Table:
    inside = [p for p in people if p.inside]
    found = {
        "auc": np.mean([_rectangle_auc(MAPS[p.key], _target(p)) for p in inside]),
        "avg_l2": np.mean([np.linalg.norm(_peak(MAPS[p.key]) - _target(p)) for p in inside]),
    }
    found["min_l2"] = found["avg_l2"]
    if len(inside) < len(people):
        found["inout_ap"] = average_precision_score([p.inside for p in people], [INOUT[p.key] for p in people])
    found["inout_accuracy"] = np.mean([(INOUT[p.key] >= 0.5) == p.inside for p in people])
    return {name: float(value) for name, value in found.items()}


def _gaussian_auc(values: Any, target: Any) -> float:
    column, row = (int(v) for v in target * 64)
    truth = np.zeros((64, 64))
    truth[max(0, row - 9) : row + 10, max(0, column - 9) : column + 10] = 1
    return float(roc_auc_score(truth.ravel(), values.ravel()))


def _p_head(people: Sequence[Person], extra: bool) -> float:
    """`extra`: with the box that `write_childplay` adds in every frame, of somebody whose gaze is not labelled."""
    found = []
    for p in (person for person in people if person.inside):
        boxes = [np.array(o.box) for o in people if (o.clip, o.frame) == (p.clip, p.frame)]
        boxes += [np.array((100, 40, 158, 94))] if extra else []
        hit = [
            any(b[0] <= x <= b[2] and b[1] <= y <= b[3] for b in boxes)
            for x, y in (_peak(MAPS[p.key]) * (WIDTH, HEIGHT), p.gaze)
        ]
        found += [hit[1]] if hit[0] else []
    assert len(found) > 3
    return float(np.mean(found))


def _childplay_table(people: Sequence[Person], *, extra: bool) -> Table:
    inside = [p for p in people if p.inside]
    return {
        **_as_vat(people),
        "auc_gaussian": float(np.mean([_gaussian_auc(MAPS[p.key], _target(p)) for p in inside])),
        "p_head": _p_head(people, extra),
    }


def _gooreal_table(people: Sequence[Person], *, at_eyes: bool) -> Table:
    people = [p for p in people if p.inside]
    distances = np.array([np.linalg.norm(_peak(MAPS[p.key]) - _target(p)) for p in people])
    angles, aucs = [], []
    for p in people:
        middle = np.array([(p.box[0] + p.box[2]) / 2 / WIDTH, (p.box[1] + p.box[3]) / 2 / HEIGHT])
        eye = eye_of(p) if at_eyes else middle
        a, b = _peak(MAPS[p.key]) - eye, _target(p) - eye
        angles.append(np.degrees(np.arccos(np.clip(a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-6), -1, 1))))
        truth = np.zeros((5, 5))
        truth[tuple((_target(p) * 5).astype(int)[::-1])] = 1
        aucs.append(roc_auc_score(truth.ravel(), _resized(MAPS[p.key].astype(float), 5, 5).ravel()))
    found = {**_as_vat(people), "auc_5x5": float(np.mean(aucs)), "picture_angle_deg": float(np.mean(angles))}
    return found | {
        f"hit_{d:.2f}": float(np.mean(distances < d)) for d in (0.01, 0.03, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
    }


def _gazefollow_table(people: Sequence[Person]) -> Table:
    auc, average, minimum = [], [], []
    for p in people:
        points = np.array(annotators(p))
        truth = np.zeros((HEIGHT, WIDTH))
        for x, y in points:
            truth[int(y * HEIGHT), int(x * WIDTH)] = 1
        auc.append(roc_auc_score(truth.ravel(), _resized(MAPS[p.key].astype(float), HEIGHT, WIDTH).ravel()))
        average.append(np.linalg.norm(_peak(MAPS[p.key]) - points.mean(axis=0)))
        minimum.append(np.linalg.norm(_peak(MAPS[p.key]) - points, axis=1).min())
    return {"auc": float(np.mean(auc)), "avg_l2": float(np.mean(average)), "min_l2": float(np.mean(minimum))}


def _written(root: Path, form: str) -> tuple[Path, list[int], Table]:
    """Annotations in one form, keys of the heads in their order, and the table that they must give."""
    by_clip = sorted(PEOPLE, key=lambda p: (p.clip, p.frame, p.name))
    clip_keys = [p.key for p in by_clip]
    vat_name = lambda p: f"images/{p.video}/{p.clip}/{p.frame:05d}.jpg"  # noqa: E731
    inside = [p for p in PEOPLE if p.inside]
    match form:
        case "gazefollow":
            return *write_gazefollow(root, PEOPLE), _gazefollow_table(PEOPLE)
        case "gazefollow json":
            name = lambda p: f"test/{p.clip}_{p.frame:03d}.jpg"  # noqa: E731
            path = write_prepared(root / "test_preprocessed.json", by_clip, name, shape="frames")
            return path, clip_keys, _gazefollow_table(PEOPLE)
        case "vat":
            return *write_vat(root, PEOPLE), _as_vat(PEOPLE)
        case "vat json":
            path = write_prepared(root / "test_preprocessed.json", by_clip, vat_name, shape="sequences")
            return path, clip_keys, _as_vat(PEOPLE)
        case "childplay":
            return *write_childplay(root, PEOPLE), _childplay_table(PEOPLE, extra=True)
        case "childplay json":
            path = write_prepared(root / "test_preprocessed.json", by_clip, lambda p: p.picture, shape="lists")
            return path, clip_keys, _childplay_table(PEOPLE, extra=False)
        case "gooreal" | "gooreal list":
            path, keys = write_gooreal(root, PEOPLE, as_json=form == "gooreal list")
            return path, keys, _gooreal_table(PEOPLE, at_eyes=True)
        case _:  # prepared, one point per head
            path = write_prepared(root / "goo.json", inside, lambda p: f"goo/{p.key}.png", shape="frames")
            content = json.loads(path.read_text())
            for frame in content:
                for head in frame["heads"]:
                    head["gazex_norm"], head["gazey_norm"] = head["gazex_norm"][:1], head["gazey_norm"][:1]
            path.write_text(json.dumps(content))
            return path, [p.key for p in inside], _gooreal_table(PEOPLE, at_eyes=False)


FORMS = [
    "gazefollow", "gazefollow json", "vat", "vat json", "childplay", "childplay json",
    "gooreal", "gooreal list", "gooreal json",
]  # fmt: skip


def _evaluated(root: Path, form: str, **options: Any) -> tuple[EvaluationReport, Table]:
    path, keys, expected = _written(root, form)
    np.savez(root / "maps.npz", heatmap=MAPS[keys], inout=INOUT[keys])
    return evaluate(str(root / "maps.npz"), path, images=str(root), **options), expected


@pytest.mark.parametrize("form", FORMS)
def test_the_table_equals_independent_numbers(form: str, tmp_path: Path) -> None:
    report, expected = _evaluated(tmp_path, form, resamples=0)
    assert report.protocol == form.split(maxsplit=1)[0].replace("vat", "videoattentiontarget")
    values = {name: one.value for name, one in report.overall.items()}
    assert values.keys() == expected.keys()
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, abs=1e-6), name
    distances = [p for p in PEOPLE if p.inside] if "gazefollow" not in form else []
    if distances:
        l2 = [np.linalg.norm(_peak(MAPS[p.key]) - _target(p)) for p in distances]
        assert report.l2_percentiles == pytest.approx({s: np.percentile(l2, int(s)) for s in ("80", "90", "95", "99")})


def test_left_out_classes_of_childplay_are_counted_and_named(tmp_path: Path) -> None:
    report, _ = _evaluated(tmp_path, "childplay", resamples=0, examples=0)
    left_out = {note.reason: note.count for note in report.labels if not note.scored}
    once = ("class_inside_occluded", "class_inside_uncertain", "class_eyes_closed", "point_missing")
    assert left_out == {**dict.fromkeys(once, 4), "class_gaze_shift": 4 * 6}
    assert "line " in report.labels[0].places[0]
    assert report.exit_code == 0


def test_groups_divide_the_heads(tmp_path: Path) -> None:
    report, _ = _evaluated(tmp_path, "childplay", resamples=0)
    inside = [p for p in PEOPLE if p.inside]
    for kind in ("target_distance", "direction"):
        counts = {name: found["avg_l2"].count for name, found in report.groups[kind].items() if "avg_l2" in found}
        assert sum(counts.values()) == len(inside)
        assert "outside" not in counts
    for direction in ("right", "down", "left", "up"):
        own = [np.linalg.norm(_peak(MAPS[p.key]) - _target(p)) for p in inside if _direction(p) == direction]
        found = report.groups["direction"][direction]["avg_l2"]
        assert (found.count, found.value) == (len(own), pytest.approx(np.mean(own)))
    right = report.groups["inout"]["outside"]["inout_accuracy"]
    outside = [INOUT[p.key] < 0.5 for p in PEOPLE if not p.inside]
    assert (right.count, right.value) == (len(outside), pytest.approx(np.mean(outside)))
    sizes = [math.sqrt((p.box[2] - p.box[0]) * (p.box[3] - p.box[1]) / WIDTH / HEIGHT) for p in PEOPLE]
    assert {name: found["inout_accuracy"].count for name, found in report.groups["head_size"].items()} == {
        "0.10-0.20": sum(0.1 <= size < 0.2 for size in sizes),
        "0.20 and more": sum(size >= 0.2 for size in sizes),
    }


def _direction(p: Person) -> str:
    dx, dy = _target(p) - ((p.box[0] + p.box[2]) / 2 / WIDTH, (p.box[1] + p.box[3]) / 2 / HEIGHT)
    angle = math.degrees(math.atan2(dy, dx))
    return "right" if -45 < angle < 45 else "down" if 45 <= angle <= 135 else "up" if -135 <= angle <= -45 else "left"


def test_reliability_of_inout(tmp_path: Path) -> None:
    report, _ = _evaluated(tmp_path, "childplay", resamples=100)
    scores, truth = np.array([INOUT[p.key] for p in PEOPLE], float), np.array([p.inside for p in PEOPLE], float)
    edges = np.minimum((scores * 10).astype(int), 9)
    ece = sum(abs(scores[edges == b].mean() - truth[edges == b].mean()) * (edges == b).mean() for b in set(edges))
    found = report.reliability
    assert found is not None
    assert found.ece.value == pytest.approx(ece)
    assert found.brier.value == pytest.approx(np.mean((scores - truth) ** 2))
    assert found.share_inside == pytest.approx(truth.mean())
    assert [b.count for b in found.bins] == [int((edges == b).sum()) for b in range(10)]
    assert found.ece.low is not None and found.ece.low < found.ece.high  # type: ignore[operator]


def test_intervals_draw_whole_clips(tmp_path: Path) -> None:
    """Four clips: the interval of a mean lies within the lowest and highest mean of a clip."""
    report, _ = _evaluated(tmp_path, "childplay", resamples=500)
    own = {c: [p for p in PEOPLE if p.clip == c and p.inside] for c in {p.clip for p in PEOPLE}}
    means = [np.mean([np.linalg.norm(_peak(MAPS[p.key]) - _target(p)) for p in clip]) for clip in own.values()]
    l2 = report.overall["avg_l2"]
    assert l2.low is not None and l2.high is not None
    assert min(means) <= l2.low < l2.value < l2.high <= max(means)
    assert any("one clip" in note for note in report.notes)
    alone = next((tmp_path / "annotations" / "test").glob("*.csv"))
    heads = len(own[alone.stem]) + sum(p.clip == alone.stem and not p.inside for p in PEOPLE)
    np.savez(tmp_path / "few.npz", heatmap=MAPS[:heads], inout=INOUT[:heads])
    few = evaluate(str(tmp_path / "few.npz"), alone, images=str(tmp_path), resamples=100)
    assert few.overall["avg_l2"].low is None, "one clip is one block, however many pictures it has"


def test_several_models_in_one_table(tmp_path: Path) -> None:
    path, keys, expected = _written(tmp_path, "childplay")
    np.savez(tmp_path / "a.npz", heatmap=MAPS[keys], inout=INOUT[keys])
    perfect = np.zeros_like(MAPS)
    for p in PEOPLE:
        column, row = (_target(p) * 64).astype(int)
        perfect[p.key, row, column] = 1
    np.savez(tmp_path / "b.npz", heatmap=perfect[keys], inout=INOUT[keys])
    page = tmp_path / "scores.html"
    names = [str(tmp_path / "a.npz"), str(tmp_path / "b.npz")]
    done = run_cli(
        "evaluate", *names, "--truth", str(path), "--images", str(tmp_path), "--html", str(page), "--json",
        "--resamples", "50",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    table = json.loads(done.stdout)
    assert table["schema_name"] == "gazetools.evaluation_table"
    assert [report["predicted"] for report in table["reports"]] == names
    values = [report["overall"]["avg_l2"]["value"] for report in table["reports"]]
    assert values[0] == pytest.approx(expected["avg_l2"])
    assert values[1] < 0.02
    (difference,) = (one["difference"] for one in table["differences"] if one["metric"] == "avg_l2")
    assert difference["value"] == pytest.approx(values[1] - values[0])
    assert difference["high"] < 0
    text = page.read_text()
    assert text.count("data:image/jpeg") == 2 * (4 + 4)
    for words in ("Differences to", "P.Head", "Reliability of in/out", "Published figures", "Tafasca 2023", "left out"):
        assert words in text
    shown = run_cli("evaluate", *names, "--truth", str(path), "--images", str(tmp_path), "--resamples", "0")
    assert "2 models against" in shown.stdout
    for wrong, says in ((names[0], "given twice"), ("model:gazelle_tin", "did you mean"), ("c.npz", "do not exist")):
        done = run_cli("evaluate", names[0], wrong, "--truth", str(path), "--images", str(tmp_path))
        assert (done.exit_code, says in done.stderr, "24/24" in done.stderr) == (2, True, False), done.stderr


def test_published_figures_name_their_protocol(tmp_path: Path) -> None:
    childplay, _ = _evaluated(tmp_path, "childplay", resamples=0)
    by_name = {one.model: one for one in childplay.published}
    page = by_name["page_vits"]
    assert (page.auc, page.avg_l2, page.inout_ap) == (0.970, 0.075, 0.997)
    assert "rectangle" in page.protocol
    assert by_name["Tafasca 2024"].auc is None
    (tmp_path / "goo").mkdir()
    assert _evaluated(tmp_path / "goo", "gooreal", resamples=0)[0].published == []


def test_a_missing_picture_fails_alone(tmp_path: Path) -> None:
    """The model scores the others; the missing one is named and the command ends with 1."""
    path, _keys, _ = _written(tmp_path, "childplay")
    lost = PEOPLE[7]
    (tmp_path / lost.picture).unlink()
    report = evaluate("model:centre-prior", path, images=str(tmp_path), resamples=0)
    heads = [p for p in PEOPLE if p.picture == lost.picture]
    assert list(report.failed) == [lost.picture]
    assert report.counts["picture_missing"] == len(heads)
    assert report.counts["scored"] + report.counts["target_outside"] == len(PEOPLE) - len(heads)
    assert report.exit_code == 1


def test_the_page_shows_the_worst_heads(tmp_path: Path) -> None:
    report, _ = _evaluated(tmp_path, "vat", resamples=0, examples=3)
    l2 = {p.key: float(np.linalg.norm(_peak(MAPS[p.key]) - _target(p))) for p in PEOPLE if p.inside}
    by_picture: dict[str, list[float]] = {}
    for p in PEOPLE:
        if p.inside:
            by_picture.setdefault(f"images/{p.video}/{p.clip}/{p.frame:05d}.jpg", []).append(l2[p.key])
    worst = sorted(((max(own), name) for name, own in by_picture.items()), reverse=True)[:3]
    best = sorted((min(own), name) for name, own in by_picture.items())[:3]
    assert [(one.avg_l2, one.video_id) for one in report.worst] == [(pytest.approx(v), n) for v, n in worst]
    assert [(one.avg_l2, one.video_id) for one in report.best] == [(pytest.approx(v), n) for v, n in best]
    assert all("line" in one.place for one in report.worst)


def test_gooreal_pictures_are_of_their_own_size(tmp_path: Path) -> None:
    """Boxes are fractions: a page draws them on 1920x1080 pictures although the file counts in 640x480."""
    path, keys, _ = _written(tmp_path, "gooreal")
    write_pictures(tmp_path, {f"{p.key}.png" for p in PEOPLE})
    report = evaluate("model:centre-prior", path, images=str(tmp_path), resamples=0)
    expected = np.mean([np.linalg.norm(np.array([0.5, 0.5]) - _target(p)) for p in PEOPLE if p.inside])
    assert report.overall["avg_l2"].value == pytest.approx(expected, abs=0.02)
    assert report.overall["avg_l2"].count == len(keys)
