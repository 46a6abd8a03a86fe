"""Correction of head boxes: `/api/boxes`, `/api/boxes/rows`, and `/api/boxes/save`, which writes a new CSV."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gazetools.heads.box_reading import size_of
from gazetools.schemas.base import parse_settings
from gazetools.schemas.box_edits import BoxSave
from gazetools.schemas.errors import UsageError
from gazetools.viewer.box_command import extract_command
from gazetools.viewer.box_saving import PresentBoxes, StaleError, corrected_path, present_boxes, save_boxes
from gazetools.viewer.box_source import BoxSource, read_source
from gazetools.viewer.json_answer import JsonAnswer
from gazetools.viewer.routes.asked import asked_video, showing_of
from gazetools.viewer.showing import Showing

_P = ParamSpec("_P")
_COLUMNS = 7
"""frame, track, xmin, ymin, xmax, ymax, origin"""


def _explain_stale(route: Callable[_P, Response]) -> Callable[_P, Response]:
    """Answer 409 with the present revision where the boxes were saved meanwhile."""

    @wraps(route)
    def explained(*given: _P.args, **named: _P.kwargs) -> Response:
        try:
            return route(*given, **named)
        except StaleError as error:
            return JsonAnswer({"error": {"message": error.message, "hint": error.hint}, **error.details}, 409)

    return explained


def boxes(request: Request) -> Response:
    """`?id=`: where the boxes come from, where they are saved, their revision, and the command to run afterwards."""
    showing, video_id = showing_of(request), asked_video(request)
    source = read_source(showing, video_id)
    return JsonAnswer(_facts(showing, video_id, source, _present(showing, video_id, source)))


@_explain_stale
def rows(request: Request) -> Response:
    """`?id=&revision=`: all boxes as float64 in little endian, 7 to a box: frame, track, 4 sides in pixels, origin."""
    showing, video_id = showing_of(request), asked_video(request)
    present = _present(showing, video_id, read_source(showing, video_id))
    if present.revision != request.query_params.get("revision"):
        raise StaleError("The boxes were saved meanwhile.", hint="Ask again.", revision=present.revision)
    found = present.boxes
    table = np.column_stack([found.frame, found.track, found.box_xyxy, found.origin]).reshape(-1, _COLUMNS)
    return Response(table.astype("<f8").tobytes(), media_type="application/octet-stream")


async def save(request: Request) -> Response:
    """POST `?id=`, `{"revision", "edits"}`: save; answers as `/api/boxes`, 409 where the revision is an old one."""
    return await run_in_threadpool(_save, request, await request.body())


@_explain_stale
def _save(request: Request, body: bytes) -> Response:
    showing, video_id = showing_of(request), asked_video(request)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise UsageError("The edits are not JSON.") from None
    if not isinstance(document, dict):
        raise UsageError("The edits are not a JSON object.")
    asked = parse_settings(BoxSave, document, what="edits of head boxes")
    source = read_source(showing, video_id)
    path = corrected_path(showing.boxes_folder, video_id)
    return JsonAnswer(_facts(showing, video_id, source, save_boxes(path, video_id, source, asked)))


def _present(showing: Showing, video_id: str, source: BoxSource) -> PresentBoxes:
    return present_boxes(corrected_path(showing.boxes_folder, video_id), source)


def _facts(showing: Showing, video_id: str, source: BoxSource, present: PresentBoxes) -> dict[str, Any]:
    path = corrected_path(showing.boxes_folder, video_id)
    saved = present.corrections.save if present.corrections is not None else None
    video = showing.video(video_id).path
    return {
        **size_of(source.video),
        "revision": present.revision,
        "rows": len(present.boxes),
        "base": {"kind": present.base.kind, "path": present.base.path},
        "path": str(path),
        "saved": None if saved is None else {"time": saved.time, "edits": saved.edits, "rows": saved.rows},
        "command": extract_command(showing.roots[0].path, video, video_id, source, path),
    }


ROUTES = [
    Route("/api/boxes", boxes),
    Route("/api/boxes/rows", rows),
    Route("/api/boxes/save", save, methods=["POST"]),
]
