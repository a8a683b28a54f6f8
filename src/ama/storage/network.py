"""A storage across a network: buckets, SFTP servers and web servers, through a client.

Clients are asynchronous and run on a thread of their own; callers are threads that wait. Each
request has a time limit, and is retried if that may help. A wrapper around the storage couldn't do
that: of a batch, only the failed requests are retried.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from ama.errors import AlreadyExists, AmaError, Hint, InvalidInput, StorageError
from ama.storage.backends import Backend
from ama.storage.clients import BeyondClient, Opened
from ama.storage.failures import (
    is_absent,
    is_past_end,
    is_taken,
    is_unreachable,
    lacks_bucket,
    retry_after,
    storage_failure,
    unknown_option,
)
from ama.storage.parts import Part, parts_of
from ama.storage.protocol import Buffer, Detail, Range, check_prefix, check_storage_name
from ama.system.parallel import one_ahead

Result = TypeVar("Result")
Results = list[Result]  # the class below has a method of that name
Opener = Callable[[str, Backend, Mapping[str, Any]], Opened | None]


def with_obstore(place: str, backend: Backend, options: Mapping[str, Any]) -> Opened | None:
    """Open obstore's client, if it is installed and certainly understands the configuration.

    Args:
        place: The URL without options.
        backend: The kind of storage that the URL's scheme means.
        options: The options for fsspec's client.

    Returns:
        The client; None: try the next one.
    """
    from ama.storage.obstore import open_client

    return open_client(place, backend, options)


def with_fsspec(place: str, backend: Backend, options: Mapping[str, Any]) -> Opened:
    """Open fsspec's client; see `with_obstore`. Its import is slow, and so done late."""
    from ama.storage.fsspec import open_client

    return open_client(place, backend, options)


class NetworkStorage:
    """Bytes under names behind a URL, through a client.

    It imports and connects nothing before the first request.

    Args:
        url: Its identity: where it is, and its client's options behind a '?'; free of credentials.
        backend: The kind of storage that the URL's scheme means.
        options: The client's options, in its own form.
        patience: How long to wait for a request, and how often to retry it.
        single_writer: Whether the user states that nobody else ever writes there: then a storage
            without atomic creates may be written to all the same.
        openers: The functions that may open a client, the best first. The next one is tried when a
            client can't do a request.
    """

    def __init__(
        self,
        url: str,
        backend: Backend,
        options: Mapping[str, Any] | None = None,
        *,
        patience: Patience | None = None,
        single_writer: bool = False,
        openers: Sequence[Opener] = (with_obstore, with_fsspec),
    ) -> None:
        self._url = url.rstrip("/")
        self._place = url.partition("?")[0].rstrip("/")
        self._backend = backend
        self._options = dict(options or {})
        self._patience = patience or Patience()
        self._single_writer = single_writer
        self._openers = tuple(openers)
        self._left: list[Opener] = []
        self._opening = threading.Lock()
        self._opened: Opened | None = None
        self._process = 0
        self._waiting: set[Future[Any]] = set()

    @property
    def url(self) -> str:
        """Return its identity, as a user would type it."""
        return self._url

    @property
    def can_create(self) -> bool | None:
        """Whether it has an atomic create, or only one writer: servers that look alike differ."""
        if self._single_writer:
            return True
        return False if self._backend.creates == "never" else None

    @property
    def across_network(self) -> bool:
        """Return True."""
        return True

    @property
    def client(self) -> str:
        """Return the package of its client, opening it if need be."""
        return self._open().package

    def read(self, ranges: Sequence[Range]) -> list[bytes | None]:
        """Read a batch of ranges, all at once. See `Storage.read`."""
        for wanted in ranges:
            check_storage_name(wanted.name)
        return self._run(
            lambda opened: self._all(opened, [self._read(opened, each) for each in ranges])
        )

    def put(self, name: str, data: Buffer) -> None:
        """Write bytes under a name that their content gives. See `Storage.put`."""
        self._write(name, data)

    def create(self, name: str, data: Buffer) -> None:
        """Write a name that must be absent. See `Storage.create`.

        It makes no retry: after a lost answer, its own success would be in the way.
        """
        check_storage_name(name)
        if self.can_create is False:
            raise StorageError(
                f"{self._url} can't create a file only if it is absent",
                hint=Hint("use-another-remote"),
            )
        kept = bytes(data)

        async def attempt(opened: Opened) -> None:
            make = opened.client.create
            if self._single_writer:
                make = opened.client.write
                if await self._size(opened, name) is not None:
                    raise FileExistsError
            limit = self._patience.limit(len(kept))
            await asyncio.wait_for(make(opened.path(name), kept), limit)

        try:
            self._run(attempt)
        except (AlreadyExists, InvalidInput):
            raise
        except Exception as error:
            where = f"{self._place}/{name}"
            if is_taken(error):
                raise AlreadyExists(f"{where} exists already") from error
            raise self._failure(error, where, "write") from error

    def replace(self, name: str, data: Buffer) -> None:
        """Write a name, whether or not it exists. See `Storage.replace`."""
        self._write(name, data)

    def write_parts(self, name: str, pieces: Iterable[Buffer]) -> None:
        """Write bytes that come in pieces. See `HasParts.write_parts`."""
        check_storage_name(name)
        parts = parts_of(pieces)
        first = next(parts)
        if first.is_last:
            self._write(name, first.data)
            return
        before = self.sizes([name])
        upload = self._run(lambda opened: self._begin(opened, name))
        whole: int | None = None

        def send(part: Part) -> object:
            nonlocal whole
            whole = part.offset + len(part.data) if part.is_last else None
            return self._run(lambda opened: self._send(opened, name, upload, part))

        try:
            sent = list(one_ahead(send, chain([first], parts)))
            self._run(lambda opened: self._finish(opened, name, upload, sent))
        except BaseException as error:
            # A lost answer to the end of it: what was absent is there, and whole.
            at_end = isinstance(error, StorageError) and before == [None] and whole is not None
            if at_end and self.sizes([name]) == [whole]:
                return
            with suppress(Exception):  # the storage forgets what was never finished
                self._run(lambda opened: opened.client.give_up(upload))
            raise

    async def _begin(self, opened: Opened, name: str) -> Any:
        return await self._tried("write", name, 0, partial(opened.client.begin, opened.path(name)))

    async def _send(self, opened: Opened, name: str, upload: Any, part: Part) -> object:
        request = partial(opened.client.send, upload, part)
        return await self._tried("write", name, len(part.data), request)

    async def _finish(self, opened: Opened, name: str, upload: Any, sent: Results[object]) -> None:
        await self._tried("write", name, 0, partial(opened.client.finish, upload, sent))

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """Return the size of each name in bytes. See `Storage.sizes`."""
        for name in names:
            check_storage_name(name)
        return self._run(
            lambda opened: self._all(opened, [self._size(opened, name) for name in names])
        )

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Return the names that begin with `prefix`. See `Storage.list`."""
        return ((name, detail.size) for name, detail in self.details(prefix))

    def details(self, prefix: str) -> Iterator[tuple[str, Detail]]:
        """Return the names that begin with `prefix`. See `HasDetails.details`."""
        check_prefix(prefix)
        # A bucket has no directories that could be absent: only the bucket itself.
        absent: list[dict[str, Detail]] = [{}] if self._backend.root == "host" else []

        async def find(opened: Opened) -> dict[str, Detail]:
            directory = opened.path(prefix).rpartition("/")[0]
            search = partial(opened.client.find, directory)
            found = await self._tried("list", prefix, 0, search, *absent)
            return {path[len(opened.root) + 1 :]: detail for path, detail in found.items()}

        found = self._run(find)
        return ((n, detail) for n, detail in found.items() if n and n.startswith(prefix))

    def details_of(self, names: Sequence[str]) -> Results[Detail | None]:
        """Return the details of each name, by a request each, all at once; None: it is absent."""
        for name in names:
            check_storage_name(name)
        return self._run(
            lambda opened: self._all(opened, [self._look(opened, name) for name in names])
        )

    def delete(self, name: str) -> None:
        """Delete a name. See `Storage.delete`."""
        check_storage_name(name)

        async def delete(opened: Opened) -> None:
            request = partial(opened.client.delete, opened.path(name))
            await self._tried("delete", name, 0, request, None)

        self._run(delete)

    def missing_directories(self, name: str) -> Results[str]:
        """Return the directories that a write of a name would make. See `HasDirectories`."""
        check_storage_name(name)

        async def missing(opened: Opened) -> Results[str]:
            request = partial(opened.client.missing, opened.path(name))
            return await self._tried("read", name, 0, request)

        return self._run(missing)

    def remove_directories(self, paths: Sequence[str]) -> None:
        """Delete directories, if they are empty. See `HasDirectories`."""

        async def remove(opened: Opened) -> None:
            for path in reversed(paths):
                request = partial(opened.client.remove, path)
                await self._tried("delete", "", 0, request, None)

        self._run(remove)

    def _write(self, name: str, data: Buffer) -> None:
        check_storage_name(name)
        kept = bytes(data)  # a cut request may still be reading it

        async def write(opened: Opened) -> None:
            request = partial(opened.client.write, opened.path(name), kept)
            await self._tried("write", name, len(kept), request)

        self._run(write)

    async def _read(self, opened: Opened, wanted: Range) -> bytes | None:
        if wanted.length == 0:
            return None if await self._size(opened, wanted.name) is None else b""
        path = opened.path(wanted.name)

        async def attempt() -> bytes:
            try:
                return await opened.client.read(path, wanted.start, wanted.length)
            except Exception as error:
                if is_past_end(error):
                    return b""
                raise

        size = wanted.length or 0
        data = await self._tried("read", wanted.name, size, attempt, None)
        return data if data is None or wanted.length is None else data[: wanted.length]

    async def _size(self, opened: Opened, name: str) -> int | None:
        request = partial(opened.client.size, opened.path(name))
        return await self._tried("read", name, 0, request, None)

    async def _look(self, opened: Opened, name: str) -> Detail | None:
        request = partial(opened.client.detail, opened.path(name))
        return await self._tried("read", name, 0, request, None)

    async def _tried(
        self,
        doing: str,
        name: str,
        size: int,
        request: Callable[[], Awaitable[Result]],
        *absent: Result,
    ) -> Result:
        """Make a request until it succeeds or fails for good; return `absent` if it is absent."""
        limit = self._patience.limit(size)
        pauses = self._patience.pauses()
        while True:
            try:
                return await asyncio.wait_for(request(), limit)
            except BeyondClient:
                raise
            except Exception as error:
                if absent and is_absent(error) and not lacks_bucket(error):
                    return absent[0]
                failure = self._failure(error, f"{self._place}/{name}", doing)
                again = isinstance(failure, StorageError) and failure.retryable
                if self._backend.insists and is_unreachable(error):
                    again = False  # it had its retries
                pause = next(pauses, None) if again else None
                if pause is None:
                    raise failure from error
                await asyncio.sleep(max(pause, retry_after(error)))

    def _failure(self, error: BaseException, where: str, doing: str) -> InvalidInput | StorageError:
        name = unknown_option(error)
        if name is None:
            return storage_failure(error, where, doing, self._backend)
        from ama.storage.fsspec import no_option

        return no_option(name, self._backend, self._options)

    async def _all(
        self, opened: Opened, requests: Iterable[Coroutine[Any, Any, Result]]
    ) -> Results[Result]:
        """Make requests side by side; the first failure for good ends the others."""

        async def admitted(request: Coroutine[Any, Any, Result]) -> Result:
            async with opened.gate:
                return await request

        tasks = [asyncio.ensure_future(admitted(request)) for request in requests]
        try:
            return [await task for task in tasks]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _run(self, work: Callable[[Opened], Coroutine[Any, Any, Result]]) -> Result:
        """Run requests on the client's thread, and wait for them here."""
        opened = self._open()
        try:
            return self._wait_for(opened, work)
        except BeyondClient:
            pass
        return self._wait_for(self._open(instead_of=opened), work)

    def _wait_for(
        self, opened: Opened, work: Callable[[Opened], Coroutine[Any, Any, Result]]
    ) -> Result:
        future = asyncio.run_coroutine_threadsafe(work(opened), opened.loop)
        self._waiting.add(future)
        try:
            return future.result()
        except BaseException as error:
            future.cancel()  # after Ctrl-C, for instance: nothing goes on behind our back
            if isinstance(error, CancelledError):
                raise StorageError(f"a request to {self._url} was given up") from None
            raise
        finally:
            self._waiting.discard(future)

    def cancel(self) -> None:
        """Fail at once the requests that other threads wait for. See `Storage.cancel`."""
        for future in list(self._waiting):
            future.cancel()

    def _open(self, instead_of: Opened | None = None) -> Opened:
        """Return the client, opened at its first use, or the next one after `BeyondClient`."""
        with self._opening:
            if self._process != os.getpid():  # the threads of a client don't survive a fork
                self._process, self._opened, self._left = os.getpid(), None, [*self._openers]
            while self._opened is None or self._opened is instead_of:
                if not self._left:
                    raise StorageError(f"no client can do this at {self._place}")
                self._opened = self._opened_by(self._left[0]) or self._opened
                del self._left[0]  # not earlier: the next call must fail in the same way
            return self._opened

    def _opened_by(self, opener: Opener) -> Opened | None:
        try:
            return opener(self._place, self._backend, self._options)
        except AmaError:
            raise
        except Exception as error:
            raise self._failure(error, self._place, "open") from error


SLOWEST = 100_000
"""The slowest request, in bytes a second: a slower one counts as stuck."""


@dataclass(frozen=True, slots=True)
class Patience:
    """The limits of a request's time, and its retries.

    Attributes:
        timeout: Seconds that a request may take, besides those for its bytes at `SLOWEST`.
        retries: How often to retry a request that failed for the moment.
        first_pause: Seconds before the first retry, about; each later pause doubles.
        longest_pause: The longest pause in seconds, unless the server asks for more.

    Example:
        >>> Patience(timeout=60).limit(32_000_000)
        380.0
    """

    timeout: float = 60
    retries: int = 6
    first_pause: float = 0.25
    longest_pause: float = 20

    def limit(self, size: int) -> float:
        """Return the seconds after which to cut a request that moves so many bytes."""
        return self.timeout + size / SLOWEST

    def pauses(self) -> Iterator[float]:
        """Yield the seconds to wait before each retry.

        They grow exponentially, and half of each is random, so that many clients that fail at the
        same moment don't return at the same moment.
        """
        for attempt in range(self.retries):
            longest = min(self.first_pause * 2**attempt, self.longest_pause)
            yield longest * random.uniform(0.5, 1)
