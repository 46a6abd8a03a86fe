"""`train --init`: looks at the data, writes a commented config that passes a dry run, and names every bad input."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from gazetools.cli import train as cli_train
from gazetools.schemas.errors import CheckpointError, UsageError
from gazetools.schemas.training_model import ModelSettings
from gazetools.trainer import load_config
from gazetools.trainer.models.build import build_encoder
from gazetools.trainer.models.keys import to_upstream
from gazetools.trainer.starting.encoders import find_encoder
from gazetools.trainer.starting.template import Draft, text_of
from tests.helpers.clips import write_clip
from tests.helpers.command_line import Done, run_cli

ROOT = Path(__file__).parents[2]
VIDEOS = [f"P{person:02d}_{video:02d}" for person in range(1, 5) for video in (1, 2)]
FRAMES, RATE = 100, 20


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight videos of four people, three actions each; heatmaps of all but P04_02, and a video without actions."""
    root = tmp_path_factory.mktemp("own")
    first = write_clip(root / "videos" / f"{VIDEOS[0]}.mp4", frames=FRAMES, width=64, height=48, fps=RATE)
    for name in (*VIDEOS[1:], "unused"):
        shutil.copy(first, root / "videos" / f"{name}.mp4")
    (root / "maps").mkdir()
    for name in VIDEOS[:-1]:
        np.savez(root / "maps" / f"{name}.npz", heatmap=np.full((FRAMES, 8, 8), 0.5, np.float16))
    rows = [[name, start, start + 0.4, number % 2, number] for name in VIDEOS
            for number, start in enumerate((2.0, 3.0, 4.0))]  # fmt: skip
    write_rows(root / "actions.csv", rows)
    return root


def write_rows(path: Path, rows: list[list[Any]], header: str = "start_timestamp,stop_timestamp") -> None:
    with path.open("w", newline="") as file:
        file.write(f"video_id,{header},verb_class,noun_class\n")
        csv.writer(file, lineterminator="\n").writerows(rows)


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the data in it."""
    for name in ("videos", "maps"):
        (tmp_path / name).symlink_to(made / name)
    shutil.copy(made / "actions.csv", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


GIVEN = {"videos": "videos", "annotations": "actions.csv", "heatmaps": "maps", "encoder": "random"}


def init(*more: str, **changed: str | None) -> Done:
    given = {**GIVEN, **changed}
    flags = [word for name, value in given.items() if value is not None for word in (f"--{name}", value)]
    return run_cli("train", "--init", *flags, *more)


def test_the_config_says_what_was_seen_and_passes_a_dry_run(here: Path) -> None:
    done = init("--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["written"] == ["train_train.csv", "train_validation.csv", "train.yaml"]
    assert document["annotations"]["kind"].startswith("CSV of actions with verb and noun")
    assert document["annotations"]["participants"] == 4 and document["videos"]["missing"] == []
    assert document["videos"]["frames_per_second"] == {"20": 7} and document["videos"]["sizes"] == {"64x48": 7}
    assert document["heatmaps"]["missing"] == ["P04_02"] and document["clips"]["held_out_videos"] == 1
    config = yaml.safe_load((here / "train.yaml").read_text())
    assert (config["seeds"], config["arms"]) == (5, ["none", "estimated", "shuffled"])
    assert config["primary"] == {"contrast": "estimated - none"}
    assert config["experiment"]["data"]["missing"] == "skip", "clips without heatmaps are counted"
    text = (here / "train.yaml").read_text()
    said = " ".join(line.strip(" #") for line in text.splitlines())  # comments may be broken anywhere
    assert "3 clips of videos without any are left out, such as those of P04_02" in said
    assert max(map(len, text.splitlines())) <= 120
    planned = run_cli("train", "--config", "train.yaml", "--dry-run", "--json")
    assert planned.exit_code == 0, planned.stderr
    assert [row["trainings"] for row in json.loads(planned.stdout)["planning"]] == [3, 5, 8]


def test_no_participant_is_on_both_sides_of_the_split(here: Path) -> None:
    assert init("--config", "mine.yaml").exit_code == 0
    sides = [{row["video_id"][:3] for row in csv.DictReader((here / f"mine_{name}.csv").open())}
             for name in ("train", "validation")]  # fmt: skip
    assert sides[0] | sides[1] == {"P01", "P02", "P03", "P04"} and not sides[0] & sides[1]
    lines = [(here / name).read_text().splitlines()[1:] for name in ("mine_train.csv", "mine_validation.csv")]
    assert sorted(itertools.chain(*lines)) == sorted((here / "actions.csv").read_text().splitlines()[1:])


def test_a_validation_file_next_to_the_annotations_is_taken(here: Path) -> None:
    rows = list(csv.reader((here / "actions.csv").open()))[1:]
    write_rows(here / "my_train.csv", [row for row in rows if row[0] < "P03"])
    write_rows(here / "my_validation.csv", [row for row in rows if row[0] >= "P03"])
    document = json.loads(init("--json", annotations="my_train.csv").stdout)
    assert document["annotations"]["validation"] == "my_validation.csv" and document["written"] == ["train.yaml"]
    given = json.loads(
        init("--json", "--overwrite", "--validation", "my_train.csv", annotations="my_validation.csv").stdout
    )
    assert given["annotations"]["validation"] == "my_train.csv"


def test_keysteps_of_takes_get_the_cameras_that_have_heatmaps(made: Path, here: Path) -> None:
    takes = {"train": ["cook_1", "cook_2", "cook_3"], "val": ["cook_4", "cook_5"]}
    clip = made / "videos" / f"{VIDEOS[0]}.mp4"
    for part, names in takes.items():
        segments = [{"start_time": 2.0 + n, "end_time": 2.5 + n, "step_unique_id": n} for n in range(2)]
        entries = {f"uid-{name}": {"take_name": name, "segments": segments} for name in names}
        (here / f"keystep_{part}.json").write_text(json.dumps({"annotations": entries}))
        for name in names[: 2 if part == "train" else None]:  # the third take has no videos
            for camera in ("cam01", "aria01_214-1"):
                place = here / "takes_of_mine" / name / f"{camera}.mp4"
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(clip, place)
            (here / "mine" / name).mkdir(parents=True)
            shutil.copy(made / "maps" / f"{VIDEOS[0]}.npz", here / "mine" / name / "cam01.npz")
    done = init("--json", videos="takes_of_mine", annotations="keystep_train.json", heatmaps="mine")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["annotations"]["kind"] == "keysteps of takes (Ego-Exo4D)"
    assert document["annotations"]["validation"] == "keystep_val.json" and document["videos"]["missing"] == ["cook_3"]
    assert yaml.safe_load((here / "train.yaml").read_text())["experiment"]["data"]["video_view"] == "exo"
    assert run_cli("train", "--config", "train.yaml", "--dry-run", "--json").exit_code == 0


def test_missing_videos_are_counted_and_left_out(here: Path) -> None:
    rows = list(csv.reader((here / "actions.csv").open()))[1:]
    write_rows(here / "more.csv", [*rows, ["P09_09", 2.0, 3.0, 0, 0]])
    document = json.loads(init("--json", annotations="more.csv").stdout)
    assert document["videos"]["missing"] == ["P09_09"]
    config = yaml.safe_load((here / "train.yaml").read_text())
    assert config["experiment"]["data"]["missing_videos"] == "skip"
    assert "1 annotated videos are missing, such as P09_09" in (here / "train.yaml").read_text()


def test_nothing_is_replaced_without_a_word(here: Path) -> None:
    assert init().exit_code == 0
    before = {path.name: path.read_bytes() for path in here.glob("train*")}
    again = init()
    assert (
        again.exit_code == 2
        and "train.yaml exists already. Choose another --config, or pass --overwrite" in again.stderr
    )
    (here / "train.yaml").unlink()
    assert "train_train.csv, train_validation.csv exists already" in init().stderr
    (here / "train.yaml").write_text("mine: true\n")
    broken = init("--overwrite", heatmaps="videos")
    assert broken.exit_code == 2
    assert {path.name: path.read_bytes() for path in here.glob("train*")} == {**before, "train.yaml": b"mine: true\n"}
    assert init("--overwrite").exit_code == 0
    assert {path.name: path.read_bytes() for path in here.glob("train*")} == before


BAD: list[tuple[dict[str, str | None], str]] = [
    ({"videos": None, "encoder": None}, "--init needs --videos, --encoder."),
    ({"videos": "nowhere"}, "The video folder nowhere does not exist"),
    ({"videos": "actions.csv"}, "The video folder actions.csv is a file"),
    ({"videos": "maps"}, "maps has none of the 8 annotated videos (P01_01, P01_02, P02_01 ...)"),
    ({"annotations": "nowhere.csv"}, "Cannot read the annotations nowhere.csv"),
    ({"annotations": "renamed.csv"}, "start_timestamp (nearest: start_time)"),
    ({"annotations": "one.csv"}, "one.csv has 1 video(s) with videos and heatmaps"),
    ({"annotations": "late.csv"}, "lie past the end of their video"),
    ({"validation": "nowhere.csv"}, "Cannot read the annotations nowhere.csv"),
    ({"heatmaps": "nowhere"}, "The heatmap folder nowhere does not exist"),
    ({"heatmaps": "videos"}, "videos has heatmaps for none of the 8 annotated videos"),
    ({"encoder": "nowhere.pt"}, "--encoder nowhere.pt: it is no file, no folder and no name"),
    ({"encoder": "videos"}, "has no config.json"),
    ({"encoder": "actions.csv"}, "cannot be read as a checkpoint"),
]


@pytest.mark.parametrize(("changed", "message"), BAD, ids=lambda value: str(value)[:40])
def test_bad_inputs_are_named_and_nothing_is_written(here: Path, changed: dict[str, str | None], message: str) -> None:
    rows = list(csv.reader((here / "actions.csv").open()))[1:]
    write_rows(here / "renamed.csv", rows, header="start_time,stop_timestamp")
    write_rows(here / "one.csv", rows[:3])
    write_rows(here / "late.csv", [*rows, ["P01_01", 60.0, 61.0, 0, 0]])
    done = init(**changed)
    assert done.exit_code == 2 and message in done.stderr, done.stderr
    assert not [path.name for path in here.glob("train*")]


def test_flags_that_do_not_go_together(here: Path) -> None:
    for arguments, message in (
        (("train",), "Missing option '--config'"),
        (("train", "--config", "x.yaml", "--videos", "videos"), "--videos is for --init"),
        (("train", "--init", "seed=1"), "--init takes no key=value"),
        (("train", "--init"), "--init needs --videos, --annotations, --heatmaps, --encoder"),
        (("train", "--init", "--vidoes", "x"), "No such option: --vidoes"),
    ):
        done = run_cli(*arguments)
        assert done.exit_code == 2 and message in done.stderr, done.stderr


def test_a_terminal_is_asked_for_what_is_not_given(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(question: str, *, err: bool) -> str:
        assert err, "questions are talk, not results"
        asked.append(question)
        return {"F": "videos", "H": "maps", "E": "random"}[question[0]]

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(cli_train.typer, "prompt", answer)
    done = run_cli("train", "--init", "--annotations", "actions.csv")
    assert done.exit_code == 0, done.stderr
    assert [question.split()[0] for question in asked] == ["Folder", "Heatmaps", "Encoder"]


def model_settings(*, use_v2_1: bool = False, **encoder: Any) -> ModelSettings:
    pretrain = {"use_v2_1": use_v2_1, "encoder": encoder}
    return ModelSettings.model_validate({"checkpoint": "random", "pretrain_kwargs": pretrain})


@pytest.mark.parametrize(("levels", "given"), [(1, 64), (4, 4 * 192)], ids=["distilled", "four levels"])
def test_the_later_version_is_recognised_and_its_config_is_ready(levels: int, given: int, tmp_path: Path) -> None:
    """V-JEPA 2.1: entry, levels, width of the predictions and the context's head come from the weights."""
    encoder = build_encoder(model_settings(use_v2_1=True, model_name="vit_tiny"))
    predictor = {
        ("predictor_embed.0.weight" if levels == 4 else "predictor_embed.weight"): torch.zeros(8, levels * 192),
        "predictor_proj.weight": torch.zeros(given, 8), "predictor_proj_context.weight": torch.zeros(given, 8),
    }  # fmt: skip
    path, key = tmp_path / "vitx-384.pt", "ema_encoder" if levels == 1 else "target_encoder"
    torch.save({key: to_upstream(encoder.state_dict()), "predictor": predictor}, path)
    found = find_encoder(str(path))
    assert found.what.startswith("V-JEPA 2.1 vit_tiny, ") and found.checkpoint_key == key
    assert found.tokens_bytes == 4 * levels * 192 * 24**2 * 16
    draft = Draft(
        path="x.yaml", name="x", videos="v", annotations="a", validation="a", heatmaps="h", view=None,
        encoder=found, file_format=None, held_out=0.1, about_annotations="a",
    )  # fmt: skip
    pretrain = load_config(yaml.safe_load(text_of(draft))).model_kwargs.pretrain_kwargs
    assert pretrain.use_v2_1 and pretrain.encoder.interpolate_rope and pretrain.encoder.img_temporal_dim_size == 1
    own = pretrain.predictor
    assert (own.n_output_distillation, own.teacher_embed_dim) == (levels, 64 if levels == 1 else None)
    assert own.return_all_tokens and own.img_temporal_dim_size == 1


@pytest.mark.parametrize(("name", "expected"), [("vit_tiny", "vit_tiny"), ("vit_tiny_test", "vit_tiny_test")])
def test_metas_file_is_recognised_by_its_weights(name: str, expected: str, tmp_path: Path) -> None:
    encoder = build_encoder(model_settings(model_name=name))
    path = tmp_path / "vitx-384.pt"
    torch.save({"target_encoder": to_upstream(encoder.state_dict()), "predictor": {}}, path)
    found = find_encoder(str(path))
    assert (found.model_name, found.checkpoint_key, found.patch_size, found.tubelet_size) == (
        expected, "target_encoder", 16, 2,
    )  # fmt: skip
    assert (found.resolution, found.frames_per_clip) == (384, 32)
    torch.save({"encoder": {"patch_embed.proj.weight": torch.zeros(10, 3, 2, 16, 16)}, "predictor": {}}, path)
    with pytest.raises(CheckpointError, match="width 10 with 0 blocks, which is none of vit_tiny"):
        find_encoder(str(path))
    torch.save({"model": {}}, path)
    with pytest.raises(
        CheckpointError, match="no weights under 'target_encoder', 'ema_encoder' or 'encoder'; it has model"
    ):
        find_encoder(str(path))


def test_a_transformers_folder_says_its_sizes_itself(tmp_path: Path) -> None:
    facts = {"model_type": "vjepa2", "hidden_size": 1408, "num_hidden_layers": 40, "crop_size": 384}
    (tmp_path / "config.json").write_text(json.dumps(facts))
    found = find_encoder(str(tmp_path))
    assert (found.model_name, found.resolution, found.embed_dim) == (None, 384, 1408) and "vit_giant" in found.what
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(CheckpointError, match="a model of type 'vit'; vjepa2 is needed"):
        find_encoder(str(tmp_path))


@pytest.mark.parametrize("text", ["my videos: all", "#1", "yes", "12", "a'b\"c", "Küche", "-x", "data/videos"])
def test_paths_survive_the_template(text: str) -> None:
    draft = Draft(
        path="x.yaml", name="x", videos=text, annotations=text, validation=text, heatmaps=text, view=None,
        encoder=find_encoder("random"), file_format=None, held_out=0.1, about_annotations="a",
    )  # fmt: skip
    data = load_config(yaml.safe_load(text_of(draft))).experiment.data
    assert (data.base_path, data.dataset_val, data.heatmap_base_path) == (text, text, text)


@pytest.mark.slow
def test_the_template_is_in_the_built_package(tmp_path: Path) -> None:
    for name in ("gazetools", "pyproject.toml", "README.md", "LICENSE"):
        source = ROOT / name
        shutil.copytree(source, tmp_path / name) if source.is_dir() else shutil.copy(source, tmp_path / name)
    command = [sys.executable, "-c", "from setuptools import setup; setup()", "-q", "build", "--build-lib", "built"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    template = tmp_path / "built" / "gazetools" / "trainer" / "starting" / "config.yaml.jinja"
    assert template.read_bytes() == (ROOT / template.relative_to(tmp_path / "built")).read_bytes()


def test_a_config_that_would_not_pass_is_not_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "gazetools.trainer.starting.run._settled", lambda text: (_ for _ in ()).throw(UsageError("It does not fit."))
    )
    assert init().exit_code == 2
    assert not list(here.glob("train*"))
