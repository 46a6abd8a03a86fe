"""`fill_cache`: encode every clip of a config once, so that its trainings need no video any more."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from gazetools.io.space import blocks, check_space, free_space, size_text
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.errors import DataFileError, ExitCode, FaultError, GazetoolsError, UsageError
from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.data.batch import Sample, Unreadable
from gazetools.trainer.data.clips import ClipDataset
from gazetools.trainer.data.feature_cache import FeatureCache
from gazetools.trainer.data.kept_videos import KeptVideos
from gazetools.trainer.data.survey import SplitPlan
from gazetools.trainer.learn.feed import Loaders, explained_out_of_memory
from gazetools.trainer.learn.forward import Forward, observed_tokens, open_feature_cache
from gazetools.trainer.models.build import build_wrapper, load_pretrained
from gazetools.trainer.models.transformers_folder import with_checkpoint_sizes
from gazetools.trainer.plan.config import load_config
from gazetools.trainer.plan.settle import RunPlan, settle
from gazetools.trainer.processes.interruption import Interruption
from gazetools.trainer.processes.launch import accept_warnings
from gazetools.trainer.processes.world import World, joined_world
from gazetools.trainer.study import trainings_of

_TASK = "features"
_ENTRY_BYTES = 1024
"""Bytes of a cached file in addition to its tokens, rounded up."""


@dataclass(frozen=True, kw_only=True)
class FilledCache:
    """The outcome of `fill_cache`."""

    status: Literal["done", "interrupted", "dry_run"]
    folder: str
    clips: int
    """Different clips, views and times that trainings and measurements show; before a dry run's keys are known, at
    most."""
    present: int
    """How many of these were there already."""
    encoded: int
    needed_bytes: int
    """Size of those that were missing at the start."""
    seeds: list[int]
    unreadable: list[str]

    @property
    def exit_code(self) -> ExitCode:
        """0, 1 where clips could not be read, or 130 where it was interrupted."""
        if self.status == "interrupted":
            return ExitCode.INTERRUPTED
        return ExitCode.FINDINGS if self.unreadable else ExitCode.OK

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def fill_cache(
    config: str | Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    only_seed: int | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> FilledCache:
    """Fill the feature cache of a config with all clips of all its trainings; what is there already stays.

    The arguments are those of `train`. Every fixed view of every training clip, the held-out clips of every seed,
    validation and horizons are encoded; processes share the work. Stopped or killed, the same call goes on.

    Raises UsageError where the config has no cache or training clips differ between epochs, FaultError where the disk
    has no room for what is missing, which is known before the first clip is encoded.
    """
    settings = load_config(config, overrides)
    trainings = [with_checkpoint_sizes(one) for one in trainings_of(settings, only_seed=only_seed)]
    _refuse(trainings[0])
    with Interruption() as interruption:
        plans = [settle(one, resume=True, dry_run=True, progress=progress) for one in trainings]
        with joined_world(plans[0].device.type) as world:
            say = (progress or NoProgress()) if world.leads else NoProgress()
            for text in dict.fromkeys(text for plan in plans for text in plan.data.notes):
                say.say(text)
            if dry_run:
                return _planned(plans, say)
            interruption.arm()
            accept_warnings()
            return _Filling(plans, world, say, interruption).run()


def _refuse(config: TrainingConfig) -> None:
    """UsageError where no features can be kept that a training could use instead of its videos."""
    data = config.experiment.data
    if data.feature_cache is None and data.training_clips_repeat:
        raise UsageError(
            "--cache-only: the config has no feature cache.",
            hint="Set experiment.data.feature_cache={folder: features}.",
        )
    if not data.training_clips_repeat:
        raise UsageError(
            "--cache-only: training clips differ between epochs, so that every run needs the videos.",
            hint="Fix their views: experiment.data.train_views=4, or train_transform=evaluation with one "
            "train_anticipation_time_sec.",
        )
    if config.experiment.optimization.losses.jepa:
        raise UsageError(
            "--cache-only: optimization.losses.jepa compares with frames of the future, which need the videos.",
            hint="Set experiment.optimization.losses.jepa=0.",
        )


def _datasets(plan: RunPlan, cache: FeatureCache | None) -> Iterator[ClipDataset]:
    """Everything that a training shows: all views of all training clips, and what it measures."""
    views = plan.config.experiment.data.train_views
    whole = _with_held_out(plan.data.train, plan.selecting)
    made = [
        plan.dataset(whole, training=True, features=cache, view=view)
        for view in ([None] if views is None else range(views))
    ]
    test = [] if plan.data.test is None else [plan.data.test]
    splits = (*plan.each_epoch, *plan.horizons.values(), *test)
    for dataset in (*made, *(plan.dataset(split, training=False, features=cache) for split in splits)):
        if cache is not None and plan.config.experiment.data.index_cache is None:
            dataset.index_cache = cache.root / "frame_indexes"  # not in run folders, which have not begun
        yield dataset


def _with_held_out(train: SplitPlan, selecting: SplitPlan | None) -> SplitPlan:
    """The training clips before some were held out: another seed trains on them."""
    return train if selecting is None else dataclasses.replace(train, clips=[*train.clips, *selecting.clips])


def _tokens_bytes(plan: RunPlan, dtype: torch.dtype) -> int:
    return plan.model["video_tokens"] * plan.model["encoder"]["output_width"] * dtype.itemsize


def _planned(plans: Sequence[RunPlan], say: Progress) -> FilledCache:
    """What a dry run tells: the most that there could be, without keys."""
    config = plans[0].config
    cache, encoder = config.experiment.data.feature_cache, config.model_kwargs.pretrain_kwargs.encoder
    assert cache is not None, "refused before"
    places = {
        (kind, dataset.options.view, dataset.split.name, dataset.split.anticipation_seconds, clip.index)
        for plan in plans
        for dataset in _datasets(plan, None)
        for kind in (dataset.options.training,)
        for clip in dataset.split.clips
    }
    one = blocks(_tokens_bytes(plans[0], getattr(torch, cache.dtype or encoder.dtype)) + _ENTRY_BYTES)
    free, whole = size_text(free_space(Path(cache.folder)).bytes), size_text(one * len(places))
    say.say(f"At most {len(places)} clips of {size_text(one)} each: {whole} in {cache.folder}; {free} are free.")
    return FilledCache(
        status="dry_run", folder=cache.folder, clips=len(places), present=0, encoded=0, needed_bytes=one * len(places),
        seeds=[plan.config.seed for plan in plans], unreadable=[],
    )  # fmt: skip


class _MissingClips:
    """Clips of several datasets whose features are not kept, as one dataset of a single epoch."""

    epoch = 0

    def __init__(self, places: Sequence[tuple[ClipDataset, int]]) -> None:
        self.places = list(places)

    def __getitem__(self, place: int) -> Sample | Unreadable:
        dataset, own = self.places[place]
        return dataset[own]


class _Filling:
    """The work of one call of `fill_cache` in this process."""

    def __init__(self, plans: Sequence[RunPlan], world: World, say: Progress, interruption: Interruption) -> None:
        self.plans, self.world, self.say, self.interruption = plans, world, say, interruption
        plan = plans[0]
        shared = load_pretrained(plan.config)
        cache = open_feature_cache(plan.config, shared.encoder, plan.device, world, note=say.say)
        assert cache is not None, "refused before"
        self.cache, self.kept = cache, KeptVideos(cache.root)
        spec = plan.learners[0]
        self.wrapper = build_wrapper(spec.config, shared, seed=spec.seed).eval().to(plan.device)
        self.size = _tokens_bytes(plan, cache.dtype)

    def run(self) -> FilledCache:
        """Keep facts of the videos, find the missing clips, check the room, encode them."""
        datasets = [dataset for plan in self.plans for dataset in _datasets(plan, self.cache)]
        self._keep_videos(datasets)
        keys, unreadable = self._keys(datasets)
        missing = [place for key, place in keys.items() if not self.cache.holds(key, self.size)]
        needed = len(missing) * blocks(self.size + _ENTRY_BYTES)
        present = len(keys) - len(missing)
        self.say.say(
            f"{len(keys)} different clips: {present} are kept, {len(missing)} are missing, {size_text(needed)} in "
            f"{self.cache.folder}."
        )
        self._check_room(needed, len(missing))
        self.world.barrier()  # so that no process counts what another one has just stored
        own = missing[self.world.rank :: self.world.size]
        done, failed = self._encode(own)
        parts = self.world.gather((done, failed, self.cache.stopped))
        if reason := next((part[2] for part in parts if part[2] is not None), None):
            raise FaultError(
                f"The feature cache {self.cache.root} is not complete: {reason}.",
                hint="Make room, or raise experiment.data.feature_cache.budget_gib; the same command goes on.",
            )
        encoded, failures = sum(part[0] for part in parts), [one for part in parts for one in part[1]]
        left = len(missing) - encoded - len(failures)
        unreadable += failures
        allowed = self.plans[0].config.experiment.data.max_unreadable_clips
        if len(unreadable) > allowed:
            raise DataFileError(
                f"{len(unreadable)} clip(s) could not be read, {allowed} allowed; the first: {unreadable[0]}",
                hint="Repair the files, or raise experiment.data.max_unreadable_clips.",
            )
        return FilledCache(
            status="interrupted" if left else "done",
            folder=str(self.cache.folder), clips=len(keys), present=present, encoded=encoded, needed_bytes=needed,
            seeds=[plan.config.seed for plan in self.plans], unreadable=unreadable,
        )  # fmt: skip

    def _keep_videos(self, datasets: Sequence[ClipDataset]) -> None:
        """Write the facts of every video that is there; processes share the work."""
        first = {clip.segment.video_id: (one, n) for one in datasets for n, clip in enumerate(one.split.clips)}
        names = sorted(first)
        for name in names[self.world.rank :: self.world.size]:
            dataset, place = first[name]
            path = dataset.split.clips[place].video_path
            with suppress(GazetoolsError):  # a video that cannot be read is named with its clips
                if path.exists() and not self.kept.has(name, path):
                    self.kept.write(name, dataset.facts_of(place), path)
        self.world.barrier()

    def _keys(self, datasets: Sequence[ClipDataset]) -> tuple[dict[str, tuple[ClipDataset, int]], list[str]]:
        """(key -> a clip that has it, clips that cannot be read)."""
        keys: dict[str, tuple[ClipDataset, int]] = {}
        unreadable: dict[str, None] = {}
        for dataset in datasets:
            if dataset.features is None:
                raise UsageError(
                    "--cache-only: training clips differ between epochs: their context or anticipation point is drawn.",
                    hint="Set experiment.data.train_views, or one value for train_context_sec and "
                    "train_anticipation_point.",
                )
            for place, clip in enumerate(dataset.split.clips):
                try:
                    key = dataset.feature_key(place)
                except GazetoolsError as error:
                    unreadable[f"{clip.segment.video_id}, row {clip.segment.row}: {error.message}"] = None
                    continue
                assert key is not None, "refused before"
                keys.setdefault(key, (dataset, place))
        return keys, list(unreadable)

    def _check_room(self, needed: int, files: int) -> None:
        """Raise UsageError or FaultError where budget or disk have no room for what is missing."""
        left = sum(self.world.gather(self.cache.left_bytes))
        if needed > left:
            raise UsageError(
                f"The features need {size_text(needed)}, the budget of {self.cache.root} has {size_text(left)} left.",
                hint="Raise experiment.data.feature_cache.budget_gib, set its dtype to float16, or lower train_views.",
            )
        check_space(
            self.cache.root, needed_bytes=needed, needed_files=files, what="The feature cache",
            hint="Make room, choose another feature_cache.folder, set its dtype to float16, or lower train_views.",
        )  # fmt: skip

    def _encode(self, places: Sequence[tuple[ClipDataset, int]]) -> tuple[int, list[str]]:
        """Encode and store clips one by one: (how many, those that could not be read)."""
        plan, done, failed = self.plans[0], 0, []
        forward, loaders = Forward(plan.config, [], plan.device), Loaders(plan.config, plan.device)
        batches = loaders.load(_MissingClips(places), [[place] for place in range(len(places))])
        self.say.start(_TASK, len(places), unit="clips")
        with torch.no_grad(), forward.autocast(), explained_out_of_memory("encoding clips", 1):
            for batch in batches:
                failed += [f"{one.video_id}, row {one.row}: {one.reason}" for one in batch.unreadable]
                if batch.clips:
                    observed_tokens(self.wrapper, batch, plan.device, self.cache)
                    done += 1
                self.say.advance(_TASK)
                if self.interruption.requested() or self.cache.stopped is not None:
                    break
        loaders.close()
        self.say.finish(_TASK)
        return done, failed
