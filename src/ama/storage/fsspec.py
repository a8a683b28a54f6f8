"""The open clients of fsspec. No other module imports it.

They run on fsspec's one I/O thread.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from fsspec.asyn import get_loop

from ama.errors import Hint, InvalidInput, StorageError, shown
from ama.format.names import nearest
from ama.storage.backends import GCS, HTTP, S3, SFTP, Backend
from ama.storage.clients import (
    REQUESTS,
    AzureClient,
    Client,
    GcsClient,
    HttpClient,
    Opened,
    S3Client,
    SftpClient,
)


def open_client(place: str, backend: Backend, options: Mapping[str, Any]) -> Opened:
    """Open a client. Don't call it on fsspec's thread, which it may wait for.

    Args:
        place: The URL without options.
        backend: The kind of storage that the URL's scheme means.
        options: The client's options, in its own form.

    Returns:
        The client.

    Raises:
        InvalidInput: The client has no such option.
        StorageError: Its package isn't installed.
        Exception: The client's own error, for instance if it finds no credentials.

    Example:
        >>> from ama.storage.backends import S3
        >>> open_client("s3://models/ama", S3, {"anon": True}).path("log/1")
        'models/ama/log/1'
    """
    kind = _kind(place, backend)
    unknown = set(options) - _known_options(kind)
    if unknown and not backend.passes_on:
        raise no_option(min(unknown), backend, options)
    found = kind._get_kwargs_from_urls(place)
    # A cached listing is stale; the SFTP client has no cache, but trusts any host.
    settings: dict[str, Any]
    settings = {"known_hosts": ()} if backend is SFTP else {"use_listings_cache": False}
    given = dict(options)
    if backend is S3:
        # It would retry ten times for each of our tries, have only ten connections, and ask for the
        # size of every file read whole, so as to read it in parts.
        ours = {"retries": {"total_max_attempts": 1}, "max_pool_connections": REQUESTS}
        settings["config_kwargs"] = {**ours, **given.pop("config_kwargs", {})}
        settings["max_concurrency"] = 1
    # Unless the user asks for it, a client's log doesn't belong on the terminal.
    for package in (backend.module.partition(".")[0], *backend.below):
        logging.getLogger(package).addHandler(logging.NullHandler())
    fs = kind(skip_instance_cache=True, **{**settings, **found, **given})
    root = str(kind._strip_protocol(place)).rstrip("/")
    return Opened(
        _reduced(fs, backend), root, get_loop(), asyncio.Semaphore(REQUESTS), backend.package
    )


def no_option(name: str, backend: Backend, options: Mapping[str, Any]) -> InvalidInput:
    """Return the error for an option that a client doesn't have.

    Args:
        name: The option's name; it may stand in a table.
        backend: The client's backend.
        options: All options given to the client.

    Returns:
        The error to raise.

    Example:
        >>> from ama.storage.backends import S3
        >>> no_option("anom", S3, {"anom": True}).message
        's3fs has no option anom; did you mean anon?'
    """
    package = backend.package
    full = next((key for key in _names(options) if key.split(".")[-1] == name), name)
    near = nearest(full, _known_options(_kind(package, backend)))
    return InvalidInput(
        f"{package} has no option {shown(full)}"
        + (f"; did you mean {' or '.join(near)}?" if near else ""),
        hint=Hint("check-options", package=package),
    )


def _kind(place: str, backend: Backend) -> Any:
    """Return a client's class."""
    try:
        return getattr(importlib.import_module(backend.module), backend.client)
    except ImportError as error:
        raise StorageError(
            f"{place} needs a package that isn't installed: {error.name}",
            hint=f"install it: pip install {backend.package}",
        ) from error


def _reduced(fs: Any, backend: Backend) -> Client:
    if backend is SFTP:
        return SftpClient(fs)
    if backend is HTTP:
        return HttpClient(fs)
    if backend is GCS:
        return GcsClient(fs)
    return S3Client(fs) if backend is S3 else AzureClient(fs)


def _known_options(kind: Any) -> set[str]:
    """Return the options that a client's class names."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        name
        for base in kind.__mro__
        if "__init__" in vars(base) and base is not object
        for name, parameter in inspect.signature(base.__init__).parameters.items()
        if parameter.kind in named and name != "self"
    }


def _names(options: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the names of options, with dots for tables."""
    for name, value in options.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _names(value, f"{prefix}{name}.")
