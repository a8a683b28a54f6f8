"""An asset of a store, as Python users hold it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ama.describing import Describer
from ama.listing import as_file, find_file
from ama.logview import LogView
from ama.objects import Kind
from ama.operations.session import several
from ama.remote import Remote
from ama.results import DownloadResult
from ama.sources import Sources
from ama.transfer.download import Target, objects_of
from ama.values import AssetInfo, Change, File
from ama.worktree.snapshot import Listed, walk

Download = Callable[..., DownloadResult]
"""`Store.download` of the store that an asset is in."""


class Asset:
    """A published asset: what it is, its files, and what it was made from.

    Get one from `Store.resolve`.

    Example:
        >>> import ama
        >>> store = ama.Store.open("store")
        >>> asset = store.resolve("models@best")
        >>> [file.path for file in asset.files()]
        ['model.txt']
        >>> asset.read("model.txt")
        b'weights'
    """

    def __init__(self, remote: Remote, view: LogView, target: Target, download: Download) -> None:
        self._remote = remote
        self._download = download
        self._view = view
        self._target = target
        self._opened: Sources | None = None
        self._listing: dict[str, Listed] | None = None
        self._info: AssetInfo | None = None

    def __repr__(self) -> str:
        return f"<ama.Asset {self._target.name} in {self._remote.url}>"

    @property
    def info(self) -> AssetInfo:
        """Who, when, why, from what: everything but the files."""
        if self._info is None:
            at, describer = self._target, Describer(self._view)
            size = None
            if describer.status(at.class_name, at.asset) == "deleted":
                # Its content may be gone, and its record stays.
                asset = self._remote.assets(self._view, [(at.class_name, at.asset)])[at.asset]
            else:
                sources = self._sources()
                asset = sources.asset(at.asset)
                size = sum(entry.size for entry in sources.tree(asset.tree))
            self._info = describer.info(at.asset, asset, size)
        return self._info

    def _sources(self) -> Sources:
        if self._opened is None:
            self._opened = Sources(objects_of(self._remote, self._view, self._target))
        return self._opened

    def _files(self) -> dict[str, Listed]:
        if self._listing is None:
            sources = self._sources()
            tree = sources.asset(self._target.asset).tree
            self._listing = {item.path: item for item in walk(tree, sources.tree)}
        return self._listing

    def files(self) -> tuple[File, ...]:
        """Return the asset's files, in the order of their paths.

        Raises:
            NotFound: the asset was deleted.
            IntegrityError: a tree is damaged.
            StorageError: the store can't be read.

        Example:
            >>> import ama
            >>> ama.Store.open("store").resolve("models").files()[0].size
            7
        """
        return tuple(as_file(item) for item in self._files().values())

    def read(self, path: str) -> bytes:
        """Return a file's bytes, whole and verified.

        Args:
            path: POSIX, relative to the asset's root.

        Raises:
            NotFound: the asset has no such file; the hint has the nearest.
            IntegrityError: it is damaged.

        Example:
            >>> import ama
            >>> ama.Store.open("store").resolve("models").read("model.txt")
            b'weights'
        """
        return b"".join(self.open(path))

    def open(self, path: str) -> Iterator[bytes]:
        """Yield a file's bytes in pieces; the last one only if the whole is what was uploaded.

        Args:
            path: POSIX, relative to the asset's root.

        Raises:
            NotFound: the asset has no such file; the hint has the nearest.
            IntegrityError: it is damaged.

        Example:
            >>> import ama
            >>> sum(map(len, ama.Store.open("store").resolve("models").open("model.txt")))
            7
        """
        item = find_file(self._files(), path, self._target.name)
        return self._sources().stream(item.id, Kind.DATA)

    def download(
        self,
        directory: str | Path | None = None,
        *,
        refs: bool = False,
        include: str | Iterable[str] = (),
        exclude: str | Iterable[str] = (),
        metadata_only: bool = False,
        partial: bool = False,
    ) -> DownloadResult:
        """Write the asset into a directory; see `Store.download`.

        Example:
            >>> import ama
            >>> ama.Store.open("store").resolve("models").download("copy").files
            1
        """
        return self._download(
            self._target.name,
            directory,
            refs=refs,
            include=include,
            exclude=exclude,
            metadata_only=metadata_only,
            partial=partial,
        )

    def changes_from(self, old: Asset, *, paths: str | Iterable[str] = ()) -> tuple[Change, ...]:
        """Return what differs in this asset from another one; see `Store.diff`.

        Example:
            >>> import ama
            >>> asset = ama.Store.open("store").resolve("models")
            >>> asset.changes_from(asset)
            ()
        """
        from ama.operations.inspecting import below
        from ama.worktree.status import compare_listings

        changes = compare_listings(old._files(), self._files())
        return below(changes, [path.rstrip("/") for path in several(paths)])

    def refs(self) -> tuple[Asset, ...]:
        """Return the assets that this one was made from, as far as they are in this store.

        Example:
            >>> import ama
            >>> ama.Store.open("store").resolve("models").refs()
            ()
        """
        return self._others((ref.class_name, ref.asset) for ref in self.info.refs)

    def parents(self) -> tuple[Asset, ...]:
        """Return the assets that this one is a next version of.

        Example:
            >>> import ama
            >>> ama.Store.open("store").resolve("models").parents()
            ()
        """
        return self._others((self._target.class_name, parent) for parent in self.info.parents)

    def _others(self, named: Iterator[tuple[str, str]]) -> tuple[Asset, ...]:
        found = []
        for class_name, asset in named:
            number = self._view.class_state(class_name).number(bytes.fromhex(asset))
            if number is not None:
                target = Target(class_name, bytes.fromhex(asset), number)
                found.append(Asset(self._remote, self._view, target, self._download))
        return tuple(found)
