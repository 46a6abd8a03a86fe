"""Which clips, classes and frames V-JEPA 2's released EPIC-KITCHENS loader gives, through `compat: vjepa2`.

By default this project uses neither frame numbers as indices nor integer steps nor anchors in whole frames, because
frames would be up to minutes off; recorded numbers must still be reachable to compare with published results.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gazetools.annotations.segments import read_segments
from gazetools.schemas.training import DataSettings
from gazetools.trainer.data.anchors import AnchorPlan, NamedAnchor
from gazetools.trainer.data.sampling import NumberedClip, clip_frames_vjepa2
from gazetools.trainer.data.survey import DataPlan, plan_data
from tests.parity.conftest import Golden

pytestmark = pytest.mark.golden("ek100_sampling")


def plan_of(golden: Golden, root: Path) -> DataPlan:
    """The production plan over empty files named as the recorded set lays them out."""
    spec, folder = golden.spec, golden.path.parent
    layouts = {0: "{p}/videos/{v}.MP4", 1: "{p}/{v}.MP4"}
    for video_id in spec["video_fps"]:
        if video_id not in spec["videos_missing_on_disk"]:
            path = root / layouts[spec["file_format"]].format(p=video_id.split("_")[0], v=video_id)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    data = DataSettings(
        base_path=str(root),
        dataset_train=str(folder / spec["train_csv"]),
        dataset_val=str(folder / spec["val_csv"]),
        file_format=spec["file_format"],
        missing_videos="skip",
    )
    end = NamedAnchor(name="end", point=(0.0, 0.0))
    return plan_data(data, AnchorPlan(train=end, validation=(end,), rule="recorded"), compat="vjepa2")


def as_id(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def test_class_ids_are_the_recorded_sets(golden: Golden, tmp_path: Path) -> None:
    plan = plan_of(golden, tmp_path)
    maps = golden.spec["class_maps"]
    for task, name in (("verb", "verbs"), ("noun", "nouns"), ("action", "actions")):
        recorded = {as_id(original) for original, _ in maps[name]}
        assert set(plan.labels.ids[task]) == recorded, "as sets: upstream's order is that of CPython's sets"
        assert plan.labels.ids[task] == sorted(recorded)
        # pairs in val_* are upstream's new indices: back to original ids before comparing
        original = {index: as_id(value) for value, index in maps[name]}
        rows = read_segments(golden.path.parent / golden.spec["val_csv"])
        seen = {row.classes[task] for row in rows if plan.labels.covers(row)}
        assert seen == {original[index] for index in maps[f"val_{name}"]}


def test_the_same_rows_become_clips(golden: Golden, tmp_path: Path) -> None:
    plan = plan_of(golden, tmp_path)
    for split, name in ((plan.train, "train"), (plan.validation[0], "val")):
        kept = golden.spec["kept"][name]
        by_video: dict[str, list[Any]] = {}
        for clip in split.clips:
            by_video.setdefault(clip.segment.video_id, []).append(clip.segment)
        ours = {
            video_id: [segment.name for segment in sorted(segments, key=lambda s: s.frame_range or (0, 0))]
            for video_id, segments in by_video.items()
        }
        assert ours == kept["narration_ids"]
        paths = {clip.video_path.relative_to(tmp_path).as_posix() for clip in split.clips}
        assert paths == set(kept["paths"])


def test_frame_indices_and_classes_of_every_clip(golden: Golden, tmp_path: Path) -> None:
    plan = plan_of(golden, tmp_path)
    splits = {"train": plan.train, "val": plan.validation[0]}
    segments = {name: {c.segment.name: c.segment for c in split.clips} for name, split in splits.items()}
    assert golden.spec["configs"]
    for config in golden.spec["configs"]:
        name = config["name"]
        drawn = {key: golden.tensors[f"{name}.{key}"] for key in ("at", "ap", "indices", "verb", "noun")}
        for number, clip in enumerate(config["clips"]):
            segment = segments[config["split"]][clip["narration_id"]]
            assert segment.frame_range == (clip["start_frame"], clip["stop_frame"])
            chosen = clip_frames_vjepa2(
                NumberedClip(
                    start_frame=clip["start_frame"],
                    stop_frame=clip["stop_frame"],
                    video_fps=golden.spec["video_fps"][clip["video_id"]],
                    frames_per_clip=config["frames_per_clip"],
                    frames_per_second=config["fps"],
                    anticipation_seconds=float(drawn["at"][number]),
                    point=float(drawn["ap"][number]),
                )
            )
            assert chosen.frame_indices.tolist() == drawn["indices"][number].tolist(), (name, clip)
            verb, noun = int(drawn["verb"][number]), int(drawn["noun"][number])
            assert segment.classes == {"verb": verb, "noun": noun, "action": (verb, noun)}
