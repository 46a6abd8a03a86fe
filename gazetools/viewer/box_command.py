"""The command that computes the heatmaps of corrected boxes again."""

from __future__ import annotations

import glob
import os
import shlex
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gazetools.egoexo.takes import is_egoexo_root
from gazetools.extraction.report import read_report
from gazetools.schemas.errors import GazetoolsError
from gazetools.schemas.extract import ExtractOptions
from gazetools.schemas.provenance import Provenance
from gazetools.schemas.store import REPORT_NAME
from gazetools.viewer.box_source import BoxSource

_OF_MODEL = ("model", "checkpoint", "backbone", "backend", "runtime", "batch_size", "device")
_OF_FRAMES = (
    "fps",
    "stride",
    "start",
    "end",
    "small_heads",
    "allow_damaged",
    "preprocess",
    "hdr",
    "keep",
    "token_grid",
)
_OF_BOXES = ("people", "fill_gaps")
_UNKNOWN_INPUT = "VIDEOS"


def extract_command(store: Path, video: Path | None, video_id: str, source: BoxSource, csv: Path) -> str:
    """The line for a shell: `gazetools extract`, which computes only the frames whose boxes have changed.

    With the model and the options of the store, as its report and the video's provenance state them. `VIDEOS` stands
    for the input where the `video` is not known, or does not have the id `video_id` below any folder.
    """
    origin = source.provenance
    words = ["gazetools", "extract", *_inputs(video, video_id), "-o", str(store), "--heads", f"file:{csv}"]
    for name, value in origin.video.own_times().for_reader().items():  # nothing for a file
        words += [f"--{name.replace('_', '-')}", str(value)]
    known = _options_of_run(store, origin)
    known |= {name: origin.options[name] for name in _OF_FRAMES if name in origin.options}
    if source.base.kind == "file":  # the file has all people and no filled gaps, as the one that it replaces
        known |= {name: origin.options[name] for name in _OF_BOXES if name in origin.options}
    for name, value in known.items():
        if value == ExtractOptions.model_fields[name].get_default(call_default_factory=True):
            continue
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(flag)
        else:
            for one in map(str, _several(value)):
                words += [f"{flag}={one}"] if one.startswith("-") else [flag, one]
    return " ".join(map(_quoted, [*words, "--overwrite"]))


def _options_of_run(store: Path, origin: Provenance) -> dict[str, Any]:
    """The options of the model; the name and number type of the provenance where the report is of another run."""
    known: dict[str, Any] = {"model": origin.model.name}
    try:
        options = ExtractOptions.model_validate(read_report(store / REPORT_NAME).options)
    except (GazetoolsError, ValidationError):
        options = None
    if options is not None:
        known = {name: getattr(options, name) for name in _OF_MODEL}
        known["dtype"] = options.dtype
    if known.get("dtype", "auto") == "auto" and origin.model.dtype in ("float32", "tf32", "bfloat16", "float16"):
        known["dtype"] = origin.model.dtype  # --overwrite would choose anew
    return known


def _inputs(video: Path | None, video_id: str) -> list[str]:
    """The input, or several words, with which the video gets the same id again, and no other video is named."""
    if video is None:
        return [_UNKNOWN_INPUT]
    for root in video.parents:
        if is_egoexo_root(root) and "/" in video_id:
            take, camera = video_id.rsplit("/", 1)
            views = ["--views", "exo,ego"]
            return [str(root), "--takes", take, "--cameras", camera, *views]
    if video.stem == video_id:
        return [str(video)]
    place = video.with_suffix("").as_posix()
    root_text = place.removesuffix(f"/{video_id}")
    if root_text == place or glob.has_magic(root_text):
        return [_UNKNOWN_INPUT]
    # a glob whose fixed part is the root, so that the id is the path below it
    below = video.as_posix()[len(root_text) + 1 :]
    first = f"[{below[0]}]" if below[0] not in "!^]" else "?"
    return [f"{root_text}/{first}{glob.escape(below[1:])}"]


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _quoted(word: str) -> str:
    """The word for a POSIX shell; a store is not trusted, and a terminal would act on control characters.

    >>> print(_quoted("-;id x"), _quoted("a\\nb"))
    '-;id x' $'a\\012b'
    """
    if word.isprintable():
        return shlex.quote(word)
    kept = (chr(byte) if 32 <= byte < 127 and byte not in b"\\'" else f"\\{byte:03o}" for byte in os.fsencode(word))
    return f"$'{''.join(kept)}'"
