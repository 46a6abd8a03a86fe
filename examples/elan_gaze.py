"""Gaze as annotations for ELAN: python examples/elan_gaze.py STORE/clip.h5 clip.eaf [VIDEO]

Writes one tier per person. An annotation is a time in which the gaze peak stays in one ninth of the frame (`top left`
... `bottom right`), or in which the in/out score is below 0.5 (`outside`). It begins with the pts of its first frame
and ends with that of the frame after its last. Gaps of more than half a second between frames are not bridged.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as Xml
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

import gazetools
from gazetools.store import StoreReader

LONGEST_GAP_SECONDS = 0.5
Interval = tuple[int, int, str]
"""(first millisecond, last millisecond, text)"""


def region(heatmap: np.ndarray, inout: float) -> str:
    """The ninth of the frame with the peak, or `outside`."""
    if inout < 0.5:
        return "outside"
    row, column = np.unravel_index(heatmap.argmax(), heatmap.shape)
    vertical = ("top", "middle", "bottom")[3 * int(row) // heatmap.shape[0]]
    return f"{vertical} {('left', 'centre', 'right')[3 * int(column) // heatmap.shape[1]]}"


def intervals(store: StoreReader, track_id: int) -> list[Interval]:
    """The intervals of one person, in order and without overlaps."""
    index, pts = store.frames.index.tolist(), store.frames.pts_seconds
    period = float(np.median(np.diff(pts))) if len(pts) > 1 else 0.04
    found: list[Interval] = []
    for number, frame in enumerate(index):
        rows = store.rows(frame=frame)
        mine = np.flatnonzero(rows.track_id == track_id)
        if not len(mine):
            continue
        gap = pts[number + 1] - pts[number] if number + 1 < len(index) else period
        stop = pts[number] + (gap if gap <= LONGEST_GAP_SECONDS else period)
        start_ms, stop_ms = round(pts[number] * 1000), round(stop * 1000)
        text = region(rows.heatmap[mine[0]], float(rows.inout[mine[0]]))
        if found and found[-1][1:] == (start_ms, text):
            found[-1] = (found[-1][0], stop_ms, text)
        elif stop_ms > start_ms:
            found.append((start_ms, stop_ms, text))
    return found


def document(tiers: dict[str, list[Interval]], video: Path | None) -> Xml.Element:
    """The whole file in the form of EAF 3.0 (http://www.mpi.nl/tools/elan/EAFv3.0.xsd)."""
    root = Xml.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "gazetools",
            "DATE": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
        },
    )
    header = Xml.SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    if video is not None:
        media = {"MEDIA_URL": video.absolute().as_uri(), "MIME_TYPE": "video/mp4"}
        Xml.SubElement(header, "MEDIA_DESCRIPTOR", media)
    order = Xml.SubElement(root, "TIME_ORDER")
    slots = annotations = 0
    for name, found in tiers.items():
        tier = Xml.SubElement(root, "TIER", {"TIER_ID": name, "LINGUISTIC_TYPE_REF": "gaze"})
        for start, stop, text in found:
            for value in (start, stop):
                slots += 1
                Xml.SubElement(order, "TIME_SLOT", {"TIME_SLOT_ID": f"ts{slots}", "TIME_VALUE": str(value)})
            annotations += 1
            places = {"TIME_SLOT_REF1": f"ts{slots - 1}", "TIME_SLOT_REF2": f"ts{slots}"}
            holder = Xml.SubElement(tier, "ANNOTATION")
            one = Xml.SubElement(holder, "ALIGNABLE_ANNOTATION", {"ANNOTATION_ID": f"a{annotations}", **places})
            Xml.SubElement(one, "ANNOTATION_VALUE").text = text
    Xml.SubElement(root, "LINGUISTIC_TYPE", {"LINGUISTIC_TYPE_ID": "gaze", "TIME_ALIGNABLE": "true"})
    return root


def main() -> None:
    path, output, *video = sys.argv[1:]
    with gazetools.open_store(path) as store:
        tracks = sorted(set(store.row_track_id.tolist()))
        tiers = {f"person {track_id}": intervals(store, track_id) for track_id in tracks}
    root = document(tiers, Path(video[0]) if video else None)
    Xml.indent(root)
    Xml.ElementTree(root).write(output, encoding="UTF-8", xml_declaration=True)
    for name, found in tiers.items():
        print(f"{name}: {len(found)} intervals")


if __name__ == "__main__":
    main()
