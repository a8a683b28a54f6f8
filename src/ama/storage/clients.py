"""The clients of storages: the few requests that ama makes, in terms of fsspec's clients.

They get an open client and import none: an import takes most of a second.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ama.errors import StorageError
from ama.storage.failures import is_absent
from ama.storage.parts import Part
from ama.storage.protocol import Detail
from ama.system.fs import is_temp, temp_name

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Semaphore

REQUESTS = 64
"""The most requests at once."""

MOST_HELD = 1 << 30
"""The most bytes of a web server's answers in memory: it may send without end."""


class Client(Protocol):
    """The few requests that a storage needs. Paths are the client's own.

    An absent name raises an error that `is_absent` knows, a taken name one that `is_taken` knows.
    `BeyondClient` means: try another client.
    """

    async def read(self, path: str, start: int, length: int | None) -> bytes:
        """Return bytes from `start` on, at most `length`."""

    async def size(self, path: str) -> int | None:
        """Return the size of a path in bytes; None for a directory."""

    async def detail(self, path: str) -> Detail:
        """Return what is known of a path without reading it; a listing says the same of it."""

    async def write(self, path: str, data: bytes) -> None:
        """Write a path, whole or not at all."""

    async def create(self, path: str, data: bytes) -> None:
        """Write a path that must not exist yet."""

    async def begin(self, path: str) -> Any:
        """Begin an upload in parts; nobody sees any of it before `finish`."""

    async def send(self, upload: Any, part: Part) -> object:
        """Send a part, maybe again; return what `finish` needs of it. They come in order."""

    async def finish(self, upload: Any, sent: Sequence[Any]) -> None:
        """Make a path of the parts."""

    async def give_up(self, upload: Any) -> None:
        """Let go of the parts."""

    async def find(self, directory: str) -> dict[str, Detail]:
        """Return the paths below a directory with their details."""

    async def delete(self, path: str) -> None:
        """Delete a path."""

    async def missing(self, path: str) -> list[str]:
        """Return the directories that a write of a path would make, the outermost first."""

    async def remove(self, directory: str) -> None:
        """Delete a directory, if it is empty."""


class BeyondClient(Exception):
    """A client can't do this request, and has done nothing: another must try."""


class Opened(NamedTuple):
    """An open client.

    Attributes:
        client: The client.
        root: The path in it above a storage's names.
        loop: The loop of its requests, in a thread that is not the caller's.
        gate: The limit of `REQUESTS` at once.
        package: The package that it belongs to.
    """

    client: Client
    root: str
    loop: AbstractEventLoop
    gate: Semaphore
    package: str

    def path(self, name: str) -> str:
        """Return the client's path of a name."""
        return f"{self.root}/{name}"


class BucketClient:
    """A bucket: writes are whole by themselves, and an option makes them atomic creates."""

    def __init__(self, fs: Any) -> None:
        self._fs = fs
        fs.retries = 1  # ours know when to stop

    async def read(self, path: str, start: int, length: int | None) -> bytes:
        """See `Client.read`."""
        if not start and length is None:
            return bytes(await self._fs._cat_file(path))
        end = None if length is None else start + length
        return bytes(await self._fs._cat_file(path, start=start, end=end))

    async def size(self, path: str) -> int | None:
        """See `Client.size`."""
        info = await self._fs._info(path)
        return None if info["type"] == "directory" else int(info["size"])

    async def detail(self, path: str) -> Detail:
        """See `Client.detail`."""
        return _file_detail(await self._fs._info(path), path)

    async def write(self, path: str, data: bytes) -> None:
        """See `Client.write`."""
        await self._fs._pipe_file(path, data)

    async def create(self, path: str, data: bytes) -> None:
        """See `Client.create`."""
        await self._fs._pipe_file(path, data, mode="create")

    async def find(self, directory: str) -> dict[str, Detail]:
        """See `Client.find`."""
        found = await self._fs._find(directory, detail=True)
        if not isinstance(found, dict):  # adlfs gives this for a path that is no directory
            return {}
        # Some servers keep an empty object for each directory.
        return {p: _detail(info) for p, info in found.items() if info["type"] == "file"}

    async def delete(self, path: str) -> None:
        """See `Client.delete`."""
        await self._fs._rm_file(path)

    async def missing(self, path: str) -> list[str]:
        """See `Client.missing`. A bucket has no directories."""
        return []

    async def remove(self, directory: str) -> None:
        """See `Client.remove`. There is none."""


class AzureClient(BucketClient):
    """Azure. Its client would retry a silent server for most of a minute."""

    def __init__(self, fs: Any) -> None:
        super().__init__(fs)
        fs.service_client._config.retry_policy.total_retries = 0  # ours know when to stop

    async def begin(self, path: str) -> Any:
        """See `Client.begin`. Nothing is begun: blocks that no list names are forgotten."""
        container, name, _ = self._fs.split_path(path)
        return self._fs.service_client.get_blob_client(container=container, blob=name)

    async def send(self, upload: Any, part: Part) -> object:
        """See `Client.send`."""
        block = f"{part.number:06d}"
        await upload.stage_block(block, part.data)
        return block

    async def finish(self, upload: Any, sent: Sequence[Any]) -> None:
        """See `Client.finish`."""
        await upload.commit_block_list([*sent], metadata={"is_directory": "false"})
        await upload.close()

    async def give_up(self, upload: Any) -> None:
        """See `Client.give_up`."""
        await upload.close()


class GcsClient(BucketClient):
    """GCS. The client's own write copies the data, to put a header before it."""

    async def write(self, path: str, data: bytes) -> None:
        """See `Client.write`. This is the API's simple upload, which has the name in its URL."""
        if (self._fs.consistency or "none") != "none":  # the user wants the client to check a sum
            await super().write(path, data)
            return
        bucket, name, _ = self._fs.split_path(path)
        await self._fs._call(
            "POST",
            f"{self._fs._location}/upload/storage/v1/b/{{}}/o",
            bucket,
            uploadType="media",
            name=name,
            headers={"Content-Type": "application/octet-stream"},
            data=_InParts(data),
        )

    async def begin(self, path: str) -> Any:
        """See `Client.begin`."""
        bucket, name, _ = self._fs.split_path(path)
        headers, _ = await self._fs._call(
            "POST",
            f"{self._fs._location}/upload/storage/v1/b/{{}}/o",
            bucket,
            uploadType="resumable",
            name=name,
            headers={"X-Upload-Content-Type": "application/octet-stream"},
            json={"name": name},
        )
        return _Session(headers["Location"])

    async def send(self, upload: Any, part: Part) -> object:
        """See `Client.send`. It is made once: not every server takes a part again for the same."""
        if upload.tried == part.number:
            raise StorageError("an upload in parts was interrupted", hint=_AGAIN)
        upload.tried = part.number
        end = part.offset + len(part.data)
        whole = end if part.is_last else "*"
        # Without the client's own retries, and not by PUT, which aiohttp repeats.
        once = self._fs._request.__wrapped__
        _, headers, _, answer = await once(
            self._fs,
            "POST",
            upload.url,
            headers={"Content-Range": f"bytes {part.offset}-{end - 1}/{whole}"},
            data=_InParts(part.data),
        )
        if part.is_last:
            kept = int(json.loads(answer)["size"]) if answer else 0
        else:
            kept = int(headers.get("Range", "-").rpartition("-")[2] or -1) + 1
        if kept != end:
            raise StorageError("an upload in parts was not kept as it was sent", hint=_AGAIN)
        return None

    async def finish(self, upload: Any, sent: Sequence[Any]) -> None:
        """See `Client.finish`. The last part said so."""

    async def give_up(self, upload: Any) -> None:
        """See `Client.give_up`."""
        await self._fs._call("DELETE", upload.url)


class _Session:
    """An upload in parts to GCS: its URL, and the part that was tried last."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.tried = 0


class S3Client(BucketClient):
    """S3. The client would copy a whole body once more, so send it in parts."""

    async def write(self, path: str, data: bytes) -> None:
        """See `Client.write`."""
        await self._fs._pipe_file(path, _InParts(data))

    async def begin(self, path: str) -> Any:
        """See `Client.begin`."""
        bucket, key, _ = self._fs.split_path(path)
        names = {"Bucket": bucket, "Key": key}
        made = await self._fs._call_s3("create_multipart_upload", **names)
        return {**names, "UploadId": made["UploadId"]}

    async def send(self, upload: Any, part: Part) -> object:
        """See `Client.send`."""
        sent = await self._fs._call_s3(
            "upload_part", **upload, PartNumber=part.number, Body=_InParts(part.data)
        )
        return {"PartNumber": part.number, "ETag": sent["ETag"]}

    async def finish(self, upload: Any, sent: Sequence[Any]) -> None:
        """See `Client.finish`."""
        parts = {"Parts": [*sent]}
        await self._fs._call_s3("complete_multipart_upload", **upload, MultipartUpload=parts)

    async def give_up(self, upload: Any) -> None:
        """See `Client.give_up`."""
        await self._fs._call_s3("abort_multipart_upload", **upload)


class _InParts(io.BytesIO):
    """Bytes that a client reads piece by piece, after asking for their number.

    They are shared until somebody asks for the buffer, which may be written to: that would make a
    copy, and aiohttp asks, for the length. It gets the bytes themselves, which can't be written to.
    Some versions of aiohttp close what they have sent, and gcsfs may send it again: so it stays
    open.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def getbuffer(self) -> memoryview:
        return memoryview(self._data)

    def close(self) -> None:
        pass


class SftpClient:
    """An SFTP server. Readers could see a file half written, so it gets another name until it is
    whole.

    A plain rename never replaces a file (OpenSSH's server uses link(2)): that is an atomic create.
    """

    def __init__(self, fs: Any) -> None:
        self._fs = fs

    async def read(self, path: str, start: int, length: int | None) -> bytes:
        """See `Client.read`. The client's own read knows no ranges."""
        async with self._fs._pool.get() as channel:
            try:
                async with channel.open(path, "rb") as file:
                    # A request for everything that follows doesn't stop at the end if that lies
                    # before.
                    size = (await file.stat()).size if length is None else start + length
                    return bytes(await file.read(size - start, start)) if size > start else b""
            except Exception as error:
                # Servers say "failure" for a directory, which holds no bytes itself.
                if not is_absent(error) and await channel.isdir(path):
                    raise FileNotFoundError(path) from error
                raise

    async def size(self, path: str) -> int | None:
        """See `Client.size`."""
        info = await self._fs._info(path)
        return None if info["type"] == "directory" else int(info["size"])

    async def detail(self, path: str) -> Detail:
        """See `Client.detail`."""
        return _file_detail(await self._fs._info(path), path)

    async def write(self, path: str, data: bytes) -> None:
        """See `Client.write`."""
        temp = await self._write_temp(path, data)
        async with self._fs._pool.get() as channel:
            await channel.posix_rename(temp, path)

    async def create(self, path: str, data: bytes) -> None:
        """See `Client.create`."""
        if await self._is_there(path):
            raise FileExistsError(path)
        temp = await self._write_temp(path, data)
        async with self._fs._pool.get() as channel:
            try:
                await channel.rename(temp, path)
            except Exception as error:
                await channel.unlink(temp)
                # Servers say "failure" for anything in the way.
                if await self._is_there(path):
                    raise FileExistsError(path) from error
                raise

    async def begin(self, path: str) -> Any:
        """See `Client.begin`."""
        temp = await self._write_temp(path, b"")
        return temp, path

    async def send(self, upload: Any, part: Part) -> object:
        """See `Client.send`."""
        async with self._fs._pool.get() as channel, channel.open(upload[0], "r+b") as file:
            await file.write(part.data, part.offset)
            await _synced(file)
        return None

    async def finish(self, upload: Any, sent: Sequence[Any]) -> None:
        """See `Client.finish`."""
        async with self._fs._pool.get() as channel:
            await channel.posix_rename(*upload)

    async def give_up(self, upload: Any) -> None:
        """See `Client.give_up`."""
        await self.delete(upload[0])

    async def find(self, directory: str) -> dict[str, Detail]:
        """See `Client.find`."""
        found: dict[str, Detail] = {}
        waiting = [directory]
        while waiting:
            at = waiting.pop()
            for info in await self._fs._ls(at, detail=True):
                path = info["name"]
                if info["type"] == "directory":
                    waiting.append(path)
                elif not is_temp(path.rpartition("/")[2]):
                    found[path] = _detail(info)
        return found

    async def delete(self, path: str) -> None:
        """See `Client.delete`."""
        await self._fs._rm_file(path)

    async def missing(self, path: str) -> list[str]:
        """See `Client.missing`."""
        found: list[str] = []
        at = path.rpartition("/")[0]
        while at and not await self._is_there(at):
            found.insert(0, at)
            at = at.rpartition("/")[0]
        return found

    async def remove(self, directory: str) -> None:
        """See `Client.remove`."""
        async with self._fs._pool.get() as channel:
            await channel.rmdir(directory)

    async def _is_there(self, path: str) -> bool:
        try:
            await self._fs._info(path)
        except FileNotFoundError:
            return False
        return True

    async def _write_temp(self, path: str, data: bytes) -> str:
        directory = path.rpartition("/")[0]
        temp = f"{directory}/{temp_name()}"
        async with self._fs._pool.get() as channel:
            # In a task of its own: an error keeps the frames alive that it passed, and their
            # callers, until the next garbage collection, and this one holds a pack.
            file = await asyncio.create_task(self._opened(channel, temp))
            async with file:
                await file.write(data)
                await _synced(file)
        return temp

    async def _opened(self, channel: Any, path: str) -> Any:
        """Open a new file, and make its directory if need be."""
        try:
            return await channel.open(path, "wb")
        except Exception as error:
            if not is_absent(error):
                raise
        await channel.makedirs(path.rpartition("/")[0], exist_ok=True)
        return await channel.open(path, "wb")


class HttpClient:
    """A web server, which can only be read. Not every one honours ranges, or says so.

    Nor does every answer end: ama reads nothing behind the range, and at most `MOST_HELD` bytes of
    answers without a known size, over all answers that come at once.
    """

    def __init__(self, fs: Any) -> None:
        self._fs = fs
        self._held = 0

    async def read(self, path: str, start: int, length: int | None) -> bytes:
        """See `Client.read`."""
        headers = {"Accept-Encoding": "identity"}
        ranged = bool(start) or length is not None
        if ranged:
            headers["Range"] = f"bytes={start}-{'' if length is None else start + length - 1}"
        session = await self._fs.set_session()
        async with session.get(self._fs.encode_url(path), headers=headers) as answer:
            answer.raise_for_status()
            return await self._part(path, answer, 0 if answer.status == 206 else start, length)

    async def _part(self, path: str, answer: Any, start: int, length: int | None) -> bytes:
        """Return at most `length` bytes of an answer, from `start` on."""
        end = sys.maxsize if length is None else start + length
        pieces: list[bytes] = []
        passed = held = 0
        try:
            async for piece in answer.content.iter_any():
                kept = piece[max(0, start - passed) : max(0, end - passed)]
                pieces.append(kept)
                passed += len(piece)
                held += len(kept)
                self._held += len(kept)
                if passed > end:
                    break
                if max(passed, self._held) > MOST_HELD:
                    raise StorageError(
                        f"{path}: the web server sends more than {MOST_HELD >> 20:,} MiB at once",
                        hint=_READ_ONLY,
                    )
        finally:
            self._held -= held
        return b"".join(pieces)

    async def size(self, path: str) -> int | None:
        """See `Client.size`."""
        session = await self._fs.set_session()
        headers = {"Accept-Encoding": "identity"}
        async with session.head(
            self._fs.encode_url(path), headers=headers, allow_redirects=True
        ) as answer:
            answer.raise_for_status()
            length = answer.headers.get("Content-Length")
        return len(await self.read(path, 0, None)) if length is None else int(length)

    async def detail(self, path: str) -> Detail:
        """See `Client.detail`. It lists nothing, so it has no mark."""
        return Detail(await self.size(path) or 0)

    async def write(self, path: str, data: bytes) -> None:
        """Refuse: see `Client.write`."""
        raise StorageError(f"{path}: a web server can only be read", hint=_READ_ONLY)

    create = write

    async def begin(self, path: str) -> Any:
        """Refuse: see `Client.begin`."""
        await self.write(path, b"")

    async def send(self, upload: Any, part: Part) -> object:
        """See `Client.send`. Nothing begins."""
        return None

    async def finish(self, upload: Any, sent: Sequence[Any]) -> None:
        """See `Client.finish`. Nothing begins."""

    async def give_up(self, upload: Any) -> None:
        """See `Client.give_up`. Nothing begins."""

    async def find(self, directory: str) -> dict[str, Detail]:
        """Refuse: see `Client.find`."""
        raise StorageError(f"{directory}: a web server does not list what it has", hint=_READ_ONLY)

    async def delete(self, path: str) -> None:
        """Refuse: see `Client.delete`."""
        raise StorageError(f"{path}: a web server can only be read", hint=_READ_ONLY)

    async def missing(self, path: str) -> list[str]:
        """See `Client.missing`. Nothing is written."""
        return []

    async def remove(self, directory: str) -> None:
        """See `Client.remove`. There is none."""


_MARKS = ("ETag", "etag", "generation")
_TIMES = ("LastModified", "last_modified", "updated", "mtime")


def _detail(info: Mapping[str, Any]) -> Detail:
    """Return the details in what a client of fsspec says of a file."""
    when = next((info[name] for name in _TIMES if info.get(name)), None)
    mark = next((str(info[name]) for name in _MARKS if info.get(name)), str(when or ""))
    return Detail(int(info["size"]), mark.strip('"'), _moment(when))


def _file_detail(info: Mapping[str, Any], path: str) -> Detail:
    if info["type"] == "directory":
        raise FileNotFoundError(path)
    return _detail(info)


def _moment(when: Any) -> datetime | None:
    try:
        if isinstance(when, str):
            when = datetime.fromisoformat(when)
        elif isinstance(when, (int, float)):
            when = datetime.fromtimestamp(when, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    if not isinstance(when, datetime):
        return None
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


_AGAIN = "run the same command again"
_READ_ONLY = "use the URL of the bucket or directory that it serves"


async def _synced(file: Any) -> None:
    """Make an SFTP server write a file to its disk, if it can."""
    try:
        await file.fsync()
    except Exception as error:
        if "Unsupported" not in type(error).__name__:
            raise
