"""A synthetic EPIC-KITCHENS-100: videos of three rates, its CSVs as they are released; no licensed bytes.

The picture is bright during an action and dark otherwise, so that a frame shows whether it belongs to an action. Frame
numbers of the CSVs count 60 (PXX_YY) or 50 (PXX_1YY) per second, independently of the file's rate.

python -m tests.helpers.synthetic_epic ROOT      # ROOT/videos/PXX/videos/PXX_YY.MP4, ROOT/annotations/EPIC_100_*.csv
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BRIGHT, DARK = 200, 50
SECONDS = 12
VERBS, NOUNS = ("take", "put", "wash"), ("plate", "knife", "tap")


@dataclass(frozen=True, kw_only=True)
class Action:
    """[start, stop) in seconds of the video."""

    start: float
    stop: float
    verb: int
    noun: int


@dataclass(frozen=True, kw_only=True)
class EpicVideo:
    """One video and its actions."""

    video_id: str
    rate: Fraction
    split: str
    actions: tuple[Action, ...]

    @property
    def annotation_rate(self) -> int:
        return 50 if len(self.video_id.split("_")[1]) == 3 else 60


VIDEOS = (
    EpicVideo(
        video_id="P01_01",
        rate=Fraction(60000, 1001),
        split="train",
        actions=(Action(start=4.0, stop=5.5, verb=0, noun=0), Action(start=8.25, stop=9.0, verb=2, noun=2)),
    ),
    EpicVideo(
        video_id="P01_105",
        rate=Fraction(50),
        split="train",
        actions=(Action(start=3.5, stop=6.0, verb=1, noun=1), Action(start=8.0, stop=10.0, verb=0, noun=2)),
    ),
    EpicVideo(
        video_id="P02_03",
        rate=Fraction(30000, 1001),
        split="validation",
        actions=(Action(start=5.0, stop=6.02, verb=1, noun=0), Action(start=9.0, stop=11.0, verb=0, noun=0)),
    ),
)


def write_epic(root: Path, videos: tuple[EpicVideo, ...] = VIDEOS) -> Path:
    """Videos in the downloader's layout (format 0) and every CSV of the annotations below `root`."""
    for video in videos:
        _write_video(root / "videos" / video.video_id[:3] / "videos" / f"{video.video_id}.MP4", video)
    folder = root / "annotations"
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "validation"):
        rows = [row for video in videos if video.split == split for row in _rows(video)]
        _write_csv(folder / f"EPIC_100_{split}.csv", rows)
    unlabelled = [{name: row[name] for name in list(row)[:8]} for video in videos for row in _rows(video)]
    _write_csv(folder / "EPIC_100_test_timestamps.csv", unlabelled)
    for name, keys in (("verb_classes", VERBS), ("noun_classes_v2", NOUNS)):
        rows = [{"id": i, "key": key, "instances": f"['{key}']", "category": "all"} for i, key in enumerate(keys)]
        _write_csv(folder / f"EPIC_100_{name}.csv", rows)
    _write_csv(folder / "EPIC_100_tail_verbs.csv", [{"verb": 2}])
    _write_csv(folder / "EPIC_100_tail_nouns.csv", [{"noun": 1}, {"noun": 2}])
    _write_csv(folder / "EPIC_100_unseen_participant_ids_validation.csv", [{"participant_id": "P02"}])
    _write_csv(
        folder / "EPIC_100_video_info.csv",
        [
            {"video_id": v.video_id, "duration": f"{SECONDS:.6f}", "fps": f"{float(v.rate):.6f}", "resolution": "64x48"}
            for v in videos
        ],
    )
    return root


def write_epic_annotations(folder: Path, actions: Path, *, extra: str = "") -> Path:
    """The CSVs of train, validation and test in the released layout, of the rows of a small CSV.

    `extra`: lines that are added to validation and test. The test split has the first eight columns.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = actions.read_text()
    for split, more in (("train", ""), ("validation", extra), ("test_timestamps", extra)):
        rows: list[dict[str, object]] = []
        for row in csv.DictReader((text + more).splitlines()):
            times = {name: row[name] for name in ("start_timestamp", "stop_timestamp")}
            labels = {"verb": "v", "verb_class": row["verb_class"], "noun": "n", "noun_class": row["noun_class"]}
            rows.append({
                "narration_id": row["narration_id"], "participant_id": row["video_id"][:3],
                "video_id": row["video_id"], "narration_timestamp": row["start_timestamp"], **times,
                "start_frame": 0, "stop_frame": 1,
                **({} if split == "test_timestamps" else {"narration": row["narration"], **labels}),
            })  # fmt: skip
        _write_csv(folder / f"EPIC_100_{split}.csv", rows)
    return folder


def _rows(video: EpicVideo) -> list[dict[str, object]]:
    return [
        {
            "narration_id": f"{video.video_id}_{number}",
            "participant_id": video.video_id[:3],
            "video_id": video.video_id,
            "narration_timestamp": _timestamp(action.start - 0.3),
            "start_timestamp": _timestamp(action.start),
            "stop_timestamp": _timestamp(action.stop),
            "start_frame": int(action.start * video.annotation_rate),
            "stop_frame": int(action.stop * video.annotation_rate),
            "narration": f"{VERBS[action.verb]} {NOUNS[action.noun]}, slowly",
            "verb": VERBS[action.verb],
            "verb_class": action.verb,
            "noun": NOUNS[action.noun],
            "noun_class": action.noun,
            "all_nouns": f"['{NOUNS[action.noun]}']",
            "all_noun_classes": f"[{action.noun}]",
        }
        for number, action in enumerate(video.actions)
    ]


def _timestamp(seconds: float) -> str:
    return f"{int(seconds // 3600):02d}:{int(seconds // 60) % 60:02d}:{seconds % 60:05.2f}"


def _write_video(path: Path, video: EpicVideo) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=video.rate, options={"preset": "ultrafast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in range(int(SECONDS * video.rate)):
            seconds = frame / video.rate
            busy = any(action.start <= seconds < action.stop for action in video.actions)
            picture = np.full((48, 64, 3), BRIGHT if busy else DARK, np.uint8)
            picture[:8, : 8 + frame % 48] = 120
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def _write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    write_epic(parser.parse_args().root)


if __name__ == "__main__":
    main()
