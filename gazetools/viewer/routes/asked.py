"""What a request asks for: the shared state, the video's id, numbers with their limits."""

from __future__ import annotations

from typing import cast

from starlette.requests import Request

from gazetools.schemas.errors import UsageError
from gazetools.schemas.video_id import check_video_id
from gazetools.viewer.showing import Showing


def showing_of(request: Request) -> Showing:
    """What this server shows."""
    return cast(Showing, request.app.state.showing)


def asked_video(request: Request) -> str:
    """The id in `?id=`. Raises UsageError for one that could lead out of a folder."""
    return check_video_id(request.query_params.get("id", ""))


def asked_source(request: Request) -> int:
    """The number in `?source=`: 0, or 1 with --compare."""
    return asked_number(request, "source", 0, most=len(showing_of(request).roots) - 1)


def asked_number(request: Request, name: str, default: int | None = None, *, most: int = 1 << 40) -> int:
    """The whole number `?name=` in 0..`most`; without `default` it must be there. Raises UsageError."""
    text = request.query_params.get(name, "" if default is None else str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= 15) or int(text) > most:
        raise UsageError(f"{name} = {text[:40]!r} must be a whole number from 0 to {most}.")
    return int(text)
