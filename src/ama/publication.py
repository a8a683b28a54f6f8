"""Publishing without a worktree, in one call."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ama.settings import Settings
from ama.storage.urls import open_storage
from ama.store import Store
from ama.stores.creation import prepare
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
    force: bool = False,
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
        force: See `Store.publish`.

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
        store = prepared(settings.remote_url(None if store is None else given(store)), settings)
    return store.publish(
        class_name,
        files,
        aliases=aliases,
        refs=refs,
        metadata=metadata,
        message=message,
        once=once,
        code=code,
        force=force,
    )


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
