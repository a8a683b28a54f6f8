"""The stores that a worktree can reach: their URLs, open connections and last seen logs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, overload

from ama.errors import AmaError, NotFound, StorageError
from ama.settings import Settings
from ama.storage.protocol import Storage
from ama.storage.urls import open_storage
from ama.stores.log_view import When
from ama.stores.object_reader import ObjectStore
from ama.stores.revisions import Describer
from ama.worktree.head import Head
from ama.worktree.layout import Worktree

if TYPE_CHECKING:
    from ama.stores.class_view import ClassView
    from ama.stores.log_view import LogView
    from ama.stores.remote import Remote


class Connections:
    """The stores that a worktree knows. It publishes to the default remote.

    Args:
        tree: The worktree.
        settings: The settings.
    """

    def __init__(self, tree: Worktree, settings: Settings) -> None:
        self._tree = tree
        self._settings = settings
        self._storages: dict[str, Storage] = {}
        self._remotes: dict[str, Remote] = {}
        self._views: dict[str, LogView] = {}
        self.changes = 0
        """The number of times that a log had changed; objects opened before are out of date."""
        self.away: StorageError | None = None
        """Why the default remote can't be reached, if what this machine saw last replaces it."""

    # URLs

    def url(self, remote: str | None, head: Head | None = None) -> str:
        """Return the URL of a named remote, else of the configured default, else HEAD's origin."""
        settings = self._settings
        if remote is not None:
            return settings.remote_url(remote)
        unset = settings.default_remote is None and settings.default_error is None
        return head.origin if unset and head and head.origin else settings.remote_url()

    def known_url(self, head: Head) -> str | None:
        """Return the URL of the default remote; None if it would be in a home the user lacks."""
        settings = self._settings
        if settings.default_store is None and not (
            head.origin or settings.default_remote or settings.default_error
        ):
            return None
        return self.url(None, head)

    def urls(self, head: Head) -> list[str]:
        """Return the URLs that may have the worktree's assets: HEAD's origin and every remote."""
        return list(dict.fromkeys(url for url in (head.origin, *self._settings.urls()) if url))

    # Connections

    def storage(self, url: str) -> Storage:
        """Return the storage at a URL with its configured options; reuse one connection."""
        if url not in self._storages:
            self._storages[url] = open_storage(url, self._settings.options_at(url))
        return self._storages[url]

    def open(self, url: str) -> Remote:
        """Open the store at a URL, once.

        Raises:
            NotFound: There is no store.
            StorageError: The store can't be reached, or it is gone.
        """
        from ama.stores.remote import Remote, gone

        if url not in self._remotes:
            storage = self.storage(url)
            try:
                self._remotes[url] = Remote.open(
                    storage, self._settings.cache_dir, self._settings.reach
                )
            except NotFound:
                # This machine's memory may be deleted, but HEAD still names its origin.
                if self._origin() == storage.url:
                    raise gone(storage.url) from None
                raise
        return self._remotes[url]

    def _origin(self) -> str | None:
        with suppress(AmaError):
            return self._tree.head.read().head.origin
        return None

    def forget(self, url: str) -> None:
        """Close the store at a URL, so that its next use opens it again: it may have changed."""
        self._storages.pop(url, None)
        self._remotes.pop(url, None)

    def prepare(self, url: str, *, new_store: bool = False) -> Remote:
        """Open the store at a URL; if there is none, return one that the first write creates.

        Args:
            url: The store's URL.
            new_store: Whether to create a store even if this machine has seen one there before.

        Raises:
            InvalidInput: There is no store, and none can be created there.
            StorageError: The store can't be reached, or it is gone.
        """
        from ama.stores.creation import prepare

        if not new_store:
            with suppress(NotFound):
                return self.open(url)
        made = prepare(self.storage(url), self._settings, new_store=new_store)
        # The new store is empty, whatever HEAD says about a store at this URL.
        self.saw(made.url, made.view())
        return made

    def openers(self, first: str | None = None) -> list[Callable[[], ObjectStore]]:
        """Return functions that open the stores that may have an object, the likely ones first.

        Any configured remote may have assets that were published before HEAD moved on.
        """
        urls = self.urls(self._tree.head.read().head)
        return [self._opener(url) for url in dict.fromkeys((first, *urls)) if url]

    def _opener(self, url: str) -> Callable[[], ObjectStore]:
        def opened() -> ObjectStore:
            try:
                remote = self.open(url)
                return remote.current(remote.view())
            except NotFound:
                return ObjectStore(self.storage(url))
            except AmaError as error:
                # Another store may have the object; if none does, report this error.
                return ObjectStore(self.storage(url), damage=error)

        return opened

    # Logs

    def last_seen(self, head: Head) -> Remote | None:
        """Return the default remote as this machine saw it last, without a request."""
        with suppress(AmaError):
            return self._last_seen(self.url(None, head))
        return None

    def open_known(self, url: str) -> Remote | None:
        """Return the store at a URL if it is open, else as this machine saw it last."""
        return self._remotes.get(url) or self._last_seen(url)

    def _last_seen(self, url: str) -> Remote | None:
        from ama.stores.remote import Remote

        return Remote.last_seen(self.storage(url), self._settings.cache_dir, self._settings.reach)

    @overload
    def view(self, url: str, when: Literal[When.NOW] = ...) -> LogView: ...

    @overload
    def view(self, url: str, when: Literal[When.LAST_SEEN]) -> LogView | None: ...

    def view(self, url: str, when: When = When.NOW) -> LogView | None:
        """Return the log of the store at a URL, now or as this machine saw it last.

        Raises:
            NotFound: There is no store.
            StorageError: It can't be reached.
        """
        if when is When.LAST_SEEN:
            seen = self._last_seen(url)
            return seen.view() if seen else None
        view = self.open(url).view()
        before = self._views.get(url)
        if before is None or before.entry_hash != view.entry_hash:
            self.changes += 1
        self.saw(url, view)
        return view

    def default_view(self, head: Head, when: When) -> LogView | None:
        """Return the log of the default remote; None if no store exists yet, or none was seen.

        If the remote can't be reached and the last seen log replaces it, set `away` to the error.

        Args:
            head: HEAD.
            when: The moment of the log.

        Raises:
            StorageError: The remote can't be reached, and `when` is now.
        """
        if when is When.LAST_SEEN:
            store = self.last_seen(head)
            return store.view() if store else None
        try:
            view = self.view(self.url(None, head))
        except NotFound:
            return None if when is When.NOW else self.default_view(head, When.LAST_SEEN)
        except StorageError as error:
            if when is When.NOW:
                raise
            seen = self.default_view(head, When.LAST_SEEN)
            self.away = error if seen else self.away
            return seen
        if when is When.NOW_ELSE_LAST_SEEN:
            self.away = None
        return view

    def describer(self, head: Head, when: When) -> Describer:
        """Return a describer of assets with the default remote's numbers and aliases."""
        return Describer(self.default_view(head, when))

    def saw(self, url: str, view: LogView) -> None:
        """Note the current log of the store at a URL."""
        self._views[url] = view

    def known(self, url: str) -> LogView | None:
        """Return the known log of the store at a URL, without a request.

        That is the log that this session read, even if it was damaged or empty, else the log that
        this machine saw last. Decisions that need no request use this log.
        """
        view = self._views.get(url)
        # A sound log is also remembered on disk, where another command may have left a newer one.
        if view is None or (view.number and view.damage is None):
            with suppress(AmaError):
                view = self.view(url, When.LAST_SEEN) or view
        return view

    def known_class(self, url: str, class_name: str) -> ClassView | None:
        """Return a class of a store as this machine saw it last, without loading its client.

        Return None if it is not known.
        """
        from ama.storage.urls import UnaskedStorage
        from ama.stores.remote import Remote

        with suppress(AmaError):
            seen = Remote.last_seen(
                UnaskedStorage(url), self._settings.cache_dir, self._settings.reach
            )
            return seen.view().class_state(class_name) if seen else None
        return None
