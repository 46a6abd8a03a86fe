"""Boxes and gaze points as CVAT's XML 1.1 for videos: a track `head` and a track `gaze` for each person.

Elements as in docs.cvat.ai/docs/dataset_management/formats/format-cvat. Every row is a keyframe. The processed frame
after a person's last row has the box once more with outside="1", so that CVAT draws none from there on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import numpy.typing as npt

from gazetools.exchange.cvat import PERSON
from gazetools.exchange.exporting import BoxLayout
from gazetools.exchange.people import StoredPeople

_HEAD, _GAZE = "head", "gaze"
_SIDES = ("xtl", "ytl", "xbr", "ybr")


def _write(file: TextIO, people: StoredPeople) -> None:
    file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n')
    file.write(_meta(people))
    tracks = np.unique(people.track_id).tolist()
    for number, track in enumerate(tracks):
        rows = people.rows_of(track)
        of_gaze = max(tracks) + 1 + number
        for label, name, kept in (
            (_HEAD, track, np.ones(len(rows), np.bool_)),
            (_GAZE, of_gaze, people.gaze_inside[rows]),
        ):
            if not kept.any():
                continue
            file.write(f'  <track id="{name}" label="{label}" source="auto">\n')
            file.writelines(_shapes(people, rows[kept], label, track))
            file.write("  </track>\n")
    file.write("</annotations>\n")


def _meta(people: StoredPeople) -> str:
    attribute = (
        f"<attribute><name>{PERSON}</name><mutable>False</mutable><input_type>text</input_type>"
        "<default_value></default_value><values></values></attribute>"
    )
    labels = "".join(
        f"        <label><name>{name}</name><type>{kind}</type><attributes>{attribute}</attributes></label>\n"
        for name, kind in ((_HEAD, "rectangle"), (_GAZE, "points"))
    )
    return (
        f"  <meta>\n    <task>\n      <name>{_text(people.video_id)}</name>\n      <size>{people.frame_count}</size>\n"
        "      <mode>interpolation</mode>\n      <start_frame>0</start_frame>\n"
        f"      <stop_frame>{max(people.frame_count - 1, 0)}</stop_frame>\n      <labels>\n{labels}      </labels>\n"
        f"      <original_size><width>{people.width}</width><height>{people.height}</height></original_size>\n"
        f"      <source>{_text(people.file_name)}</source>\n    </task>\n  </meta>\n"
    )


def _text(name: str) -> str:
    """A name as XML text; bytes that are no UTF-8 become escapes, control characters marks of replacement."""
    plain = name.encode("utf-8", "backslashreplace").decode("utf-8")
    return escape("".join(mark if mark.isprintable() else "\ufffd" for mark in plain))


def _shapes(people: StoredPeople, rows: npt.NDArray[np.int64], label: str, track: int) -> Iterator[str]:
    side = np.array([people.width, people.height], np.float64)
    frames = people.frame[rows]
    following = np.append(people.index, people.index[-1] + 1)[np.searchsorted(people.index, frames) + 1]
    attribute = f"<attribute name={quoteattr(PERSON)}>{track}</attribute>"
    if label == _HEAD:
        name, values = "box", (people.box_xyxy[rows].reshape(-1, 2, 2) * side).reshape(-1, 4)
    else:
        name, values = "points", people.gaze_xy[rows] * side
    for frame, ends, after, numbers in zip(
        frames.tolist(), people.ends(frames).tolist(), following.tolist(), values.tolist(), strict=True
    ):
        texts = [f"{number:.9g}" for number in numbers]
        place = (
            " ".join(f'{key}="{text}"' for key, text in zip(_SIDES, texts, strict=True))
            if label == _HEAD
            else f'points="{",".join(texts)}"'
        )
        for shown, outside in ((frame, 0), (after, 1)):
            if outside and (not ends or shown >= people.frame_count):
                continue
            yield (
                f'    <{name} frame="{shown}" keyframe="1" outside="{outside}" occluded="0" {place} z_order="0">'
                f"{attribute}</{name}>\n"
            )


CVAT = BoxLayout(
    name="cvat",
    suffix=".xml",
    write=_write,
    notes=(
        "Boxes come back bit for bit (--heads file:FOLDER); CVAT itself rounds coordinates to 0.01 pixels and fills "
        "frames between processed ones. The track 'gaze' has the centre of the map's highest cell.",
        "Lost: the maps but for that point, its value, in/out scores, points of targets outside of the frame, roles.",
    ),
)
