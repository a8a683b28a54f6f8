"""A faster client for S3, written in Rust: the only module that imports obstore.

It is used where obstore is installed, and only for what it surely does as fsspec's client would.
What it is trusted with are successes and the plain failures: absent, taken, busy, a broken
connection. Of everything else (no server, no permission, another region, a certificate) it leaves
to fsspec's client to find out whether it is so, and to say it.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from importlib.util import find_spec
from typing import Any

from ama.storage.aws import Access, plain_access
from ama.storage.backends import S3, Backend
from ama.storage.clients import REQUESTS, BeyondClient, Opened
from ama.system.parallel import start

# It tells a status in words only.
_STATUS = re.compile(r"non-2xx status code: (\d{3})").search
# It was not connected, or sent elsewhere without saying where: to another region.
_NOT_SENT = re.compile("kind: Connect|redirect without LOCATION").search
# Taken, behind the end, busy: in these the clients agree.
_PLAIN = frozenset({408, 409, 412, 416, 425, 429, 500, 502, 503, 504})


class Answered(Exception):
    """A server said no.

    Attributes:
        status: Its HTTP status.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"the server answered {status}")
        self.status = status


class ObstoreClient:
    """A bucket behind obstore. Paths begin with the bucket, as those of fsspec's client do.

    Args:
        store: The bucket, as obstore has it.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    async def read(self, path: str, start: int, length: int | None) -> bytes:
        """See `Client.read`."""
        import obstore

        with _told():
            if length is not None:
                part = await obstore.get_range_async(
                    self._store, _key(path), start=start, length=length
                )
                return part.to_bytes()
            options: Any = {"range": {"offset": start}} if start else {}
            answer = await obstore.get_async(self._store, _key(path), options=options)
            return (await answer.bytes_async()).to_bytes()

    async def size(self, path: str) -> int | None:
        """See `Client.size`."""
        import obstore

        with _told():
            return int((await obstore.head_async(self._store, _key(path)))["size"])

    async def write(self, path: str, data: bytes) -> None:
        """See `Client.write`."""
        await self._put(path, data, "overwrite")

    async def create(self, path: str, data: bytes) -> None:
        """See `Client.create`."""
        await self._put(path, data, "create")

    async def find(self, directory: str) -> dict[str, int]:
        """See `Client.find`."""
        import obstore

        bucket = directory.partition("/")[0]
        found: dict[str, int] = {}
        with _told():
            async for some in obstore.list(self._store, _key(directory)):
                found.update((f"{bucket}/{each['path']}", int(each["size"])) for each in some)
        return found

    async def delete(self, path: str) -> None:
        """See `Client.delete`."""
        import obstore

        with _told():
            await obstore.delete_async(self._store, _key(path))

    async def missing(self, path: str) -> list[str]:
        """See `Client.missing`. A bucket has no directories."""
        return []

    async def remove(self, directory: str) -> None:
        """See `Client.remove`. There is none."""

    async def _put(self, path: str, data: bytes, mode: Any) -> None:
        import obstore

        with _told(creating=mode == "create"):
            await obstore.put_async(self._store, _key(path), data, mode=mode, use_multipart=False)


def open_client(place: str, backend: Backend, options: Mapping[str, Any]) -> Opened | None:
    """Open the client, if it is installed and surely does what fsspec's would.

    Args:
        place: The URL without options.
        backend: What kind of storage the URL's scheme means.
        options: What fsspec's client would be told.

    Returns:
        The client; None where fsspec's is to be used.

    Example:
        >>> from ama.storage.backends import GCS
        >>> open_client("gs://models/ama", GCS, {}) is None
        True
    """
    if backend is not S3 or find_spec(S3.package) is None:
        return None
    if _process_of_threads() != os.getpid():  # a fork has none of them
        return None
    root = place.partition("://")[2]
    bucket, *parts = root.split("/")
    access = None if "" in parts or not root.isprintable() else plain_access(bucket, options)
    if access is None:
        return None
    try:
        client = ObstoreClient(_store(bucket, access))
    except ImportError:
        return None
    return Opened(client, root, _loop(os.getpid()), asyncio.Semaphore(REQUESTS), "obstore")


def _store(bucket: str, access: Access) -> Any:
    from obstore.store import S3Store

    config: Any = {
        "aws_region": access.region,
        "aws_virtual_hosted_style_request": access.endpoint is None,
        "aws_skip_signature": access.keys is None,
        "aws_disable_bulk_delete": True,  # which needs another permission
        # It has the sum of what is sent already, for the signature; some buckets insist on one.
        "aws_checksum_algorithm": "SHA256",
        **(access.keys or {}),
    }
    if access.endpoint is not None:
        config["aws_endpoint_url_s3"] = access.endpoint
    # Only ours know when to stop.
    never = timedelta(days=1)
    return S3Store(
        bucket,
        config=config,
        client_options={
            "allow_http": str(access.endpoint).startswith("http://"),
            "timeout": never,
            "connect_timeout": never,
        },
        retry_config={"max_retries": 0},
    )


@cache
def _process_of_threads() -> int:
    """The process in which obstore's threads were started: the first that asked."""
    return os.getpid()


@cache
def _loop(process: int) -> asyncio.AbstractEventLoop:
    """The event loop of a process, which runs on a thread of its own."""
    loop = asyncio.new_event_loop()
    start(threading.Thread(target=loop.run_forever, name="ama-requests", daemon=True))
    atexit.register(_rest, process)
    return loop


def _rest(process: int) -> None:
    """Give obstore's threads time to let go of their last values, before the interpreter goes.

    One that needs it while it is taken down ends the process by SIGABRT.
    """
    if os.getpid() == process:
        time.sleep(0.05)


def _key(path: str) -> str:
    return path.partition("/")[2]


@contextmanager
def _told(*, creating: bool = False) -> Iterator[None]:
    """Say by its type what an exception of obstore's means, as far as it is surely that.

    What may have been done is left to nobody else, if it is a create: it would be in its own way.
    """
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error):
            raise BeyondClient from error
        raise
    except ValueError as error:  # a name that it can't have
        raise BeyondClient from error
    except BaseError as error:
        said = str(error)
        status = _STATUS(said)
        if status and int(status.group(1)) in _PLAIN:
            raise Answered(int(status.group(1))) from error
        surely_not_done = status or _NOT_SENT(said)
        if not surely_not_done and (creating or "HTTP error" in said):
            raise ConnectionError from error
        raise BeyondClient from error
