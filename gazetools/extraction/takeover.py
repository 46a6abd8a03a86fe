"""Whether a finished store differs from the wanted one in its head boxes alone, so that its rows can be kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from gazetools._version import __version__
from gazetools.extraction.earlier import EarlierRows
from gazetools.extraction.inputs import VideoItem
from gazetools.extraction.origin import options_key
from gazetools.extraction.work import VideoWork, WorkerTools
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.heads import BoxFileOptions
from gazetools.schemas.provenance import Provenance, TakenOver
from gazetools.schemas.store import STORE_SUFFIX, Sidecar
from gazetools.schemas.video_id import path_of_id
from gazetools.store import StoreReader, is_complete, open_store
from gazetools.store.pieces import UNCHANGED
from gazetools.video.facts import probe_digest
from gazetools.video.fingerprint import FINGERPRINT_EVERY

_CHOOSE_BOXES = {"people", "fill_gaps", "first_row", *BoxFileOptions.model_fields}
"""Shaping options that act through the boxes alone: with the same boxes they may differ."""


def differs_in_boxes(tools: WorkerTools, item: VideoItem, done: Sidecar) -> bool:
    """Whether the finished store of `item` was made from the same video, model and options with other head boxes."""
    try:
        with open_store(path_of_id(tools.store, item.video_id, STORE_SUFFIX)) as store:
            return _is_of_same_inputs(tools, item, done, store.provenance)
    except DataFileError:
        return False


@contextmanager
def earlier_rows(
    tools: WorkerTools, video: VideoWork, numbers: range, video_sha256: Callable[[], str]
) -> Iterator[EarlierRows | None]:
    """The finished store whose rows pieces `numbers` may keep, open until the block is left; None: there is none.

    Only for stores that are whole and of a whole video: a damaged one may decode otherwise where frames are skipped.
    """
    made = all(video.pieces.exists(number) for number in numbers)
    found = None if made else _open_earlier(tools, video, video_sha256)
    if found is None:
        yield None
        return
    with found:
        yield found


def _open_earlier(tools: WorkerTools, video: VideoWork, video_sha256: Callable[[], str]) -> EarlierRows | None:
    item = video.item
    done = is_complete(tools.store, item.video_id)
    if done is None or done.options_key == video.key or video.source.damage:
        return None
    try:
        store = open_store(path_of_id(tools.store, item.video_id, STORE_SUFFIX))
    except DataFileError:
        return None
    origin = store.provenance
    usable = (
        _is_of_same_inputs(tools, item, done, origin)
        and _has_same_pictures(video, origin)
        and _has_same_frames(video, store)
        and store.tokens_shape == tools.runner.tokens_shape
        and origin.video.sha256 == video_sha256()  # last: it may have to be waited for
    )
    if not usable:
        store.close()
        return None
    earlier = TakenOver(
        frames=0,
        rows=0,
        payload_sha256=done.payload_sha256,
        options_key=done.options_key,
        heads_sha256=origin.heads.sha256,
        tool_version=origin.tool_version,
        libraries=origin.libraries,
        corrections=1 + (origin.taken_over.corrections if origin.taken_over else 0),
    )
    return EarlierRows(store, earlier, tools.runner.batch_size)


def _is_of_same_inputs(tools: WorkerTools, item: VideoItem, done: Sidecar, origin: Provenance) -> bool:
    """Whether today's key, with the boxes and the box options of the finished store, is the key of that store."""
    wanted = tools.options.shaping()
    if _without_boxes(origin.options) != _without_boxes(wanted):
        return False
    digest = probe_digest(item.path, tools.options.of_pictures())
    return options_key(origin.options, tools.runner, digest, origin.heads.sha256) == done.options_key


def _without_boxes(shaping: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in shaping.items() if name not in _CHOOSE_BOXES}


def _has_same_pictures(video: VideoWork, origin: Provenance) -> bool:
    """Whether colours were made as today, which keys do not tell; versions up to 0.2 knew no tone mapping."""
    info = video.source.info
    if (origin.video.tone_mapping or "none") != info.tone_mapping:
        return False
    return info.colour_handling == UNCHANGED or origin.tool_version == __version__


def _has_same_frames(video: VideoWork, store: StoreReader) -> bool:
    """Whether the store has exactly the chosen frames, with fingerprints where they are made today."""
    chosen = np.concatenate(video.parts)
    sampled = np.concatenate([part[::FINGERPRINT_EVERY] for part in video.parts])
    return (
        not store.provenance.video.lost_frame_count
        and np.array_equal(store.frames.index, chosen)
        and np.array_equal(store.frames.fingerprint_index, sampled)
        and bool(np.array_equal(store.frames.pts_seconds, video.source.pts_seconds[chosen]))
    )
