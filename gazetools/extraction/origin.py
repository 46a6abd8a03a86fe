"""Provenance of one video's heatmaps, and the key under which equal work is recognised."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Literal

from gazetools._version import __version__
from gazetools.extraction.decoding.child_reader import ChildReader
from gazetools.extraction.model.batches import BatchRunner
from gazetools.heads.spec import VideoHeads
from gazetools.schemas.extract import PIECE_FRAMES, ExtractOptions
from gazetools.schemas.provenance import HeadSource, ModelRecord, Provenance
from gazetools.video.facts import probe_digest, source_video

STORE_REVISION = 1
"""Raised whenever the same inputs would give other numbers; part of every options key."""


def options_key(options: ExtractOptions, runner: BatchRunner, video: Path, heads_sha256: str | None) -> str:
    """sha256 over everything that shapes the store of `video`; equal keys mean the work need not be done again.

    The video enters by its size and its first and last MiB, so that a re-run over thousands of finished files does
    not read them whole; the full sha256 is in the provenance.
    """
    parts = {
        "revision": STORE_REVISION,
        "options": options.shaping(),
        "heads": "whole" if heads_sha256 is None else heads_sha256,
        "piece_frames": PIECE_FRAMES,
        "batch_size": runner.batch_size,
        "model": runner.identity(),
        "video": probe_digest(video),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def build_provenance(
    *,
    options: ExtractOptions,
    video_id: str,
    reader: ChildReader,
    counted_by: Literal["decoding", "index"],
    runner: BatchRunner,
    heads: VideoHeads,
    key: str,
    prompts: dict[str, int],
    backoffs: list[dict[str, int]],
    video_sha256: str,
) -> Provenance:
    """Everything that is known of where one video's heatmaps come from."""
    return Provenance(
        video_id=video_id,
        tool_version=__version__,
        video=source_video(reader, counted_by, sha256=video_sha256),
        model=ModelRecord(**runner.describe(), implementation=runner.model.implementation),
        heads=HeadSource(
            spec=heads.spec,
            sha256=heads.sha256,
            rows=len(heads.table) if heads.table else 0,
            clipped_boxes=heads.table.clipped if heads.table else 0,
            small_heads=options.small_heads,
            prompts=prompts,
            counts=heads.counts,
            detector=heads.detector,
        ),
        batch_size=runner.batch_size,
        batch_size_backoffs=backoffs[:200],
        piece_frames=PIECE_FRAMES,
        options=options.shaping(),
        options_key=key,
        libraries=library_versions(),
    )


def library_versions() -> dict[str, str]:
    """Versions of the libraries that the numbers depend on."""
    return dict(_library_versions())


@functools.cache  # parsing the packages' metadata takes milliseconds, for every video
def _library_versions() -> dict[str, str]:
    names = ("torch", "transformers", "numpy", "h5py", "av")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}
