"""Sample pictures of a run: a few frames of a few videos with what the store has about them."""

from __future__ import annotations

import base64
import html
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.extraction.decoding.decoder import Decoder
from gazetools.sampling import spread
from gazetools.schemas.extract import ItemResult
from gazetools.schemas.store import SIDECAR_SUFFIX, STORE_SUFFIX
from gazetools.schemas.video_id import place_of_id
from gazetools.store.listing import read_sidecar

MOST_VIDEOS = 12
_FRAMES_EACH = 2
_WIDTH = 360
_READ_BYTES_PER_SECOND = 100e6
"""Opening a video reads its index, of some containers the whole file: large ones are left out of short runs."""
_MOST_PAGE_BYTES = 64 << 20
_IN_PAGE = re.compile(
    r'<img data-key="([^"]{1,2000})" alt="([^"]{0,2000})" src="data:image/jpeg;base64,([A-Za-z0-9+/=]{1,400000})">'
)


@dataclass(frozen=True, kw_only=True)
class SamplePicture:
    """One frame with its maps drawn on it."""

    video_id: str
    key: str
    """Video id and sha256 of the store file: pictures of another content are never shown."""
    caption: str
    jpeg: str
    """base64."""


def draw_samples(
    store: Path,
    items: Sequence[ItemResult],
    *,
    decoder: Decoder | None,
    earlier: Sequence[SamplePicture],
    seconds: float,
) -> list[SamplePicture]:
    """At most two frames of at most 12 finished videos, evenly spread over `items`.

    Args:
        store: the store folder.
        items: results of the run; those that are done or complete are shown.
        decoder: decodes the frames; None: only pictures of the earlier page are shown.
        earlier: samples of the page that this one replaces, shown again where their store file is the same.
        seconds: after this time no further video is opened.
    """
    until = time.monotonic() + seconds
    finished = [item for item in items if item.status in ("done", "complete") and item.rows]
    found: list[SamplePicture] = []
    for place in spread(len(finished), MOST_VIDEOS):
        item = finished[place]
        try:
            key = f"{item.video_id} {read_sidecar(place_of_id(store, item.video_id, SIDECAR_SUFFIX)).payload_sha256}"
            known = [sample for sample in earlier if sample.key == key]
            left = until - time.monotonic()
            if known:
                found += known
            elif decoder is not None and Path(item.path).stat().st_size < left * _READ_BYTES_PER_SECOND:
                found += _drawn(store, item, decoder, key)
        except Exception:  # a picture of an odd file, or of one that has just gone, must not cost a run its page
            continue
    return found


def samples_in_page(page: Path) -> list[SamplePicture]:
    """The samples of a page that this module's samples went into; none where there is no page."""
    try:
        if page.stat().st_size > _MOST_PAGE_BYTES:
            return []
        text = page.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return []
    return [
        SamplePicture(
            video_id=html.unescape(key).rsplit(" ", 1)[0], key=html.unescape(key), caption=html.unescape(alt), jpeg=jpeg
        )
        for key, alt, jpeg in _IN_PAGE.findall(text)
    ]


def _drawn(store: Path, item: ItemResult, decoder: Decoder, key: str) -> Iterator[SamplePicture]:
    import cv2

    from gazetools.preview.overlay import draw_overlay
    from gazetools.preview.rows import StoreOverlays

    with StoreOverlays(place_of_id(store, item.video_id, STORE_SUFFIX)) as overlays:
        there = overlays.frames()
        # neither the first nor the last ones, which often show nobody yet or nobody any more
        inner = spread(len(there), _FRAMES_EACH + 2)
        wanted = [there[place] for place in (inner[1:-1] or inner)]
        if not wanted:
            return
        with decoder.open(Path(item.path), batch_size=1) as reader:
            for frame in reader.frames(np.array(wanted, np.int64)):
                small = _smaller(frame.rgb)
                reader.release(frame)
                people = [one for one in overlays.people(frame.index) if np.isfinite(one.heatmap).all()]
                drawn = draw_overlay(small, people)
                _, data = cv2.imencode(".jpg", drawn[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
                who = f"{len(people)} {'person' if len(people) == 1 else 'people'}"
                yield SamplePicture(
                    video_id=item.video_id,
                    key=key,
                    caption=f"{item.video_id}, frame {frame.index} ({frame.pts_seconds:.2f} s), {who}",
                    jpeg=base64.b64encode(data.tobytes()).decode("ascii"),
                )


def _smaller(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A copy that is at most `_WIDTH` pixels wide."""
    import cv2

    height, width = rgb.shape[:2]
    scale = min(1.0, _WIDTH / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
