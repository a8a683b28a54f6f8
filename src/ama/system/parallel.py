"""Many small pieces of work on a few threads, with a limit on the work in progress.

Python runs one thread at a time, but reading, writing, hashing and compressing release it, so
two threads that do the same mix of these keep two cores busy.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ama.errors import too_few_threads

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

Item = TypeVar("Item")
Result = TypeVar("Result")

WORKERS = min(4, os.cpu_count() or 1)
CHUNK = 64

WAITS = 10
"""So many times as long as it computes, work waits where more threads pay."""

WAITS_S = 0.001
"""The seconds that it then waits at least for each item."""


def start(thread: threading.Thread) -> None:
    """Start a thread.

    Raises:
        StorageError: The system starts no more threads.

    Example:
        >>> start(threading.Thread(target=print))
    """
    with _starting():
        thread.start()


def submit(pool: Executor, work: Callable[[Item], Result], item: Item) -> Future[Result]:
    """Submit an item to a pool, which may start a thread for it.

    Raises:
        StorageError: The system starts no more threads. The item may run nevertheless.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> with ThreadPoolExecutor(1) as pool:
        ...     submit(pool, abs, -1).result()
        1
    """
    try:
        with _starting():
            return pool.submit(work, item)
    except RuntimeError as error:
        if "interpreter shutdown" not in str(error):
            raise
        return _Here().submit(work, item)


def pool(workers: int, name: str) -> Executor:
    """Return a pool of threads.

    Once the main thread has ended, Python lets nobody have one, although other threads go on: a
    training, perhaps. Then the work is done by the thread that asks.

    Args:
        workers: The most threads.
        name: The beginning of their names.

    Example:
        >>> with pool(2, "example") as threads:
        ...     submit(threads, abs, -1).result()
        1
    """
    try:
        from concurrent.futures import ThreadPoolExecutor
    except RuntimeError:  # it is imported too late
        return cast("Executor", _Here())
    return ThreadPoolExecutor(workers, thread_name_prefix=name)


class _Here:
    """A pool without threads."""

    def submit(self, work: Callable[..., Result], *items: Any) -> Future[Result]:
        from concurrent.futures import Future

        future: Future[Result] = Future()
        try:
            future.set_result(work(*items))
        except BaseException as error:  # noqa: BLE001 - whoever takes the result gets it
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do nothing: nothing waits."""

    def __enter__(self) -> _Here:
        return self

    def __exit__(self, *args: object) -> None:
        pass


@contextmanager
def _starting() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if "start new thread" in str(error):
            raise too_few_threads() from error
        raise


def in_chunks(
    work: Callable[[list[Item]], Result], items: Iterable[Item], *, chunk: int = CHUNK
) -> Iterator[Result]:
    """Yield the result of `work` for each chunk of the items, in order.

    An error of a chunk is raised when its turn comes; chunks that have not begun by then never
    begin.

    Args:
        work: A function that several threads may call at once.
        items: The items, taken when needed, a few chunks ahead.
        chunk: How many items a chunk has; few enough to keep memory small.

    Example:
        >>> list(in_chunks(sum, range(10), chunk=4))
        [6, 22, 17]
    """
    source = iter(items)
    with pool(WORKERS, "ama") as threads:
        waiting: deque[Future[Result]] = deque()
        try:
            while True:
                while len(waiting) < 2 * WORKERS and (taken := list(islice(source, chunk))):
                    waiting.append(submit(threads, work, taken))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


def where_it_pays(
    work: Callable[[list[Item]], Result], items: Iterable[Item], *, chunk: int = CHUNK
) -> Iterator[Result]:
    """Yield the result of `work` for each chunk of the items, in order, on one thread or on a few.

    It begins on the caller's thread: two threads that write small files on a local disk wait for
    each other. Once the work waits (a network file system answers late), the rest is done as by
    `in_chunks`.

    Args:
        work: See `in_chunks`.
        items: See `in_chunks`.
        chunk: See `in_chunks`.

    Example:
        >>> list(where_it_pays(sum, range(10), chunk=4))
        [6, 22, 17]
    """
    source = iter(items)
    while taken := list(islice(source, chunk)):
        began, busy = time.perf_counter(), time.thread_time()
        done = work(taken)
        busy = time.thread_time() - busy
        waited = time.perf_counter() - began - busy
        yield done
        if waited > max(WAITS * busy, WAITS_S * len(taken)):
            yield from in_chunks(work, source, chunk=chunk)
            return


def one_ahead(
    work: Callable[[Item], Result], items: Iterable[Item]
) -> Generator[Result, None, None]:
    """Yield the result of `work` for each item, and work on the next one meanwhile.

    A single item starts no thread.

    Args:
        work: A function, called on a thread of its own for one item at a time.
        items: The items, taken when needed, one ahead.

    Example:
        >>> list(one_ahead(abs, [-1, -2]))
        [1, 2]
    """
    return some_ahead(work, items, 1)


def some_ahead(
    work: Callable[[Item], Result], items: Iterable[Item], most: int
) -> Generator[Result, None, None]:
    """Yield the result of `work` for each item, and work on the next ones meanwhile.

    A single item starts no thread.

    Args:
        work: A function that waits more than it computes, called on threads of its own.
        items: The items, taken when needed, a few ahead.
        most: The most items that are worked on at a time.

    Example:
        >>> list(some_ahead(abs, [-1, -2, -3], 2))
        [1, 2, 3]
    """
    source = iter(items)
    first = list(islice(source, most + 1))
    if len(first) < 2:
        yield from map(work, first)
        return
    with pool(most, "ama-ahead") as threads:
        waiting: deque[Future[Result]] = deque(submit(threads, work, item) for item in first)
        try:
            while waiting:
                done = waiting.popleft().result()
                yield done
                del done
                waiting.extend(submit(threads, work, item) for item in islice(source, 1))
        finally:
            threads.shutdown(wait=True, cancel_futures=True)
