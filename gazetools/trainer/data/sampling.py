"""The frames that a clip shows, chosen by time and never at or after the end of the observation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gazetools.sampling import nearest_indices
from gazetools.schemas.errors import DataFileError

MAX_GAP_SECONDS = 1.0
"""An observation that ends later than this after the last frame means that annotation and video do not match."""


@dataclass(frozen=True, kw_only=True)
class ClipFrames:
    """The frames of one clip."""

    frame_indices: npt.NDArray[np.int64]
    """[frames_per_clip] in time order; repeated where a wanted time has no frame of its own."""
    frames_before_video: int
    """Wanted times before the first frame; that frame is shown for them (as V-JEPA 2 shows frame 0)."""


def anchor_seconds(start_seconds: float, stop_seconds: float, point: float) -> float:
    """Anchor time of an action; point 1 = its start, 0 = its end (V-JEPA 2's anticipation point)."""
    return point * start_seconds + (1.0 - point) * stop_seconds


def clip_frames(
    pts_seconds: npt.NDArray[np.float64],
    *,
    observation_end_seconds: float,
    frames_per_clip: int,
    frames_per_second: float,
    context_seconds: float | None = None,
) -> ClipFrames:
    """Frames for the times end - L + k / fps, k = 0..n-1, L = n / fps, all in [end - L, end).

    Each time takes the frame whose pts is nearest, out of the frames with pts < end: a later frame would show the
    action that is to be anticipated. Times count from the video's first frame, as annotations do.

    With `context_seconds` below L, times before end - context_seconds show the first frame of the context, and times
    before the video its first frame. The time between two frames never changes.

    Example: 4 frames at 2 per second up to 10 s are those nearest to 8.0, 8.5, 9.0 and 9.5 s.
    Raises DataFileError where no frame lies before the end, or the end lies more than 1 s past the last frame.
    """
    times = pts_seconds - pts_seconds[0]
    usable = int(np.searchsorted(times, observation_end_seconds, side="left"))
    if usable == 0:
        raise DataFileError(
            f"The observation ends at {observation_end_seconds:.3f} s, where the video has shown no frame yet.",
            hint="Shorten the anticipation time or drop the action.",
        )
    if (end := observation_end_seconds) > times[-1] + _frame_period(times) + MAX_GAP_SECONDS:
        raise DataFileError(
            f"The observation ends at {end:.3f} s, but the video's last frame is at {times[-1]:.3f} s.",
            hint="Check that the annotation belongs to this video.",
        )
    wanted = observation_end_seconds + (np.arange(frames_per_clip) - frames_per_clip) / frames_per_second
    if context_seconds is not None:
        # The first wanted time within the context; the last one (a step before the end) always is.
        kept = wanted >= min(observation_end_seconds - context_seconds, float(wanted[-1])) - 1e-9
        wanted = np.maximum(wanted, wanted[kept][0])
    return ClipFrames(
        frame_indices=np.minimum(nearest_indices(times, wanted), usable - 1),
        frames_before_video=int((wanted < 0).sum()),
    )


def _frame_period(times: npt.NDArray[np.float64]) -> float:
    """Seconds for which the last frame is shown: the median time between two frames."""
    return float(np.median(np.diff(times))) if len(times) > 1 else 0.0


def future_frames(
    pts_seconds: npt.NDArray[np.float64],
    *,
    first_future_seconds: float,
    future_count: int,
    frames_per_clip: int,
    frames_per_second: float,
) -> npt.NDArray[np.int64] | None:
    """Frames of a clip whose last `future_count` times are first_future + k / fps; None where the video ends before.

    The earlier times have the same rate, so that an encoder sees the future in a clip of its usual length.
    These frames lie after the observation: only a loss may see them.
    """
    times = pts_seconds - pts_seconds[0]
    steps = np.arange(frames_per_clip) - (frames_per_clip - future_count)
    wanted = first_future_seconds + steps / frames_per_second
    return None if wanted[-1] > times[-1] + _frame_period(times) else nearest_indices(times, wanted)


@dataclass(frozen=True, kw_only=True)
class NumberedClip:
    """A clip by EPIC's frame numbers, as released loaders choose its frames."""

    start_frame: int
    stop_frame: int
    video_fps: float
    frames_per_clip: int
    frames_per_second: float
    anticipation_seconds: float
    point: float
    """1 = the action's start, 0 = its end."""


def clip_frames_vjepa2(clip: NumberedClip) -> ClipFrames:
    """The frames that V-JEPA 2's released loader reads (evals/action_anticipation_frozen/epickitchens.py, c2963a4).

    For `compat: vjepa2`, to reproduce published numbers. It differs from `clip_frames` in three ways: EPIC's frame
    numbers, which count 60 or 50 per second, index the file whatever its rate; the step is int(video_fps / fps) frames;
    the anchor is cut to a whole frame. Frames before the video become frame 0; for frames behind its end the reader
    raises. DataFileError where the video has fewer frames per second than are asked for (upstream divides by zero).
    """
    step = int(clip.video_fps / clip.frames_per_second)
    if step < 1:
        raise DataFileError(
            f"compat: vjepa2 cannot take {clip.frames_per_second:g} frames per second from a video of "
            f"{clip.video_fps:g}.",
            hint="Lower experiment.data.frames_per_second, or set compat=none.",
        )
    indices = _numbered(clip, step, ahead=int(clip.anticipation_seconds * clip.video_fps))
    return ClipFrames(frame_indices=np.maximum(indices, 0), frames_before_video=int((indices < 0).sum()))


def clip_frames_jfaa(clip: NumberedClip, *, frame_count: int) -> ClipFrames:
    """The frames that JFAA's loader of folders of pictures reads (CorrineQiu/JFAA 38482c8, epickitchens_frames.py).

    For `compat: jfaa`. Like `clip_frames_vjepa2`, but the step is round(video_fps / fps), at least 1, and the
    anticipation time is round(tau * video_fps) frames, halves to even; frames behind the end become the last one.
    Example: 8 per second of 29.97 are every fourth frame, where V-JEPA 2's loader takes every third.
    """
    step = max(1, round(clip.video_fps / clip.frames_per_second))
    indices = _numbered(clip, step, ahead=round(clip.anticipation_seconds * clip.video_fps))
    return ClipFrames(frame_indices=np.clip(indices, 0, frame_count - 1), frames_before_video=int((indices < 0).sum()))


def _numbered(clip: NumberedClip, step: int, *, ahead: int) -> npt.NDArray[np.int64]:
    end = int(clip.start_frame * clip.point + (1 - clip.point) * clip.stop_frame - ahead)
    return np.arange(end - clip.frames_per_clip * step, end, step, dtype=np.int64)
