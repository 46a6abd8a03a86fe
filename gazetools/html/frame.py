"""Every HTML page's frame and template engine: one file that needs no script, no font, no address."""

from __future__ import annotations

import html

import jinja2


def html_page(*, title: str, style: str, body: str, with_video: bool = False) -> str:
    """A whole page; `title` is escaped here, `style` (CSS) and `body` (HTML) stand as they are.

    Its policy makes the browser refuse all but the pictures, and if asked for the videos, that the page itself holds.
    """
    video = " media-src data:;" if with_video else ""
    policy = f"default-src 'none'; img-src data:;{video} style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{style}\n</style>\n</head>\n<body>\n{body}\n</body></html>\n"
    )


def filled(template: str, **values: object) -> str:
    """The jinja template with `values`, which are escaped; a name that it lacks is an error."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(template).render(**values)
