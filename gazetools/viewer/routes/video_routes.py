"""One video: its facts, the times of its frames, stills, the file for playing, and a copy where browsers need one."""

from __future__ import annotations

from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from gazetools.annotations.segment import Segment
from gazetools.schemas.errors import GazetoolsError, UsageError
from gazetools.viewer.blocks import frames_per_block, shown_size
from gazetools.viewer.json_answer import JsonAnswer
from gazetools.viewer.playing import MEDIA_TYPES, plan_for
from gazetools.viewer.routes.asked import asked_number, asked_video, showing_of
from gazetools.viewer.showing import Showing


def facts(request: Request) -> Response:
    """`?id=`: what the page needs before it shows the video: sources of heatmaps, way of playing, actions, findings."""
    showing, video_id = showing_of(request), asked_video(request)
    sources = [_source(showing, number, video_id) for number in range(len(showing.roots))]
    answer: dict[str, Any] = {
        "id": video_id,
        "sources": sources,
        "video": _video(showing, video_id),
        "findings": [one.model_dump(mode="json") for one in showing.findings.get(video_id, [])],
        "segments": [_action(one) for one in showing.segments(video_id)],
    }
    return JsonAnswer(answer)


def times(request: Request) -> Response:
    """`?id=`: the pts of every frame in seconds, float64 in little endian; without a video those of the heatmaps.

    NaN: not known.
    """
    showing, video_id = showing_of(request), asked_video(request)
    if showing.video(video_id).path is not None:
        found = showing.times(video_id)
    else:
        with showing.maps(0, video_id) as maps:
            known = maps.pts_seconds
            found = np.full(maps.frame_count, np.nan) if known is None else known
    return Response(found.astype("<f8").tobytes(), media_type="application/octet-stream")


def still(request: Request) -> Response:
    """`?id=&frame=&height=`: exactly this frame as JPEG, at most so high."""
    stills = showing_of(request).stills(asked_video(request))
    frame = asked_number(request, "frame")
    data = stills.still(frame, max(16, asked_number(request, "height", 1080, most=16384)))
    return Response(data, media_type="image/jpeg", headers={"x-frame-index": str(frame)})


def media(request: Request) -> Response:
    """`?id=`: the video file, also by ranges of bytes."""
    showing, video_id = showing_of(request), asked_video(request)
    video = showing.video(video_id)
    if video.path is None or not video.path.is_file():
        raise UsageError(video.problem or f"{video.path} is a folder of pictures, which browsers do not play.")
    kind = MEDIA_TYPES.get(video.path.suffix.lower(), "application/octet-stream")
    return FileResponse(video.path, media_type=kind, headers={"cache-control": "no-cache"})


def start_proxy(request: Request) -> Response:
    """POST `?id=`: begin a copy that the browser plays; answers as `proxy_state`."""
    showing, video_id = showing_of(request), asked_video(request)
    video = showing.video(video_id)
    if video.path is None:
        raise UsageError(video.problem)
    showing.proxies.start(video_id, video)
    return proxy_state(request)


def proxy_state(request: Request) -> Response:
    """`?id=`: `{"state": "none"|"making"|"ready"|"failed", "done", "total", "words"}`."""
    state = showing_of(request).proxies.state(asked_video(request))
    return JsonAnswer({"state": "none"} if state is None else vars(state))


def proxy(request: Request) -> Response:
    """`?id=`: the finished copy, also by ranges of bytes."""
    path = showing_of(request).proxies.file(asked_video(request))
    if path is None:
        raise UsageError("The copy of this video is not ready.")
    return FileResponse(path, media_type="video/mp4", headers={"cache-control": "no-cache"})


def _action(segment: Segment) -> dict[str, Any]:
    classes = segment.classes
    shown = {task: value for task, value in classes.items() if task != "action" or len(classes) == 1}
    return {
        "start_seconds": segment.start_seconds,
        "stop_seconds": segment.stop_seconds,
        "name": segment.name,
        "classes": shown,
    }


def _source(showing: Showing, number: int, video_id: str) -> dict[str, Any]:
    root = showing.roots[number]
    shown: dict[str, Any] = {"kind": root.kind, "name": root.path.name or str(root.path), "stamp": None}
    try:
        shown["stamp"] = str(showing.stamp(number, video_id))
        with showing.maps(number, video_id) as maps:
            tracks, rows = np.unique(maps.table.track_id, return_counts=True)
            height, width = shown_size(maps.size_hw)
            shown |= {
                "frame_count": maps.frame_count,
                "size_hw": maps.size_hw,
                "shown_hw": (height, width),
                "rows": len(maps.table.frame),
                "frames_per_block": frames_per_block(maps),
                "model": None if maps.provenance is None else maps.provenance.model.name,
                "tracks": [
                    {"id": track, "rows": count, "role": maps.roles.get(track)}
                    for track, count in zip(tracks.tolist(), rows.tolist(), strict=True)
                    if track >= 0
                ],
            }
    except GazetoolsError as error:
        shown["problem"] = str(error)
    return shown


def _video(showing: Showing, video_id: str) -> dict[str, Any]:
    """`{"way": "none", "words"}` where it can't be shown, else size and way of playing."""
    try:
        stills = showing.stills(video_id)
        info, plan = stills.info, plan_for(stills.info)
    except (GazetoolsError, OSError) as error:
        return {"way": "none", "words": str(error)}
    return {
        "stamp": showing.video_stamp(video_id),
        "way": plan.way,
        "words": plan.words,
        "start_seconds": plan.start_seconds,
        "width": info.width,
        "height": info.height,
        "codec": info.codec,
        "rate": float(info.rate),
        "name": info.path.rsplit("/", 1)[-1],
    }


ROUTES = [
    Route("/api/video", facts),
    Route("/api/times", times),
    Route("/api/still", still),
    Route("/api/media", media),
    Route("/api/proxy", start_proxy, methods=["POST"]),
    Route("/api/proxy", proxy_state),
    Route("/api/proxy/file", proxy),
]
