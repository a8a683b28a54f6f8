"""An asset of a store, as Python users hold it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ama.catalog.questions import Questions
from ama.errors import AmaError, Hint, InvalidInput, shown
from ama.format.objects import Asset as Record
from ama.format.objects import Kind, TreeEntry
from ama.format.recorded import environment_of, run_of
from ama.notebook import Rows, asset_page, table_of
from ama.operations.session import at_least_one, several
from ama.results import DownloadResult, ExportResult, LocalCopy
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from ama.stores.revisions import Describer, require_live
from ama.stores.sources import Sources
from ama.system.encoding import path_text
from ama.transfer.cached import Wanted
from ama.transfer.download import Target, objects_of
from ama.values import AssetInfo, Change, Directory, File, Noted
from ama.worktree.status import as_file, entries_at, entry_at, files_at, find_file, require_named
from ama.worktree.trees import Listed, differing_at, look_up, walk

if TYPE_CHECKING:
    from io import BufferedReader

    from ama.catalog.compare import Profile, Top
    from ama.catalog.values import Comparison, Summary
    from ama.contents.comparison import FileDiff
    from ama.lineage.graph import Lineage


class Home(Protocol):
    """The store of an asset, as far as the asset needs it: see `Store`."""

    @property
    def download(self) -> Callable[..., DownloadResult]:
        """Write an asset, by its name, into a directory."""

    @property
    def export(self) -> Callable[..., ExportResult]:
        """Write an asset, by its name, as plain files."""

    def resolve(self, name: str, /) -> Asset:
        """Return the asset that a name means."""

    def _fetched(self, view: LogView, target: Target, wanted: Wanted, /) -> LocalCopy:
        """Return files of an asset in this machine's content cache."""


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

    def __init__(
        self,
        remote: Remote,
        view: LogView,
        target: Target,
        home: Home,
        questions: Questions,
    ) -> None:
        self._remote = remote
        self._home = home
        self._questions = questions
        self._view = view
        self._target = target
        self._opened: tuple[Sources, bool] | None = None
        self._listing: dict[str, Listed] | None = None
        self._info: AssetInfo | None = None

    def __repr__(self) -> str:
        return f"<ama.Asset {self._target.name} in {self._remote.url}>"

    def _repr_html_(self) -> str:
        """Return what is known of the asset without asking a network, as a notebook shows it."""
        near = not self._remote.storage.across_network
        if not (near or self._info):
            return table_of([repr(self)])
        try:
            info = self.info
        except AmaError as error:
            return table_of([repr(self), error.message])
        if info.status == "deleted" or not (near or self._listing):
            return asset_page(info, None)
        return asset_page(info, self._first_files())

    def _first_files(self) -> Iterator[File]:
        """Yield the files, from the listing that is here, or reading no more than is asked for."""
        known = self._listing
        found = walk(self._tree(), self._sources().tree) if known is None else known.values()
        yield from map(as_file, found)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the store's URL and the id: both are opened where it arrives."""
        return self._home.resolve, (self._target.asset.hex(),)

    def __dask_tokenize__(self) -> tuple[str, str]:
        """Return what tells this asset from others, as Dask asks for it: its id."""
        return "ama.Asset", self._target.asset.hex()

    @property
    def info(self) -> AssetInfo:
        """Return everything about the asset, except its files."""
        if self._info is None:
            describer, asset = Describer(self._view), self._record()
            size = None
            if not self._is_deleted():
                size = sum(entry.size for entry in self._sources().tree(asset.tree))
            self._info = describer.info(self._target.asset, asset, size)
        return self._info

    @property
    def run(self) -> Mapping[str, str]:
        """The run that made the asset, as far as it was recorded; see `AssetInfo.run`.

        Example:
            >>> import ama
            >>> store = ama.Store.open("store")
            >>> result = store.publish("models", {"a": b"1"})
            >>> sorted(store.resolve("models/2").run)
            ['command', 'directory', 'host', 'platform', 'python']
            >>> store.resolve("models/1").run
            {}
        """
        return run_of(self._record().extra)

    @property
    def environment(self) -> str | None:
        """The packages that the asset was made with, if they were recorded, as a list for pip.

        Each line is `name==version`, or `name @ URL`.

        Example:
            >>> import ama
            >>> store = ama.Store.open("store")
            >>> result = store.publish("models", {"a": b"1"}, environment=True)
            >>> "blake3==" in store.resolve("models/2").environment
            True
            >>> store.resolve("models/1").environment is None
            True
        """
        return environment_of(self._record().extra)

    def _record(self) -> Record:
        at = self._target
        if self._is_deleted():
            # Its content may be gone, but its record stays.
            return self._remote.assets(self._view, [(at.class_name, at.asset)])[at.asset]
        return self._sources().asset(at.asset)

    def _is_deleted(self) -> bool:
        at = self._target
        return Describer(self._view).status(at.class_name, at.asset) == "deleted"

    def _sources(self, *, whole: bool = False) -> Sources:
        """Return the asset's objects, opened for few of them, or for most."""
        if self._opened is None or (whole and not self._opened[1]):
            objects = objects_of(self._remote, self._view, self._target, whole=whole)
            self._opened = Sources(objects), whole
        return self._opened[0]

    def _tree(self) -> bytes:
        return self._sources().asset(self._target.asset).tree

    def _files(self) -> dict[str, Listed]:
        if self._listing is None:
            sources = self._sources(whole=True)
            found = walk(self._tree(), sources.tree)
            self._listing = {item.path: item for item in found}
        return self._listing

    def files(self, path: str = "") -> tuple[File, ...]:
        """Return the asset's files, in the order of their paths.

        Args:
            path: A file, or a directory; by default everything. POSIX, relative to the asset's
                root.

        Raises:
            NotFound: The asset was deleted, or has nothing at the path.
            InvalidInput: There are more files than can be listed: the asset is forged, or has the
                same directories many times.
            IntegrityError: A tree is damaged.
            StorageError: The store can't be read.

        Example:
            >>> import ama
            >>> ama.Store.open("store").resolve("models").files()[0].size
            7
        """
        if path:
            return Rows(files_at(self._tree(), path, self._target.name, self._sources().tree))
        return Rows(as_file(item) for item in self._files().values())

    def entry(self, path: str) -> File | Directory:
        """Return what is at a path, a file or a directory, without a listing.

        Args:
            path: POSIX, relative to the asset's root, which is "".

        Raises:
            NotFound: There is nothing; the hint has suggestions.

        Example:
            >>> import ama
            >>> asset = ama.Store.open("store").resolve("models")
            >>> asset.entry("").size == asset.entry("model.txt").size == 7
            True
        """
        return entry_at(self._tree(), path, self._target.name, self._sources().tree)

    def entries(self, path: str = "") -> tuple[File | Directory, ...]:
        """Return what stands directly in a directory, in the order of the names.

        Args:
            path: POSIX, relative to the asset's root; by default that itself.

        Raises:
            NotFound: There is nothing at the path; the hint has suggestions.
            InvalidInput: It is a file.

        Example:
            >>> import ama
            >>> [found.path for found in ama.Store.open("store").resolve("models").entries()]
            ['model.txt']
        """
        return Rows(entries_at(self._tree(), path, self._target.name, self._sources().tree))

    def file(self, path: str) -> File:
        """Return a file of the asset, without a listing.

        Args:
            path: POSIX, relative to the asset's root.

        Raises:
            NotFound: The asset has no such file; the hint has suggestions.
            InvalidInput: It is a directory.

        Example:
            >>> import ama
            >>> ama.Store.open("store").resolve("models").file("model.txt").size
            7
        """
        return as_file(self._find(path))

    def _find(self, path: str) -> Listed:
        return find_file(self._tree(), path, self._target.name, self._sources().tree)

    def read(self, path: str) -> bytes:
        """Return a file's bytes, whole and verified.

        Args:
            path: POSIX, relative to the asset's root.

        Raises:
            NotFound: The asset has no such file; the hint has suggestions.
            IntegrityError: It is damaged.

        Example:
            >>> import ama
            >>> ama.Store.open("store").resolve("models").read("model.txt")
            b'weights'
        """
        return b"".join(self.stream(path))

    def open(self, path: str, mode: str = "rb") -> BufferedReader:
        """Open a file to read it at any place, as other libraries do.

        Of a large file only the chunks that are read are fetched, each verified by its id; who
        reads forwards gets the next ones meanwhile. Who reads all of it in order gets the end only
        if the whole is what was uploaded. While it is read, a store that can't be reached is a
        `StorageError`, which is an `OSError`: another read goes on where that one began.

        Args:
            path: POSIX, relative to the asset's root. A symlink's content is its target's text.
            mode: "rb", as `open` has it; there is no other.

        Returns:
            A binary file, which is seekable, for one thread at a time.

        Raises:
            NotFound: The asset has no such file; the hint has suggestions.
            InvalidInput: It is a directory, or to be opened in another mode.

        Example:
            >>> import ama
            >>> with ama.Store.open("store").resolve("models").open("model.txt") as file:
            ...     file.seek(2)
            ...     file.read()
            2
            b'ights'
        """
        from ama.stores.stored_file import BufferedFile, StoredFile

        if mode != "rb":
            raise InvalidInput(
                f"a file of an asset is opened to read its bytes, 'rb', not {shown(repr(mode))}",
                hint="for text: io.TextIOWrapper(asset.open(path))",
            )
        found = self._find(path)
        file = StoredFile(self._sources(), found.id, found.size, f"{self._target.name}:{path}")
        return BufferedFile(file)

    def stream(self, path: str) -> Iterator[bytes]:
        """Yield a file's bytes in pieces; the last one only if the whole is what was uploaded.

        Args:
            path: POSIX, relative to the asset's root.

        Raises:
            NotFound: The asset has no such file; the hint has suggestions.
            IntegrityError: It is damaged.

        Example:
            >>> import ama
            >>> sum(map(len, ama.Store.open("store").resolve("models").stream("model.txt")))
            7
        """
        return self._sources().stream(self._find(path).id, Kind.DATA)

    def path(self, path: str = "") -> Path:
        """Return a file or directory of the asset on this machine, verified and read-only.

        It is in the content cache, and fetched if it isn't there yet; see `Store.fetch`. Only what
        is asked for is fetched: of a symlink, also what it leads to.

        Args:
            path: POSIX, relative to the asset's root; by default the whole asset.

        Returns:
            An absolute path, with the names of the asset. Don't keep it for another day: what
            wasn't used for long is deleted when the cache is full.

        Raises:
            NotFound: The asset has no such file; the hint has suggestions.
            InvalidInput: The cache is switched off.
            StorageError: The cache can't be written; or the store can't be reached, and it is not
                here.
            IntegrityError: It is damaged.

        Example:
            >>> import ama
            >>> asset = ama.Store.open("store").resolve("models")
            >>> asset.path("model.txt").read_text()
            'weights'
        """
        wanted = Wanted(path=path) if path_text("a path", path).strip("/") else Wanted()
        return self._home._fetched(self._view, self._target, wanted).path

    def download(
        self,
        directory: str | os.PathLike[str] | None = None,
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
        return self._home.download(
            self._target.name,
            directory,
            refs=refs,
            include=include,
            exclude=exclude,
            metadata_only=metadata_only,
            partial=partial,
        )

    def export(
        self,
        to: str | os.PathLike[str],
        *,
        refs: bool = False,
        partial: bool = False,
        force: bool = False,
    ) -> ExportResult:
        """Write the asset's files as plain files, for those who have no ama; see `Store.export`.

        Example:
            >>> import ama
            >>> ama.Store.open("store").resolve("models").export("plain").descriptions
            ('ama.json',)
        """
        return self._home.export(
            self._target.asset.hex(), to, refs=refs, partial=partial, force=force
        )

    def changes_from(self, old: Asset, *, paths: str | Iterable[str] = ()) -> tuple[Change, ...]:
        """Return the differences of this asset from another one; see `Store.diff`.

        Raises:
            InvalidInput: The other one is no `Asset`.

        Example:
            >>> import ama
            >>> asset = ama.Store.open("store").resolve("models")
            >>> asset.changes_from(asset)
            ()
        """
        from ama.worktree.status import compare_listings

        _require_asset(old, "Store.diff")
        one, other = ((each._tree(), each._sources().tree) for each in (old, self))
        pairs = {}
        for path in [each.rstrip("/") for each in several(paths)] or [""]:
            require_named(path, (one, other))
            pairs[path] = look_up(one[0], path, one[1]), look_up(other[0], path, other[1])
        return compare_listings(*differing_at(pairs, one[1], other[1]))

    def compare_contents(
        self, old: Asset, *, paths: str | Iterable[str] = ()
    ) -> Iterator[FileDiff]:
        """Yield the differences within the files of this asset and another one.

        Args:
            old: The other one.
            paths: Files or directories to look at, relative to the assets' root; all by default.

        Returns:
            For each path that differs, the change, with its differing lines or tensors.

        Raises:
            InvalidInput: The other one is no `Asset`.
            NotFound: Neither asset has a path.
            IntegrityError: A file is damaged.

        Example:
            >>> import ama
            >>> asset = ama.Store.open("store").resolve("models")
            >>> list(asset.compare_contents(asset))
            []
        """
        from ama.operations.inspect import Side, compare_changes

        changes = self.changes_from(old, paths=paths)
        sides = (Side(asset.stream, asset._files) for asset in (old, self))
        return compare_changes(changes, *sides)

    def refs(self) -> tuple[Asset, ...]:
        """Return the assets that this one was made from, as far as they are in this store.

        Example:
            >>> import ama
            >>> ama.Store.open("store").resolve("models").refs()
            ()
        """
        return self._others((ref.class_name, ref.asset) for ref in self.info.refs)

    def parents(self) -> tuple[Asset, ...]:
        """Return the versions that this asset follows.

        Example:
            >>> import ama
            >>> ama.Store.open("store").resolve("models").parents()
            ()
        """
        return self._others((self._target.class_name, parent) for parent in self.info.parents)

    def noted(self) -> Noted:
        """Return what was said later of the asset: values, tags, and every note with its author.

        The asset itself never changes, so this stands apart from its `info`.

        Raises:
            IntegrityError: The store's log is damaged.
            StorageError: The store can't be reached.

        Example:
            >>> import ama
            >>> store = ama.Store.open("store")
            >>> result = store.note("models/1", metadata={"test_loss": 0.25}, tags=["checked"])
            >>> noted = store.resolve("models/1").noted()
            >>> noted.metadata, noted.tags, len(noted.notes)
            ({'test_loss': 0.25}, ('checked',), 1)
        """
        self._view.require_whole()
        notes = self._remote.log.notes.at(self._view)
        records = notes.of(self._target.class_name, self._target.asset)
        return Describer(self._view).noted(records)

    def summary(self, *, most_files: int | None = None) -> Summary:
        """Return the asset on one screen: author, time, message, code, parameters and data.

        Args:
            most_files: The most files to list, the first by their paths; by default all.

        Returns:
            The values in its files and its metadata, each with its role, and
            its place among the store's other assets.

        Raises:
            InvalidInput: `most_files` is below 1.
            IntegrityError: It can't be read.
            StorageError: The store can't be reached.

        Example:
            >>> import ama
            >>> summary = ama.Store.open("store").resolve("models").summary()
            >>> [file.path for file in summary.files], summary.metrics
            (['model.txt'], ())
        """
        at_least_one(most_files)
        return self._questions.summary(self._target.class_name, self._target.asset, most_files)

    def upstream(self, *, limit: int | None = None) -> Lineage:
        """Return everything this asset was made from: its refs and parents, and theirs.

        Args:
            limit: The most assets; by default 1,000. The lineage says if it is cut.

        Raises:
            StorageError: The store can't be reached.

        Example:
            >>> import ama
            >>> ama.Store.open("store").resolve("models").upstream().edges
            ()
        """
        return self._lineage(limit, up=True, down=False)

    def downstream(self, *, limit: int | None = None) -> Lineage:
        """Return everything made from this asset, without deleted assets.

        Args:
            limit: The most assets; by default 1,000. The lineage says if it is cut.

        Raises:
            StorageError: The store can't be reached.

        Example:
            >>> import ama
            >>> ama.Store.open("store").resolve("models").downstream().edges
            ()
        """
        return self._lineage(limit, up=False, down=True)

    def lineage(self, *, limit: int | None = None) -> Lineage:
        """Return both: everything this asset was made from, and everything made from it.

        Args:
            limit: The most assets; by default 1,000. The lineage says if it is cut.

        Raises:
            StorageError: The store can't be reached.

        Example:
            >>> import ama
            >>> [n.class_name for n in ama.Store.open("store").resolve("models").lineage().nodes]
            ['models']
        """
        return self._lineage(limit, up=True, down=True)

    def _lineage(self, limit: int | None, *, up: bool, down: bool) -> Lineage:
        at_least_one(limit)
        return self._questions.lineage(self._target.asset, up=up, down=down, limit=limit)

    @contextmanager
    def _top(self, tree: bytes) -> Iterator[Top]:
        """Read directories from the catalog, or where it has lost one, from the store."""
        from ama.catalog.compare import Top

        with self._questions.trees() as known:

            def read(each: bytes) -> tuple[TreeEntry, ...]:
                found = known(each)
                return self._sources().tree(each) if found is None else found

            yield Top(tree, read)

    def _profile(self, *, as_published: bool) -> Profile:
        require_live(self._view, self._target.class_name, self._target.asset, self._remote.url)
        name, asset = self._target.class_name, self._target.asset
        return self._questions.profile(name, asset, as_published=as_published)

    def _others(self, named: Iterator[tuple[str, str]]) -> tuple[Asset, ...]:
        found = []
        for class_name, asset in named:
            number = self._view.class_state(class_name).number(bytes.fromhex(asset))
            if number is not None:
                target = Target(class_name, bytes.fromhex(asset), number)
                found.append(Asset(self._remote, self._view, target, self._home, self._questions))
        return Rows(found)


def compare(*assets: Asset, same_files: bool = True, as_published: bool = False) -> Comparison:
    """Return the differences between assets, and what is the same: values, files, refs.

    Args:
        assets: At least two, also of different classes or stores.
        same_files: Whether to list the files that are the same, too. Without them, a comparison of
            large assets takes only as long as what differs.
        as_published: Whether to leave out what was noted later; else the newest value under each
            key of the metadata counts.

    Returns:
        A row for each value of any of them; for numbers with the difference of the last from the
        first, and for metrics with whether that is better.

    Raises:
        InvalidInput: There are fewer than two, or one is no `Asset` (a name, for instance).
        NotFound: One of them was deleted.
        IntegrityError: One of them can't be read.

    Example:
        >>> import ama
        >>> asset = ama.Store.open("store").resolve("models")
        >>> ama.compare(asset, asset).differences
        ()
    """
    from ama.catalog.compare import compare as compared

    if len(assets) < 2:
        raise InvalidInput(
            "a comparison takes two assets or more", hint=(Hint("show-asset"), Hint("rank-class"))
        )
    for asset in assets:
        _require_asset(asset, "Store.compare")
    profiles = [asset._profile(as_published=as_published) for asset in assets]
    with ExitStack() as opened:
        tops = [
            opened.enter_context(asset._top(bytes.fromhex(profile.info.tree)))
            for asset, profile in zip(assets, profiles, strict=True)
        ]
        return compared(profiles, tops, same_files=same_files)


def _require_asset(given: object, by_names: str) -> None:
    if not isinstance(given, Asset):
        raise InvalidInput(
            f"an Asset is compared, not {shown(repr(given))}",
            hint=f"{by_names} takes names; Store.resolve returns an Asset",
        )
