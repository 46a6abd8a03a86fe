"""`extract`: plan all inputs, check everything that can fail early, then do one video after the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gazetools
from gazetools.extraction.inputs import VideoItem, plan_inputs
from gazetools.heads.sources import heads_for_video, open_heads
from gazetools.io.atomic import check_writable_folder, remove_stale_temps
from gazetools.io.json_files import write_json_atomic
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.base import parse_settings
from gazetools.schemas.errors import UsageError, VideoError
from gazetools.schemas.extract import ExtractOptions, ExtractReport, ItemResult
from gazetools.schemas.store import REPORT_NAME


def extract(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    options: ExtractOptions | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> ExtractReport:
    """Turn videos into raw heatmaps with Gaze-LLE, one store file per video.

    Args:
        inputs: files, folders (recursive), globs or `@list.txt`.
        output: the store folder; made if needed. Finished videos in it are not done again, so the same call resumes
            an interrupted run.
        options: how; or give its fields as keyword arguments.
        progress: receives frames done.
        settings: fields of `ExtractOptions`, such as `heads="file:boxes.csv"`.

    Returns:
        The report that is also written to `output/extract_report.json`: every input, the failed ones with reasons.

    Raises:
        UsageError: inputs, boxes, weights or output that can't work; nothing was done.
        EnvironmentLacksError: weights or a device are missing.
        FaultError: the disk is full or memory ran out; finished videos and pieces are kept.

    >>> report = gazetools.extract("clip.mp4", "STORE", heads="whole", model="tiny.safetensors")  # doctest: +SKIP
    >>> report.items[0].rows                                                                      # doctest: +SKIP
    101
    """
    if options is None:
        options = parse_settings(ExtractOptions, settings, what="extract options")
    elif settings:
        raise UsageError(f"Give either options= or single settings, not both ({', '.join(settings)}).")
    progress = progress or NoProgress()
    store = Path(output)

    items, head_files = plan(inputs, options)
    check_writable_folder(store, option="-o")
    remove_stale_temps(store)

    # torch and transformers are loaded only now: a typo must not cost seconds
    from gazetools.extraction.batching import BatchRunner
    from gazetools.extraction.job import Job
    from gazetools.gazemodels import load_gaze_model
    from gazetools.heads.detection import HeadDetection

    progress.start("loading model", None, unit="steps")
    model = load_gaze_model(
        options.model,
        checkpoint=options.checkpoint,
        backbone=options.backbone,
        device=options.device,
        dtype=options.dtype,
        progress=progress,
        preprocess=options.preprocess,
        backend=options.backend,
    )
    detect = options.detection()
    detection = HeadDetection.load(detect) if detect is not None else None
    progress.finish("loading model")
    job = Job(
        store=store,
        options=options,
        head_files=head_files,
        runner=BatchRunner(model, options.batch_size),
        progress=progress,
        detection=detection,
    )
    results: list[ItemResult] = []
    progress.start("videos", len(items), unit="videos")
    for item in items:
        results.append(_one(job, item))
        progress.advance("videos")
        report = ExtractReport(
            tool_version=gazetools.__version__,
            options=options.model_dump(),
            items=[*results, *_waiting(items, results)],
        )
        write_json_atomic(store / REPORT_NAME, report.model_dump(mode="json"))
    progress.finish("videos")
    return report


def plan(
    inputs: str | Path | Sequence[str | Path], options: ExtractOptions
) -> tuple[list[VideoItem], dict[str, Path] | None]:
    """The videos of all inputs and the box file of each (None: no boxes); whatever can fail early fails here."""
    items = plan_inputs(
        [inputs] if isinstance(inputs, str | Path) else inputs,
        takes=options.takes,
        cameras=options.cameras,
        views=options.views,
    )
    head_files = open_heads(
        options, [item.video_id for item in items], videos={item.video_id: item.path for item in items}
    )
    if head_files and len(items) == 1:
        _check_single_box_file(items[0], options, head_files)
    return items, head_files


def _check_single_box_file(item: VideoItem, options: ExtractOptions, head_files: dict[str, Path]) -> None:
    """One box file for one video that does not fit is wrong usage, said before the model is loaded."""
    from gazetools.video import VideoReader

    try:
        with VideoReader(item.path) as reader:
            width, height, frame_count = reader.info.width, reader.info.height, reader.frame_count
    except VideoError:
        return  # a broken video is a failed item of the run, not wrong usage
    heads_for_video(options, head_files, item.video_id, width=width, height=height, frame_count=frame_count)


def _one(job: Any, item: VideoItem) -> ItemResult:
    """One video; what is wrong with it alone is its result, so that the others go on."""
    from gazetools.extraction.job import extract_video

    try:
        return extract_video(job, item)
    except UsageError as error:  # videos, boxes and ids; faults and missing weights stop the run
        job.progress.finish(item.video_id)
        job.progress.say(f"failed: {item.video_id}: {error}")
        return ItemResult(video_id=item.video_id, path=str(item.path), status="failed", reason=str(error))


def _waiting(items: list[VideoItem], results: list[ItemResult]) -> list[ItemResult]:
    """Entries for inputs that are not done yet, so that a killed run's report accounts for every input."""
    return [
        ItemResult(video_id=item.video_id, path=str(item.path), status="failed", reason="not reached: the run ended")
        for item in items[len(results) :]
    ]
