"""Every value of a foreign box file replaced by odd ones: a clear refusal or a reading, never another exception."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazetools.exchange.areas import read_areas
from gazetools.exchange.areas.on_maps import VideoFrames, areas_of_video
from gazetools.exchange.boxes import Wanted
from gazetools.exchange.coco import read_coco
from gazetools.exchange.cvat import read_cvat
from gazetools.exchange.label_studio import read_label_studio
from gazetools.exchange.wider import is_face_list, read_face_list
from gazetools.exchange.yolo import read_label_files
from gazetools.schemas.errors import DataFileError, GazetoolsError, HeadsError
from gazetools.schemas.table import AreaFormat, TableOptions

HUGE = int("9" * 400)
"""A whole number that no float holds."""
ODD: list[Any] = [None, True, -1, 0, 1.5, float("inf"), float("nan"), 10**30, HUGE, "", "x\n\ud800", [], [1], {"a": 1}]
ODD_TEXTS = ["", "²", "-1", "0", "nan", "1e400", "9" * 12, "9" * 400, "1" * 5000]
_PICTURES = [
    {"id": n, "file_name": f"v/f_{n}.jpg", "width": 100, "height": 50, "frame_id": n, "video_id": 1} for n in (1, 2)
]
COCO = {
    "info": {"first_frame": 0},
    "images": _PICTURES,
    "videos": [{"id": 1, "name": "v.mp4"}],
    "categories": [{"id": 1, "name": "head"}],
    "annotations": [
        {"id": n, "image_id": n, "category_id": 1, "track_id": 1, "bbox": [1, 2, 3, 4]} for n in (1, 2)
    ],
}  # fmt: skip
EGO4D = {
    "info": {"video_metadata": {"v": {"frame_width": 100, "frame_height": 50}}},
    "noun_categories": [{"id": 1, "name": "cup"}],
    "annotations": [{"video_uid": "v", "frame": 3, "objects": [{"box": [1, 2, 3, 4], "noun_category_id": 1}]}],
}
_KEYFRAMES = [{"frame": n, "x": 1, "y": 2, "width": 3, "height": 4, "rotation": 0, "enabled": True} for n in (1, 3)]
LABEL_STUDIO = [
    {
        "data": {"video": "v.mp4"},
        "annotations": [
            {
                "was_cancelled": False,
                "result": [
                    {
                        "id": "a",
                        "type": "videorectangle",
                        "value": {"framesCount": 5, "labels": ["head"], "sequence": _KEYFRAMES},
                    }
                ],
            }
        ],
    }
]
CVAT = (
    "<annotations><meta><task><id>7</id><original_size><width>100</width><height>50</height></original_size></task>"
    '</meta><track id="3" label="head" task_id="7"><box frame="{0}" keyframe="1" outside="0" rotation="{1}" '
    'xtl="{2}" ytl="2" xbr="3" ybr="4"/></track></annotations>'
)


def _variants(document: Any) -> Iterator[tuple[str, Any]]:
    """The document with each value, at any depth, replaced by each odd one."""

    def places(part: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        entries = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
        for key, value in entries:
            yield (*place, key)
            yield from places(value, (*place, key))

    for place in places(document):
        for odd in ODD:
            changed = copy.deepcopy(document)
            part = changed
            for key in place[:-1]:
                part = part[key]
            part[place[-1]] = odd
            yield f"{place} = {str(odd)[:20]!r}", changed


def _heads(read: Callable[[Path, Wanted], Any], path: Path) -> None:
    assert np.isfinite(read(path, Wanted(video_id="v")).rows).all()


def _areas(form: AreaFormat, path: Path) -> None:
    video = VideoFrames(
        video_id="v", size_wh=(100, 50), frame_count=10, index=np.arange(10), pts_seconds=None, frame_seconds=0.1
    )
    areas = read_areas(path, TableOptions(areas=str(path), areas_format=form))
    names = areas.names_for(["v"])
    found = areas_of_video(areas, names, video)
    assert np.isfinite(np.concatenate([found.box, *found.held.values()])).all()
    assert all(name == " ".join(name.split()) and name.encode() for name in names), "one line that a file can hold"


READERS: list[tuple[str, Any, Callable[[Path], None]]] = [
    ("coco heads", COCO, lambda path: _heads(read_coco, path)),
    ("label studio heads", LABEL_STUDIO, lambda path: _heads(read_label_studio, path)),
    ("coco areas", COCO, lambda path: _areas("coco", path)),
    ("ego4d areas", EGO4D, lambda path: _areas("ego4d", path)),
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("document", "read"), [row[1:] for row in READERS], ids=[row[0] for row in READERS])
def test_odd_values_of_json_are_read_or_refused(document: Any, read: Callable[[Path], None], tmp_path: Path) -> None:
    path, refused, count = tmp_path / "a.json", 0, 0
    path.write_text(json.dumps(document))
    read(path)  # the document itself is read
    for what, changed in _variants(document):
        path.write_text(json.dumps(changed))
        count += 1
        try:
            read(path)
        except GazetoolsError as error:
            assert error.exit_code == 2, what
            refused += 1
        except Exception as error:
            pytest.fail(f"{what}: {type(error).__name__}: {error}")
    assert 0.2 * count < refused < count


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("read", [lambda p: _heads(read_cvat, p), lambda p: _areas("cvat", p)], ids=["heads", "areas"])
@pytest.mark.parametrize("odd", ODD_TEXTS, ids=lambda text: text[:6])
@pytest.mark.parametrize("place", [0, 1, 2], ids=["frame", "rotation", "xtl"])
def test_odd_texts_of_cvat_are_read_or_refused(
    place: int, odd: str, read: Callable[[Path], None], tmp_path: Path
) -> None:
    path, values = tmp_path / "a.xml", ["1", "0", "1"]
    path.write_text(CVAT.format(*values))
    read(path)
    values[place] = odd
    path.write_text(CVAT.format(*values))
    try:
        read(path)
    except GazetoolsError as error:
        assert error.exit_code == 2
    else:
        assert odd in {"0", "-1"} or (odd, place) == ("9" * 12, 2), "whether a box fits the video is looked at later"


@pytest.mark.parametrize("count", ["²", "1" * 5000, "-1", "x"])
def test_a_count_of_faces_that_is_none_is_refused(count: str, tmp_path: Path) -> None:
    path = tmp_path / "faces.txt"
    path.write_text(f"v/f_1.jpg\n{count}\n1 2 3 4 0 0 0 0 0 0\n")
    assert not is_face_list(path.read_text().splitlines())
    with pytest.raises(HeadsError, match="not the number of faces"):
        read_face_list(path, Wanted())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("height", ["0", "-50"])
def test_a_picture_without_a_size_has_no_areas(height: str, tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(CVAT.format("1", "0", "1").replace("<height>50", f"<height>{height}"))
    with pytest.raises(DataFileError, match="which is none"):
        _areas("cvat", path)


def test_a_label_file_with_nan_says_so(tmp_path: Path) -> None:
    (tmp_path / "clip_0.txt").write_text("0 nan 0.5 0.1 0.1 0.9 1\n")
    with pytest.raises(HeadsError, match="a number is not finite"):
        read_label_files(tmp_path, Wanted())
