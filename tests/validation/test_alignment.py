"""`judge` on scenes whose frames are known numbers: each planted fault is named with its k, its place and its speed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from gazetools.sampling import spread
from gazetools.validation.deep.alignment import judge
from gazetools.validation.verdict import Verdict

Ints = np.ndarray
LENGTH = 240


class Scene:
    """Evidence without pictures: a frame is a point, a sample the point of the frame that it was really made from.

    Points walk at random, so that neighbours are alike and far frames are not; `still` is a range without motion.
    """

    tolerance, noise, max_shift = 0.05, 0.005, 32

    def __init__(
        self,
        source: Ints,
        *,
        video: Ints | None = None,
        deep: int = 8,
        still: range = range(0),
        step: float = 0.02,
        seed: int = 0,
    ) -> None:
        """Stated frame i was made from frame `source[i]` of a scene; the video shows the scene's frames `video`."""
        generator = np.random.default_rng(seed)
        steps = generator.normal(size=(4 * LENGTH, 12))
        steps[still] = 0
        scene = np.cumsum(steps, axis=0) * step / np.sqrt(12)
        self._made = scene[np.asarray(source)]
        self._shown = scene[np.arange(LENGTH) if video is None else np.asarray(video)]
        self.frames = spread(len(self._made), deep)
        self.frame_count = len(self._shown)
        self.spent = 0

    def distances(self, samples: Sequence[int], shifts: Sequence[int]) -> Ints:
        table = np.full((len(samples), len(shifts)), np.nan)
        for i, s in enumerate(samples):
            for j, k in enumerate(shifts):
                if 0 <= (frame := self.frames[s] + k) < self.frame_count:
                    table[i, j] = np.abs(self._made[self.frames[s]] - self._shown[frame]).sum()
                    self.spent += 1
        return table

    def transformed(self, samples: Sequence[int]) -> dict[str, Ints]:
        return {"mirrored": np.array([np.abs(self._made[self.frames[s]]).sum() + 1 for s in samples])}

    def between(self, low: int, high: int) -> int | None:
        inside = range(max(low + 1, 0), min(high, len(self._made)))
        if not inside:
            return None
        self.frames.append(inside[len(inside) // 2])
        return len(self.frames) - 1


FRAMES = np.arange(LENGTH)


def _at_rate(speed: float, offset: float = 0.0) -> Ints:
    return np.clip(np.round(FRAMES * speed + offset), 0, LENGTH - 1).astype(int)


def _without(*lost: int) -> Ints:
    return np.setdiff1d(FRAMES, lost)


def _describe(verdict: Verdict) -> str:
    if verdict.kind == "shifted":
        return f"shifted {verdict.shifts[0]:+d} {verdict.shifts[1]:+d}"
    if verdict.kind == "drifting":
        return f"drifting {verdict.shifts[0]:+d} {verdict.shifts[1]:+d}"
    if verdict.kind == "jumping":
        return "jumping " + " ".join(f"{j.first}..{j.last}:{j.before:+d}{j.after:+d}" for j in verdict.jumps)
    return verdict.kind


FAULTS: dict[str, tuple[Callable[[], Scene], str]] = {
    # name: (scene, verdict)
    "in place": (lambda: Scene(FRAMES), "aligned"),
    "shifted by +1": (lambda: Scene(_at_rate(1, 1)), "shifted +1 +1"),
    "shifted by -2": (lambda: Scene(_at_rate(1, -2)), "shifted -2 -2"),
    "shifted by +20": (lambda: Scene(_at_rate(1, 20)), "shifted +20 +20"),
    "drift of +3 over the length": (lambda: Scene(_at_rate(1 + 3 / 239)), "drifting +0 +3"),
    "drift of -3 over the length": (lambda: Scene(_at_rate(1 - 3 / 239)), "drifting +0 -3"),
    "drift of +12": (lambda: Scene(_at_rate(1 + 12 / 239)), "drifting +0 +12"),
    "drift of -12 that starts at +5": (lambda: Scene(_at_rate(1 - 12 / 239, 5)), "drifting +5 -7"),
    "drift of +30 from -10": (lambda: Scene(_at_rate(1 + 30 / 239, -10)), "drifting -10 +20"),
    "half the rate": (lambda: Scene(FRAMES // 2), "drifting +0 -120"),
    "twice the rate": (lambda: Scene(_at_rate(2)), "drifting +0 +239"),
    "a third of the rate": (lambda: Scene(_at_rate(3)), "drifting +0 +478"),
    "25 taken for 30": (lambda: Scene(_at_rate(30 / 25)), "drifting +0 +48"),
    "one frame lost": (lambda: Scene(_without(100)), "jumping 100..100:+0+1"),
    "one frame lost early": (lambda: Scene(_without(3)), "jumping 3..3:+0+1"),
    "one frame lost late": (lambda: Scene(_without(231)), "jumping 231..231:+0+1"),
    "five frames lost": (lambda: Scene(_without(*range(77, 82))), "jumping 77..77:+0+5"),
    "two frames lost at two places": (lambda: Scene(_without(20, 90)), "jumping 20..20:+0+1 89..89:+1+2"),
    "one frame twice": (lambda: Scene(np.sort(np.append(FRAMES[:-1], 150))), "jumping 151..151:+0-1"),
    "lost in the video": (lambda: Scene(FRAMES, video=np.delete(FRAMES, 60)), "jumping 60..61:+0-1"),
    "the video's beginning cut": (lambda: Scene(FRAMES, video=FRAMES[24:]), "shifted -24 -24"),
    "the video's end cut": (lambda: Scene(FRAMES, video=FRAMES[:-40]), "aligned"),
    "a piece cut out of the video": (
        lambda: Scene(FRAMES, video=np.delete(FRAMES, range(90, 110))),
        "jumping 90..110:+0-20",
    ),
    "a long piece cut out": (lambda: Scene(FRAMES, video=np.delete(FRAMES, range(30, 200))), "jumping 30..200:+0-170"),
    "maps of a cut video": (lambda: Scene(FRAMES[24:], video=FRAMES), "shifted +24 +24"),
    "another scene": (lambda: Scene(FRAMES + 2 * LENGTH), "unexplained"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_named_with_its_numbers(name: str) -> None:
    make, expected = FAULTS[name]
    scene = make()
    verdict = judge(scene, difference=scene.frame_count - len(scene._made), rate=25.0)
    assert _describe(verdict) == expected
    assert scene.spent <= 1500, "no fault may cost more frames than docs/validation.md says"


CLEAN: dict[str, Callable[[int], Scene]] = {
    # name: scene by seed; what is in place must be called so
    "moving": lambda seed: Scene(FRAMES, seed=seed, step=0.1),
    "hardly moving": lambda seed: Scene(FRAMES, seed=seed, step=0.001),
    "still": lambda seed: Scene(FRAMES, seed=seed, step=0.0),
    "still for a while": lambda seed: Scene(FRAMES, seed=seed, still=range(60, 160)),
    "still at the end": lambda seed: Scene(FRAMES, seed=seed, still=range(100, LENGTH)),
    "still, and the video's end cut": lambda seed: Scene(FRAMES, video=FRAMES[:-60], seed=seed, step=0.0),
    "one sample": lambda seed: Scene(FRAMES, seed=seed, deep=1),
    "two frames": lambda seed: Scene(FRAMES[:2], video=FRAMES[:2], seed=seed),
    # a still scene hides every shift: nothing may be claimed
    "still and shifted": lambda seed: Scene(_at_rate(1, 3), seed=seed, step=0.0),
    "still and drifting": lambda seed: Scene(_at_rate(1.1), seed=seed, step=0.0),
}


@pytest.mark.parametrize("name", CLEAN)
def test_no_fault_is_named_without_evidence(name: str) -> None:
    for seed in range(8):
        scene = CLEAN[name](seed)
        verdict = judge(scene, difference=scene.frame_count - len(scene._made), rate=25.0)
        assert (verdict.kind, verdict.frames) == ("aligned", [])
        if name.startswith(("still and", "still, and", "hardly")) or name == "still":
            assert not verdict.identifiable


class _Encoded(Scene):
    """Stored samples differ from the frames that they were made of, as after re-encoding: more in some frames."""

    tolerance, noise = 4.0, 0.02

    def __init__(self, source: Ints, *, level: float, seed: int, **options: Any) -> None:
        super().__init__(source, seed=seed, **options)
        self._level = level * np.random.default_rng(seed).uniform(0.6, 1.6, len(self._shown))

    def distances(self, samples: Sequence[int], shifts: Sequence[int]) -> Ints:
        table = super().distances(samples, shifts)
        for i, s in enumerate(samples):
            for j, k in enumerate(shifts):
                if 0 <= (frame := self.frames[s] + k) < self.frame_count:
                    table[i, j] += self._level[frame]
        return table


@pytest.mark.parametrize("step", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("level", [0.2, 0.6, 1.5])
def test_another_encoding_is_no_fault(level: float, step: float) -> None:
    for seed in range(8):
        assert judge(_Encoded(FRAMES, level=level, seed=seed, step=step), rate=25.0).kind == "aligned"


ENCODED: dict[str, tuple[Ints, str]] = {
    "shifted": (_at_rate(1, 2), "shifted +2 +2"),
    "drifting": (_at_rate(1 + 12 / 239), "drifting +0 +12"),
    "a frame lost": (_without(100), "jumping 100..100:+0+1"),
}


@pytest.mark.parametrize("name", ENCODED)
def test_a_fault_shows_through_another_encoding(name: str) -> None:
    source, expected = ENCODED[name]
    assert _describe(judge(_Encoded(source, level=0.2, seed=0, step=1.0), rate=25.0)) == expected


@pytest.mark.parametrize("deep", [4, 8, 32])
@pytest.mark.parametrize("place", [2, 60, 119, 231])
def test_a_lost_frame_is_found_wherever_it_was(place: int, deep: int) -> None:
    scene = Scene(_without(place), deep=deep, seed=place)
    assert _describe(judge(scene)) == f"jumping {place}..{place}:+0+1"
