"""The frame of every HTML page: one base template and one style sheet; no script, no font, no address."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

import jinja2
from markupsafe import Markup


def render(template: str, *, title: str, command: str, version: str, with_video: bool = False, **values: object) -> str:
    """A whole page from a template of this package, named by its path such as `demo/page.html.jinja`.

    Values are escaped, except where the template marks them as safe. The page's policy makes the browser refuse all but
    the pictures, and with `with_video` the videos, that the page itself holds. Header and footer name `command`, which
    writes the page, and the `version` of gazetools. Raises jinja2.UndefinedError.
    """
    known = {"title": title, "command": command, "version": version, "with_video": with_video}
    return environment().get_template(template).render(**known, **values)


@lru_cache(maxsize=1)
def environment() -> jinja2.Environment:
    """The template engine of all pages: it escapes values and loads templates from this package only."""
    found = jinja2.Environment(
        loader=jinja2.FunctionLoader(_text), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    found.globals["style"] = Markup(style_sheet())
    return found


def style_sheet() -> str:
    """The one style sheet of all pages."""
    return _text("html/style.css")


def _text(name: str) -> str:
    return files("gazetools").joinpath(name).read_text(encoding="utf-8")
