"""Ego4D's long-term anticipation annotations as they are released train, validate and report like others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from gazetools import validate
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.trainer import train
from gazetools.trainer.data.anchors import resolve_anchors
from gazetools.trainer.data.clips import ClipDataset, ClipOptions, Sample
from gazetools.trainer.data.maps.build import build_sources
from gazetools.trainer.data.survey import DataPlan, plan_data
from gazetools.trainer.folder.predictions import read_predictions
from gazetools.trainer.plan.config import load_config
from gazetools.trainer.report.compare import Comparison, participants
from gazetools.trainer.report.load import load_study
from gazetools.trainer.report.run import report
from tests.helpers.clips import write_clip
from tests.helpers.command_line import run_cli
from tests.helpers.stores import make_video
from tests.trainer.conftest import Study

RATE, FRAMES = 30, 210
CLIP = (30, 180)
"""Every video of 7 s has one clip, [1 s, 6 s)."""
VERBS = ["adjust_(regulate,_increase/reduce,_change)", "cut_(trim,_slice)", "take_(pick,_grab,_get)"]
NOUNS = ["onion", "knife", "tap_(faucet)"]
# split -> video -> (start and stop in the clip, verb, noun)
ACTIONS: dict[str, dict[str, list[tuple[float, float, int, int]]]] = {
    "train": {"v1": [(1.5, 2.0, 1, 0), (2.5, 3.0, 2, 1)], "v2": [(1.6, 2.2, 1, 0), (3.0, 3.5, 0, 2)]},
    "val": {"v3": [(2.2, 2.9, 1, 0), (3.0, 3.2, 2, 1), (0.2, 0.6, 1, 0)]},
    "test_unannotated": {"v4": [(2.0, 2.5, -1, -1), (3.0, 3.5, -1, -1)]},
}


def entries(split: str) -> list[dict[str, Any]]:
    """The entries of `clips` with every field of the release (EGO4D/forecasting, LONG_TERM_ANTICIPATION.md)."""
    found = []
    for video, actions in ACTIONS[split].items():
        for index, (start, stop, verb, noun) in enumerate(actions):
            entry: dict[str, Any] = {
                "video_uid": video, "clip_uid": video.replace("v", "c"), "clip_id": 7, "action_idx": index,
                "clip_parent_start_sec": CLIP[0] / RATE, "clip_parent_end_sec": CLIP[1] / RATE,
                "clip_parent_start_frame": CLIP[0], "clip_parent_end_frame": CLIP[1],
                "interval_start_sec": 0.0, "interval_end_sec": 5.0, "interval_start_frame": 0,
                "interval_end_frame": 150, "action_clip_start_sec": start, "action_clip_end_sec": stop,
                "action_clip_start_frame": int(start * RATE), "action_clip_end_frame": int(stop * RATE),
            }  # fmt: skip
            if split != "test_unannotated":
                entry |= {"verb": VERBS[verb], "noun": NOUNS[noun], "verb_label": verb, "noun_label": noun}
            found.append(entry)
    return found


def write_ego4d(root: Path, *, full: bool = True, clips: bool = True) -> Path:
    """A download: annotations, ego4d.json, and the whole videos, their clips or both; heatmaps of both kinds."""
    annotations = root / "v2" / "annotations"
    annotations.mkdir(parents=True)
    for split in ACTIONS:
        document = {"version": "v2", "date": "x", "description": "x", "split": split, "clips": entries(split)}
        (annotations / f"fho_lta_{split}.json").write_text(json.dumps(document))
    (annotations / "fho_lta_taxonomy.json").write_text(json.dumps({"verbs": VERBS, "nouns": NOUNS}))
    people = {"v1": 11, "v2": 12, "v3": 13, "v4": None}
    listed = [
        {"video_uid": v, "duration_sec": 7.0, "fb_participant_id": p, "split_fho": "x"} for v, p in people.items()
    ]
    (root / "ego4d.json").write_text(json.dumps({"videos": listed}))
    (root / "maps").mkdir()
    for video in people:
        clip = video.replace("v", "c")
        if full:
            write_clip(root / "v2" / "full_scale" / f"{video}.mp4", frames=FRAMES, width=64, height=48, fps=RATE)
        if clips:
            path = root / "v2" / "clips" / f"{clip}.mp4"
            write_clip(path, frames=CLIP[1] - CLIP[0], width=64, height=48, fps=RATE, first=CLIP[0])
        ramp = np.arange(FRAMES, dtype=np.float32)[:, None, None] / FRAMES * np.ones((1, 8, 8), np.float32)
        for name, maps in ((video, ramp), (clip, ramp[slice(*CLIP)])):
            times = {"pts_seconds": np.arange(len(maps)) / RATE, "valid": np.ones(len(maps), bool)}
            np.savez(root / "maps" / f"{name}.npz", heatmap=maps, **times)
    return root


def config_of(study: Study, root: Path, **data: Any) -> dict[str, Any]:
    folder = root / "v2" / "annotations"
    return study.config(
        root / "run", base_path=str(root), heatmap_base_path=str(root / "maps"),
        **{"dataset_train": str(folder / "fho_lta_train.json"), "dataset_val": str(folder / "fho_lta_val.json"),
           "train_transform": "evaluation", **data},
    )  # fmt: skip


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ego4d(tmp_path_factory.mktemp("ego4d"))


@pytest.fixture(scope="module")
def only_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ego4d(tmp_path_factory.mktemp("clips"), full=False)


def planned(study: Study, root: Path, **data: Any) -> tuple[DataPlan, Any]:
    config = load_config(config_of(study, root, **data))
    return plan_data(config.experiment.data, resolve_anchors(config)), config


def test_a_run_on_ego4d_from_the_command_line(study: Study, both: Path, tmp_path: Path) -> None:
    """Dry run, training, report: classes by name, people of ego4d.json, one action left out for want of a past."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config_of(study, both) | {"arms": ["none", "estimated"]}))
    dry = run_cli("train", "--config", str(path), "--dry-run", "--json")
    assert dry.exit_code == 0, dry.stderr
    data = json.loads(dry.stdout)["data"]
    assert data["classes"] == {"verb": 3, "noun": 3, "action": 3} and data["train"]["clips"] == 4
    assert data["official_lists"] == ["fho_lta_taxonomy.json"]
    # 1.2 s into the video: the clip of the third action begins 0.2 s after 0, before which nothing is seen
    assert (data["validation"]["start"]["rows"], data["validation"]["start"]["clips"]) == (3, 3)
    assert any("whole videos (video_uid)" in note for note in json.loads(dry.stdout)["notes"])
    done = run_cli("train", "--config", str(path), "--json", "experiment.optimization.num_epochs=1")
    assert done.exit_code == 0, done.stderr
    final = json.loads(done.stdout)["final"]["none"]["val_start"]
    assert final["clips"] == 3 and {"verb_recall3", "noun_recall3", "action_recall3"} <= final.keys()
    saved = read_predictions(both / "run" / "predictions" / "none" / "val_start.npz")
    assert saved.clip_names == ["c3_0", "c3_1", "c3_2"] and saved.participant_ids == ["13"]
    for task in saved.tasks:  # the measures against plain numpy
        rank, label = saved.arrays[f"rank_{task}"], saved.arrays[f"label_{task}"]
        expected = 100 * np.mean([np.mean(rank[label == one] < 3) for one in np.unique(label)])
        assert final[f"{task}_recall3"] == pytest.approx(expected)
    document = report([both / "run"], output=tmp_path / "report", k=1)
    assert document["statistics"]["cluster"] == "participant" and document["official"] is None
    assert {row["class"] for row in document["class_gains"]} >= {
        "1 cut_(trim,_slice)", "[1, 0] cut_(trim,_slice) onion",
    }  # fmt: skip


def shown(plan: DataPlan, config: Any, place: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What a validation clip shows: brightness of its frames [T], which tells their number, and that of its maps."""
    options = ClipOptions(training=False, seed=0, compat="none", index_cache=None)
    sources = build_sources(config.experiment.data)
    sample = ClipDataset(plan.validation[0], config.experiment.data, plan.labels, options, heatmaps=sources)[place]
    assert isinstance(sample, Sample)
    return sample.video[0].mean((1, 2)).numpy(), sample.heatmaps["heatmap"].mean((1, 2)).numpy()


def test_clips_show_the_same_moments_as_whole_videos(study: Study, both: Path, only_clips: Path) -> None:
    full, config = planned(study, both)
    clips, own_config = planned(study, only_clips)
    assert any("clips (clip_uid)" in note for note in clips.notes)
    segments = [clip.segment for clip in clips.validation[0].clips]
    assert [(one.video_id, one.group, one.start_seconds) for one in segments] == [("c3", "v3", 2.2), ("c3", "v3", 3.0)]
    assert clips.validation[0].counts["no_observation"] == 1, "the clip begins 0.2 s before the third action"
    assert [one.name for one in segments] == [clip.segment.name for clip in full.validation[0].clips[:2]]
    assert clips.labels == full.labels
    for place in (0, 1):
        (video, maps), (other, other_maps) = (shown(*one, place) for one in ((full, config), (clips, own_config)))
        assert np.abs(video - other).max() < 0.05 < np.ptp(video), "as the same frames, encoded twice"
        np.testing.assert_allclose(maps, other_maps, atol=1e-6)


def test_clips_of_one_video_are_one_cluster_where_nobody_is_known(study: Study, tmp_path: Path) -> None:
    """Without ego4d.json; two clips of one video are measured, and a third one of another."""
    root = write_ego4d(tmp_path, full=False)
    (root / "ego4d.json").unlink()
    path = root / "v2" / "annotations" / "fho_lta_val.json"
    more = [{**entries("val")[0], "clip_uid": clip, "video_uid": video} for clip, video in (("c1", "v3"), ("c2", "v9"))]
    path.write_text(json.dumps({"clips": [*entries("val")[:2], *more]}))
    train(config_of(study, root), overrides=["experiment.optimization.num_epochs=1"])
    saved = read_predictions(root / "run" / "predictions" / "main" / "val_start.npz")
    assert (saved.video_ids, saved.parent_ids) == (["c1", "c2", "c3"], ["v3", "v9", "v3"])
    assert participants(saved) == [":v3", ":v9", ":v3"]
    comparison = Comparison(study=load_study([root / "run"]), k=5)
    assert comparison.level == "video"
    assert comparison.counts("val_start") == {"clips": 4, "videos": 3, "clusters": 2}


def test_the_config_chooses_the_files_of_ego4d(study: Study, both: Path, only_clips: Path) -> None:
    plan, _ = planned(study, both, ego4d_videos="clips")
    assert {clip.segment.video_id for clip in plan.train.clips} == {"c1", "c2"}
    with pytest.raises(UsageError, match=r"3 of 3 annotated videos are not below .*: v1, v2, v3"):
        planned(study, only_clips, ego4d_videos="full")


def test_folders_of_ego4d_are_not_those_of_other_annotations(study: Study, both: Path, tmp_path: Path) -> None:
    """A CSV that names v3 means a file of that name, not what lies in some folder `clips` or `full_scale`."""
    path = tmp_path / "rows.csv"
    path.write_text("video_id,start_timestamp,stop_timestamp,verb_class,noun_class\nv3,2,3,1,0\n")
    with pytest.raises(UsageError, match="1 of 1 annotated videos are not below"):
        planned(study, both, dataset_train=str(path), dataset_val=str(path))


def test_labels_that_the_taxonomy_lacks_are_refused(study: Study, both: Path, tmp_path: Path) -> None:
    for name, changed in (("fho_lta_val.json", {**entries("val")[0], "noun_label": 3}),):
        (tmp_path / name).write_text(json.dumps({"clips": [changed]}))
    (tmp_path / "fho_lta_taxonomy.json").write_text(json.dumps({"verbs": VERBS, "nouns": NOUNS}))
    with pytest.raises(DataFileError, match=r"clips\[0\]: noun class 3 is none of the 3 in the list"):
        planned(study, both, dataset_val=str(tmp_path / "fho_lta_val.json"))


def test_the_unannotated_split_is_predicted_but_no_submission_to_epic(study: Study, both: Path) -> None:
    test = both / "v2" / "annotations" / "fho_lta_test_unannotated.json"
    config = config_of(study, both, dataset_test=str(test)) | {"folder": str(both / "tested")}
    result = train(config, overrides=["experiment.optimization.num_epochs=1"])
    assert result.final["main"]["test"]["clips"] == 2
    saved = read_predictions(both / "tested" / "predictions" / "main" / "test.npz")
    assert saved.clip_names == ["c4_0", "c4_1"] and saved.arrays["score_verb"].shape == (2, 3)
    with pytest.raises(UsageError, match="by verb, noun and narration_id"):
        train(config, overrides=["experiment.evaluation.epic_sls=[0,0,0]", f"folder={both / 'other'}"])


@pytest.mark.parametrize(("name", "covered"), [("v3", 3), ("c3", 3)])
def test_validate_finds_the_heatmaps_of_videos_and_of_clips(
    both: Path, tmp_path: Path, name: str, covered: int
) -> None:
    make_video(tmp_path / "store", name, frame_count=FRAMES if name == "v3" else CLIP[1] - CLIP[0])
    result = validate(tmp_path / "store", annotations=both / "v2" / "annotations" / "fho_lta_val.json")
    assert (result.summary["clips"], result.summary["clips_covered"]) == (3, covered)
    assert "annotated-video-missing" not in {finding.code for finding in result.findings}
