"""The one rule by which every command decides which array of another tool's file holds the heatmaps.

1. A file with all of `heatmap`, `valid`, `inout` and `pts_seconds` is one that gazetools packed: `heatmap`.
2. `key` names the array; `axes` the order of its axes.
3. Else the array must fit: float16, float32, float64, bool or uint8, and [T,H,W], [T,1,H,W], [T,H,W,1], or [H,W], which
   is one map. Single maps count only where no stack fits, arrays with a side below 8 only where no larger ones fit, and
   integers of other types, which are refused by their type afterwards, only where nothing else fits. Tables are no
   maps: boxes [T,P,4], keypoints [T,17,3], boxes [T,4].
4. Exactly one array must be left. No name breaks a tie, and neither does the order in the file.
5. [N,N,T] could be N frames or square maps with the frames last: it needs `axes`.

Whatever is not decided by this is an error that lists the arrays with shapes and types and names the option.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from gazetools.io.arrays import ArrayHeader
from gazetools.layouts.axes import FRAME_ORDERS, ORDERS, AxisOrder
from gazetools.schemas.dataset import HEATMAP_MEMBER, MEMBERS
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.foreign import ArrayChoice

_SMALL = 8
_COORDINATES, _TABLE_COLUMNS, _FEW_PEOPLE = 4, 6, 3
"""Columns of points and boxes, without and with score and class, and people of a frame; maps are not so small."""
_MAX_RATIO_OF_ONE, _MAX_RATIO = 4, 16
"""Largest ratio of a map's sides: an array [T, n] is rather one row for each frame than one map."""
_MAX_LISTED, _LONGEST_NAME = 250, 24
"""Characters of a file's own names and types that a message repeats."""
_READ = "[T,H,W], [T,1,H,W], [T,H,W,1] or, for one map, [H,W]"
_BY_KEY = "--key NAME (in a training config experiment.data.heatmap_key)"
_BY_AXES = "--axes ORDER (in a training config experiment.data.heatmap_axes)"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The array that holds the heatmaps."""

    name: str
    """Its name in the file; empty in an .npy."""
    header: ArrayHeader
    """As it is stored."""
    order: AxisOrder

    @property
    def as_thw(self) -> ArrayHeader:
        """The header with the shape (T, H, W), into which the array must be arranged unless it is in order."""
        return replace(self.header, shape=self.order.thw(self.header.shape))


def choose_array(arrays: Mapping[str, ArrayHeader | None], choice: ArrayChoice, where: str) -> Chosen:
    """The array of the file `where` that holds the heatmaps, by the rule above.

    `arrays` has the header of each by name, None for what is no plain array of numbers. Raises DataFileError, whose
    detail `finding` is the code under which `validate` reports it.
    """
    if set(MEMBERS) <= arrays.keys() and choice.key is None and choice.axes is None:
        return _one_of({HEATMAP_MEMBER: arrays[HEATMAP_MEMBER]}, ArrayChoice(axes="THW"), where, whole=arrays)
    if choice.key is None:
        return _one_of(arrays, choice, where, whole=arrays)
    if choice.key not in arrays:
        raise DataFileError(
            f"{where} has no array {choice.key!r}; it has {listed(arrays)}.",
            hint=f"Choose with {_BY_KEY}, or leave it out.",
            finding="maps-ambiguous",
        )
    return _one_of({choice.key: arrays[choice.key]}, choice, where, whole=arrays)


def frame_order(shape: tuple[int, ...], choice: ArrayChoice, where: str) -> AxisOrder:
    """Order of the axes of a file with one map in a folder of frames. Raises DataFileError."""
    named = FRAME_ORDERS if choice.axes is None else (choice.axes, choice.axes.replace("T", ""))
    for order in map(AxisOrder, named):
        if order.fits(shape) and order.thw(shape)[0] == 1:
            if choice.axes is None and not _is_map(*order.thw(shape)[1:], stack=False):
                break
            return order
    raise DataFileError(
        f"{where} has shape {list(shape)}; a file in a folder of frames holds one map, [H,W], [1,H,W] or [H,W,1].",
        hint=f"Give the order with {_BY_AXES}, or store the maps of a video as one array [T,H,W].",
        finding="unexpected-shape",
    )


def listed(arrays: Mapping[str, ArrayHeader | None]) -> str:
    """The arrays with shapes and types, as many as fit: `boxes [202,4] float32, heatmaps [202,64,64] float16`."""
    texts = [f"{_short(name)} {_described(arrays[name])}" for name in sorted(arrays)]
    ends = itertools.accumulate(len(text) + 2 for text in texts)
    shown = sum(end <= _MAX_LISTED for end in ends)
    return ", ".join(texts[:shown]) + (f" and {len(texts) - shown} more" if len(texts) > shown else "")


def _described(header: ArrayHeader | None) -> str:
    return "(no plain array)" if header is None else f"[{','.join(map(str, header.shape))}] {header.dtype}"


def _short(name: str) -> str:
    name = name.encode("ascii", "backslashreplace").decode()
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 3] + "..."


def _one_of(
    arrays: Mapping[str, ArrayHeader | None],
    choice: ArrayChoice,
    where: str,
    *,
    whole: Mapping[str, ArrayHeader | None],
) -> Chosen:
    """The only array of `arrays` that fits best; `whole` is listed where it is not the only one."""
    orders = ORDERS if choice.axes is None else (choice.axes,)
    fitting: dict[str, tuple[int, Chosen]] = {}
    for name, header in arrays.items():
        order = None if header is None else next((o for o in map(AxisOrder, orders) if o.fits(header.shape)), None)
        if header is not None and order is not None:
            chosen = Chosen(name=name, header=header, order=order)
            rank = _rank(chosen, named=choice.axes is not None)
            if rank is not None:
                fitting[name] = (rank, chosen)
    best = min((rank for rank, _ in fitting.values()), default=None)
    left = {name: chosen for name, (rank, chosen) in fitting.items() if rank == best}
    if not left:
        raise _nothing_fits(arrays, choice, where)
    if len(left) > 1:
        raise _several_fit(left, where, others=len(whole) - len(left))
    (chosen,) = left.values()
    if choice.axes is None and _may_be_frames_last(chosen.header.shape):
        count, last = chosen.header.shape[1:]
        raise DataFileError(
            f"{_place(where, chosen.name)} has shape {list(chosen.header.shape)}: {count} frames of maps {count}x{last}"
            f" (--axes THW), or {last} frames of square maps (--axes HWT)?",
            hint=f"Say which with {_BY_AXES}.",
            finding="maps-ambiguous",
        )
    return chosen


def _rank(chosen: Chosen, *, named: bool) -> int | None:
    """0 for the arrays that fit best; None for one that is no stack of maps. With `named` axes all shapes are maps."""
    _, height, width = chosen.order.thw(chosen.header.shape)
    stack = "T" in chosen.order.letters
    if not named and not _is_map(height, width, stack=stack):
        return None
    dtype = chosen.header.dtype
    readable = dtype.kind in "fb" or dtype == np.uint8
    return 4 * (not readable) + 2 * (not stack) + (min(height, width) < _SMALL)


def _is_map(height: int, width: int, *, stack: bool) -> bool:
    """Whether sides may be those of a map, in a stack of them or alone; those of tables are not."""
    columns = _COORDINATES if stack and height > _FEW_PEOPLE else _TABLE_COLUMNS
    table = width <= columns and (height != width if stack else height > width)
    ratio = max(height, width) / min(height, width)
    return not table and ratio <= (_MAX_RATIO if stack else _MAX_RATIO_OF_ONE)


def _may_be_frames_last(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[0] == shape[1] != shape[2] and shape[0] >= _SMALL


def _place(where: str, name: str) -> str:
    return f"{where}:{_short(name)}" if name else where


def _several_fit(left: Mapping[str, Chosen], where: str, *, others: int) -> DataFileError:
    text = listed({name: chosen.header for name, chosen in left.items()})
    single = all("T" not in chosen.order.letters for chosen in left.values())
    return DataFileError(
        f"{where} holds {len(left)} arrays that could be the heatmaps: {text}"
        + (f" ({others} others could not)" if others else "")
        + f"; choose one with {_BY_KEY}.",
        hint="One array for each frame is not read: store them as one, numpy.savez(FILE, heatmap=numpy.stack(MAPS))."
        if single
        else "If they are the maps of several people, write one file for each person, or their maximum.",
        finding="maps-ambiguous",
    )


def _nothing_fits(arrays: Mapping[str, ArrayHeader | None], choice: ArrayChoice, where: str) -> DataFileError:
    wanted = _READ if choice.axes is None else str(AxisOrder(choice.axes))
    headers = {name: header for name, header in arrays.items() if header is not None}
    if len(headers) == len(arrays) == 1:
        ((name, header),) = headers.items()
        message = f"{_place(where, name)} has shape {list(header.shape)} ({header.dtype}); heatmaps are {wanted}."
    else:
        message = f"{where} holds no array of heatmaps {wanted}; it has {listed(arrays)}."
    if any(0 in header.shape for header in headers.values()):
        return DataFileError(
            message, hint="An axis of length 0 holds nothing: write the maps again.", finding="unexpected-shape"
        )
    several = any(len(header.shape) == 4 and header.shape[1] > 1 for header in headers.values())
    return DataFileError(
        message,
        hint=(f"Give the order of the axes with {_BY_AXES}" if choice.axes is None else "Correct --axes")
        + (
            "; of several people or colours in [T,P,H,W] store one array [T,H,W]."
            if several
            else ", or store the maps as one array [T,H,W]."
        ),
        finding="unexpected-shape",
    )
