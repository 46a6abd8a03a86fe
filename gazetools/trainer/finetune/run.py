"""`finetune`: the main path of training a gaze model on labelled heads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gazetools.gazemodels.devices import resolve_device
from gazetools.io.folders import no_empty_folder_left
from gazetools.io.json_files import write_json_atomic
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.errors import ExitCode, GazetoolsError, UsageError
from gazetools.schemas.finetune import FinetuneConfig
from gazetools.schemas.finetune_from_nothing import FromNothingConfig
from gazetools.schemas.finetune_learning import StoreDistillation, TokenDistillation
from gazetools.trainer.finetune.config_file import load_finetune_config
from gazetools.trainer.finetune.epochs import Training
from gazetools.trainer.finetune.estimate import estimated_cost
from gazetools.trainer.finetune.gaze_network import GazeNetwork
from gazetools.trainer.finetune.labelled import HeadSet, RunHeads, groups_of
from gazetools.trainer.finetune.logs import require_log_packages
from gazetools.trainer.finetune.networks import open_network
from gazetools.trainer.finetune.outcome import FinetuneResult
from gazetools.trainer.finetune.page import write_page
from gazetools.trainer.finetune.sources import read_sources
from gazetools.trainer.finetune.splits import refuse_leaks, share_of_groups, split_heads
from gazetools.trainer.finetune.tiny.run import train_from_nothing
from gazetools.trainer.folder.paths import RunFolder
from gazetools.trainer.processes.interruption import Interruption
from gazetools.trainer.processes.launch import accept_warnings
from gazetools.trainer.processes.one_run import only_run_in
from gazetools.trainer.processes.world import World, joined_world


def finetune(
    config: str | Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    resume: bool = True,
    dry_run: bool = False,
    measured: bool = False,
    processes: int = 1,
    progress: Progress | None = None,
) -> FinetuneResult:
    """Train the gaze model that a config (YAML file or mapping) describes, and write its run folder.

    `overrides` are `key.path=value` texts. The same call continues an interrupted training to the bit; `resume` False
    refuses a folder with a saved state. A `dry_run` reads labels and model, and writes nothing but drawn kitchens; with
    `measured` it takes a few steps, and says what a training in `processes` costs.

    The best epoch is chosen by held-out heads alone, never by a benchmark's test set. SIGINT and SIGTERM save the
    state; the result has the status `interrupted` then.

    Raises UsageError for wrong settings, labels or weights (exit code 2), EnvironmentLacksError for what this machine
    lacks (3), FaultError for a loss that is not finite, or a full disk (4).

    >>> finetune("recipes/own.yaml", overrides=["learning.epochs=2"]).best          # doctest: +SKIP
    {'epoch': 2, 'metric': 'l2', 'value': 0.121}
    """
    settings = load_finetune_config(config, overrides)
    if isinstance(settings, FromNothingConfig):
        return train_from_nothing(settings, dry_run=dry_run, progress=progress or NoProgress())
    require_log_packages(settings)
    device = resolve_device(settings.device)
    folder = Path(settings.folder).expanduser()
    with Interruption() as interruption, no_empty_folder_left(folder), joined_world(device.type) as world:
        say_to = (progress or NoProgress()) if world.leads else NoProgress()
        heads = read_heads(settings, folder, world, say_to)
        torch.manual_seed(settings.seed)  # first weights of random parts
        network = open_network(settings.model, say_to)
        heads = _learnable(settings, network, heads)
        for line in (*heads.train.in_words(), *heads.held_out.in_words()):
            say_to.say(f"left out: {line}")
        _refuse_unfit(settings, network, heads)
        if dry_run:
            found = _described("dry_run", settings, network, heads)
            if not measured:
                return found
            cost = estimated_cost(settings, network, heads.train.heads, device, processes=processes)
            return dataclasses.replace(found, cost=cost)
        with only_run_in(folder, world):
            interruption.arm()
            accept_warnings()
            run = _Trainings(settings, folder, device, world, interruption, say_to)
            curve = run.curve(heads)
            if curve is None:
                return _described("interrupted", settings, network, heads)
            return run.train(folder, heads, network, resume=resume, curve=curve)


def read_heads(settings: FinetuneConfig, folder: Path, world: World, progress: Progress) -> RunHeads:
    """Training and held-out heads of a config, divided by groups that no split shares.

    The first process reads first, so that kitchens are drawn once. Raises UsageError for labels that can't be used and
    for videos, pictures or persons in both sets.
    """
    data, distil = settings.data, settings.learning.distil
    taught = distil if isinstance(distil, StoreDistillation) else None
    least = data.least_head_pixels
    if not world.leads:
        world.barrier()
    scenes = folder / "scenes"
    whole = read_sources(data.train, scenes=scenes, least_pixels=least, taught=taught, progress=progress)
    if data.validation:
        held_out = read_sources(data.validation, scenes=scenes, least_pixels=least, taught=None, progress=progress)
        train = whole
    else:
        train, held_out = split_heads(whole, share=data.held_out, group=data.group, seed=settings.seed)
    if world.leads:
        world.barrier()
    refuse_leaks(train.heads, held_out.heads, data.group)
    return RunHeads(train=train, held_out=held_out)


def _learnable(settings: FinetuneConfig, network: GazeNetwork, heads: RunHeads) -> RunHeads:
    """Without heads that look outside, where only an in/out head could learn from them: they would thin out batches."""
    learning = settings.learning
    if (network.has_inout and learning.loss.inout_weight) or learning.distil is not None:
        return heads
    train = heads.train.chosen(head for head in heads.train.heads if head.inside)
    for head in heads.train.heads:
        if not head.inside:
            train.leave_out("outside_and_no_inout_head", head.row)
    if not train.heads:
        raise UsageError(
            "No training head looks at a place in the picture, and nothing else is learnt.", hint="Check data.train."
        )
    return RunHeads(train=train, held_out=heads.held_out)


class _Trainings:
    """What every training of one call shares."""

    def __init__(
        self,
        settings: FinetuneConfig,
        folder: Path,
        device: torch.device,
        world: World,
        interruption: Interruption,
        progress: Progress,
    ) -> None:
        self.settings, self.folder, self.device = settings, folder, device
        self.world, self.interruption, self.progress = world, interruption, progress

    def curve(self, heads: RunHeads) -> list[dict[str, Any]] | None:
        """Train with each share of `learning_curve` but the whole; None where a signal came."""
        settings, points = self.settings, []
        for share in sorted(set(settings.learning_curve) - {1.0}):
            part = share_of_groups(heads.train, share, group=settings.data.group, seed=settings.seed)
            # As many steps as with all heads: a model that saw less in less time would say nothing about labels.
            times = max(1, round(len(heads.train.heads) / len(part.heads)))
            told = f"{len(part.heads)} heads, {times} times in an epoch"
            self.progress.say(f"Learning curve: {share:g} of the training groups, {told}.")
            torch.manual_seed(settings.seed)
            network = open_network(settings.model, self.progress)
            own = RunHeads(train=part.chosen(part.heads * times), held_out=heads.held_out)
            result = self.train(self.folder / "curve" / f"share_{share:g}", own, network, resume=True, curve=[])
            if result.status == "interrupted":
                return None
            points.append(_curve_point(share, part, result))
        return points

    def train(
        self, folder: Path, heads: RunHeads, network: GazeNetwork, *, resume: bool, curve: list[dict[str, Any]]
    ) -> FinetuneResult:
        """Train once in `folder`, and leave weights, figures and page there."""
        settings = self.settings
        training = Training(
            settings,
            RunFolder(folder),
            heads,
            network,
            device=self.device,
            world=self.world,
            progress=self.progress,
            interruption=self.interruption,
        )
        training.begin(resume=resume)
        code = int(ExitCode.FAULT)
        try:
            finished = training.go()
            done = _described("done" if finished else "interrupted", settings, network, heads)
            result = training.result(done, curve=curve)
            if finished and settings.learning_curve:
                result.curve.append(_curve_point(1.0, heads.train, result))
            if finished:
                training.measure_best()
            if self.world.leads:
                if finished:
                    write_page(training, result, heads.held_out.heads)
                write_json_atomic(training.folder.result, result.as_dict())
            self.world.barrier()
            code = int(result.exit_code)
            return result
        except (GazetoolsError, KeyboardInterrupt) as error:
            code = int(error.exit_code if isinstance(error, GazetoolsError) else ExitCode.INTERRUPTED)
            raise
        finally:
            training.close(code)


def _curve_point(share: float, part: HeadSet, result: FinetuneResult) -> dict[str, Any]:
    return {"share": share, "heads": len(part.heads), "best": result.best, **result.metrics}


def _described(status: Any, settings: FinetuneConfig, network: GazeNetwork, heads: RunHeads) -> FinetuneResult:
    """A result that says what there is to learn, and by what."""
    batches = -(-len(heads.train.heads) // settings.learning.batch_size)
    return FinetuneResult(
        status=status,
        folder=settings.folder,
        model={
            "name": network.name,
            "parameters": sum(p.numel() for p in network.parameters()),
            "parameters_that_learn": sum(p.numel() for p in network.learning().values()),
            "in_size": list(network.in_size),
            "out_size": list(network.out_size),
            "has_inout": network.has_inout,
        },
        data={
            name: {
                "heads": len(some.heads),
                "inside": sum(head.inside for head in some.heads),
                "videos": len(set(groups_of(some.heads, "video"))),
                "pictures": len({head.place for head in some.heads}),
                "left_out": dict(some.left_out),
                "left_out_examples": dict(some.examples),
            }
            for name, some in (("train", heads.train), ("held_out", heads.held_out))
        },
        steps=batches * settings.learning.epochs,
        config=settings.model_dump(mode="json"),
        notes=_notes(settings),
    )


def _notes(settings: FinetuneConfig) -> list[str]:
    notes = ["Figures are of held-out heads. Gaze-LLE, gazelle-dinov3 and PaGE look at the test set after every epoch."]
    if not settings.data.validation and settings.data.held_out == 0:
        notes = ["Nothing is held out: the weights of the last epoch are written, and nothing says how good they are."]
    return notes


def _refuse_unfit(settings: FinetuneConfig, network: GazeNetwork, heads: RunHeads) -> None:
    learning, metric = settings.learning, settings.selection.metric
    inside = [head.inside for head in heads.held_out.heads if head.teacher_row is None]
    lacks = {"l2": not any(inside), "inout_ap": len(set(inside)) < 2, "loss": False}
    if heads.held_out.heads and lacks[metric]:
        wanted = {"l2": "labelled to look at a place in the picture", "inout_ap": "labelled to look in and out"}
        raise UsageError(
            f"selection.metric is {metric}, which needs held-out heads that are {wanted[metric]}; there are none.",
            hint="Give data.validation, hold out more, or set selection.metric=loss.",
        )
    if isinstance(learning.distil, TokenDistillation) and not network.needs_boxes:
        raise UsageError(
            f"learning.distil of kind tokens is PaGE's; {network.name} has no head tower.",
            hint="Use kind maps, or a model page_*.",
        )
    if metric == "inout_ap" and not network.has_inout:
        raise UsageError(
            f"selection.metric is inout_ap, and {network.name} has no in/out head.",
            hint="Set model.inout_head to random, or selection.metric to l2.",
        )
    if settings.data.keep_features and network.needs_boxes:
        raise UsageError(
            f"data.keep_features: {network.name} crops heads anew in every epoch.", hint="Set it to false."
        )
