"""Key and provenance of one video's heatmaps."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from typing import Any, Literal

from gazetools._version import __version__
from gazetools.extraction.model.batches import BatchRunner
from gazetools.extraction.pieces import VideoTally
from gazetools.extraction.work import VideoWork, WorkerTools
from gazetools.schemas.extract import PIECE_FRAMES
from gazetools.schemas.provenance import HeadSource, ModelRecord, Provenance
from gazetools.video.facts import source_video

STORE_REVISION = 1
"""Part of every options key; increased whenever the same inputs would give other numbers."""

NOT_EVALUATED = "left out, no box that the model can take"
"""Count of the people whom a model that needs head boxes can't evaluate; they have no row."""


def options_key(shaping: Mapping[str, Any], runner: BatchRunner, video_digest: str, heads_sha256: str | None) -> str:
    """sha256 over everything that shapes the store of a video; equal keys mean equal stores.

    `shaping` are the options that do so, as `ExtractOptions.shaping` returns them. `video_digest` is `probe_digest` of
    the video, so that a second run does not read finished files whole.
    """
    parts = {
        "revision": STORE_REVISION,
        "options": dict(shaping),
        "heads": "whole" if heads_sha256 is None else heads_sha256,
        "piece_frames": PIECE_FRAMES,
        "batch_size": runner.batch_size,
        "model": runner.identity(),
        "video": video_digest,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def build_provenance(tools: WorkerTools, video: VideoWork, tally: VideoTally, *, video_sha256: str) -> Provenance:
    """Provenance of one video's heatmaps: video, model, boxes, options and libraries."""
    source, heads, options, runner = video.source, video.heads, tools.options, tools.runner
    reused = tally.resumed_frames or tally.taken_over is not None
    decoded = sum(map(len, video.parts)) == source.frame_count and not reused
    counted_by: Literal["decoding", "index"] = "decoding" if decoded or source.counted_by == "decoding" else "index"
    return Provenance(
        video_id=video.item.video_id,
        tool_version=__version__,
        video=source_video(
            source,
            counted_by,
            store=tools.store,
            sha256=video_sha256,
            remarks=[*source.remarks, *source.damage],
            lost_frames=sorted(tally.lost_frames),
        ),
        model=ModelRecord(
            **runner.describe(),
            implementation=runner.model.implementation,
            precision=runner.precision,
            runtime=getattr(runner.model, "runtime", None),
        ),
        heads=HeadSource(
            spec=heads.spec,
            sha256=heads.sha256,
            rows=len(heads.table) if heads.table else 0,
            clipped_boxes=heads.table.clipped if heads.table else 0,
            small_heads=options.small_heads,
            prompts=tally.prompts,
            counts=heads.counts | ({NOT_EVALUATED: float(tally.not_evaluated)} if tally.not_evaluated else {}),
            format=None if heads.table is None else heads.table.form,
            reading="" if heads.table is None else heads.table.reading,
            detector=heads.detector,
            notes=list(heads.notes),
        ),
        batch_size=runner.batch_size,
        batch_size_backoffs=tally.backoffs[:200],
        piece_frames=PIECE_FRAMES,
        options=options.shaping(),
        options_key=video.key,
        libraries=dict(_library_versions()),
        taken_over=tally.taken_over,
    )


@functools.cache  # parsing the packages' metadata takes milliseconds, for every video
def _library_versions() -> dict[str, str]:
    """Versions of the libraries that the numbers depend on."""
    names = ("torch", "numpy", "h5py", "av")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}
