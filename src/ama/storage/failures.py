"""The meaning of the exceptions of storage clients.

Each client has its own, and their texts may hold credentials. So ama uses none of the text: only
the kind of error, and the status of the server's answer.
"""

from __future__ import annotations

import email.utils
import errno
import re
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ama.errors import Hint, StorageError, shown
from ama.storage.backends import Backend

_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_DENIED = frozenset({401, 403})
_TAKEN = frozenset({409, 412})

_UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'").search

# The clients' classes by name, because importing them takes most of a second.
_PASSING = frozenset(
    "TimeoutError ConnectionError ClientConnectionError ClientPayloadError HTTPClientError"
    " ConnectionClosedError EndpointConnectionError ServiceRequestError ServiceResponseError"
    " IncompleteReadError IncompleteRead ConnectionLost ChannelOpenError SFTPConnectionLost"
    " SFTPNoConnection".split()
)
_UNREACHABLE = frozenset(
    "ClientConnectorError EndpointConnectionError ConnectionRefusedError".split()
)
_NO_ACCESS = frozenset(
    "PermissionError NoCredentialsError PartialCredentialsError ProfileNotFound"
    " DefaultCredentialsError RefreshError ClientAuthenticationError CredentialUnavailableError"
    " PermissionDenied HostKeyNotVerifiable SFTPPermissionDenied NoAuthInformation"
    " CredentialRetrievalError TokenRetrievalError UnauthorizedSSOTokenError".split()
)


def is_taken(error: BaseException) -> bool:
    """Whether an atomic create failed because the name is taken."""
    if isinstance(error, FileExistsError) or status_of(error) in _TAKEN:
        return True
    return _named(error, {"ResourceExistsError", "SFTPFileAlreadyExists"})


def is_absent(error: BaseException) -> bool:
    """Whether a request failed because the name is absent."""
    if isinstance(error, StorageError):
        return False
    return (
        isinstance(error, FileNotFoundError)
        or status_of(error) == 404
        or type(error).__name__ in ("SFTPNoSuchFile", "SFTPNoSuchPath")
    )


def lacks_bucket(error: BaseException) -> bool:
    """Whether a request failed because there is no such bucket, as far as the server tells."""
    return _named(error, {"NoSuchBucket"}) or any(
        getattr(each, "error_code", None) == "ContainerNotFound" for each in _chain(error)
    )


def is_unreachable(error: BaseException) -> bool:
    """Whether a request failed because nothing listens at the server's address."""
    return _named(error, _UNREACHABLE)


def unknown_option(error: BaseException) -> str | None:
    """Return the name of an option that a client, or one below it, doesn't know."""
    for each in _chain(error):
        found = _UNEXPECTED(str(each)) if isinstance(each, TypeError) else None
        if found:
            return found.group(1)
    return None


def is_past_end(error: BaseException) -> bool:
    """Whether a range begins behind the end of its file."""
    return status_of(error) == 416


def storage_failure(error: BaseException, where: str, doing: str, backend: Backend) -> StorageError:
    """Return an error that says in one line what a client's exception means.

    Args:
        error: The client's exception.
        where: The URL that it is about, free of credentials.
        doing: "read", "write", "list" or "delete"; "open" before any of these.
        backend: The kind of storage.

    Returns:
        The error to raise, `from` the client's.

    Example:
        >>> from ama.storage.backends import BACKENDS
        >>> str(storage_failure(PermissionError(), "s3://team/HINT", "read", BACKENDS["s3"]))
        'no permission to read s3://team/HINT'
    """
    if isinstance(error, StorageError):
        return error
    place = shown(where)
    status = status_of(error)
    server = shown(_server_of(error) or _host_in(where, backend))
    if _is_unknown_host(error):
        return StorageError(
            f"{place}: there is no host {server}",
            hint="check the URL, and that this machine is online",
        )
    if _named(error, {"ClientSSLError"}):
        return StorageError(
            f"{place}: there is no safe connection to {server}",
            hint="check the URL (is it http or https?), and the server's certificate",
        )
    if is_unreachable(error):
        return StorageError(
            f"{place}: no server answers at {server}",
            hint="check the URL; if the server is only away, run the same command again",
            retryable=True,
        )
    if status in _DENIED or _named(error, _NO_ACCESS) or _is_forbidden(error):
        return StorageError(f"no permission to {doing} {place}", hint=backend.login)
    if is_absent(error) and backend.root != "host":
        return StorageError(
            f"there is no {backend.root} {shown(where.split('/')[2])}: it does not exist, or not"
            " for you",
            hint=(Hint("make-bucket"), Hint("check-url")),
            errno=errno.ENOENT,
        )
    if is_absent(error):
        return StorageError(
            f"{place} can't be reached to {doing}: its directory does not exist",
            hint="check the URL, or make it first",
        )
    if status in _AGAIN or status == 409 or _named(error, _PASSING) or _is_busy(error):
        reason = f"it answered {status}" if status else _reason(error)
        return StorageError(
            f"{place} could not be reached to {doing}: {reason}",
            hint="run the same command again: what was sent or fetched is not lost",
            retryable=True,
        )
    reason = f"it answered {status}" if status else _reason(error)
    if not (status or _named(error, _PASSING)):
        reason = f"{backend.package} failed with {type(error).__name__}"
    # If a client can't even be made, it mostly found no credentials.
    hint = f"{backend.login}; " if doing == "open" else ""
    return StorageError(
        f"can't {doing} {place}: {reason}", hint=f"{hint}AMA_DEBUG=1 shows the trace"
    )


def retry_after(error: BaseException) -> float:
    """Return the seconds that the server asks to wait before the next try; 0 if it doesn't."""
    for each in _chain(error):
        headers = getattr(each, "headers", None) or getattr(
            getattr(each, "response", None), "headers", None
        )
        if headers is None:
            headers = _metadata(each).get("HTTPHeaders")
        if isinstance(headers, Mapping):
            value = headers.get("Retry-After") or headers.get("retry-after")
            if value:
                return max(0.0, _seconds(str(value)))
    return 0.0


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that a client's exception carries, if it has one."""
    for each in _chain(error):
        for status in _statuses(each):
            if str(status).isdigit() and 400 <= int(status) < 600:
                return int(status)
    return None


def _statuses(error: BaseException) -> Iterator[Any]:
    yield getattr(error, "status_code", None)
    yield getattr(error, "status", None)
    yield _metadata(error).get("HTTPStatusCode")
    if type(error).__module__.startswith("gcsfs"):
        yield getattr(error, "code", None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and its causes: clients wrap those of others."""
    at: BaseException | None = error
    for _ in range(6):
        if at is None:
            return
        yield at
        at = at.__cause__ or at.__context__


def _metadata(error: BaseException) -> dict[str, Any]:
    response = getattr(error, "response", None)
    found = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    return found if isinstance(found, dict) else {}


def _named(error: BaseException, names: frozenset[str] | set[str]) -> bool:
    return any(kind.__name__ in names for each in _chain(error) for kind in type(each).__mro__)


def _server_of(error: BaseException) -> str | None:
    """Return the host and port that refused the connection."""
    for each in _chain(error):
        host, port = getattr(each, "host", None), getattr(each, "port", None)
        if isinstance(host, str) and isinstance(port, int):
            return f"{host}:{port}"
    return None


def _host_in(where: str, backend: Backend) -> str:
    """Return the host that a URL names, or else its backend's."""
    if backend.root != "host":
        return backend.title
    return where.split("/")[2].rpartition("@")[2]


def _is_unknown_host(error: BaseException) -> bool:
    return any(
        isinstance(each, socket.gaierror) and each.errno == socket.EAI_NONAME
        for each in _chain(error)
    )


def _is_forbidden(error: BaseException) -> bool:
    """Whether this is gcsfs's 403, which it says only in words."""
    return any(type(e) is OSError and str(e).startswith("Forbidden") for e in _chain(error))


def _is_busy(error: BaseException) -> bool:
    busy = (errno.EBUSY, errno.EAGAIN, errno.ETIMEDOUT, errno.ECONNRESET, errno.EPIPE)
    return isinstance(error, OSError) and error.errno in busy


def _reason(error: BaseException) -> str:
    if _named(error, {"TimeoutError"}):
        return "it did not answer in time"
    return "the connection broke"


def _seconds(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        pass
    try:
        return email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, TypeError):
        return 0.0
