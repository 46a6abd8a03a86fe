"""One reader of labelled gaze for `finetune` and `evaluate`: which form a file has, and the reader of that form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from gazetools.annotations.childplay import read_childplay
from gazetools.annotations.clicked_points import read_clicked_points
from gazetools.annotations.gaze_labels import Labels
from gazetools.annotations.gazefollow import read_gazefollow
from gazetools.annotations.gooreal import PICKLES, read_gooreal
from gazetools.annotations.pictures_root import PicturesRoot
from gazetools.annotations.preprocessed import is_preprocessed, protocol_of, read_preprocessed
from gazetools.annotations.videoattentiontarget import read_videoattentiontarget
from gazetools.io.json_files import read_json
from gazetools.io.tables import read_header
from gazetools.schemas.errors import UsageError
from gazetools.schemas.gaze_labels import LabelKind

_SPLITS = ("train", "val", "test")
_MAX_JSON = 4 << 30
Reader = Callable[[Path, PicturesRoot], Labels]
READERS: dict[str, Reader] = {
    "gazefollow": read_gazefollow,
    "videoattentiontarget": read_videoattentiontarget,
    "childplay": read_childplay,
    "gooreal": lambda path, _: read_gooreal(path),
    "points": read_clicked_points,
}
"""Kind -> reader of the released form; prepared JSON, which all benchmarks share, has a reader of its own."""


def read_labels(
    path: Path,
    *,
    kind: LabelKind = "auto",
    images: Path | None = None,
    split: str | None = None,
    check_pictures: bool = False,
) -> Labels:
    """The labels of a file or folder, with every row that was left out or mended counted and named:

    - `{train,test}_annotations_release.txt`: GazeFollow (extended) as released;
    - a folder `annotations/{train,test}` with `<show>/<clip>/<person>.txt`: VideoAttentionTarget;
    - a folder `annotations/{train,val,test}` with `<clip>.csv`, or one of them: ChildPlay;
    - a `.pickle`, or the same list as `.json`: GOO-Real;
    - `{train,val,test}_preprocessed.json`: each of the four as Gaze-LLE's scripts prepare it;
    - another `.csv`: clicked points.

    Args:
        path: the file or folder. A folder with folders per split needs `split`.
        kind: the form; `auto` finds it by the name and content, a word of `LabelKind` decides.
        images: root of the pictures; the released forms of GazeFollow, VideoAttentionTarget and ChildPlay, and points
            in pixels, need it for their sizes. Pictures of which nothing is there are left out as `picture_missing`.
        split: read only this split; UsageError where the labels name their splits and none is this one.
        check_pictures: also leave out pictures (not videos) below `images` that are missing where sizes are known
            without them.

    Raises DataFileError with file and line for damaged labels, UsageError for what is none of these, and where nothing
    is left.
    """
    path = _folder_of_split(path, split)
    root = PicturesRoot(images)
    labels = _read(path, kind, root)
    labels = _of_split(path, labels, split)
    if check_pictures and images is not None:
        labels = _with_pictures(labels, images)
    if not any(picture.heads for picture in labels.pictures) and (labels.left_out or check_pictures):
        reasons = ", ".join(f"{reason} {count}" for reason, count in labels.left_out.counts.items())
        first = next((noted.places[0] for noted in labels.left_out.values()), "")
        raise UsageError(f"Nothing of {path} can be used: {reasons or 'no heads'}. {first}", hint="Check the labels.")
    return labels


def _read(path: Path, kind: LabelKind, root: PicturesRoot) -> Labels:
    if path.suffix.lower() == ".json":
        content = read_json(path, max_bytes=_MAX_JSON, constants=float)  # NaN: its head is left out and counted
        if is_preprocessed(content):
            return read_preprocessed(path, content, protocol_of(path, content, kind))
        if _is_gooreal(content):
            return read_gooreal(path)
    elif (found := kind if kind != "auto" else _kind_of(path)) is not None:
        return READERS[found](path, root)
    raise UsageError(
        f"{path} is no annotation that is known.",
        hint="Known: a ground-truth store, GazeFollow's *_annotations_release.txt, VideoAttentionTarget's "
        "annotations/test folder, ChildPlay's annotations/test folder, GOO-Real's .pickle, Gaze-LLE's "
        "*_preprocessed.json, and a .csv of points.",
    )


def _kind_of(path: Path) -> str | None:
    if path.is_dir():
        return "childplay" if any(path.glob("*.csv")) else "videoattentiontarget"
    if path.suffix == ".txt":
        return "gazefollow"
    if path.suffix.lower() in PICKLES:
        return "gooreal"
    if path.suffix.lower() == ".csv":
        return "childplay" if "gaze_class" in read_header(path) else "points"
    return None


def _is_gooreal(content: Any) -> bool:
    return isinstance(content, list) and bool(content) and isinstance(content[0], dict) and "ann" in content[0]


def _folder_of_split(path: Path, split: str | None) -> Path:
    """`path`, or the folder of the split below it."""
    if not path.exists():
        raise UsageError(f"The labels {path} do not exist.", hint="Check the path.")
    splits = [name for name in _SPLITS if (path / name).is_dir()] if path.is_dir() else []
    if not splits or any(path.glob("*.csv")):
        return path
    if split in splits:
        return path / split
    wanted = "which of them is meant is not said" if split is None else f"none of them is {split}"
    raise UsageError(f"{path} has folders {', '.join(splits)}; {wanted}.", hint=f"Pass {path / splits[-1]}.")


def _of_split(path: Path, labels: Labels, split: str | None) -> Labels:
    named = {picture.split for picture in labels.pictures} - {""}
    if split is None or not named:
        return labels
    if split not in named:
        raise UsageError(
            f"{path} has no split {split}; it has {', '.join(sorted(named))[:200]}.", hint="Check `split`."
        )
    return replace(labels, pictures=[picture for picture in labels.pictures if picture.split == split])


def _with_pictures(labels: Labels, images: Path) -> Labels:
    there: dict[str, bool] = {}
    kept = []
    for picture in labels.pictures:
        if picture.path not in there:  # a video is named by its id; who reads its frames finds the file
            there[picture.path] = picture.is_video or (images / picture.path).is_file()
        if there[picture.path]:
            kept.append(picture)
            continue
        for head in picture.heads:
            labels.left_out.add("picture_missing", f"{head.place}: {images / picture.path}")
    return replace(labels, pictures=kept)
