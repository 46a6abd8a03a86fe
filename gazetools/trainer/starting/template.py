"""The text of a new config: a template of this package, filled with what was found and commented with it."""

from __future__ import annotations

import json
import re
import textwrap
from dataclasses import dataclass, fields
from importlib.resources import files

import jinja2

from gazetools.trainer.starting.encoders import FoundEncoder

_TEMPLATE = "trainer/starting/config.yaml.jinja"
_PLAIN = re.compile(r"[A-Za-z0-9_./][\w./-]*")
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What a new config says; the texts are comments."""

    path: str
    """The config's own file."""
    name: str
    """Sub-folder of `runs` for its trainings."""
    videos: str
    annotations: str
    validation: str
    heatmaps: str
    encoder: FoundEncoder
    file_format: int | None
    view: str | None
    """Cameras of takes; None: the annotations name videos."""
    held_out: float
    frames_per_second: float = 8
    about_annotations: str
    about_videos: str = ""
    about_heatmaps: str = ""
    about_held_out: str = ""
    about_clips: str = ""
    skips_videos: bool = True
    skips_heatmaps: bool = True
    fixed_views: int | None = None
    about_views: str = ""


def text_of(draft: Draft) -> str:
    """The config as YAML. Raises jinja2.UndefinedError for a name that the template has and the draft has not."""
    engine = jinja2.Environment(
        autoescape=False, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    engine.filters |= {"value": _value, "comment": _comment}
    source = files("gazetools").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    return engine.from_string(source).render({field.name: getattr(draft, field.name) for field in fields(draft)})


def _comment(text: str, indent: int) -> str:
    """A text as comment lines of at most 120 characters."""
    start = f"{' ' * indent}# "
    return textwrap.fill(text, 120, initial_indent=start, subsequent_indent=start, break_on_hyphens=False)


def _value(text: str) -> str:
    """A text as a YAML value: quoted unless it is a plain path or word. JSON's quotes are YAML's, too."""
    plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS and not re.fullmatch(r"[\d._eE+-]+", text)
    return text if plain else json.dumps(text, ensure_ascii=False)
