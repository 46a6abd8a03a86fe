"""Labels as the scripts of Gaze-LLE, gazelle-dinov3 and PaGE prepare them: `{train,val,test}_preprocessed.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gazetools.annotations.childplay import video_of_clip
from gazetools.annotations.gaze_labels import BenchmarkPicture, BoxXyxy, Head, Labels, Notes, all_finite
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.excerpt import shortened
from gazetools.schemas.gaze_labels import Protocol

_SPLITS = ("train", "val", "test")


def is_preprocessed(content: Any) -> bool:
    """Whether a JSON document is a list of frames, of sequences with `frames`, or of lists of frames."""
    first = content[0] if isinstance(content, list) and content else None
    first = first[0] if isinstance(first, list) and first else first
    return isinstance(first, dict) and ("heads" in first or "frames" in first)


def protocol_of(path: Path, content: Any, wanted: str) -> Protocol:
    """The benchmark of a prepared file: by its shape; where two have the same (a list of frames), by the names.

    Frames are GOO-Real's where the name of the file or a folder above, or the paths of pictures, contain `goo`; else
    GazeFollow's. `wanted` other than `auto` decides.
    """
    if wanted in ("gazefollow", "videoattentiontarget", "childplay", "gooreal"):
        return wanted  # type: ignore[return-value]
    if isinstance(content[0], list):
        return "childplay"
    if "frames" in content[0]:
        return "videoattentiontarget"
    named = [path.absolute().parent.name, path.name, *str(content[0].get("path", "")).split("/")[:-1]]
    return "gooreal" if any("goo" in name.lower() for name in named) else "gazefollow"


def read_preprocessed(path: Path, content: Any, protocol: Protocol) -> Labels:
    """Frames in the file's order. `bbox_norm`, `gazex_norm`, `gazey_norm` count; where missing, pixels by the size."""
    left_out, mended = Notes(), Notes()
    split = next((name for name in _SPLITS if path.name.lower().startswith(name)), "")
    pictures = []
    for number, item in enumerate(content):
        frames = item if isinstance(item, list) else item.get("frames") if isinstance(item, dict) else None
        if frames is None:
            pictures.append(_picture(f"{path}, entry {number}", item, protocol, split, (left_out, mended)))
            continue
        size = {} if isinstance(item, list) else {key: item[key] for key in ("width", "height") if key in item}
        for index, frame in enumerate(frames if isinstance(frames, list) else [None]):
            whole = {**size, **frame} if isinstance(frame, dict) else frame
            place = f"{path}, entry {number}, frame {index}"
            pictures.append(_picture(place, whole, protocol, split, (left_out, mended)))
    return Labels(kind=protocol, protocol=protocol, pictures=pictures, left_out=left_out, mended=mended)


def _picture(place: str, item: Any, protocol: Protocol, split: str, notes: tuple[Notes, Notes]) -> BenchmarkPicture:
    try:
        size, name = (int(item["width"]), int(item["height"])), str(item["path"])
        heads = []
        for index, entry in enumerate(item["heads"]):
            head = _head(f"{place}, head {index}", entry, size, protocol, notes)
            if head is not None:
                heads.append(head)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        text = f"{place}: {type(error).__name__}({shortened(error)})."
        raise DataFileError(text, hint="Prepare the file again.") from None
    video, clip, frame = _clip_of(name, protocol)
    return BenchmarkPicture(
        path=name, width=size[0], height=size[1], heads=tuple(heads), video=video, clip=clip, frame=frame, split=split
    )


def _clip_of(name: str, protocol: Protocol) -> tuple[str, str, int | None]:
    """(video, clip, frame) of a picture's path: `images/<show>/<clip>/7.jpg`, `images/<clip>/<video>_7.jpg`."""
    parts = name.split("/")
    if protocol not in ("videoattentiontarget", "childplay") or len(parts) < 2:
        return "", "", None
    digits = parts[-1].rsplit(".", 1)[0].rsplit("_", 1)[-1]
    frame = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 18 else None
    if protocol == "childplay":
        return video_of_clip(parts[-2]), parts[-2], frame
    show = parts[-3] if len(parts) > 2 else parts[-2]
    return show, f"{show}/{parts[-2]}", frame


def _head(place: str, entry: Any, size: tuple[int, int], protocol: Protocol, notes: tuple[Notes, Notes]) -> Head | None:
    left_out, mended = notes
    box, gaze_x, gaze_y = _box(entry, size), _points(entry, "gazex", size[0]), _points(entry, "gazey", size[1])
    if len(gaze_x) != len(gaze_y) or not gaze_x:
        raise ValueError(f"gazex has {len(gaze_x)} numbers, gazey {len(gaze_y)}")
    if not all_finite(*box):
        left_out.add("box_not_a_number", place)
        return None
    if not all_finite(*gaze_x, *gaze_y):
        left_out.add("gaze_not_a_number", f"{place}: gaze {gaze_x[:3]}, {gaze_y[:3]}")
        return None
    inout = entry.get("inout")
    if inout not in (None, 0, 1):
        left_out.add("inout_unclear" if inout == -1 else "inout_unknown", f"{place}: inout {str(inout)[:20]}")
        return None
    if inout is None and protocol == "childplay":  # (0, 0) would be a place as good as any
        left_out.add("inout_unknown", f"{place}: no inout")
        return None
    if inout is None and protocol == "videoattentiontarget":
        mended.add("inout_from_gaze", f"{place}: no inout; the sign of the gaze decides")
        inout = int(gaze_x[0] >= 0 and gaze_y[0] >= 0)
    inout = 1 if protocol == "gooreal" else inout
    if protocol == "gooreal" and not all(0 < v < 1 for v in (*box, gaze_x[0], gaze_y[0])):
        left_out.add("not_strictly_inside", f"{place}: head box {box}, gaze ({gaze_x[0]}, {gaze_y[0]})")
        return None
    x0, y0, x1, y1 = box
    if x1 < x0 or y1 < y0:
        mended.add("corners_swapped", f"{place}: head box {box}")
        box = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
    if box[0] >= 1 or box[1] >= 1 or box[2] <= 0 or box[3] <= 0 or box[0] == box[2] or box[1] == box[3]:
        mended.add("head_outside_picture", f"{place}: head box {box}")
    if inout == 1 and not all(0 <= v <= 1 for v in (gaze_x[0], gaze_y[0])):
        mended.add("point_outside", f"{place}: gaze ({gaze_x[0]}, {gaze_y[0]})")
    number = entry.get("head_id")
    return Head(
        box_xyxy=box,
        gaze_x=gaze_x,
        gaze_y=gaze_y,
        inout=None if inout is None else int(inout),
        person="" if number is None else str(number)[:60],
        place=place,
    )


def _box(entry: Any, size: tuple[int, int]) -> BoxXyxy:
    given = entry.get("bbox_norm")
    if given is None:
        given = [side / length for side, length in zip(entry["bbox"], (*size, *size), strict=True)]
    x0, y0, x1, y1 = (float(side) for side in given)
    return x0, y0, x1, y1


def _points(entry: Any, name: str, length: int) -> tuple[float, ...]:
    """The coordinates of all annotators, also where the file has one number instead of a list."""
    relative = entry.get(f"{name}_norm")
    given, divisor = (entry[name], length) if relative is None else (relative, 1)
    return tuple(float(value) / divisor for value in (given if isinstance(given, list) else [given]))
