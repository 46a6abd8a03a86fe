"""Heatmaps by range of frames, and curves over a whole video: `/api/block`, `/api/curves`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gazetools.schemas.errors import UsageError
from gazetools.viewer.blocks import block_of, curves_of
from gazetools.viewer.json_answer import JsonAnswer
from gazetools.viewer.routes.asked import asked_number, asked_source, asked_video, showing_of

_MOST_FRAMES = 512
_MOST_BINS = 4000


def block(request: Request) -> Response:
    """`?id=&source=&start=&stop=`: the rows of the frames [start, stop), in the form of `viewer/blocks.py`."""
    start, stop = asked_number(request, "start"), asked_number(request, "stop")
    if not start < stop <= start + _MOST_FRAMES:
        raise UsageError(f"start = {start}, stop = {stop} must be a range of 1 to {_MOST_FRAMES} frames.")
    with showing_of(request).maps(asked_source(request), asked_video(request)) as maps:
        data = block_of(maps, start, stop)
    return Response(data, media_type="application/octet-stream")


def curves(request: Request) -> Response:
    """`?id=&source=&bins=&tracks=1,2`: coverage and in/out score in equal stretches; no `tracks`: all people."""
    bins = max(1, asked_number(request, "bins", 1000, most=_MOST_BINS))
    text = request.query_params.get("tracks")
    try:
        tracks = None if text is None else frozenset(int(part) for part in text.split(",") if part)
    except ValueError:
        raise UsageError(f"tracks = {text!r:.80} must be track ids with commas between them.") from None
    with showing_of(request).maps(asked_source(request), asked_video(request)) as maps:
        return JsonAnswer(curves_of(maps, bins, tracks))


ROUTES = [Route("/api/block", block), Route("/api/curves", curves)]
