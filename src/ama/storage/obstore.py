"""A faster client for S3, written in Rust. No other module imports obstore.

It serves where obstore is installed, and only for what it certainly does as fsspec's client would.
Ama trusts its successes and plain failures: absent, taken, busy, a broken connection. Everything
else (no server, no permission, another region, a certificate) is left to fsspec's client to verify
and report.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import re
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from importlib.util import find_spec
from typing import Any

from ama.storage.backends import S3, Backend
from ama.storage.clients import REQUESTS, BeyondClient, Opened
from ama.storage.parts import Part
from ama.storage.protocol import Detail
from ama.system.parallel import start

# It gives a status in words only.
_STATUS = re.compile(r"non-2xx status code: (\d{3})").search
# It was not connected, or redirected without an address: to another region.
_NOT_SENT = re.compile("kind: Connect|redirect without LOCATION").search
# Taken, behind the end, busy: the clients agree on these.
_PLAIN = frozenset({408, 409, 412, 416, 425, 429, 500, 502, 503, 504})


class Answered(Exception):
    """A server refuses.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"the server answered {status}")
        self.status = status


class ObstoreClient:
    """A bucket behind obstore. Paths begin with the bucket, as in fsspec's client.

    Args:
        store: The bucket's store in obstore.
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

    async def detail(self, path: str) -> Detail:
        """See `Client.detail`."""
        import obstore

        with _told():
            return _detail(await obstore.head_async(self._store, _key(path)))

    async def write(self, path: str, data: bytes) -> None:
        """See `Client.write`."""
        await self._put(path, data, "overwrite")

    async def create(self, path: str, data: bytes) -> None:
        """See `Client.create`."""
        await self._put(path, data, "create")

    async def begin(self, path: str) -> Any:
        """See `Client.begin`. It has no upload whose end one can decide."""
        raise BeyondClient

    async def send(self, upload: Any, part: Part) -> object:
        """See `Client.send`. Nothing begins."""
        return None

    async def finish(self, upload: Any, sent: Sequence[Any]) -> None:
        """See `Client.finish`. Nothing begins."""

    async def give_up(self, upload: Any) -> None:
        """See `Client.give_up`. Nothing begins."""

    async def find(self, directory: str) -> dict[str, Detail]:
        """See `Client.find`."""
        import obstore

        bucket = directory.partition("/")[0]
        found: dict[str, Detail] = {}
        with _told():
            async for some in obstore.list(self._store, _key(directory)):
                found.update((f"{bucket}/{each['path']}", _detail(each)) for each in some)
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
    """Open the client, if it is installed and certainly does what fsspec's would.

    Args:
        place: The URL without options.
        backend: The kind of storage that the URL's scheme means.
        options: The options for fsspec's client.

    Returns:
        The client; None: use fsspec's.

    Example:
        >>> from ama.storage.backends import GCS
        >>> open_client("gs://models/ama", GCS, {}) is None
        True
    """
    if backend is not S3 or find_spec(S3.package) is None:
        return None
    if _process_of_threads() != os.getpid():  # a forked process has no threads
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
        "aws_disable_bulk_delete": True,  # bulk deletion needs another permission
        # The signature needs the sum of the content anyway; some buckets insist on one.
        "aws_checksum_algorithm": "SHA256",
        **(access.keys or {}),
    }
    if access.endpoint is not None:
        config["aws_endpoint_url_s3"] = access.endpoint
    # Only ama's own retries know when to stop.
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
    """Return the process that obstore's threads belong to: the first that asked."""
    return os.getpid()


@cache
def _loop(process: int) -> asyncio.AbstractEventLoop:
    """The event loop of a process, which runs on a thread of its own."""
    loop = asyncio.new_event_loop()
    start(threading.Thread(target=loop.run_forever, name="ama-requests", daemon=True))
    atexit.register(_rest, process)
    return loop


def _rest(process: int) -> None:
    """Give obstore's threads time to let go of their last values before the interpreter ends.

    A thread that needs the interpreter while it shuts down ends the process by SIGABRT.
    """
    if os.getpid() == process:
        time.sleep(0.05)


def _detail(found: Any) -> Detail:
    mark = found.get("e_tag") or found.get("version") or ""
    return Detail(int(found["size"]), mark.strip('"'), found["last_modified"])


def _key(path: str) -> str:
    return path.partition("/")[2]


@contextmanager
def _told(*, creating: bool = False) -> Iterator[None]:
    """Turn an exception of obstore into one whose type tells the meaning, if that is certain.

    Another client must not repeat a create that may have succeeded: it would be in its own way.
    """
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error):
            raise BeyondClient from error
        raise
    except ValueError as error:  # a name that the store can't have
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


# Read below, or without effect on S3.
_KNOWN_VARIABLES = frozenset(
    "AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE AWS_DEFAULT_PROFILE"
    " AWS_SHARED_CREDENTIALS_FILE AWS_CONFIG_FILE AWS_DEFAULT_REGION AWS_ENDPOINT_URL_S3"
    " AWS_ENDPOINT_URL AWS_REGION AWS_EC2_METADATA_DISABLED AWS_PAGER AWS_DEFAULT_OUTPUT".split()
)
_KEYS = frozenset("aws_access_key_id aws_secret_access_key aws_session_token".split())
_KNOWN_IN_PROFILE = _KEYS | {"region", "output", "cli_pager", "cli_auto_prompt"}
# The basis of a safe connection, if not the system's certificates.
_CERTIFICATES = frozenset({"AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"})
# Proxies, and settings of fsspec and botocore apart from AWS's.
_OTHERS = re.compile("FSSPEC|BOTO|S3FS_LOGGING|(HTTPS?|ALL)_PROXY$").match
# Characters of a bucket in a host's name; two hyphens mark special kinds.
_BUCKET = re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]").fullmatch
# Regions whose hosts all end with amazonaws.com.
_REGION = re.compile(r"(us|eu|ap|sa|ca|me|af|il|mx)-[a-z]+-[0-9]+").fullmatch
_ENDPOINT = re.compile(r"https?://(?!.*amazonaws)[A-Za-z0-9.-]+(:[0-9]+)?/?").fullmatch
_PROFILE = re.compile(r"[\w.@-]+").fullmatch


@dataclass(frozen=True, slots=True)
class Access:
    """The way to reach a bucket.

    Attributes:
        endpoint: The server's URL; None: AWS itself, by the bucket's own host.
        region: The region for signatures.
        keys: The access key, the secret key and maybe a session's token, by their names in
            profiles; None: don't sign requests.
    """

    endpoint: str | None
    region: str
    keys: Mapping[str, str] | None = field(repr=False)


def plain_access(
    bucket: str, options: Mapping[str, Any], environ: Mapping[str, str] | None = None
) -> Access | None:
    """Return the way to reach a bucket, if it is certain.

    Args:
        bucket: The bucket's name.
        options: The options for s3fs.
        environ: The environment; None: the process's own.

    Returns:
        The way; None: only AWS's own client knows it.

    Example:
        >>> options = {"anon": True, "endpoint_url": "http://localhost:9000"}
        >>> plain_access("models", options, {"AWS_CONFIG_FILE": "/none"})
        Access(endpoint='http://localhost:9000', region='us-east-1')
        >>> plain_access("models", options, {"AWS_ROLE_ARN": "arn:aws:iam::1:role/r"}) is None
        True
    """
    environ = os.environ if environ is None else environ
    told = dict(options)
    table = told.pop("client_kwargs", {})
    table = dict(table) if isinstance(table, Mapping) else {"": table}
    region = table.pop("region_name", None)
    endpoint, anon, name = (told.pop(key, None) for key in ("endpoint_url", "anon", "profile"))
    given = {to: told.pop(key) for key, to in _OPTIONS.items() if key in told}
    endpoint = endpoint or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    ignored = _CERTIFICATES if str(endpoint).startswith("http://") else frozenset[str]()
    if told or table or anon not in (None, False, True) or not _is_plain(environ, ignored):
        return None
    profile = _profile(name, environ)
    if profile is None or not _BUCKET(bucket):
        return None
    region = region or environ.get("AWS_DEFAULT_REGION") or profile.region
    if not (_ENDPOINT(str(endpoint)) if endpoint else _REGION(str(region))):
        return None  # AWS's client finds out an unknown region
    keys: Mapping[str, str] | None = None
    if anon is not True:
        keys = _keys(given, name, profile, environ)
        if not keys.get("aws_access_key_id") or not keys.get("aws_secret_access_key"):
            return None
    return Access(endpoint and endpoint.rstrip("/"), str(region or "us-east-1"), keys)


_OPTIONS = {
    "key": "aws_access_key_id",
    "secret": "aws_secret_access_key",
    "token": "aws_session_token",
}


@dataclass(frozen=True, slots=True)
class _Profile:
    region: str | None
    keys: Mapping[str, str] = field(repr=False)


def _is_plain(environ: Mapping[str, str], ignored: frozenset[str]) -> bool:
    """Whether the environment holds only what this module understands."""
    for name, value in environ.items():
        upper = name.upper()
        if upper in ignored:
            continue
        if upper.startswith("AWS_") and (upper not in _KNOWN_VARIABLES or not value):
            return False
        if value and (upper in _CERTIFICATES or _OTHERS(upper)):
            return False
    return not os.path.exists(os.path.expanduser("~/.config/fsspec"))


def _keys(
    given: Mapping[str, str], wanted: object, profile: _Profile, environ: Mapping[str, str]
) -> Mapping[str, str]:
    """Return the keys that AWS's client would find; none if that isn't certain."""
    found = {name: environ[name.upper()] for name in _KEYS if name.upper() in environ}
    if not found:
        return given or profile.keys
    # The environment overrides a profile that it names itself, but not options; and beside other
    # keys, the rest of it (a token) could get among them.
    return found if wanted is None and not given else {}


def _profile(wanted: object, environ: Mapping[str, str]) -> _Profile | None:
    """Return the chosen profile; None if that isn't certain, or there is no such profile."""
    name = wanted or environ.get("AWS_DEFAULT_PROFILE") or environ.get("AWS_PROFILE")
    chosen = "default" if name is None else name
    if not isinstance(chosen, str) or not _PROFILE(chosen):
        return None
    config = _sections(environ.get("AWS_CONFIG_FILE", "~/.aws/config"), chosen, _name_in_config)
    shared = _sections(
        environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"), chosen, str
    )
    if config is None or shared is None or (name is not None and not config + shared):
        return None
    if len(config) > 1 or len(shared) > 1:
        return None
    (in_config,), (in_shared,) = config or [{}], shared or [{}]
    both = {**in_config, **in_shared}
    if both.keys() - _KNOWN_IN_PROFILE:
        return None
    source = in_shared if "aws_access_key_id" in in_shared else in_config
    return _Profile(both.get("region"), {n: source[n] for n in _KEYS if n in source})


def _sections(
    path: str, name: str, name_of: Callable[[str], str | None]
) -> list[Mapping[str, str]] | None:
    """Return the sections of a file about a profile; None if the file can't be read."""
    path = os.path.expandvars(os.path.expanduser(path))
    if not os.path.isfile(path):
        return []
    from configparser import Error, RawConfigParser

    parser = RawConfigParser(default_section="")
    try:
        parser.read(path)
    except (Error, OSError, UnicodeDecodeError):
        return None
    return [dict(parser[section]) for section in parser.sections() if name_of(section) == name]


def _name_in_config(section: str) -> str | None:
    """Return the profile of a section of the config file."""
    if section == "default":
        return section
    try:
        words = shlex.split(section)
    except ValueError:
        return None
    return words[1] if len(words) == 2 and words[0] == "profile" else None
