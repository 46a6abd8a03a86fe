"""Every download command that messages and pages show lets the file through that it promises, by the real downloader.

The rule is that of `ego4d.internal.download.cli._manifest_ok`: an entry stays if its uid is among `--uids`. An entry's
uid is the capture's for `captures`, the take's for a take's parts, "takes" for metadata and a name for annotations.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gazetools.egoexo.takes import choose_takes, read_takes, take_of_video
from gazetools.egoexo.wearer import frame_times
from gazetools.extraction.inputs import plan_inputs
from gazetools.groundtruth.inputs import missing_files
from gazetools.schemas.downloads import ego4d_command, egoexo_command
from gazetools.schemas.errors import UsageError
from gazetools.schemas.groundtruth import GroundTruthOptions
from tests.helpers.command_line import run_cli
from tests.helpers.synthetic_takes import TAKES

ROOT = Path(__file__).parents[2]
TAKE = TAKES[0]
T, C = TAKE.uid, TAKE.capture_uid
ENTRY_UID = {"metadata": "takes", "annotations": "keystep", "captures": C}


def downloads(text: str) -> list[list[str]]:
    """The words of every `egoexo` command of a text, up to the first word that is none of its options."""
    found = []
    for rest in re.findall(r"egoexo (-o \S+ --parts[^\n`)]*)", text):
        words = shlex.split(rest.split(" && ")[0])
        end = next((i for i, word in enumerate(words) if not re.fullmatch(r"--?[a-z]+|[\w./-]*\w", word)), len(words))
        found.append(words[:end])
    return found


def passes(words: list[str], uids: dict[str, str]) -> dict[str, bool]:
    """Part -> whether the downloader keeps its entry."""
    cli = pytest.importorskip("ego4d.internal.download.cli", reason="the package ego4d is not installed")
    manifest = pytest.importorskip("ego4d.internal.download.manifest", reason="the package ego4d is not installed")
    arguments: Any = cli.create_arg_parse("egoexo", base_dir="s3://x/", release_name="v2").parse_args(words)
    for name in ("uids", "benchmarks", "splits", "views", "universities"):
        setattr(arguments, name, None if getattr(arguments, name) is None else set(getattr(arguments, name)))
    kept = {}
    for part in arguments.parts:
        path = manifest.PathSpecification(source_path=f"s3://x/{part}", relative_path=part, views=["exo", "ego"])
        benchmarks = ["keystep"] if part == "annotations" else None
        entry = manifest.ManifestEntry(uid=uids.get(part, T), paths=[path], benchmarks=benchmarks)
        kept[part] = cli._manifest_ok(entry, arguments) and cli._path_ok(path, arguments)
    return kept


# file below the root -> part that has it, uid that the command must name (None: none may be named)
MISSING = {
    f"captures/{TAKE.capture}/timesync.csv": ("captures", C),
    f"takes/{TAKE.name}/trajectory/gopro_calibs.csv": ("take_trajectory", T),
    f"takes/{TAKE.name}/trajectory/closed_loop_trajectory.csv": ("take_trajectory", T),
    f"takes/{TAKE.name}/eye_gaze/general_eye_gaze.csv": ("take_eye_gaze", T),
    f"takes/{TAKE.name}/frame_aligned_videos/cam01.mp4": ("takes", T),
    f"takes/{TAKE.name}/trajectory/semidense_points.csv.gz": ("take_point_cloud", T),
}


@pytest.mark.parametrize("file", MISSING)
def test_each_missing_file_comes_with_a_command_that_fetches_it(broken_root: Path, tmp_path: Path, file: str) -> None:
    part, uid = MISSING[file]
    (broken_root / file).unlink(missing_ok=True)
    options = ("--takes", TAKE.name, "--unknown-depth", "points", "--json")
    done = run_cli("groundtruth", str(broken_root), "-o", str(tmp_path / "truth"), "--dry-run", *options)
    commands = {command for _, command in json.loads(done.stdout)["missing"][TAKE.name]}
    (words,) = [words for words in map(downloads, commands) for words in words if part in words]
    assert words[:4] == ["-o", str(broken_root), "--parts", part]
    assert words[4:6] == ["--uids", uid]
    assert all(passes(words, ENTRY_UID).values())


def test_a_capture_without_uid_is_fetched_with_all_others_rather_than_not_at_all(broken_root: Path) -> None:
    listing = json.loads((broken_root / "takes.json").read_text())
    for entry in listing:
        del entry["capture"]["capture_uid"]
    (broken_root / "takes.json").write_text(json.dumps(listing))
    take = read_takes(broken_root)[0][0]
    assert take.download("captures") == f"egoexo -o {broken_root} --parts captures"
    both = take.download("captures", "take_trajectory")
    assert both == f"{take.download('captures')} && egoexo -o {broken_root} --parts take_trajectory --uids {take.uid}"
    listing[0]["capture_uid"] = C  # older listings have it next to the take's uid
    (broken_root / "takes.json").write_text(json.dumps(listing))
    assert read_takes(broken_root)[0][0].capture_uid == C


def _not_listed(root: Path) -> object:
    stray = root / "takes" / "stray_1" / "frame_aligned_videos" / "cam01.mp4"
    stray.parent.mkdir(parents=True)
    stray.touch()
    return take_of_video(stray)


def _no_video(root: Path) -> object:
    (root / "takes" / TAKE.name / "frame_aligned_videos" / "cam01.mp4").unlink()
    return plan_inputs([root], takes=TAKE.name, cameras="cam01")


def _no_takes(root: Path) -> object:
    shutil.rmtree(root / "takes")
    (root / "takes").mkdir()
    return choose_takes(root, None)


def _no_list(root: Path) -> object:
    (root / "takes.json").unlink()
    return read_takes(root)


def _no_rows(root: Path) -> object:
    listing = json.loads((root / "takes.json").read_text())
    listing[0]["timesync_end_idx"] = 0
    (root / "takes.json").write_text(json.dumps(listing))
    return frame_times(read_takes(root)[0][0], 90)


def _no_root(root: Path) -> object:
    return missing_files(root / "captures", GroundTruthOptions())


@pytest.mark.parametrize(
    "call", [_not_listed, _no_video, _no_takes, _no_list, _no_rows, _no_root], ids=lambda call: call.__name__
)
def test_every_other_message_names_a_command_that_fetches_something(
    broken_root: Path, call: Callable[[Path], object]
) -> None:
    with pytest.raises(UsageError) as caught:
        call(broken_root)
    text = str(caught.value)
    (words,) = downloads(text)
    uids = {"captures": "CAPTURE_UID" if "CAPTURE_UID" in words else C, "metadata": "takes"}
    others = dict.fromkeys(words, "TAKE_UID") if "TAKE_UID" in words else {}
    assert all(passes(words, others | uids).values()), text


def test_the_commands_of_the_pages_fetch_what_they_promise() -> None:
    seen = 0
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for words in downloads(page.read_text().replace(f"{T[:9]}...", "TAKE_UID")):
            seen += 1
            uids = dict.fromkeys(words, "TAKE_UID") | {"captures": "CAPTURE_UID"} if "TAKE_UID" in words else {}
            uids |= {"metadata": "takes", "annotations": "keystep"}
            assert all(passes(words, uids).values()), f"{page.name}: {words}"
    assert seen >= 4


def test_commands_are_quoted_and_split_where_one_would_filter_a_part_out() -> None:
    assert egoexo_command("my data", "takes", take_uids=["T"]) == "egoexo -o 'my data' --parts takes --uids T"
    mixed = egoexo_command("r", "metadata", "captures", "takes", take_uids=["T", "U"], capture_uids=["C"])
    assert mixed == "egoexo -o r --parts metadata && egoexo -o r --parts captures takes --uids C T U"
    assert egoexo_command("r", "metadata", "takes") == "egoexo -o r --parts metadata takes"
    assert egoexo_command("r", "takes", take_uids=[""]) == "egoexo -o r --parts takes --uids TAKE_UID"


@pytest.mark.parametrize(
    ("datasets", "uid", "kept"),
    [(("full_scale",), "v1", ["v1"]), (("gaze",), "v1", None), (("gaze", "full_scale"), "v1", None), ((), None, None)],
)
def test_ego4ds_commands_are_taken_by_its_own_parser(
    datasets: tuple[str, ...], uid: str | None, kept: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--video_uids` is refused for data sets that have no videos, as the downloader says and then ignores it."""
    config = pytest.importorskip("ego4d.cli.config", reason="the package ego4d is not installed")
    words = shlex.split(ego4d_command("a folder", *datasets, video_uid=uid))
    monkeypatch.setattr(sys, "argv", words)
    found = config.config_from_args(words[1:])
    assert (found.output_directory, found.metadata, found.version) == ("a folder", True, "v2")
    assert (found.video_uids or None) == kept
    assert set(found.datasets) == set(datasets or ["annotations"])
