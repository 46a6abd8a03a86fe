"""Tasks: cut long videos, balance the work over shards, and account for every input."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from gazetools.extraction.inputs import VideoItem
from gazetools.schemas.extract import PIECE_FRAMES, ItemResult

_DEATHS_PER_TASK = 3
"""Number of worker deaths during one task after which its video is given up."""
_CUTS_PER_WORKER = 2
"""A video longer than total / (workers x this) is cut: the last tasks then end close together."""
_TYPICAL_PIXELS = 1920 * 1080


@dataclass(frozen=True, kw_only=True)
class Task:
    """The unit of work: a video, or one share of a long video."""

    item: VideoItem
    cost: float
    """Declared frames x pixels, of the share alone."""
    share_index: int = 0
    share_count: int = 1

    @property
    def name(self) -> str:
        """`take/cam01`, or `take/cam01 2/5` for the second of five shares."""
        return self.item.video_id + (f" {self.share_index + 1}/{self.share_count}" if self.share_count > 1 else "")

    def pieces_of(self, count: int) -> range:
        """Numbers of the pieces of this task, of the `count` pieces of its video; equal on every machine.

        >>> Task(item=VideoItem(video_id="a", path=Path("a.mp4")), cost=1.0, share_index=1, share_count=3).pieces_of(7)
        range(2, 4)
        """
        return range(count * self.share_index // self.share_count, count * (self.share_index + 1) // self.share_count)


def cut_tasks(items: Sequence[VideoItem], costs: Sequence[float], workers: int, *, cuts: int = 1) -> list[Task]:
    """Tasks, longest first; a video that costs more than total / (workers x cuts) is cut into equal shares.

    By the arguments only, so that every shard cuts alike. No share is smaller than about 256 frames at 1080p.
    """
    limit = sum(costs) / (workers * cuts)
    tasks = []
    for item, cost in zip(items, costs, strict=True):
        most = max(int(cost / (PIECE_FRAMES * _TYPICAL_PIXELS)), int(workers > 1 and cost > limit) + 1)
        count = 1 if workers == 1 or cost <= limit else min(-(-int(cost) // max(int(limit), 1)), most)
        tasks += [Task(item=item, cost=cost / count, share_index=k, share_count=count) for k in range(count)]
    return sorted(tasks, key=lambda task: (-task.cost, task.item.video_id, task.share_index))


def cut_for_workers(items: Sequence[VideoItem], costs: Sequence[float], workers: int) -> list[Task]:
    """Tasks for `workers` workers that pull from one queue."""
    return cut_tasks(items, costs, workers, cuts=_CUTS_PER_WORKER)


def balanced_shard(tasks: Sequence[Task], index: int, count: int) -> list[Task]:
    """Tasks of shard `index` (from 0) of `count`: each task, longest first, goes to the shard with the least work.

    Simulated on 24,236 videos of Ego-Exo4D's lengths, the longest of 64 to 256 shards is within 0.01 % of the ideal;
    round robin is 17 to 37 % above it.
    """
    loads = [(0.0, shard) for shard in range(count)]
    mine = []
    for task in tasks:
        load, shard = heapq.heappop(loads)
        heapq.heappush(loads, (load + task.cost, shard))
        if shard == index:
            mine.append(task)
    return mine


def plan_digest(tasks: Sequence[Task]) -> str:
    """sha256 over the videos and their cuts, on which all shards of one run must agree."""
    names = "\n".join(f"{task.name}\0{task.cost}" for task in tasks)
    return hashlib.sha256(names.encode()).hexdigest()


class WorkQueue:
    """Waiting tasks, and the results of the others; every input is accounted for.

    A task whose worker died goes to the front (given up at the third death), one whose video is locked to the end.
    """

    def __init__(self, items: Sequence[VideoItem], tasks: Sequence[Task]) -> None:
        self._items = list(items)
        self._waiting = list(tasks)
        self._running: dict[str, str] = {}
        self._deaths: Counter[str] = Counter()
        self._results: defaultdict[str, list[ItemResult]] = defaultdict(list)
        self._open_tasks = Counter(task.item.video_id for task in tasks)
        self.busy: set[str] = set()
        """Names of waiting tasks whose video another process had locked when they were last tried."""

    @property
    def finished(self) -> bool:
        """True when nothing waits or runs."""
        return not self._waiting and not self._running

    @property
    def only_busy_left(self) -> bool:
        """True when other processes have locked the videos of all waiting tasks."""
        return bool(self._waiting) and all(task.name in self.busy for task in self._waiting)

    @property
    def running_ids(self) -> set[str]:
        """Ids of the videos of which a task runs."""
        return set(self._running.values())

    def take(self, *, prefer: str | None = None, leave: Collection[str] = ()) -> Task | None:
        """The next task, None if none waits: `prefer` first, `leave` last; shares of a failed video are dropped."""
        while self._waiting:
            task = min(self._waiting, key=lambda task: (task.name != prefer, task.name in leave))
            self._waiting.remove(task)
            if any(result.status == "failed" for result in self._results.get(task.item.video_id, [])):
                self._open_tasks[task.item.video_id] -= 1
                continue
            self._running[task.name] = task.item.video_id
            return task
        return None

    def upcoming(self, leave: Collection[str] = ()) -> Task | None:
        """The task that `take` would return, without taking it; None where only busy tasks or those of `leave` wait."""
        return next((task for task in self._waiting if task.name not in leave and task.name not in self.busy), None)

    def done(self, task: Task, result: ItemResult) -> bool:
        """Note the result of a task; True if its video has no other task left."""
        self._running.pop(task.name, None)
        self.busy.discard(task.name)
        self._results[task.item.video_id].append(result)
        self._open_tasks[task.item.video_id] -= 1
        return self._open_tasks[task.item.video_id] == 0

    def put_back(self, task: Task) -> None:
        """Put a task to the end, since another process has locked its video."""
        self._running.pop(task.name, None)
        self.busy.add(task.name)
        self._waiting.append(task)

    def worker_died(self, task: Task, how: str) -> ItemResult | None:
        """Note that the worker of `task` died; the failed item at the third death, None where the task waits again."""
        self._running.pop(task.name, None)
        self._deaths[task.name] += 1
        if self._deaths[task.name] < _DEATHS_PER_TASK:
            self._waiting.insert(0, task)
            return None
        result = failure(task.item, f"{_DEATHS_PER_TASK} workers died while working on it; the last one {how}")
        self.done(task, result)
        return result

    def results(self, missing: Callable[[VideoItem], ItemResult]) -> list[ItemResult]:
        """One result per input, in the order of the inputs; `missing` makes the result of a video that has none yet."""
        return [
            merge_results(self._results[item.video_id]) if item.video_id in self._results else missing(item)
            for item in self._items
        ]


def failure(item: VideoItem, reason: str) -> ItemResult:
    """The result of a video that could not be done."""
    return ItemResult(video_id=item.video_id, path=str(item.path), status="failed", reason=reason)


def merge_results(results: Sequence[ItemResult]) -> ItemResult:
    """The result of a video with several shares: the joined one, else a failure, else an open share, else the sum."""
    by_status = {result.status: result for result in reversed(results)}
    chosen = next((by_status[s] for s in ("done", "complete", "failed", "not_reached") if s in by_status), None)
    summed: tuple[str, ...] = ("resumed_frames", "seconds")
    if chosen is None:
        summed += ("frames", "rows", "small_heads", "people_not_evaluated", "taken_over_frames")
    sums = {name: round(sum(getattr(result, name) for result in results), 3) for name in summed}
    return (chosen or results[0]).model_copy(update=sums)
