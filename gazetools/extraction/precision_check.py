"""`gazetools models NAME --check-precision VIDEO`: number types against float32 on frames of one video."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from gazetools.extraction.decoding.decoder import Decoder
from gazetools.extraction.inputs import plan_inputs
from gazetools.extraction.model.batches import BatchRunner
from gazetools.extraction.model.number_types import compare_types, computable_types
from gazetools.extraction.model.runners import load_runner
from gazetools.extraction.people_frames import people_frames
from gazetools.extraction.run import decode_settings
from gazetools.extraction.work import WorkOrder
from gazetools.extraction.worker import load_tools
from gazetools.gazemodels.devices import device_kind
from gazetools.progress import Progress
from gazetools.schemas.errors import UsageError
from gazetools.schemas.extract import ExtractOptions
from gazetools.schemas.precision import NumberType, PrecisionOptions, PrecisionReport


def check_precision(model: str, video: Path, options: PrecisionOptions, progress: Progress) -> PrecisionReport:
    """Compare number types of `model` with float32 on frames of `video` that have people.

    Raises UsageError for a video, boxes or a device that can't be used, or where no frame has people; errors of loading
    as `load_gaze_model`.
    """
    items = plan_inputs([video])
    if len(items) != 1 or items[0].problem is not None:
        problem = items[0].problem if items else None
        raise UsageError(
            f"--check-precision {video}: {problem or f'{len(items)} videos are there; one is needed'}.",
            hint="Give one video file.",
        )
    settings = ExtractOptions(
        model=model, dtype="float32", **options.model_dump(exclude={"dtypes", "frames"}, exclude_none=True)
    )
    with tempfile.TemporaryDirectory(prefix="gazetools-") as store:  # boxes of a detector are written there
        order = WorkOrder(
            store=Path(store), options=settings, decoding=decode_settings(settings), video_ids=[items[0].video_id]
        )
        with Decoder(order.decoding) as decoder:
            tools, _ = load_tools(order, decoder, progress)
            sample = people_frames(tools, items[0], options.frames)
    exact = tools.runner
    if not sample.images:
        raise UsageError(f"{video}: no frame has people to compare.", hint="Give its boxes: --heads file:PATH")

    def make(word: NumberType) -> BatchRunner:
        if word == "tf32" and exact.model.device.type == "cuda":
            return BatchRunner(exact.model, settings.batch_size, word=word)
        return load_runner(settings, word, progress)

    words = _words(options, exact)
    progress.say(f"Comparing {', '.join(words)} with float32 on {len(sample.images)} frames ...")
    found = compare_types(exact, make, words, sample)
    return PrecisionReport(
        model=exact.model.name,
        device=device_kind(exact.model.device),
        torch=torch.__version__,
        video=str(video),
        frames=len(sample.images),
        float32_milliseconds_per_frame=found.float32_milliseconds_per_frame,
        compared=found.compared,
    )


def _words(options: PrecisionOptions, exact: BatchRunner) -> list[NumberType]:
    """The number types asked for, else all that the device computes; UsageError for a model that has only one."""
    model = exact.model
    if not model.weights_sha256:
        raise UsageError(f"The model {model.name} has no weights, and one number type.", hint="Check another model.")
    known = computable_types(model.device)
    if options.dtypes is None:
        return known
    wanted = options.dtypes.split(",")
    if unknown := [word for word in wanted if word not in known]:
        raise UsageError(
            f"--dtypes {','.join(unknown)}: {device_kind(model.device)} does not compute that.",
            hint=f"Here: {', '.join(known)}.",
        )
    return [word for word in known if word in wanted]
