"""`init_config`: the main path of `train --init`. Everything is looked at and checked before the config is written."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gazetools.io.atomic import write_bytes_atomic
from gazetools.io.space import free_space, size_text
from gazetools.io.yaml_files import parse_yaml
from gazetools.metrics.verdicts import MIN_CLUSTERS
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.errors import GazetoolsError, UsageError
from gazetools.schemas.init import InitOptions
from gazetools.schemas.training import DataSettings
from gazetools.trainer.data.maps.build import build_sources
from gazetools.trainer.data.videos import EGO4D_FOLDERS, Takes, find_videos
from gazetools.trainer.models.transformers_folder import with_checkpoint_sizes
from gazetools.trainer.plan.config import load_config
from gazetools.trainer.plan.settle import RunPlan, settle
from gazetools.trainer.starting.actions import FoundActions, find_actions, participants_of
from gazetools.trainer.starting.encoders import FoundEncoder, find_encoder
from gazetools.trainer.starting.footage import FoundVideos, best_file_format, look_at_videos
from gazetools.trainer.starting.heatmaps_seen import FoundHeatmaps, look_at_heatmaps
from gazetools.trainer.starting.template import Draft, text_of
from gazetools.trainer.study import trainings_of

REQUIRED = ("videos", "annotations", "heatmaps", "encoder")
"""Fields of InitOptions without which there is no config."""
_HELD_OUT = 0.1
_FRAMES_PER_SECOND = 8
_VIEWS, _MOST_CACHE_BYTES = 4, 90 << 30


@dataclass(frozen=True, kw_only=True)
class NewConfig:
    """A config that was written, and what was seen of the data."""

    config: str
    written: list[str]
    annotations: dict[str, Any]
    videos: dict[str, Any]
    heatmaps: dict[str, Any]
    encoder: dict[str, Any]
    clips: dict[str, Any]
    warnings: list[str]
    next: list[str]
    """Commands to go on with."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class _DataSeen:
    """What was seen of the data."""

    actions: FoundActions
    encoder: FoundEncoder
    plan: RunPlan
    """The plan of the first draft, which leaves out what is missing."""
    missing_videos: list[str]
    footage: FoundVideos
    heatmaps: FoundHeatmaps


def init_config(options: InitOptions, path: Path, *, progress: Progress | None = None) -> NewConfig:
    """Look at videos, annotations, heatmaps and encoder, and write a commented config to `path`.

    The config passes `train --dry-run`: it is checked before it is written, and nothing stays where it does not. Raises
    UsageError, DataFileError or CheckpointError (exit 2) for what is missing or wrong, EnvironmentLacksError (3) for an
    encoder that was not downloaded.
    """
    say = progress or NoProgress()
    videos, annotations, heatmaps, name = _required(options)
    _refuse_existing([path], options)
    encoder = find_encoder(name)
    usable = partial(_usable, videos, heatmaps)
    actions = find_actions(annotations, options.validation, config=path, usable=usable)
    _refuse_existing([*actions.new_files], options)
    say.say(f"Annotations: {actions.kind}, {len(actions.rows)} actions; validation: {actions.how}.")
    ids = sorted({row.video_id for row in actions.rows})
    draft = Draft(
        path=str(path), name=_run_name(path), videos=str(videos),
        annotations=str(actions.train), validation=str(actions.validation), heatmaps=str(heatmaps),
        encoder=encoder, view=None,
        file_format=None if actions.is_of_takes else best_file_format(videos, ids),
        held_out=_HELD_OUT if len({row.group for row in actions.train_rows}) > 1 else 0.0,
        about_annotations=f"{actions.kind}; validation: {actions.how}.",
    )  # fmt: skip
    with _written(actions.new_files):
        draft, plan = _best_view(draft, actions)
        shown = {clip.segment.video_id: clip.video_path for clip in _clips(plan)}
        seen = _DataSeen(
            actions=actions, encoder=encoder, plan=plan, missing_videos=_missing(draft, ids),
            footage=look_at_videos(shown), heatmaps=look_at_heatmaps(plan),
        )  # fmt: skip
        draft = _commented(draft, seen)
        text = text_of(draft)
        _settled(text)
        write_bytes_atomic(path, text.encode())
    for line in (draft.about_videos, draft.about_heatmaps, draft.about_clips, f"Encoder: {encoder.what}."):
        say.say(line)
    return _result(seen, path)


def _required(options: InitOptions) -> tuple[Path, Path, Path, str]:
    videos, annotations, heatmaps, encoder = options.videos, options.annotations, options.heatmaps, options.encoder
    if videos is None or annotations is None or heatmaps is None or encoder is None:
        lacking = ", ".join(f"--{name}" for name in REQUIRED if getattr(options, name) is None)
        raise UsageError(
            f"--init needs {lacking}.",
            hint="Pass them, or run it in a terminal, which is asked for them. Heatmaps are made by gazetools extract "
            "and pack; --encoder random is a small encoder to try with.",
        )
    return videos, annotations, heatmaps, encoder


def _usable(videos: Path, heatmaps: Path, ids: set[str]) -> set[str]:
    """Those of the videos `ids` that are there and have heatmaps; UsageError where there are none."""
    names = sorted(ids)
    such = f"the {len(names)} annotated videos ({', '.join(names[:3])}{' ...' if len(names) > 3 else ''})"
    there = find_videos(videos, names, best_file_format(videos, names))
    if not there:
        raise UsageError(f"{videos} has none of {such}.", hint="Check --videos, and the ids in --annotations.")
    data = DataSettings(
        base_path=str(videos), dataset_train="", dataset_val="", use_heatmap=True, heatmap_base_path=str(heatmaps)
    )
    found = {name for source in build_sources(data).values() for name in source.survey(there).present}
    if not found:
        raise UsageError(
            f"{heatmaps} has heatmaps for none of {such}.",
            hint="Check --heatmaps; gazetools extract and pack make them.",
        )
    return found


def _run_name(path: Path) -> str:
    """A name for the trainings' folder: that of the config, in characters that a tag may have."""
    return re.sub(r"^[.+-]+", "", re.sub(r"[^A-Za-z0-9_.+-]", "_", path.stem)) or "run"


def _refuse_existing(paths: list[Path], options: InitOptions) -> None:
    """UsageError where a file would be replaced without --overwrite."""
    there = [str(path) for path in paths if path.exists()]
    if there and not options.overwrite:
        raise UsageError(
            f"{', '.join(there)} exists already.", hint="Choose another --config, or pass --overwrite to replace it."
        )


@contextmanager
def _written(files: Mapping[Path, bytes]) -> Iterator[None]:
    """Files that stay where the block succeeds; else their places are as before."""
    before = {file: file.read_bytes() if file.exists() else None for file in files}
    try:
        for file, content in files.items():
            write_bytes_atomic(file, content)
        yield
    except BaseException:
        for file, old in before.items():
            if old is None:
                file.unlink(missing_ok=True)
            else:
                write_bytes_atomic(file, old)
        raise


def _settled(text: str) -> RunPlan:
    """The plan of a config's first training, with all checks of a dry run."""
    config = load_config(parse_yaml(text, what="The new config"))
    return settle(with_checkpoint_sizes(trainings_of(config)[0]), resume=True, dry_run=True)


def _best_view(draft: Draft, actions: FoundActions) -> tuple[Draft, RunPlan]:
    """The draft with the cameras of takes that have the most heatmaps; raises what is wrong with the first ones."""
    found: list[tuple[Draft, RunPlan]] = []
    errors: list[GazetoolsError] = []
    for view in ("exo", "ego") if actions.is_of_takes else (None,):
        own = dataclasses.replace(draft, view=view)
        try:
            found.append((own, _settled(text_of(own))))
        except GazetoolsError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    return max(found, key=lambda one: len(one[1].data.train.clips))


def _clips(plan: RunPlan) -> list[Any]:
    selecting = [] if plan.selecting is None else plan.selecting.clips
    return [*plan.data.train.clips, *selecting, *plan.data.validation[0].clips]


def _missing(draft: Draft, ids: list[str]) -> list[str]:
    """Annotated videos, or takes, that are not there."""
    folder = Path(draft.videos)
    if draft.view is not None:
        takes = Takes(folder)
        return [name for name in ids if not takes.cameras(name)]
    found = find_videos(folder, ids, draft.file_format, folders=EGO4D_FOLDERS)
    return [name for name in ids if name not in found]


def _commented(draft: Draft, seen: _DataSeen) -> Draft:
    """The draft with what was seen, and decisions that follow from it."""
    plan, footage, maps = seen.plan, seen.footage, seen.heatmaps
    train, validation = plan.data.train, plan.data.validation[0]
    people = participants_of([clip.segment for clip in validation.clips])
    rates = ", ".join(f"{rate:g} fps ({count})" for rate, count in list(footage.rates.items())[:4])
    sizes = ", ".join(f"{size} ({count})" for size, count in list(footage.sizes.items())[:4])
    shown = {clip.segment.video_id for clip in _clips(plan)}
    videos = f"{len(shown)} videos; of {footage.looked_at} looked at: {rates}; {sizes}."
    if seen.missing_videos:
        videos += f" {len(seen.missing_videos)} annotated videos are missing, such as {seen.missing_videos[0]}."
    heatmaps = (
        f"Heatmaps: {maps.kind}{f' of {maps.size}' if maps.size else ''}, for {maps.present} of {maps.wanted} videos."
    )
    lacking = train.counts["heatmap_missing_skipped"] + validation.counts["heatmap_missing_skipped"]
    if lacking:
        heatmaps += f" {lacking} clips of videos without any are left out, such as those of {maps.missing[0]}."
    held = (
        f"{len({c.segment.group for c in plan.selecting.clips})} of the training videos only choose the best epoch."
        if plan.selecting is not None
        else "A single training video: the best epoch is chosen on validation, whose figures are then too good."
    )
    few = (
        "" if len(people) >= MIN_CLUSTERS else f" A verdict needs {MIN_CLUSTERS} participants or videos in validation."
    )
    classes = ", ".join(f"{count} {task}s" for task, count in plan.data.labels.counts.items())
    clips = (
        f"{len(train.clips) + (len(plan.selecting.clips) if plan.selecting else 0)} clips to train on, "
        f"{len(validation.clips)} to measure on; classes: {classes}; {len(people)} participants or videos in "
        f"validation.{few}"
    )
    needed = seen.encoder.tokens_bytes * (_VIEWS * len(train.clips) + 4 * len(validation.clips))
    fits = needed < min(_MOST_CACHE_BYTES, free_space(Path(draft.name)).bytes // 2)
    views = f"Fixed views of each training clip: the encoder sees a clip {_VIEWS} times for all epochs and trainings"
    rate = min(_FRAMES_PER_SECOND, max(1, math.floor(min(footage.rates))))
    return dataclasses.replace(
        draft, frames_per_second=rate, about_videos=videos, about_heatmaps=heatmaps, about_held_out=held,
        about_clips=clips, skips_videos=bool(seen.missing_videos), skips_heatmaps=bool(lacking),
        fixed_views=_VIEWS if fits else None,
        about_views=f"{views} ({size_text(needed)} on disk)." if fits else f"{views}; {size_text(needed)} on disk.",
    )  # fmt: skip


def _result(seen: _DataSeen, path: Path) -> NewConfig:
    plan, actions = seen.plan, seen.actions
    train, validation = plan.data.train, plan.data.validation[0]
    warnings = [f"{name} cannot be opened: {reason}" for name, reason in seen.footage.unreadable.items()]
    if seen.encoder.is_random:
        warnings.append("The encoder has random weights: for trials only, it says nothing about gaze.")
    return NewConfig(
        config=str(path),
        written=[*map(str, actions.new_files), str(path)],
        annotations={
            "kind": actions.kind, "train": str(actions.train), "validation": str(actions.validation),
            "actions": len(actions.rows), "validation_from": actions.how,
            "participants": len(participants_of(actions.rows)),
        },
        videos={
            "shown": len({clip.segment.video_id for clip in _clips(plan)}), "missing": seen.missing_videos[:1000],
            "frames_per_second": {f"{rate:g}": count for rate, count in seen.footage.rates.items()},
            "sizes": seen.footage.sizes, "unreadable": seen.footage.unreadable,
        },
        heatmaps=asdict(seen.heatmaps),
        encoder={**asdict(seen.encoder)},
        clips={
            "train": train.summary(), "validation": validation.summary(), "classes": plan.data.labels.counts,
            "held_out_videos": len({c.segment.group for c in plan.selecting.clips}) if plan.selecting else 0,
            "participants_in_validation": len(participants_of([clip.segment for clip in validation.clips])),
        },
        warnings=warnings,
        next=[f"gazetools train --config {path} --dry-run", f"gazetools train --config {path}",
              f"gazetools report runs/{_run_name(path)} -o report"],
    )  # fmt: skip
