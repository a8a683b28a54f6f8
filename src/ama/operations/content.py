"""The assets and files that a worktree can reach: reading, listing and finding copies of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import BinaryIO

from ama.errors import AmaError, Hint, IntegrityError, NotFound, shown
from ama.format.objects import EntryKind, Kind
from ama.lineage import ancestry
from ama.operations.connections import Connections
from ama.operations.own_sources import CopiedFiles, only_in
from ama.stores.object_reader import ObjectStore
from ama.stores.revisions import Describer
from ama.stores.sources import Sources
from ama.values import AssetInfo
from ama.worktree.entries import Entries, IndexEntry
from ama.worktree.head import Head
from ama.worktree.layout import Worktree
from ama.worktree.trees import ONE_DIRECTORY, Listed, ReadTree, look_up, staged_differences, walk


class AssetFiles(Mapping[str, Listed]):
    """The files of an asset by path: one is looked up in its directories, all are listed.

    Args:
        tree: The asset's tree.
        read: A function that returns the entries of a tree.
        wanted: See `walk`.
        hint: See `walk`.
    """

    def __init__(self, tree: bytes, read: ReadTree, *, wanted: bool, hint: Hint) -> None:
        self._tree = tree
        self._read = read
        self._wanted = wanted
        self._hint = hint
        self._listed: dict[str, Listed] | None = None

    def __getitem__(self, path: str) -> Listed:
        if self._listed is not None:
            return self._listed[path]
        found = look_up(self._tree, path, self._read) if path else None
        if found is None or found.kind is EntryKind.TREE:
            raise KeyError(path)
        return Listed(path, found.kind, found.id, found.size)

    def _all(self) -> dict[str, Listed]:
        if self._listed is None:
            found = walk(self._tree, self._read, wanted=self._wanted, hint=self._hint)
            self._listed = {item.path: item for item in found}
        return self._listed

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


class StoredFiles(Mapping[str, bytes]):
    """The ids of an asset's files by path; those that can't be read count as absent."""

    def __init__(self, files: AssetFiles) -> None:
        self._files = files

    def __getitem__(self, path: str) -> bytes:
        with suppress(AmaError):
            return self._files[path].id
        raise KeyError(path)

    def __iter__(self) -> Iterator[str]:
        with suppress(AmaError):
            yield from self._files

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Content:
    """The content of assets, in the packs of a worktree or in a store that it knows.

    Args:
        tree: The worktree.
        stores: The stores that the worktree can reach.
    """

    def __init__(self, tree: Worktree, stores: Connections) -> None:
        self._tree = tree
        self._stores = stores
        self._sources: Sources | None = None
        self._opened_at = 0

    # Sources

    def sources(self) -> Sources:
        """Return the sources of objects: the local packs, then the stores that may have them."""
        # Sources opened before others published don't know the new objects.
        if self._sources is not None and self._opened_at == self._stores.changes:
            return self._sources
        sources = Sources(self._tree.objects.store, self._stores.openers())
        self.use(sources)
        return sources

    def use(self, sources: Sources) -> None:
        """Read objects from these sources from now on."""
        self._sources, self._opened_at = sources, self._stores.changes

    def forget(self) -> None:
        """Drop the sources: objects have been stored or published since they were opened."""
        self._sources = None
        self._tree.objects.reload()

    # Content of an asset

    def info(self, asset: bytes, describer: Describer, *, sized: bool = True) -> AssetInfo:
        """Return everything about an asset except its files."""
        found = self.sources().asset(asset)
        size = None
        if sized:
            with suppress(NotFound, IntegrityError):
                size = sum(entry.size for entry in self.sources().tree(found.tree))
        return describer.info(asset, found, size)

    def history(self, asset: bytes | None) -> Iterator[bytes]:
        """Yield an asset and its ancestors by first parent."""
        return ancestry(asset, lambda each: self.sources().parents(each))

    def listing(
        self, asset: bytes | None, *, wanted: bool = True, hint: Hint = ONE_DIRECTORY
    ) -> dict[str, Listed]:
        """Return an asset's files by path; an empty listing for None.

        Args:
            asset: The asset.
            wanted: Whether the files are here, or the user named them; see `walk`.
            hint: The hint of the error about too many files.
        """
        return {} if asset is None else dict(self.files(asset, wanted=wanted, hint=hint))

    def files(self, asset: bytes, *, wanted: bool = True, hint: Hint = ONE_DIRECTORY) -> AssetFiles:
        """Return an asset's files by path, which are read as they are asked for."""
        sources = self.sources()
        return AssetFiles(sources.asset(asset).tree, sources.tree, wanted=wanted, hint=hint)

    def find(self, asset: bytes | None, path: str) -> Listed:
        """Return a file of an asset that should have it.

        Raises:
            NotFound: The asset has no such file.
        """
        sources = self.sources()
        found = None if asset is None else look_up(sources.asset(asset).tree, path, sources.tree)
        if found is None:
            raise NotFound(f"what is compared has no file {shown(path)}")
        return Listed(path, found.kind, found.id, found.size)

    def read(self, item: Listed) -> Iterator[bytes]:
        """Yield the bytes of a listed file in verified pieces."""
        return self.sources().stream(item.id, Kind.DATA)

    def open(self, item: Listed) -> BinaryIO:
        """Open a listed file, to read it at any place."""
        from ama.stores.stored_file import BufferedFile, StoredFile

        return BufferedFile(StoredFile(self.sources(), item.id, item.size, item.path))

    def live_listing(self, asset: bytes) -> dict[str, Listed]:
        """Return the files by path of an asset that is not deleted, or of HEAD's.

        Raises:
            NotFound: The asset was deleted, and is not HEAD's.
        """
        self.live_tree(asset)
        return self.listing(asset, wanted=asset == self._head_asset())

    def live_tree(self, asset: bytes) -> bytes:
        """Return the id of an asset's tree, if the asset is not deleted, or is HEAD's.

        Raises:
            NotFound: The asset was deleted, and is not HEAD's.
        """
        if asset != self._head_asset():
            self.require_live(asset)
        return self.sources().asset(asset).tree

    def _head_asset(self) -> bytes | None:
        return self._tree.head.read().head.asset

    def require_live(self, asset: bytes) -> None:
        """Refuse an asset that is known to be deleted from the default remote.

        Raises:
            NotFound: The asset was deleted.
        """
        from ama.stores.revisions import require_live

        url = self._stores.url(None, self._tree.head.read().head)
        view = self._stores.known(url)
        if view is not None:
            require_live(view, self.sources().asset(asset).class_name, asset, url)

    # Copies elsewhere

    def stored(self, head: Head) -> Mapping[str, bytes]:
        """Return the paths and ids of files that a store is known to have.

        Those are the files of HEAD's asset, or of its nearest ancestor that is published. They are
        read as they are asked for; what can't be read isn't stored, nor what the store has only by
        reference to this worktree.
        """
        asset = self._stored_asset(head)
        if asset is None:
            return {}
        class_name = self.sources().asset(asset).class_name
        is_own = only_in(self._tree.root, self._stores, head, asset, class_name)
        return CopiedFiles(StoredFiles(self.files(asset)), is_own)

    def unstored(self, head: Head, entries: Entries) -> Iterator[IndexEntry]:
        """Yield the staged files that neither this machine nor a known store has at their path."""
        asset = self._stored_asset(head)
        with suppress(AmaError):  # an unreadable asset proves nothing about a store
            if asset is not None:
                sources = self.sources()
                tree = sources.asset(asset).tree
                differing = staged_differences(tree, sources.tree, entries)
                found = [e for _, e in differing if e and not (e.stored or e.skipped)]
                return (entry for entry in found if entry.id not in self._tree.objects)
        return (entry for entry in entries.unstored() if entry.id not in self._tree.objects)

    def _stored_asset(self, head: Head) -> bytes | None:
        """Return HEAD's asset, or its nearest ancestor that is published; None if there is none."""
        is_published = self.known_as_published(head)
        with suppress(AmaError):
            return next(filter(is_published, self.history(head.asset)), None)
        return None

    def in_asset(self, head: Head) -> Callable[[bytes], bool]:
        """Return a test whether an asset has some content: HEAD's, a commit here, or a store's.

        Assets that can't be read and stores that can't be reached count as empty.
        """
        stores = [cache(opener) for opener in self._stores.openers()]

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

    def known_as_published(
        self, head: Head, *, or_deleted: bool = False
    ) -> Callable[[bytes], bool]:
        """Return a test whether a store is known to have an asset of this worktree.

        Use the log that this session read, else the one that this machine saw last. Trust HEAD
        only if no log of its origin is known: a store may be deleted, made anew, or restored from
        an older copy.

        Args:
            head: HEAD.
            or_deleted: Whether an asset that was deleted from a store counts.
        """
        known = {url: self._stores.known(url) for url in self._stores.urls(head)}
        views = [view for view in known.values() if view is not None]
        waiting = {commit.asset for commit in head.unpublished if commit.made}
        by_head = head.origin is not None and known.get(head.origin) is None

        def is_published(asset: bytes) -> bool:
            class_name = self.sources().asset(asset).class_name
            for view in views:
                with suppress(AmaError):
                    state = view.class_state(class_name)
                    record = state.find(asset)
                    if record is None or view.damage is not None:
                        continue
                    if or_deleted or record.status != "deleted":
                        return True
            return by_head and asset not in waiting

        return is_published
