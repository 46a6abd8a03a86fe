"""`demo`: scenes -> extract -> validate -> pack -> train -> report through the public commands, and one page of it."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any

from gazetools._version import __version__
from gazetools.demo.answer import exit_code, read_answer
from gazetools.demo.commands import StepResult, command_line, run_command
from gazetools.demo.experiment import write_experiment
from gazetools.demo.page import write_page
from gazetools.demo.plan import DemoPlan
from gazetools.io.atomic import check_writable_folder
from gazetools.io.json_files import read_json, write_json_atomic
from gazetools.progress import Progress
from gazetools.scenes.clips import render_scenes
from gazetools.scenes.settings import SceneSettings
from gazetools.schemas.errors import EnvironmentLacksError, UsageError


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """A finished demo."""

    folder: Path
    document: dict[str, Any]  # the content of result.json

    @property
    def exit_code(self) -> int:
        """0 where the primary contrast is above zero, else 1."""
        return exit_code(self.document)


def run_demo(folder: Path, plan: DemoPlan, *, progress: Progress, quiet: bool = False) -> DemoResult:
    """Run the whole experiment in `folder`, which keeps what an earlier, interrupted call finished.

    Raises EnvironmentLacksError without scipy or matplotlib, UsageError where the folder belongs to other settings,
    FaultError where a command failed, KeyboardInterrupt where one was interrupted; the same call continues.
    """
    began = monotonic()
    for package in ("scipy", "matplotlib"):  # before minutes of work: the report's step would find none
        if find_spec(package) is None:
            raise EnvironmentLacksError(
                f"The demo's report needs {package}, which is not installed.", hint="pip install 'gazetools[report]'"
            )
    steps: list[StepResult] = []
    resumed = claim_folder(folder, plan)
    rest = demo_commands(folder, plan)
    total = len(rest) + 1
    scenes_line = scenes_command(folder, plan)
    progress.say(f"[1/{total}] scenes\n$ {scenes_line}")
    scenes_seconds = make_scenes(folder, plan, progress=progress)
    progress.say(f"  ✓ {plan.clips} clips, {plan.clips * plan.seconds:g} s of video, in {scenes_seconds:.1f} s")
    for number, (title, arguments) in enumerate(rest, start=2):
        progress.say(f"[{number}/{total}] {title}\n$ {command_line(arguments)}")
        step = run_command(title, arguments, quiet=quiet)
        steps.append(step)
        progress.say(f"  ✓ {summary_of(step)}, in {step.seconds:.1f} s")
    document = {
        **read_answer(folder, plan),
        "plan": plan.document(),
        "version": __version__,
        "commands": [scenes_line, *(command_line(step.arguments) for step in steps)],
        "seconds": {"scenes": round(scenes_seconds, 1), **{s.title: round(s.seconds, 1) for s in steps}},
        "findings": {
            step.title: sum(finding["severity"] != "note" for finding in step.document["findings"])
            for step in steps
            if "findings" in step.document
        },
        "resumed": resumed,
        "total_seconds": round(monotonic() - began, 1),
    }
    write_page(folder / "report.html", folder, document, steps)
    write_json_atomic(folder / "result.json", document)
    return DemoResult(folder=folder, document=document)


def claim_folder(folder: Path, plan: DemoPlan) -> bool:
    """Write the plan into `folder`; True where an earlier run did. Raises UsageError where it holds something else."""
    check_writable_folder(folder, option="--output")
    marker = folder / "demo.json"
    wanted = json.loads(json.dumps({"version": __version__, **plan.document()}))  # as it will be read back
    if marker.is_file():
        if read_json(marker) != wanted:
            raise UsageError(
                f"{folder} holds a demo of other settings (or of another version of gazetools).",
                hint=f"Choose another folder with -o, or delete {folder}.",
            )
        return True
    if any(folder.iterdir()):
        raise UsageError(
            f"{folder} is not empty and holds no demo.", hint="Choose another folder with -o; the demo makes it."
        )
    write_json_atomic(marker, wanted)
    return False


def scenes_command(folder: Path, plan: DemoPlan) -> str:
    """The command that writes only the scenes and the experiment's files."""
    full = ["--full"] if plan.name.startswith("full") else []
    return command_line(["demo", "-o", str(folder), "--scenes-only", *full, *plan.overridden])


def make_scenes(folder: Path, plan: DemoPlan, *, progress: Progress) -> float:
    """Render the scenes that are missing and write the experiment's files; returns the seconds that it took."""
    began, scenes = monotonic(), folder / "scenes"
    ids = _ids(scenes)
    if ids is None:
        with _counted_clips(scenes, plan.clips, progress):
            ids = render_scenes(
                scenes, clips=plan.clips, seconds=plan.seconds, seed=plan.scene_seed, settings=plan.scenes
            )
    if _ids(folder / "showcase") is None:
        seed, settings = plan.scene_seed + 500_000, SceneSettings(people=(2, 2))  # none of the scenes' seeds
        render_scenes(folder / "showcase", clips=1, seconds=plan.showcase_seconds, seed=seed, settings=settings)
    write_experiment(folder, plan, ids)
    return monotonic() - began


def _ids(scenes: Path) -> list[str] | None:
    """Ids of complete scenes; None while they are incomplete, because their list is written last."""
    path = scenes / "scenes.json"
    return [clip["video_id"] for clip in read_json(path)["clips"]] if path.is_file() else None


@contextmanager
def _counted_clips(scenes: Path, clips: int, progress: Progress) -> Iterator[None]:
    """Show a bar of finished clips while the body of the `with` renders them."""
    over = threading.Event()

    def count() -> None:
        done = 0
        while not over.wait(0.3):
            found = sum(1 for _ in (scenes / "videos").glob("[!.]*.mp4"))
            progress.advance("rendering", found - done)
            done = found

    progress.start("rendering", clips, unit="clips")
    counter = threading.Thread(target=count, daemon=True)
    counter.start()
    try:
        yield
    finally:
        over.set()
        counter.join()
        progress.finish("rendering")


def demo_commands(folder: Path, plan: DemoPlan) -> list[tuple[str, list[str]]]:
    """(title, words after `gazetools`) of every step after the scenes, in order."""
    scenes, show = folder / "scenes", folder / "showcase"
    store, dataset, config = folder / "store", folder / "dataset", folder / "experiment" / "train.yaml"
    videos, clip = scenes / "videos", show / "videos" / "P01_01.mp4"

    def extract(source: Path, output: Path) -> list[str]:
        model = ("--model", plan.model, "--heads", f"file:{source / 'heads'}", "--device", "cpu")
        return _texts("extract", source / "videos", "-o", output, *model)

    against = _texts("--videos", videos, "--annotations", scenes / "actions.csv")
    return [
        ("extract", extract(scenes, store)),
        ("validate the store", _texts("validate", store, "--videos", videos)),
        ("pack", _texts("pack", store, "-o", dataset, "--normalize", "max", "--people", "1")),
        ("validate the dataset", [*_texts("validate", dataset), *against, *_texts("--for-training", config)]),
        ("train", _texts("train", "--config", config)),
        ("report", _texts("report", folder / "run", "-o", folder / "report", "--k", "1")),
        ("extract the showcase", extract(show, show / "store")),
        ("preview", _texts("preview", clip, "--heatmaps", show / "store", "-o", folder / "overlay.mp4")),
    ]


def _texts(*words: str | Path) -> list[str]:
    return [str(word) for word in words]


def summary_of(step: StepResult) -> str:
    """Result of a step in a few words."""
    document = step.document
    if "findings" in document:
        found = Counter(finding["severity"] for finding in document["findings"])
        counts = [(kind, found[kind]) for kind in ("error", "warning", "note")]
        return ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counts)
    if step.arguments[0] == "extract":
        items = document["items"]
        return f"{sum(i['rows'] for i in items)} heatmaps of {sum(i['frames'] for i in items)} frames"
    if step.arguments[0] == "train":
        models = len(document["model"]["learners"]) * len(document["trainings"])
        return f"{len(document['trainings'])} trainings of {document['epochs_done']} epochs, {models} models"
    return "done"
