"""Workers: processes, here or on other machines, that read pieces of an import."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from ama.errors import AmaError, InvalidInput
from ama.importing.pieces import Piece, PieceRead, read_by_worker
from ama.system.memory import share_arenas

Given = ParamSpec("Given")
Answer = TypeVar("Answer")

MOST_PROCESSES = 61
"""The most processes: Windows can wait for no more."""


@contextmanager
def processes(count: int) -> Iterator[Executor]:
    """Start processes on this machine, as workers. They end with the context.

    Args:
        count: How many.

    Raises:
        InvalidInput: There can't be so many.

    Example:
        >>> with processes(2) as executor:
        ...     executor.submit(abs, -1).result()
        1
    """
    if not 1 <= count <= MOST_PROCESSES:
        raise InvalidInput(f"{count} processes are not possible: give 1 to {MOST_PROCESSES}")
    # A fork would have threads' locks, and nobody to let them go.
    context = multiprocessing.get_context("spawn")
    pool = _Processes(count, mp_context=context, initializer=_begin)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


class _Processes(ProcessPoolExecutor):
    """Processes that no interrupt reaches, not even while they start, before `_begin`.

    Whoever started them gets it, and ends them.
    """

    def submit(
        self, fn: Callable[Given, Answer], /, *args: Given.args, **kwargs: Given.kwargs
    ) -> Future[Answer]:
        """Submit a call; the first one starts the processes."""
        if threading.current_thread() is not threading.main_thread():
            return super().submit(fn, *args, **kwargs)
        # What is ignored stays so in a process that is started meanwhile.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            signal.signal(signal.SIGINT, before)


def _begin() -> None:
    # Windows hands nothing down: see `_Processes`.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    share_arenas()


def read_elsewhere(
    executor: Executor, pieces: Iterable[Piece], most: int
) -> Generator[tuple[Piece, PieceRead], None, None]:
    """Yield pieces in order, with what workers read of them.

    A piece whose worker dies is read here.

    Args:
        executor: What has the workers.
        pieces: The pieces, taken when needed.
        most: The most pieces that workers have or that wait for one.

    Raises:
        StorageError: The store or the sources can't be reached.
    """
    waiting: deque[tuple[Piece, Future[PieceRead] | None]] = deque()
    try:
        for piece in pieces:
            waiting.append((piece, _submitted(executor, piece)))
            if len(waiting) >= most:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())
    finally:
        for _, future in waiting:
            if future is not None:
                future.cancel()


def _submitted(executor: Executor, piece: Piece) -> Future[PieceRead] | None:
    try:
        return executor.submit(read_by_worker, piece)
    except Exception:  # noqa: BLE001
        # One that has lost a worker may take nothing more.
        return None


def _result(piece: Piece, future: Future[PieceRead] | None) -> tuple[Piece, PieceRead]:
    if future is not None:
        try:
            return piece, future.result()
        except AmaError:
            raise
        except Exception:  # noqa: BLE001
            # Each executor has an error of its own for a dead worker. Any other comes again here.
            pass
    return piece, read_by_worker(piece)
