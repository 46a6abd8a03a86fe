"""The kitchens: truth and picture agree, the statistics are those that were set, and the generator is frozen."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gazetools.scenes.clips import render_scenes
from gazetools.scenes.heads import SPRITE_SIDE, head_sprite, random_head, turn_towards
from gazetools.scenes.picture import Scene
from gazetools.scenes.settings import FPS, GENERATOR_VERSION, NOUNS, TEST_SEED, SceneSettings
from gazetools.schemas.errors import UsageError

FROZEN_TRUTH = [
    0.6928,
    0.1707,
    0.7898,
    0.3808,
    0.5314,
    0.8477,
    0.4615,
    0.247,
    0.557,
    0.454,
    -1.0,
    -1.0,
    0.0876,
    0.417,
    0.2292,
    0.7239,
    0.7413,
    0.2757,
]
FROZEN_COLOUR = [126.81, 129.34, 122.71]
SMALL = SceneSettings(width=320, height=180)


def test_the_generator_is_frozen() -> None:
    """Scores of gazelle_tiny belong to one version; whoever changes its scenes raises the version and trains anew."""
    assert GENERATOR_VERSION == 2
    scene = Scene(SceneSettings(), seed=TEST_SEED + 5, seconds=12)
    people = scene.truth_at(4.0)
    told = [round(v, 4) for p in people for v in (*p.box_xyxy, *p.gaze_xy)]
    assert told == FROZEN_TRUTH
    picture = scene.draw(4.0, (224, 398))
    # the drawing library may round a pixel otherwise, not a whole picture
    assert picture.mean(axis=(0, 1)) == pytest.approx(FROZEN_COLOUR, abs=0.3)


def test_the_object_looked_at_is_drawn_where_the_truth_says() -> None:
    """Independent of the truth's code: an object that is lifted away changes the picture at the target."""
    found = 0
    for seed in range(12):
        scene = Scene(replace(SMALL, people=(1, 1)), seed=seed, seconds=12)
        seconds = next(s for s in np.arange(0.5, 11, 0.1) if scene.truth_at(s)[0].look.kind == "object")
        (person,) = scene.truth_at(seconds)
        if not person.inside:
            continue
        before = scene.draw(seconds, (180, 320)).astype(int)
        scene.kitchen.objects[person.look.number, 1] += 50  # metres: out of sight
        scene._posed, scene._backs = (-1.0, []), {}
        gone = np.abs(scene.draw(seconds, (180, 320)).astype(int) - before).max(axis=2)
        x, y = int(person.gaze_xy[0] * 320), int(person.gaze_xy[1] * 180)
        found += int(gone[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3].max() > 25)
    assert found >= 9, "objects may be hidden by bodies, but rarely"


@pytest.mark.parametrize(
    ("towards", "sees"),
    [
        ((0, 0, 1), "both eyes"),  # the sprite's view has z towards the camera
        ((0, 0, -1), "hair only"),
        ((1, 0, 0), "a profile"),
    ],
)
def test_a_head_shows_its_face_where_it_turns(towards: tuple[float, float, float], sees: str) -> None:
    look = replace(random_head(np.random.default_rng(1)), glasses=False, skin=(230, 180, 150), hair=(20, 20, 20), bun=0)
    direction = np.array(towards, float)
    sprite = head_sprite(look, turn_towards(direction), np.eye(3), direction)
    half = SPRITE_SIDE // 2
    skin = (sprite[..., 0].astype(int) > 110) & (sprite[..., 3] > 200)
    left, right = skin[:, :half].mean(), skin[:, half:].mean()
    if sees == "both eyes":
        assert left == pytest.approx(right, rel=0.15)
        assert left > 0.2
    elif sees == "hair only":
        assert max(left, right) < 0.12  # ears and neck
    else:
        assert right > 2.5 * left


def test_the_gaze_statistics_are_those_that_were_set() -> None:
    settings = SceneSettings(p_gaze_precedes=0.6, p_misleading=0.3)
    actions = [a for seed in range(60) for a in Scene(settings, seed=seed, seconds=30).actions]
    counts = {kind: sum(a.gaze == kind for a in actions) for kind in ("precedes", "misleads", "elsewhere")}
    n = len(actions)
    assert n > 300
    for kind, share in (("precedes", 0.6), ("misleads", 0.3), ("elsewhere", 0.1)):
        assert counts[kind] / n == pytest.approx(share, abs=4 * (share * (1 - share) / n) ** 0.5)
    assert settings.achievable_noun_accuracy == pytest.approx(0.6 + 0.1 / len(NOUNS))


def test_what_the_script_says_is_what_the_person_looks_at() -> None:
    for seed in range(20):
        scene = Scene(SMALL, seed=seed, seconds=12)
        for action in scene.actions:
            look = scene.truth_at(action.start_seconds - 0.8)[0].look
            looked = look.number if look.kind == "object" else None
            assert (looked == action.noun) == (action.gaze == "precedes")
            assert scene.truth_at(action.start_seconds - 0.1)[0].look.number == action.noun  # the eyes guide the hand


def test_habits_put_nouns_at_their_places() -> None:
    usual = Scene(SceneSettings(place_habit=1, place_jitter=0), seed=1, seconds=5).kitchen
    other = Scene(SceneSettings(place_habit=1, place_jitter=0), seed=2, seconds=5).kitchen
    dealt = Scene(SceneSettings(place_habit=0, place_jitter=0), seed=2, seconds=5).kitchen
    assert np.allclose(usual.objects, other.objects)
    assert not np.allclose(usual.objects, dealt.objects)


def test_any_canvas_shows_the_same_scene() -> None:
    import cv2

    scene = Scene(SceneSettings(), seed=3, seconds=8)
    large, squashed = scene.draw(3.0, (448, 796)), scene.draw(3.0, (224, 224))
    assert np.abs(cv2.resize(large, (224, 224), interpolation=cv2.INTER_AREA).astype(int) - squashed).mean() < 6


def test_heads_are_large_and_whole() -> None:
    heights = []
    for seed in range(TEST_SEED, TEST_SEED + 40):
        for person in Scene(SceneSettings(), seed=seed, seconds=5).truth_at(2.0):
            x0, y0, x1, y1 = person.box_xyxy
            assert 0 <= x0 < x1 <= 1
            assert 0 <= y0 < y1 <= 1
            heights.append(y1 - y0)
    assert min(heights) > 1 / 7
    assert max(heights) < 1 / 3
    assert 1 / 6 < np.median(heights) < 1 / 4


def test_files_tell_statistics_seeds_and_looks_outside(tmp_path: Path) -> None:
    settings = replace(SMALL, p_outside=0.5, people=(2, 2))
    ids = render_scenes(tmp_path, clips=3, seconds=4, seed=4, settings=replace(settings, participants=2), workers=1)
    assert ids == ["P01_01", "P02_02", "P01_03"]
    document = json.loads((tmp_path / "scenes.json").read_text())
    assert document["generator_version"] == GENERATOR_VERSION
    assert document["statistics"]["actions"] == sum(len(c["actions"]) for c in document["clips"])
    with (tmp_path / "gaze" / "P01_01.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * FPS * 2
    outside = [r for r in rows if r["inout"] == "0"]
    assert 0 < len(outside) < len(rows)
    assert {(float(r["x"]), float(r["y"])) for r in outside} == {(-1.0, -1.0)}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"width": 31}, "even and 32"),
        ({"people": (0, 2)}, r"1\.\.3"),
        ({"p_misleading": 1.2}, "probability"),
        ({"p_gaze_precedes": 0.9, "p_misleading": 0.2}, "more than 1"),
        ({"lead_seconds": (2.0, 1.0)}, "shortest, longest"),
        ({"reach_seconds": 3.0}, "shorter than"),
        ({"participants": 0}, "1 to 99"),
    ],
)
def test_settings_that_make_no_scene_are_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        SceneSettings(**wrong)  # type: ignore[arg-type]
