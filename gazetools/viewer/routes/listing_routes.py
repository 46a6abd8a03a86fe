"""The list of videos, a page at a time: `/api/videos`; and whether something has changed: `/api/changes`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gazetools.schemas.errors import GazetoolsError, UsageError
from gazetools.viewer.json_answer import JsonAnswer
from gazetools.viewer.roots import VideoLine
from gazetools.viewer.routes.asked import asked_number, asked_video, showing_of
from gazetools.viewer.showing import Showing

_ORDERS = ("name", "coverage", "people", "frames", "findings")
_MOST = 500


def videos(request: Request) -> Response:
    """`?query=&sort=name|coverage|people|frames|findings&down=0|1&offset=&limit=`: a part of the list.

    Videos whose line is not read yet come last in every order but that of names.
    """
    showing = showing_of(request)
    lines = showing.lines.lines()
    query = request.query_params.get("query", "").casefold()
    order = request.query_params.get("sort", "name")
    if order not in _ORDERS:
        raise UsageError(f"sort = {order[:40]!r} must be one of {', '.join(_ORDERS)}.")
    found = sorted(video_id for video_id in lines if query in video_id.casefold())
    if order != "name":
        known = [video_id for video_id in found if _value(showing, order, video_id, lines[video_id]) is not None]
        unknown = sorted(set(found) - set(known))
        found = sorted(known, key=lambda one: _value(showing, order, one, lines[one]) or 0) + unknown
        if request.query_params.get("down") == "1":
            found = list(reversed(found[: len(known)])) + unknown
    elif request.query_params.get("down") == "1":
        found.reverse()
    start = asked_number(request, "offset", 0)
    part = found[start : start + asked_number(request, "limit", 100, most=_MOST)]
    return JsonAnswer(
        {
            "total": len(found),
            "all": len(lines),
            "waiting": showing.lines.waiting(),
            "version": showing.lines.version,
            "has_findings": showing.has_findings,
            "general": [one.model_dump(mode="json") for one in showing.findings.get(None, [])],
            "videos": [_line(showing, video_id, lines[video_id]) for video_id in part],
        }
    )


def changes(request: Request) -> Response:
    """`?id=`: the list's `version`; `stamps`, one of each source's heatmaps (or null); `video`, the file's (or null).

    The page asks every few seconds; with `list=1` the folder is looked at again, for a later answer.
    """
    showing = showing_of(request)
    if request.query_params.get("list") == "1":
        showing.lines.look_again()
    stamps: list[str | None] = []
    asked = request.query_params.get("id")
    for number in range(len(showing.roots)) if asked else ():
        try:
            stamps.append(str(showing.stamp(number, asked_video(request))))
        except GazetoolsError:
            stamps.append(None)
    video = showing.video_stamp(asked) if asked else None
    known = {"version": showing.lines.version, "waiting": showing.lines.waiting()}
    return JsonAnswer({**known, "stamps": stamps, "video": video})


def _value(showing: Showing, order: str, video_id: str, line: VideoLine | None) -> float | None:
    if order == "findings":
        weights = {"error": 1_000_000, "warning": 1000, "note": 1}
        return sum(weights[one.severity] for one in showing.findings.get(video_id, []))
    return None if line is None else getattr(line, order)


def _line(showing: Showing, video_id: str, line: VideoLine | None) -> dict[str, object]:
    counts = {"error": 0, "warning": 0, "note": 0}
    for finding in showing.findings.get(video_id, []):
        counts[finding.severity] += 1
    shown: dict[str, object] = {"id": video_id, "findings": counts, "read": line is not None}
    if line is not None:
        shown |= {"frames": line.frames, "people": line.people, "coverage": line.coverage, "problem": line.problem}
    return shown


ROUTES = [Route("/api/videos", videos), Route("/api/changes", changes)]
