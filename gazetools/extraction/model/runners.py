"""Load the model of a run in the number type that the options name, or, for `auto`, that evidence allows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from gazetools.extraction.model.batches import BatchRunner
from gazetools.extraction.model.number_types import (
    WORTH_MILLISECONDS,
    PeopleFrames,
    compare_types,
    milliseconds_of_a_frame,
    worthwhile_types,
)
from gazetools.extraction.model.precision_records import (
    choice_of_machine,
    choice_of_store,
    guessed_type,
    keep_for_machine,
    keep_for_store,
    type_of_finished,
)
from gazetools.gazemodels import load_gaze_model
from gazetools.gazemodels.devices import device_kind, resolve_device
from gazetools.gazemodels.interface import GazeModel
from gazetools.gazemodels.registry import is_onnx
from gazetools.progress import Progress
from gazetools.schemas.errors import FaultError, UsageError
from gazetools.schemas.extract import ExtractOptions
from gazetools.schemas.precision import NumberType, PrecisionChoice


def load_runner(
    options: ExtractOptions, word: str, progress: Progress, *, precision: PrecisionChoice | None = None
) -> BatchRunner:
    """The model in the number type `word`; errors as `load_gaze_model`, UsageError for tf32 without CUDA."""
    if word == "tf32" and resolve_device(options.devices[0]).type != "cuda":
        raise UsageError("dtype tf32 exists on CUDA devices only.", hint="Use --dtype float32, or --device cuda.")
    model = load_gaze_model(
        options.model,
        checkpoint=options.checkpoint,
        backbone=options.backbone,
        device=options.device,
        dtype="float32" if word == "tf32" else word,
        preprocess=options.preprocess,
        backend=options.backend if options.runtime in (None, "torch") else options.runtime,
        progress=progress,
    )
    named = word if word == "tf32" and model.weights_sha256 else None
    return _runner(model, options, word=named, precision=precision)


def _runner(
    model: GazeModel, options: ExtractOptions, *, word: str | None, precision: PrecisionChoice | None = None
) -> BatchRunner:
    """A runner with what the options say of batches and kept tokens."""
    return BatchRunner(model, options.batch_size, word=word, precision=precision, token_grid=options.kept_token_grid)


class RunnerChoice:
    """The runner of a worker; with `--dtype auto` in float32 until frames have decided.

    A store keeps one choice for all its workers and later runs: see `precision_records`.
    """

    def __init__(self, options: ExtractOptions, store: Path, video_ids: list[str], progress: Progress) -> None:
        self._options, self._store, self._progress = options, store, progress
        self._undecided = False  # whether frames must choose
        self._unkept: PrecisionChoice | None = None  # choice of an earlier run that the store may not have yet
        self.runner = self._load(video_ids)

    def _load(self, video_ids: list[str]) -> BatchRunner:
        options, progress = self._options, self._progress
        if options.dtype != "auto" or options.runtime not in (None, "torch") or is_onnx(options.model):
            return load_runner(options, options.dtype, progress)  # other programs have number types of their own
        guess = guessed_type(self._store, options.model, resolve_device(options.devices[0]))
        runner = load_runner(options, guess or "auto", progress)
        if (choice := self._known(runner)) is not None:
            self._unkept = choice
            return self._in_type(runner, choice.dtype, choice)
        if guess is not None:
            runner = load_runner(options, "auto", progress)
        if not options.overwrite and runner.model.weights_sha256:
            made = type_of_finished(self._store, video_ids, runner.model)
            if made is not None:
                word, precision = made
                return self._in_type(runner, word, precision)
        self._undecided = bool(worthwhile_types(runner.model))
        return runner

    def settled(self, sample: Callable[[], PeopleFrames]) -> BatchRunner:
        """The runner to compute with; to be called before a video is computed, as a run that does none writes nothing.

        At the first call the type of an earlier run is kept in the store, or frames of `sample` choose: the fastest
        type that gives float32's gaze on them. The first of several workers decides for the store.
        """
        if self._unkept is not None:
            choice = keep_for_store(self._store, self.runner.model, self._unkept)
            self.runner, self._unkept = self._in_type(self.runner, choice.dtype, choice), None
        elif self._undecided:
            self.runner, self._undecided = self._decide(sample()), False
        return self.runner

    def _decide(self, sample: PeopleFrames) -> BatchRunner:
        """Compare types on frames. What was found is kept in the cache as well, so that later runs need no frames.

        A cache that can't be written is named and costs only that.
        """
        model = self.runner.model
        choice = self._known(self.runner) or self._found(sample)
        choice = keep_for_store(self._store, model, choice)
        self._progress.say(f"--dtype auto is {choice.dtype} for {model.name} on {choice.device}: {choice.reason}")
        return self._in_type(self.runner, choice.dtype, choice)

    def _known(self, runner: BatchRunner) -> PrecisionChoice | None:
        return choice_of_store(self._store, runner.model) or choice_of_machine(runner.model)

    def _in_type(self, runner: BatchRunner, word: str, precision: PrecisionChoice | None) -> BatchRunner:
        """The model in the number type `word`, loaded anew only where `runner` has it in another one."""
        if runner.word == word or (word == "tf32" and runner.word == "float32"):
            return _runner(runner.model, self._options, word=word, precision=precision)
        return load_runner(self._options, word, self._progress, precision=precision)

    def _found(self, sample: PeopleFrames) -> PrecisionChoice:
        """Compare on the frames of `sample`, and remember what is evidence."""
        runner, model = self.runner, self.runner.model
        facts = {
            "asked_for": self._options.model,
            "model": model.name,
            "weights_sha256": model.weights_sha256,
            "implementation": model.implementation,
            "device_type": model.device.type,
            "device": device_kind(model.device),
            "torch": torch.__version__,
            "video_id": sample.video_id,
            "frames": len(sample.images),
        }
        if not sample.images:
            return PrecisionChoice(dtype="float32", reason="the first video has no people to compare", **facts)
        if model.device.type == "cpu":
            took = milliseconds_of_a_frame(runner, sample)
            if took < WORTH_MILLISECONDS:
                reason = f"float32 takes {took:.0f} ms per frame; from {WORTH_MILLISECONDS:g} on types are compared"
                return PrecisionChoice(dtype="float32", reason=reason, **facts)
        comparison = compare_types(runner, self._other, worthwhile_types(model), sample)
        word, reason = comparison.best()
        choice = PrecisionChoice(
            dtype=word,
            reason=reason,
            float32_milliseconds_per_frame=comparison.float32_milliseconds_per_frame,
            compared=comparison.compared,
            **facts,
        )
        if comparison.is_evidence:
            try:
                keep_for_machine(model, choice)
            except FaultError as error:
                self._progress.say(f"The choice of a number type is not kept for later runs: {error.message}")
        return choice

    def _other(self, word: NumberType) -> BatchRunner:
        if word == "tf32":
            return _runner(self.runner.model, self._options, word=word)
        return load_runner(self._options, word, self._progress)
