"""Takes and videos of an Ego-Exo4D root may lie on another disk, behind links; names in takes.json can't lead out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gazetools.egoexo.takes import read_takes
from gazetools.extraction.inputs import plan_inputs
from gazetools.groundtruth.run import groundtruth
from gazetools.validation import validate


def _ids(root: Path) -> list[str]:
    return [item.video_id for item in plan_inputs([root]) if item.problem is None]


@pytest.mark.parametrize("linked", ["takes", "one take", "its videos", "one video"])
def test_linked_takes_are_read_like_others(egoexo_root: Path, broken_root: Path, tmp_path: Path, linked: str) -> None:
    take = next(take for take in read_takes(broken_root)[0] if any(camera.path for camera in take.cameras))
    video = next(camera.path for camera in take.cameras if camera.path is not None)
    place = {
        "takes": broken_root / "takes",
        "one take": take.folder,
        "its videos": video.parent,
        "one video": video,
    }[linked]
    place.rename(tmp_path / f"disk{place.suffix}")
    place.symlink_to(tmp_path / f"disk{place.suffix}")
    assert _ids(broken_root) == _ids(egoexo_root) != []


def test_a_path_in_the_list_still_cannot_lead_out(broken_root: Path, tmp_path: Path) -> None:
    entries = json.loads((broken_root / "takes.json").read_text())
    streams = next(iter(entries[0]["frame_aligned_videos"].values()))
    next(iter(streams.values()))["relative_path"] = "../../../outside.mp4"
    (broken_root / "takes.json").write_text(json.dumps(entries))
    (tmp_path / "outside.mp4").touch()
    problems = [item.problem for item in plan_inputs([broken_root]) if item.problem is not None]
    assert any("not allowed" in str(problem) for problem in problems)


def test_ground_truth_finds_its_videos_again_when_all_is_moved(
    broken_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report = groundtruth("root", "truth")
    assert any(item.status == "done" for item in report.items)
    (tmp_path / "moved").mkdir()
    for name in ("root", "truth"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    summary = validate(tmp_path / "moved" / "truth").summary
    assert summary["videos_decoded"] == summary["videos"] > 0
