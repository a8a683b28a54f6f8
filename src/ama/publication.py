"""Publishing without a worktree, in one call.

And its other half: using what was published.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ama.errors import StorageError
from ama.notebook import progress_here
from ama.settings import Settings
from ama.storage.urls import open_storage
from ama.store import Store
from ama.stores.creation import prepare
from ama.stores.remote import Remote
from ama.system.encoding import given
from ama.system.progress import NO_PROGRESS, Progress

if TYPE_CHECKING:
    from ama.results import UploadResult
    from ama.values import Scalar


def publish(
    class_name: str,
    files: Iterable[str | os.PathLike[str]] | Mapping[str, str | os.PathLike[str] | bytes],
    *,
    store: str | os.PathLike[str] | Store | None = None,
    aliases: str | Iterable[str] = (),
    refs: str | Iterable[str] | Mapping[str, str] = (),
    metadata: Mapping[str, Scalar] | None = None,
    message: str | None = None,
    once: bool = False,
    code: str | os.PathLike[str] | None = None,
    environment: bool = False,
    force: bool = False,
    extend: bool | str = False,
    without: str | Iterable[str] = (),
) -> UploadResult:
    """Publish files as an asset, without a worktree; see `Store.publish`.

    Args:
        class_name: See `Store.publish`.
        files: See `Store.publish`.
        store: The store, or its URL or the name of a configured remote; by default the configured
            one. If there is none, it is made.
        aliases: See `Store.publish`.
        refs: See `Store.publish`.
        metadata: See `Store.publish`.
        message: See `Store.publish`.
        once: See `Store.publish`.
        code: See `Store.publish`.
        environment: See `Store.publish`.
        force: See `Store.publish`.
        extend: See `Store.publish`.
        without: See `Store.publish`.

    Raises:
        NotFound, InvalidInput, Conflict, StorageError: See `Store.publish`.

    Example:
        >>> import ama
        >>> store = ama.Store.open("store")
        >>> result = ama.publish("models", {"model.txt": b"better"}, store=store, once=True)
        >>> result.asset.name.split()[0]
        'models/2'
    """
    if not isinstance(store, Store):
        settings = Settings.load(None)
        url = settings.remote_url(None if store is None else given(store))
        store = prepared(url, settings, progress_here(None))
    return store.publish(
        class_name,
        files,
        aliases=aliases,
        refs=refs,
        metadata=metadata,
        message=message,
        once=once,
        code=code,
        environment=environment,
        force=force,
        extend=extend,
        without=without,
    )


def fetch(
    asset: str,
    *,
    store: str | os.PathLike[str] | Store | None = None,
    include: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
) -> Path:
    """Return a read-only directory of this machine with the files of an asset.

    It is the other half of `publish`; see `Store.fetch`. If the store can't be reached, what is in
    the content cache is given.

    Args:
        asset: The asset's name; see `Store.resolve`.
        store: The store, or its URL or the name of a configured remote; by default the configured
            one.
        include: Globs of the files; all by default.
        exclude: Globs of files to leave out.

    Returns:
        The directory. Don't keep its path for another day.

    Raises:
        NotFound, InvalidInput, StorageError, IntegrityError: See `Store.fetch`.

    Example:
        >>> import ama
        >>> directory = ama.fetch("models@best", store=ama.Store.open("store"))
        >>> (directory / "model.txt").read_text()
        'weights'
    """
    if not isinstance(store, Store):
        settings = Settings.load(None)
        url = settings.remote_url(None if store is None else given(store))
        store = reached(url, settings, progress_here(None))
    return store.fetch(asset, include=include, exclude=exclude)


def reached(url: str, settings: Settings, progress: Progress = NO_PROGRESS) -> Store:
    """Open a store; if it can't be reached, as this machine saw it last.

    Raises:
        NotFound: There is no store.
        StorageError: It can't be reached, and this machine has never seen it.
    """
    storage = open_storage(url, settings.options_at(url))
    try:
        return Store(Remote.open(storage, settings.cache_dir, settings.reach), settings, progress)
    except StorageError as error:
        seen = Remote.last_seen(storage, settings.cache_dir, settings.reach)
        if seen is None:
            raise
        store = Store(seen, settings, progress)
        store.away = error
        return store


def prepared(
    url: str, settings: Settings, progress: Progress = NO_PROGRESS, *, new_store: bool = False
) -> Store:
    """Open a store; if there is none, the first publication makes it.

    Args:
        url: The store's URL.
        settings: The settings.
        progress: The progress of what the store does.
        new_store: Whether a store may be made where this machine has seen one before.

    Raises:
        InvalidInput: There is no store, and none may be made there.
        StorageError: There was one, and it is gone.
    """
    storage = open_storage(url, settings.options_at(url))
    return Store(prepare(storage, settings, new_store=new_store), settings, progress)
