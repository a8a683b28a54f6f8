"""What an operation needs at hand: the worktree, what is configured, and the stores in reach."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ama.errors import AmaError, Hint, IntegrityError, InvalidInput, NotFound, StorageError, shown
from ama.format.objects import Kind
from ama.lineage.graph import ancestry
from ama.settings import Settings
from ama.storage.protocol import Storage
from ama.storage.urls import open_storage
from ama.stores.description import Describer
from ama.stores.object_reader import ObjectStore
from ama.stores.sources import Sources
from ama.system.encoding import path_text, system_path
from ama.system.progress import Progress
from ama.values import AssetInfo
from ama.worktree.head import Head
from ama.worktree.layout import Worktree
from ama.worktree.trees import ONE_DIRECTORY, Listed, look_up, walk

if TYPE_CHECKING:
    from ama.format.state import ClassState
    from ama.stores.log_view import LogView
    from ama.stores.remote import Remote
    from ama.stores.revisions import Revision


T = TypeVar("T", bound=str | os.PathLike[str])


def now() -> int:
    """Return the time in UTC microseconds."""
    return time.time_ns() // 1000


class Session:
    """One worktree and the stores that it knows.

    Args:
        tree: the worktree.
        settings: what is configured.
        progress: is told of long work.
    """

    def __init__(self, tree: Worktree, settings: Settings, progress: Progress) -> None:
        self.tree = tree
        self.settings = settings
        self.progress = progress
        self._storages: dict[str, Storage] = {}
        self._remotes: dict[str, Remote] = {}
        self._sources: Sources | None = None
        self._views: dict[str, LogView] = {}
        self.away: StorageError | None = None
        """Why the default remote was not asked, where what this machine saw last served."""

    # Stores

    def url(self, remote: str | None, head: Head | None = None) -> str:
        """Return the URL of a remote: the one named, else configured, else HEAD's origin."""
        if remote is not None:
            return self.settings.remote_url(remote)
        unset = self.settings.default_remote is None and self.settings.default_error is None
        return head.origin if unset and head and head.origin else self.settings.remote_url()

    def known_url(self, head: Head) -> str | None:
        """Return the URL of the default remote; None where the user has no home it would be in."""
        settings = self.settings
        if settings.default_store is None and not (
            head.origin or settings.default_remote or settings.default_error
        ):
            return None
        return self.url(None, head)

    def storage(self, url: str) -> Storage:
        """Return the storage at a URL, with what is configured for it: one, for one connection."""
        if url not in self._storages:
            self._storages[url] = open_storage(url, self.settings.options_at(url))
        return self._storages[url]

    def open(self, url: str) -> Remote:
        """Open the store at a URL, once.

        Raises:
            NotFound: there is none.
            StorageError: it can't be reached, or it is gone.
        """
        from ama.stores.remote import Remote, gone

        if url not in self._remotes:
            storage = self.storage(url)
            try:
                self._remotes[url] = Remote.open(storage, self.settings.cache_dir)
            except NotFound:
                # What this machine remembers may be deleted, and HEAD may come from another one.
                if self._origin() == storage.url:
                    raise gone(storage.url) from None
                raise
        return self._remotes[url]

    def forget(self, url: str) -> None:
        """Open the store at a URL anew at the next use: it may have gone, or come."""
        self._storages.pop(url, None)
        self._remotes.pop(url, None)

    def prepare(self, url: str, *, new_store: bool = False) -> Remote:
        """Open the store at a URL; if there is none, one that the first write will make.

        Args:
            url: where.
            new_store: whether one may be made where one was seen before.

        Raises:
            InvalidInput: there is none, and none may be made there.
            StorageError: it can't be reached, or it is gone.
        """
        from ama.stores.creation import prepare

        if not new_store:
            with suppress(NotFound):
                return self.open(url)
        made = prepare(self.storage(url), self.settings, new_store=new_store)
        # Whatever HEAD says of a store that was there: this one has nothing.
        self.saw(made.url, made.view())
        return made

    def saw(self, url: str, view: LogView) -> None:
        """Note how the log of the store at a URL is now."""
        self._views[url] = view

    def _origin(self) -> str | None:
        with suppress(AmaError):
            return self.tree.head.read().head.origin
        return None

    def remembered(self, head: Head) -> Remote | None:
        """Return the default remote as this machine saw it last, without a request."""
        with suppress(AmaError):
            return self._remembered(self.url(None, head))
        return None

    def remembered_view(self, head: Head) -> LogView | None:
        """Return the default remote's log as this machine saw it last, without a request."""
        remote = self.remembered(head)
        return remote.view() if remote else None

    def _remembered(self, url: str) -> Remote | None:
        from ama.stores.remote import Remote

        return Remote.last_seen(self.storage(url), self.settings.cache_dir)

    def known_state(self, url: str, class_name: str) -> ClassState | None:
        """Return a class of the store at a URL as this machine saw it last, without its client.

        None where it isn't known.
        """
        from ama.storage.urls import UnaskedStorage
        from ama.stores.remote import Remote

        with suppress(AmaError):
            seen = Remote.last_seen(UnaskedStorage(url), self.settings.cache_dir)
            view = seen.view() if seen else None
            return view.class_state(class_name) if view else None
        return None

    def seen_view(self, url: str) -> LogView | None:
        """Return the log of the store at a URL as it was seen last, here or by this machine."""
        if url not in self._views:
            with suppress(AmaError):
                seen = self._remembered(url)
                return seen.view() if seen else None
        return self._views.get(url)

    def fresh_view(self, head: Head) -> LogView | None:
        """Return the default remote's log as it is now; None where no store was made yet.

        Raises:
            StorageError: it can't be reached.
        """
        try:
            return self.look_at(self.url(None, head))
        except NotFound:
            return None

    def look_at(self, url: str) -> LogView:
        """Return the log of the store at a URL as it is now.

        Raises:
            NotFound: there is no store.
            StorageError: it can't be reached.
        """
        view = self.open(url).view()
        before = self._views.get(url)
        if before is None or before.entry_hash != view.entry_hash:
            # Others have published: what was opened before doesn't know of it.
            self._sources = None
        self.saw(url, view)
        return view

    def view(self, head: Head) -> LogView | None:
        """Return the default remote's log: as it is now, or as it was seen last if it's away."""
        try:
            view = self.look_at(self.url(None, head))
            self.away = None
            return view
        except (NotFound, StorageError) as error:
            seen = self.remembered_view(head)
            if seen is not None and isinstance(error, StorageError):
                self.away = error
            return seen

    def describer(self, head: Head, *, fresh: bool = True) -> Describer:
        """Return who describes assets with the default remote's numbers and aliases."""
        return Describer(self.view(head) if fresh else self.remembered_view(head))

    # Objects

    def sources(self) -> Sources:
        """Return where objects come from: the local packs, then the stores that promise them."""
        if self._sources is None:
            self._sources = Sources(self.tree.objects.store, self.openers())
        return self._sources

    def openers(self, first: str | None = None) -> list[Callable[[], ObjectStore]]:
        """Return what opens the stores that may have an object: the likely ones first.

        Any configured remote may promise what was published there before HEAD moved on.
        """
        head = self.tree.head.read().head
        urls = dict.fromkeys([first, head.origin, *self.settings.urls()])
        return [self._opener(url) for url in urls if url]

    def _opener(self, url: str) -> Callable[[], ObjectStore]:
        def opened() -> ObjectStore:
            try:
                remote = self.open(url)
                return remote.current(remote.view())
            except NotFound:
                return ObjectStore(self.storage(url))
            except AmaError as error:
                # Another store may have it; if none has, this is why.
                return ObjectStore(self.storage(url), damage=error)

        return opened

    def use_sources(self, sources: Sources) -> None:
        """Take objects from these from now on."""
        self._sources = sources

    def forget_sources(self) -> None:
        """Look for objects anew: some have been stored or published since."""
        self._sources = None
        self.tree.objects.reload()

    def listing(
        self, asset: bytes | None, *, wanted: bool = True, hint: Hint = ONE_DIRECTORY
    ) -> dict[str, Listed]:
        """Return an asset's files by path; none for no asset.

        Args:
            asset: the asset.
            wanted: whether they are here, or were asked for; see `snapshot.walk`.
            hint: what to do where there are too many.
        """
        if asset is None:
            return {}
        sources = self.sources()
        found = walk(sources.asset(asset).tree, sources.tree, wanted=wanted, hint=hint)
        return {item.path: item for item in found}

    def find(self, asset: bytes | None, path: str) -> Listed:
        """Return a file of an asset that is known to have it.

        Raises:
            NotFound: it hasn't.
        """
        sources = self.sources()
        found = None if asset is None else look_up(sources.asset(asset).tree, path, sources.tree)
        if found is None:
            raise NotFound(f"what is compared has no file {shown(path)}")
        return Listed(path, found.kind, found.id, found.size)

    def contents(self, name: str) -> dict[str, Listed]:
        """Return the files of the asset that a name means, by path.

        Raises:
            NotFound: it was deleted, and is not HEAD's.
            NotFound, InvalidInput: see `resolve`.
        """
        return self.live_listing(self.resolve(name))

    def live_listing(self, asset: bytes) -> dict[str, Listed]:
        """Return an asset's files by path.

        Raises:
            NotFound: it was deleted, and is not HEAD's.
        """
        self.live_tree(asset)
        return self.listing(asset, wanted=asset == self.tree.head.read().head.asset)

    def live_tree(self, asset: bytes) -> bytes:
        """Return the id of an asset's tree.

        Raises:
            NotFound: it was deleted, and is not HEAD's.
        """
        if asset != self.tree.head.read().head.asset:
            self.require_live(asset)
        return self.sources().asset(asset).tree

    def require_live(self, asset: bytes) -> None:
        """Refuse an asset that was deleted from the default remote, as it was seen last.

        Raises:
            NotFound: it was.
        """
        from ama.stores.revisions import require_live

        url = self.url(None, self.tree.head.read().head)
        view = self.seen_view(url)
        if view is not None:
            require_live(view, self.sources().asset(asset).class_name, asset, url)

    def read(self, item: Listed) -> Iterator[bytes]:
        """Yield a listed file's bytes in verified pieces."""
        return self.sources().stream(item.id, Kind.DATA)

    def stored(self, head: Head) -> dict[str, bytes]:
        """Return the paths and ids of the files that a store is known to have: HEAD's, or those of
        the nearest asset before it that is published.
        """
        is_published = self.known_as_published(head)
        with suppress(AmaError):  # of what can't be read, no store is known to have anything
            for asset in self.history(head.asset):
                if is_published(asset):
                    return {path: item.id for path, item in self.listing(asset).items()}
        return {}

    def in_asset(self, head: Head) -> Callable[[bytes], bool]:
        """Return what tells whether content is in an asset: HEAD's, a commit here, or a store's.

        What can't be read, or asked now, has none.
        """
        stores = [cache(opener) for opener in self.openers()]

        @cache
        def committed() -> set[bytes]:
            found: set[bytes] = set()
            for asset in (head.asset, *(commit.asset for commit in head.unpublished)):
                with suppress(AmaError):
                    found.update(item.id for item in self.listing(asset).values())
            return found

        def is_in_store(store: Callable[[], ObjectStore], content: bytes) -> bool:
            with suppress(AmaError):
                return store().holds(content)
            return False

        return lambda content: (
            content in committed() or any(is_in_store(store, content) for store in stores)
        )

    def history(self, asset: bytes | None) -> Iterator[bytes]:
        """Return an asset and what it came from, by each one's first parent."""
        return ancestry(asset, lambda each: self.sources().parents(each))

    def known_as_published(
        self, head: Head, *, or_deleted: bool = False
    ) -> Callable[[bytes], bool]:
        """Return what tells whether a store is known to have an asset of this worktree.

        One that was deleted there counts only with `or_deleted`.

        A log tells: as it was read in this session, else as this machine saw it last. HEAD's word
        counts only of a store of which neither is known; stores are deleted, made anew, and
        restored from older copies.
        """
        views = self._known_views(head)
        waiting = {commit.asset for commit in head.unpublished if commit.made}
        by_head = head.origin is not None and head.origin not in views

        def is_published(asset: bytes) -> bool:
            class_name = self.sources().asset(asset).class_name
            for view in views.values():
                with suppress(AmaError):
                    state = view.class_state(class_name)
                    record = state.record(state.number(asset) or 0)
                    if record is None or view.damage is not None:
                        continue
                    if or_deleted or record.status != "deleted":
                        return True
            return by_head and asset not in waiting

        return is_published

    def _known_views(self, head: Head) -> dict[str, LogView]:
        views: dict[str, LogView] = {}
        for url in dict.fromkeys([head.origin, *self.settings.urls()]):
            view = self._views.get(url or "")
            # What is sound is remembered as well, perhaps since seen anew by another command.
            if url is not None and (view is None or (view.number and view.damage is None)):
                with suppress(AmaError):
                    seen = self._remembered(url)
                    view = (seen.view() if seen else None) or view
            if url is not None and view is not None:
                views[url] = view
        return views

    # Names

    def resolve(self, name: str, *, fresh: bool = False) -> bytes:
        """Return the id of the asset that a name means.

        Args:
            name: in any of the forms; `@best` is an alias of the worktree's class.
            fresh: whether the store must be asked; else, if it can't be reached, what this machine
                saw last serves.

        Raises:
            NotFound, InvalidInput: see `ama.stores.revisions`.
        """
        look = self.fresh_view if fresh else self.view
        return self._find(name, look)[1]

    def resolve_by_log(self, name: str) -> tuple[str, bytes, LogView | None]:
        """Return the class and id of the asset that a name means, and the log that was asked.

        That is the default remote's, which is looked at once: see `view`.

        Raises:
            NotFound, InvalidInput: see `ama.stores.revisions`.
        """
        view = self.view(self.tree.head.read().head)
        return (*self._find(name, lambda head: view), view)

    def _find(self, name: str, look: Callable[[Head], LogView | None]) -> tuple[str, bytes]:
        from ama.stores.revisions import go_back, parse_revision

        head = self.tree.head.read().head
        revision = parse_revision(name, head.class_name)
        start = self._start(revision, head, look)
        return go_back(name, start, revision.back, lambda each: self.sources().asset(each))

    def _start(
        self, revision: Revision, head: Head, look: Callable[[Head], LogView | None]
    ) -> tuple[str, bytes]:
        from ama.stores.revisions import find_asset

        if revision.head:
            if head.asset is None:
                raise NotFound(
                    f"no asset of {head.class_name} was made here yet",
                    hint=Hint("make-and-upload"),
                )
            return head.class_name, head.asset
        url = self.url(None, head)
        local = self._local(revision.prefix, revision.class_name)
        view = look(head)
        if view is None:
            if len(local) == 1:
                return local.pop()
            raise NotFound(
                f"there is no ama store at {url} yet, so only HEAD has a name",
                hint=Hint("push-first" if head.asset else "upload-first"),
            )
        try:
            return find_asset(view, revision, url)
        except NotFound:
            if len(local) == 1:
                return local.pop()
            if revision.prefix is None or head.origin in (None, url):
                raise
        # An id is the same everywhere, and the store that HEAD came from has its ancestors.
        return self._from_origin(head.origin or url, revision)

    def _from_origin(self, url: str, revision: Revision) -> tuple[str, bytes]:
        from ama.stores.revisions import find_asset

        return find_asset(self.look_at(url), revision, url)

    def _local(self, prefix: str | None, class_name: str | None) -> set[tuple[str, bytes]]:
        """Return the commits of this worktree whose id begins so, with their classes; those of one
        class, if one is given.
        """
        if prefix is None:
            return set()
        found = set()
        for object_id in self.tree.objects.store.starting_with(prefix):
            with suppress(AmaError):
                found.add((self.tree.objects.asset(object_id).class_name, object_id))
        return {each for each in found if class_name in (None, each[0])}

    def info(self, asset: bytes, describer: Describer, *, sized: bool = True) -> AssetInfo:
        """Return everything about an asset but its files."""
        found = self.sources().asset(asset)
        size = None
        if sized:
            with suppress(NotFound, IntegrityError):
                size = sum(entry.size for entry in self.sources().tree(found.tree))
        return describer.info(asset, found, size)


def several(given: T | Iterable[T]) -> tuple[T, ...]:
    """Return what was given where one or several may be: a text is one, and not its letters.

    Example:
        >>> several("model.h5"), several(["model.h5", "model.yml"])
        (('model.h5',), ('model.h5', 'model.yml'))
    """
    if isinstance(given, (str, os.PathLike)):
        return (given,)
    said: object = given
    found = () if isinstance(said, bytes) or not isinstance(said, Iterable) else tuple(given)
    wrong = [each for each in found if not isinstance(each, (str, os.PathLike))]
    if wrong or (not found and not isinstance(said, Iterable)) or isinstance(said, bytes):
        bad = wrong[0] if wrong else said
        raise InvalidInput(f"{shown(repr(bad))} is neither a text nor a path")
    return found


def at_least_one(limit: int | None) -> int | None:
    """Refuse a limit that leaves nothing.

    Raises:
        InvalidInput: it is below 1.
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
        raise InvalidInput(f"the limit is a number, not of type {type(limit).__name__}")
    if limit is not None and limit < 1:
        raise InvalidInput(f"a limit of {limit} leaves nothing", hint="give 1 or more, or None")
    return limit


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return a path that stays valid whatever the working directory becomes."""
    path_text("the directory", path)
    return Path(system_path(path)).absolute()
