"""The page itself and its files: `/`, `/static/NAME`."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from gazetools.html.frame import environment, style_sheet
from gazetools.viewer.guard import is_asked_with
from gazetools.viewer.routes.asked import showing_of

_TYPES = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}


def page(request: Request) -> Response:
    """The page, with the token that its requests send where it was asked for with it; else the page remembers it."""
    showing = showing_of(request)
    token = request.app.state.token
    token = token if is_asked_with(token, request.query_params.get("token")) else ""
    template = environment().get_template("viewer/static/page.html.jinja")
    roots = [{"kind": root.kind, "name": root.path.name or str(root.path)} for root in showing.roots]
    text = template.render(token=token, roots=roots, first_video=showing.first_video or "")
    return HTMLResponse(text.encode("utf-8", "replace"))  # names of folders may have stray bytes


def static(request: Request) -> Response:
    """A file of `viewer/static`, or the style sheet that all pages of gazetools share."""
    name = request.path_params["name"]
    text = style_sheet() if name == "style.css" else _static_files().get(name)
    if text is None:
        return PlainTextResponse("There is no such file.", 404)
    return Response(text, media_type=_TYPES[name.rsplit(".", 1)[1]], headers={"cache-control": "no-cache"})


@lru_cache(maxsize=1)
def _static_files() -> dict[str, str]:
    """Name -> text of the scripts and style sheets; templates are not served."""
    found = files("gazetools").joinpath("viewer/static").iterdir()
    return {one.name: one.read_text(encoding="utf-8") for one in found if one.name.rsplit(".", 1)[-1] in _TYPES}


ROUTES = [Route("/", page), Route("/static/{name}", static)]
