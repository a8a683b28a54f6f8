"""A storage behind fsspec: buckets, SFTP servers and web servers. The only module that uses it.

The clients are asynchronous and run on fsspec's one I/O thread; callers are threads that wait. Each
request is limited in time, and made again where that may help: here, and not in a wrapper around
the storage, since of a batch of many only what failed is to be asked for again.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any, TypeVar

from fsspec.asyn import get_loop

from ama.errors import AlreadyExists, InvalidInput, StorageError, shown
from ama.names import nearest
from ama.storage.backends import HTTP, S3, SFTP, Backend
from ama.storage.clients import BucketClient, Client, HttpClient, S3Client, SftpClient
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
from ama.storage.patience import Patience
from ama.storage.protocol import Buffer, Range, check_prefix, check_storage_name

REQUESTS = 64
"""How many requests are under way at once, at most."""

Result = TypeVar("Result")
Results = list[Result]  # the class below has a method of that name


class FsspecStorage:
    """Bytes under names behind a URL, through a client of fsspec's.

    Nothing is imported or connected before the first request.

    Args:
        url: What tells it from others: where it is, and what its client is told, behind a '?'; free
            of credentials.
        backend: What kind of storage the URL's scheme means.
        options: What the client is told, as it takes it.
        patience: How long a request is waited for, and how often it is made again.
        single_writer: Whether the user has stated that nobody else ever writes there: then a
            storage that can't create atomically may be written to all the same.
    """

    def __init__(
        self,
        url: str,
        backend: Backend,
        options: Mapping[str, Any] | None = None,
        *,
        patience: Patience | None = None,
        single_writer: bool = False,
    ) -> None:
        self._url = url.rstrip("/")
        self._place = url.partition("?")[0].rstrip("/")
        self._backend = backend
        self._options = dict(options or {})
        self._patience = patience or Patience()
        self._single_writer = single_writer
        self._opening = threading.Lock()
        self._opened: tuple[Client, str] | None = None
        self._gate: asyncio.Semaphore | None = None
        self._waiting: set[Future[Any]] = set()

    @property
    def url(self) -> str:
        """What tells it from others, as a user would type it."""
        return self._url

    @property
    def can_create(self) -> bool | None:
        """Whether it has an atomic create, or one writer only: servers that look alike differ."""
        if self._single_writer:
            return True
        return False if self._backend.creates == "never" else None

    @property
    def across_network(self) -> bool:
        """Always."""
        return True

    def read(self, ranges: Sequence[Range]) -> list[bytes | None]:
        """Read a batch of ranges, all at once. See `Storage.read`."""
        for wanted in ranges:
            check_storage_name(wanted.name)
        return self._run(lambda: self._all([self._read(wanted) for wanted in ranges]))

    def put(self, name: str, data: Buffer) -> None:
        """Write what is named by its content. See `Storage.put`."""
        self._write(name, data)

    def create(self, name: str, data: Buffer) -> None:
        """Write what must not be there yet. See `Storage.create`.

        It is not tried again here: after a lost answer it would find its own success in the way.
        """
        check_storage_name(name)
        if self.can_create is False:
            raise StorageError(
                f"{self._url} can't create a file only if it is absent",
                hint="use another remote: ama remote add NAME URL",
            )
        kept = bytes(data)
        client, root = self._client()
        path = f"{root}/{name}"

        async def attempt() -> None:
            make = client.create
            if self._single_writer:
                make = client.write
                if await self._size(name) is not None:
                    raise FileExistsError
            await asyncio.wait_for(make(path, kept), self._patience.limit(len(kept)))

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
        """Write what may be there. See `Storage.replace`."""
        self._write(name, data)

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """Return how many bytes each name holds. See `Storage.sizes`."""
        for name in names:
            check_storage_name(name)
        return self._run(lambda: self._all([self._size(name) for name in names]))

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Return the names that begin with `prefix`. See `Storage.list`."""
        check_prefix(prefix)
        client, root = self._client()
        directory = f"{root}/{prefix}".rpartition("/")[0]
        # In a bucket there are no directories that could be absent: only the bucket itself.
        absent: list[dict[str, int]] = [{}] if self._backend.root == "host" else []
        found = self._run(
            lambda: self._tried("list", prefix, 0, lambda: client.find(directory), *absent)
        )
        names = ((path[len(root) + 1 :], size) for path, size in found.items())
        return ((name, size) for name, size in names if name and name.startswith(prefix))

    def delete(self, name: str) -> None:
        """Make the name hold nothing. See `Storage.delete`."""
        check_storage_name(name)
        client, root = self._client()
        path = f"{root}/{name}"
        self._run(lambda: self._tried("delete", name, 0, lambda: client.delete(path), None))

    def missing_directories(self, name: str) -> Results[str]:
        """Return the directories that a write of a name would make. See `HasDirectories`."""
        check_storage_name(name)
        client, root = self._client()
        path = f"{root}/{name}"
        return self._run(lambda: self._tried("read", name, 0, lambda: client.missing(path)))

    def remove_directories(self, paths: Sequence[str]) -> None:
        """Delete directories, if they are empty. See `HasDirectories`."""
        client, _ = self._client()
        for path in reversed(paths):
            self._run(partial(self._tried, "delete", "", 0, partial(client.remove, path), None))

    def _write(self, name: str, data: Buffer) -> None:
        check_storage_name(name)
        kept = bytes(data)  # a request that is cut may be reading it yet
        client, root = self._client()
        path = f"{root}/{name}"
        self._run(lambda: self._tried("write", name, len(kept), lambda: client.write(path, kept)))

    async def _read(self, wanted: Range) -> bytes | None:
        client, root = self._client()
        path = f"{root}/{wanted.name}"
        if wanted.length == 0:
            return None if await self._size(wanted.name) is None else b""

        async def attempt() -> bytes:
            try:
                return await client.read(path, wanted.start, wanted.length)
            except Exception as error:
                if is_past_end(error):
                    return b""
                raise

        size = wanted.length or 0
        data = await self._tried("read", wanted.name, size, attempt, None)
        return data if data is None or wanted.length is None else data[: wanted.length]

    async def _size(self, name: str) -> int | None:
        client, root = self._client()
        return await self._tried("read", name, 0, lambda: client.size(f"{root}/{name}"), None)

    async def _tried(
        self,
        doing: str,
        name: str,
        size: int,
        request: Callable[[], Awaitable[Result]],
        *absent: Result,
    ) -> Result:
        """Make a request until it succeeds, or fails for good; `absent` is for what isn't there."""
        limit = self._patience.limit(size)
        pauses = self._patience.pauses()
        while True:
            try:
                return await asyncio.wait_for(request(), limit)
            except Exception as error:
                if absent and is_absent(error) and not lacks_bucket(error):
                    return absent[0]
                failure = self._failure(error, f"{self._place}/{name}", doing)
                again = isinstance(failure, StorageError) and failure.retryable
                if self._backend.insists and is_unreachable(error):
                    again = False  # it was asked often enough
                pause = next(pauses, None) if again else None
                if pause is None:
                    raise failure from error
                await asyncio.sleep(max(pause, retry_after(error)))

    def _failure(self, error: BaseException, where: str, doing: str) -> InvalidInput | StorageError:
        name = unknown_option(error)
        if name is None:
            return storage_failure(error, where, doing, self._backend)
        return self._no_option(name)

    def _no_option(self, name: str) -> InvalidInput:
        """Say that the client has no such option; it may stand in a table."""
        package = self._backend.package
        full = next((key for key in _names(self._options) if key.split(".")[-1] == name), name)
        near = nearest(full, _known_options(self._kind()))
        return InvalidInput(
            f"{package} has no option {shown(full)}"
            + (f"; did you mean {' or '.join(near)}?" if near else ""),
            hint=f"the options are in the URL, and in what is configured: ama remote list; those of"
            f" {package} are in its documentation",
        )

    async def _all(self, requests: Iterable[Coroutine[Any, Any, Result]]) -> Results[Result]:
        """Make requests side by side; the first that fails for good ends the others."""
        gate = self._gate = self._gate or asyncio.Semaphore(REQUESTS)

        async def admitted(request: Coroutine[Any, Any, Result]) -> Result:
            async with gate:
                return await request

        tasks = [asyncio.ensure_future(admitted(request)) for request in requests]
        try:
            return [await task for task in tasks]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _run(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Run requests on the I/O thread, and wait for them here."""
        self._client()  # not on that thread: opening one waits for it
        future = asyncio.run_coroutine_threadsafe(work(), get_loop())
        self._waiting.add(future)
        try:
            return future.result()
        except BaseException as error:
            future.cancel()  # after Ctrl-C among others: nothing goes on behind our back
            if isinstance(error, CancelledError):
                raise StorageError(f"a request to {self._url} was given up") from None
            raise
        finally:
            self._waiting.discard(future)

    def cancel(self) -> None:
        """Let the requests fail at once that other threads wait for. See `Storage.cancel`."""
        for future in list(self._waiting):
            future.cancel()

    def _client(self) -> tuple[Client, str]:
        """Return the client, opened at its first use, and the path of the storage in it."""
        with self._opening:
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def _kind(self) -> Any:
        """The client's class."""
        backend = self._backend
        try:
            return getattr(importlib.import_module(backend.module), backend.client)
        except ImportError as error:
            raise StorageError(
                f"{self._place} needs a package that isn't installed: {error.name}",
                hint=f"install it: pip install {backend.package}",
            ) from error

    def _open(self) -> tuple[Client, str]:
        backend = self._backend
        kind = self._kind()
        unknown = set(self._options) - _known_options(kind)
        if unknown and not backend.passes_on:
            raise self._no_option(min(unknown))
        found = kind._get_kwargs_from_urls(self._place)
        # A listing that is remembered is stale, and the SFTP client has none, but trusts any host.
        settings: dict[str, Any]
        settings = {"known_hosts": ()} if backend is SFTP else {"use_listings_cache": False}
        options = dict(self._options)
        if backend is S3:
            # It would try ten times over at each of our tries, have ten connections only, and ask
            # for the size of all that is read whole, so as to read it in parts.
            ours = {"retries": {"total_max_attempts": 1}, "max_pool_connections": REQUESTS}
            settings["config_kwargs"] = {**ours, **options.pop("config_kwargs", {})}
            settings["max_concurrency"] = 1
        # Unless the user asked for it, what a client logs is not for the terminal.
        logging.getLogger(backend.module.partition(".")[0]).addHandler(logging.NullHandler())
        root = str(kind._strip_protocol(self._place)).rstrip("/")
        try:
            fs = kind(skip_instance_cache=True, **{**settings, **found, **options})
        except Exception as error:
            raise self._failure(error, self._place, "open") from error
        if backend is SFTP:
            return SftpClient(fs), root
        if backend is HTTP:
            return HttpClient(fs), root
        return (S3Client(fs) if backend is S3 else BucketClient(fs)), root


def _known_options(kind: Any) -> set[str]:
    """The options that a client's class has a name for."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        name
        for base in kind.__mro__
        if "__init__" in vars(base) and base is not object
        for name, parameter in inspect.signature(base.__init__).parameters.items()
        if parameter.kind in named and name != "self"
    }


def _names(options: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the names of options with dots for those in tables."""
    for name, value in options.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _names(value, f"{prefix}{name}.")
