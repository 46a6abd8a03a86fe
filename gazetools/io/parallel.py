"""Videos in parallel threads, and blocks of a video computed while others are written; the first error stops all."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from gazetools.progress import Progress

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
CallP = ParamSpec("CallP")


def each(work: Callable[[ItemT], ResultT], items: Sequence[ItemT], *, workers: int) -> list[ResultT]:
    """Results of `work` for all items, in their order, by threads. The first exception cancels items not begun."""
    if workers == 1 or len(items) < 2:
        return [work(item) for item in items]
    pool = ThreadPoolExecutor(workers)
    try:
        return [future.result() for future in [pool.submit(work, item) for item in items]]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def ahead(items: Iterator[ItemT], count: int = 2) -> Iterator[ItemT]:
    """The items of an iterator, whose thread is at most `count` items ahead and ends when the consumer does.

    Exceptions of the iterator are raised here.
    """
    made: queue.Queue[tuple[str, Any]] = queue.Queue(count)
    wanted = True

    def make() -> None:
        last: tuple[str, Any] = ("end", None)
        try:
            for item in items:
                made.put(("item", item))
                if not wanted:
                    break
        except BaseException as error:  # raised again in the consumer's thread
            last = ("error", error)
        finally:
            if (close := getattr(items, "close", None)) is not None:
                close()
        made.put(last)

    maker = threading.Thread(target=make, name="gazetools-blocks", daemon=True)
    maker.start()
    kind = ""
    try:
        while True:
            kind, value = made.get()
            if kind == "item":
                yield value
            elif kind == "error":
                raise value
            else:
                return
    finally:
        wanted = False
        while kind == "item":
            kind, _ = made.get()
        maker.join()


class SharedProgress:
    """A Progress that several threads may call."""

    def __init__(self, progress: Progress) -> None:
        lock = threading.Lock()
        self.start, self.advance = _locked(progress.start, lock), _locked(progress.advance, lock)
        self.finish, self.say = _locked(progress.finish, lock), _locked(progress.say, lock)


def _locked(call: Callable[CallP, None], lock: threading.Lock) -> Callable[CallP, None]:
    def one_at_a_time(*arguments: CallP.args, **keywords: CallP.kwargs) -> None:
        with lock:
            call(*arguments, **keywords)

    return one_at_a_time
