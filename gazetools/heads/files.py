"""Read head-box files; `BOX_FORMATS` has one object per format."""

from __future__ import annotations

from pathlib import Path

from gazetools.exchange.names import matching_videos
from gazetools.heads.box_decision import decide
from gazetools.heads.box_file import BoxFile, BoxFormat, BoxRow, BoxText
from gazetools.heads.box_foreign import FOREIGN_FORMATS, is_label_place
from gazetools.heads.box_reading import BoxVideo, readings_of
from gazetools.heads.box_tables import TABLE_FORMATS
from gazetools.heads.table import HeadTable
from gazetools.schemas.errors import DataFileError, HeadsError
from gazetools.schemas.excerpt import excerpt, excerpt_of_names
from gazetools.schemas.heads import HEADS_FORMATS, BoxFileOptions

__all__ = [
    "BOX_FORMATS",
    "BoxFile",
    "BoxFormat",
    "BoxRow",
    "BoxVideo",
    "box_suffixes",
    "read_heads",
    "register",
]

BOX_FORMATS = {**TABLE_FORMATS, **FOREIGN_FORMATS}
"""Format of each name. Where one that was added recognises a file, it alone is asked."""
_BUILT_IN = frozenset(BOX_FORMATS)


def read_heads(
    path: Path,
    options: BoxFileOptions | None = None,
    *,
    video: BoxVideo | None = None,
    video_id: str | None = None,
    settle: bool = True,
) -> HeadTable:
    """Head boxes as they stand in the file, not yet relative to the video.

    Every format that recognises the file reads it; all rows, and the size and length of the `video` where it is known,
    say which readings are possible. HeadsError names file and line of what is wrong, or, where several readings stay
    possible, each one's first row and the option that decides; with `settle` False one of them is taken, for callers
    who do not know the video and need no more than the number of rows. `video_id` chooses among the videos of a file.
    """
    options = options or BoxFileOptions()
    if is_label_place(path):
        forms = {"yolo": BOX_FORMATS["yolo"]}
        return decide(readings_of(BoxText(path), options, forms, video, video_id), video, settle=settle)
    text = BoxText(path, comments=True)
    added = _added_format(BoxFile(text, options))
    if added is None:
        text = BoxText(path)
    forms = _candidates(text, options) if added is None else {added: BOX_FORMATS[added]}
    return decide(readings_of(text, options, forms, video, video_id), video, settle=settle)


def _added_format(file: BoxFile) -> str | None:
    """The format from outside the package that is asked for, or else recognises the file; the latest one first."""
    added = [name for name in BOX_FORMATS if name not in _BUILT_IN]
    if (asked := file.options.heads_format) != "auto":
        return asked if asked in added else None
    return next((name for name in reversed(added) if BOX_FORMATS[name].recognise(file)), None)


def _candidates(text: BoxText, options: BoxFileOptions) -> dict[str, BoxFormat]:
    """The built-in format that is asked for, or those that recognise the file."""
    if options.heads_format != "auto":
        form = BOX_FORMATS[options.heads_format]
        if options.heads_format in FOREIGN_FORMATS and not form.recognise(BoxFile(text, options)):
            hint = "Leave --heads-format out: what the file is will be recognised."
            raise HeadsError(f"{text.path} is not of the format {options.heads_format}.", hint=hint)
        return {options.heads_format: form}
    file = BoxFile(text, options)
    found = {name: BOX_FORMATS[name] for name in FOREIGN_FORMATS if BOX_FORMATS[name].recognise(file)}
    if found:
        first = next(iter(found))
        return {first: found[first]}
    return {name: form for name in TABLE_FORMATS if (form := BOX_FORMATS[name]).recognise(file)}


def of_videos(path: Path, options: BoxFileOptions, video_ids: list[str]) -> list[str] | None:
    """Those of `video_ids` that a file has boxes of; None where it is of one video and there are several.

    HeadsError where its videos are none of these.
    """
    if len(video_ids) == 1:
        return video_ids
    (name, form), *others = _candidates(BoxText(path), options).items() or [("", None)]
    if form is None or form.videos is None or others:
        return None
    try:
        names = form.videos(path)
    except DataFileError as error:
        raise HeadsError(error.message, hint=error.hint) from None
    found = [video_id for video_id in video_ids if len(matching_videos(names, video_id)) == 1]
    if not found and len(names) < 2:
        return None
    if not found:
        raise HeadsError(
            f"{path} ({name}) has boxes of {excerpt_of_names(names)}, none of which is one of the {len(video_ids)} "
            f"videos, such as {excerpt(video_ids[0])}.",
            hint="Give the videos their ids as names there, or one file for each video in a folder.",
        )
    return found


def box_suffixes() -> list[str]:
    """Suffixes of box files in a folder, in the order in which they are tried."""
    return list(dict.fromkeys(suffix for form in BOX_FORMATS.values() for suffix in form.suffixes))


def register(name: str, form: BoxFormat) -> None:
    """Add a format of box files from outside the package. Raises ValueError where the name is taken."""
    if name in BOX_FORMATS:
        raise ValueError(f"the name {name!r} is taken by another format of box files")
    HEADS_FORMATS.add(name)
    BOX_FORMATS[name] = form
