"""The models of a run: arms x seeds x probes, each with the config that it would have alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gazetools.schemas.arms import DEFAULT_SOURCE, ArmSettings, Control
from gazetools.schemas.errors import UsageError
from gazetools.schemas.training import TrainingConfig
from gazetools.schemas.training_data import TOKEN_SOURCE
from gazetools.trainer.data.maps.build import source_settings
from gazetools.trainer.data.maps.tokens import token_size
from gazetools.trainer.models.build import trained_part
from gazetools.trainer.models.checks import check_model_settings, uses_heatmap
from gazetools.trainer.models.fusion import reads_scene_tokens
from gazetools.trainer.models.sizes import replace_settings

MAIN = "main"  # name of the only arm where the config lists none
_PREDICTOR_KEYS = ("fusion", "heatmap_patch_size", "multiscale", "temporal", "heatmap_positions")
_OPTIMIZATION_KEYS = ("train", "heatmap_lr", "predictor_lr")


@dataclass(frozen=True, kw_only=True)
class LearnerSpec:
    """One model to train: a probe and the predictor in front of it."""

    name: str  # unique in the run: the arm, with `.s<seed>` and `.h<head>` where there are several of them
    arm: str
    seed: int
    head: int  # entry of `multihead_kwargs`
    trunk: str  # learners of one trunk share a predictor that does not train
    source: str | None  # name of its heatmaps in the batch; None: it sees none
    control: Control | None
    config: TrainingConfig  # the run's config with this arm's values


def plan_learners(config: TrainingConfig) -> list[LearnerSpec]:
    """The models of a run in the config's order. Raises UsageError with all problems of all arms in its details."""
    arms = []
    for arm in config.arms or [ArmSettings(name=MAIN)]:
        own = _with_values(config, arm)
        source = _source_of(arm, own)
        arms.append((arm, source, arm.seeds or [config.seed], _with_positions(own, source)))
    heads = config.experiment.optimization.head
    chosen = range(len(config.experiment.optimization.multihead_kwargs)) if heads is None else [heads]
    several_seeds = any(len(seeds) > 1 for *_, seeds, _ in arms)
    data = config.experiment.data
    has_maps = bool(data.heatmap_base_path or data.heatmap_sources)
    known = list(dict.fromkeys([DEFAULT_SOURCE, *data.heatmap_sources])) if has_maps else []
    problems: list[str] = []
    of_arms: dict[str, list[str]] = {}
    specs = []
    for arm, source, seeds, own in arms:
        start = f"arm {arm.name}: "
        try:
            check_model_settings(own)
            sized = _with_token_size(own)
        except UsageError as error:
            for text in error.details.get("problems", [str(error)]):
                of_arms.setdefault(text, []).append(arm.name)
            continue
        reads = uses_heatmap(own)
        if arm.control is not None and not reads:
            problems.append(f"{start}control: {arm.control} needs heatmaps; set use_heatmap=true and a fusion.")
        if reads and source == TOKEN_SOURCE:
            problems += [start + text for text in _misfits_of_tokens(arm, own)]
        elif reads and source not in known:
            problems.append(
                f"{start}its source {source!r} is none of the data's: {', '.join(known) or 'there are no heatmaps'}; "
                "add it to experiment.data.heatmap_sources."
            )
        shared = trained_part(own) == "probe"
        for seed in seeds:
            trunk = f"{arm.name}.s{seed}" if several_seeds else arm.name
            for head in chosen:
                full = f"{trunk}.h{head}" if len(chosen) > 1 else trunk
                specs.append(
                    LearnerSpec(
                        name=full, arm=arm.name, seed=seed, head=head, trunk=trunk if shared else full,
                        source=source if reads else None, control=arm.control if reads else None, config=sized,
                    )
                )  # fmt: skip
    if config.experiment.optimization.losses.jepa and all(trained_part(own) == "probe" for *_, own in arms):
        problems.append("optimization.losses.jepa trains the predictor, but no model trains it (optimization.train).")
    for text, names in of_arms.items():  # what all arms share is not of one of them
        is_shared = len(names) == len(arms) and len(config.arms) != 1
        problems += [text] if is_shared else [f"arm {name}: {text}" for name in names]
    if problems:
        raise UsageError(" ".join(problems), problems=problems)
    return specs


def shuffled_source(spec: LearnerSpec) -> str | None:
    """The data's name of the source that `spec` sees shuffled; None where it sees no shuffled one."""
    if spec.control != "shuffled" or spec.source is None:
        return None
    settings = source_settings(spec.config.experiment.data)
    return spec.source if spec.source in settings else next(iter(settings))


def _source_of(arm: ArmSettings, own: TrainingConfig) -> str:
    """Name of what the arm with the config `own` sees, where it sees anything: scene tokens, or a heatmap source."""
    return TOKEN_SOURCE if reads_scene_tokens(own.model_kwargs.pretrain_kwargs.predictor.fusion) else arm.source


def _misfits_of_tokens(arm: ArmSettings, own: TrainingConfig) -> list[str]:
    """What is wrong with the keys of an arm that reads scene tokens: those that only heatmaps have."""
    fusion = own.model_kwargs.pretrain_kwargs.predictor.fusion
    problems = [
        f"{key} is a key of heatmaps, fusion: {fusion} has none; leave it out."
        for key in ("heatmap_patch_size", "multiscale")
        if getattr(arm, key) is not None
    ]
    if arm.source not in (DEFAULT_SOURCE, TOKEN_SOURCE):
        problems.append(
            f"fusion: {fusion} reads experiment.data.gaze_tokens, not the heatmap source {arm.source!r}; leave out "
            "source, or use another fusion. An arm reads either heatmaps or scene tokens."
        )
    if arm.control == "centre":
        problems.append("control: centre is a heatmap; of scene tokens there are zeros, shuffled and time_shifted.")
    return problems


def _with_token_size(config: TrainingConfig) -> TrainingConfig:
    """`gaze_tokens.size` settled for a model that reads scene tokens: that of the store, which a given one must be."""
    data, fusion = config.experiment.data, config.model_kwargs.pretrain_kwargs.predictor.fusion
    if data.gaze_tokens is None or not reads_scene_tokens(fusion):
        return config
    found, given = token_size(Path(data.gaze_tokens.store)), data.gaze_tokens.size
    if given is not None and given != found:
        raise UsageError(
            f"experiment.data.gaze_tokens.size is {list(given)}, but the tokens of {data.gaze_tokens.store} have "
            f"{list(found)} (cells per side, channels).",
            hint="Correct it, or leave it out.",
        )
    tokens = data.gaze_tokens.model_copy(update={"size": found})
    experiment = config.experiment.model_copy(update={"data": data.model_copy(update={"gaze_tokens": tokens})})
    return config.model_copy(update={"experiment": experiment})


def _with_positions(config: TrainingConfig, source: str) -> TrainingConfig:
    """`heatmap_positions` settled: what the config says, else `own` for a source of another view than the video's."""
    data, predictor = config.experiment.data, config.model_kwargs.pretrain_kwargs.predictor
    if predictor.heatmap_positions is not None or not uses_heatmap(config):
        return config
    settings = source_settings(data)
    chosen = settings.get(source) or next(iter(settings.values()), None)
    if chosen is None:  # an arm without data, which check_model_settings reports
        return config
    other = chosen.view is not None and data.video_view != [chosen.view]
    return replace_settings(config, predictor={"heatmap_positions": "own" if other else "shared"})


def _with_values(config: TrainingConfig, arm: ArmSettings) -> TrainingConfig:
    """The config with the arm's values; an arm without a heatmap has no heatmap part to train."""
    predictor = {key: value for key in _PREDICTOR_KEYS if (value := getattr(arm, key)) is not None}
    optimization = {key: value for key in _OPTIMIZATION_KEYS if (value := getattr(arm, key)) is not None}
    if arm.fusion == "none" and arm.train is None and config.experiment.optimization.train == "heatmap":
        optimization["train"] = "probe"
    return replace_settings(config, predictor=predictor, optimization=optimization)
