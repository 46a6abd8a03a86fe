"""Draw one frame's heatmaps, head boxes, gaze peaks and in/out scores onto its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

# the palette of Okabe and Ito, which colour-blind people can distinguish
_TRACK_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0))


@dataclass(frozen=True, kw_only=True)
class PersonOverlay:
    """One person in one frame."""

    track_id: int | None
    """None where the source has one map per frame and no people (a packed dataset)."""
    heatmap: npt.NDArray[np.floating]
    """[h, w] relative to the whole frame, any non-negative range."""
    box_xyxy: npt.NDArray[np.floating] | None
    """[4] in 0..1, None where there is no box."""
    inout: float | None


def peak_xy(heatmap: npt.NDArray[np.floating]) -> tuple[float, float]:
    """Centre of the first highest cell as (x, y) in 0..1."""
    row, column = np.unravel_index(int(np.argmax(heatmap)), heatmap.shape)
    return (float(column) + 0.5) / heatmap.shape[1], (float(row) + 0.5) / heatmap.shape[0]


def draw_overlay(
    rgb: npt.NDArray[np.uint8], people: list[PersonOverlay], *, caption: str = ""
) -> npt.NDArray[np.uint8]:
    """A copy of the frame [H, W, 3] with boxes, scores, gaze peaks and maps, each scaled to its own maximum, drawn."""
    height, width = rgb.shape[:2]
    picture = _blend(rgb, people) if people else rgb.copy()
    thickness = max(1, round(min(height, width) / 240))
    plates: list[tuple[int, int, int, int]] = []
    for person in people:
        colour = _TRACK_COLOURS[(person.track_id or 0) % len(_TRACK_COLOURS)]
        start = None
        if person.box_xyxy is not None:
            x0, y0, x1, y1 = (person.box_xyxy * (width, height, width, height)).round().astype(int).tolist()
            cv2.rectangle(picture, (x0, y0), (x1, y1), colour, thickness, cv2.LINE_AA)
            start = ((x0 + x1) // 2, (y0 + y1) // 2)
            _label(picture, _name(person), (x0, y0 - thickness), colour, thickness, plates)
        if float(np.max(person.heatmap)) > 0:
            x, y = peak_xy(person.heatmap)
            peak = (int(x * width), int(y * height))
            if start is not None:
                cv2.line(picture, start, peak, colour, thickness, cv2.LINE_AA)
            cv2.drawMarker(picture, peak, colour, cv2.MARKER_CROSS, 10 * thickness, 2 * thickness, cv2.LINE_AA)
    _label(picture, caption, (0, height), (255, 255, 255), thickness, plates)
    return picture


def _name(person: PersonOverlay) -> str:
    parts = [] if person.track_id is None else [f"id {person.track_id}"]
    if person.inout is not None and np.isfinite(person.inout):
        parts.append(f"in {person.inout:.2f}")
    return "  ".join(parts)


def _blend(picture: npt.NDArray[np.uint8], people: list[PersonOverlay]) -> npt.NDArray[np.uint8]:
    height, width = picture.shape[:2]
    scaled = [p.heatmap.astype(np.float32) / max(float(np.max(p.heatmap)), 1e-12) for p in people]
    heat = np.max([cv2.resize(m, (width, height), interpolation=cv2.INTER_LINEAR) for m in scaled], axis=0)
    colours = cv2.applyColorMap((heat * 255).clip(0, 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    share = (0.65 * heat)[:, :, None]  # where nobody looks the frame stays as it is
    return (picture * (1 - share) + colours * share).round().astype(np.uint8)


def _label(
    picture: npt.NDArray[np.uint8],
    text: str,
    place: tuple[int, int],
    colour: tuple[int, int, int],
    thickness: int,
    plates: list[tuple[int, int, int, int]],
) -> None:
    """Draw text on a dark plate whose lower left corner is `place`, and add the plate to `plates`.

    A plate that would not fit is moved inside; one that would cover another of `plates` (x0, y0, x1, y1), above it, or
    else below it, where there is room.
    """
    if not text:
        return
    font, scale, pad = cv2.FONT_HERSHEY_SIMPLEX, 0.42 * thickness, 2 * thickness
    (width, height), below = cv2.getTextSize(text, font, scale, thickness)
    x = max(0, min(place[0], picture.shape[1] - width - 2 * pad))
    high, right = height + below + 2 * pad, x + width + 2 * pad
    wanted = max(high, min(place[1], picture.shape[0]))
    covered = [(top, bottom) for left, top, end, bottom in plates if x <= end and left <= right]
    higher = sorted((top - 1 for top, _ in covered), reverse=True)
    lower = sorted(bottom + high + 1 for _, bottom in covered)
    places = [low for low in (wanted, *higher, *lower) if high <= low <= picture.shape[0]]
    free = (low for low in places if all(low < top or bottom < low - high for top, bottom in covered))
    y = next(free, wanted)
    plates.append((x, y - high, right, y))
    cv2.rectangle(picture, (x, y - high), (right, y), (20, 20, 20), -1)
    cv2.putText(picture, text, (x + pad, y - below - pad), font, scale, colour, thickness, cv2.LINE_AA)
