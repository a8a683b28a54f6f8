"""The public face of a worktree.

`ama.operations` does the work behind its methods. Each method imports what it needs when it is
called, so that `ama status` does not wait for modules that only an upload needs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from ama.errors import IntegrityError, NotFound, StorageError
from ama.format.names import check_class
from ama.format.recorded import environment_of
from ama.notebook import Lines, Rows, progress_here
from ama.operations.repo_changes import RepoChanges
from ama.operations.session import Session, absolute, at_least_one, several
from ama.settings import Settings
from ama.stores.revisions import Describer
from ama.system.encoding import from_system, path_text
from ama.system.progress import NO_PROGRESS, Progress
from ama.worktree.layout import Worktree
from ama.worktree.trees import Listed

if TYPE_CHECKING:
    from ama.catalog.values import Summary
    from ama.contents.comparison import FileDiff
    from ama.results import (
        FsckReport,
    )
    from ama.store import Store
    from ama.values import AssetInfo, Change, ClassInfo, File, Note, Status

T = TypeVar("T")
PathLike = str | os.PathLike[str]


class Repo(RepoChanges):
    """A worktree: a directory whose files become assets.

    Paths are absolute, or relative to the worktree's root. Where a method takes several values, it
    also takes a single one.

    Example:
        >>> import ama
        >>> from pathlib import Path
        >>> _ = Path("model.txt").write_text("weights")
        >>> repo = ama.Repo.init(".", "sequence_models")
        >>> repo.add(["model.txt"]).changes[0].path
        'model.txt'
        >>> repo.set(aliases=["my_model"], metadata={"loss": 0.3}).aliases
        ('my_model',)
        >>> result = repo.upload()
        >>> result.asset.number, result.asset.aliases
        (1, ('my_model',))
    """

    def __init__(
        self, tree: Worktree, settings: Settings, progress: Progress = NO_PROGRESS
    ) -> None:
        self._tree = tree
        self._session = Session(tree, settings, progress)
        self.settings = settings

    @classmethod
    def init(
        cls,
        path: PathLike,
        class_name: str,
        *,
        force: bool = False,
        here: bool = False,
        settings: Settings | None = None,
        progress: Progress | None = None,
    ) -> Repo:
        """Start an asset of a class in a directory.

        In a directory that is a worktree already, start another asset without a parent and empty
        the staging area.

        Args:
            path: The directory; created if it does not exist.
            class_name: The class. It need not exist in any store yet.
            force: Whether to drop unpublished commits and everything staged or set.
            here: Whether the directory may lie inside another worktree. That worktree ignores it
                from then on.
            settings: The settings; loaded by default.
            progress: Receives the progress of long work; by default a bar in a notebook.

        Raises:
            InvalidInput: The class name is invalid, or the directory is inside a worktree.
            Conflict: Something staged or committed there would be lost, or the surrounding
                worktree tracks files in the directory.

        Example:
            >>> import ama
            >>> ama.Repo.init("run", "models").class_name
            'models'
        """
        from ama.operations import edit

        check_class(class_name)
        tree = Worktree.make(absolute(path), here=here)
        settings = settings or Settings.load(tree.root).for_script()
        repo = cls(tree, settings, progress_here(progress))
        edit.start(repo._session, class_name, force=force)
        return repo

    @classmethod
    def open(
        cls,
        path: PathLike = ".",
        *,
        settings: Settings | None = None,
        progress: Progress | None = None,
    ) -> Repo:
        """Open the worktree that contains a directory.

        Args:
            path: The directory.
            settings: The settings; loaded by default.
            progress: Receives the progress of long work; by default a bar in a notebook.

        Raises:
            NotFound: No worktree contains the directory.

        Example:
            >>> import ama
            >>> ama.Repo.open("worktree").class_name
            'models'
        """
        tree = Worktree.find(absolute(path))
        settings = settings or Settings.load(tree.root).for_script()
        return cls(tree, settings, progress_here(progress))

    def __repr__(self) -> str:
        return f"<ama.Repo {from_system(self.root)}>"

    # What there is

    @property
    def away(self) -> StorageError | None:
        """Why the store can't be reached, if answers come from what this machine saw; else None."""
        return self._session.stores.away

    @property
    def root(self) -> Path:
        """The worktree's directory."""
        return self._tree.root

    @property
    def class_name(self) -> str:
        """The class of the assets that this worktree makes."""
        return self._tree.head.read().head.class_name

    @property
    def remote_url(self) -> str:
        """The URL of the store that this worktree publishes to by default."""
        return self._session.stores.url(None, self._tree.head.read().head)

    @property
    def head(self) -> AssetInfo | None:
        """The parent of the next asset; None before the first asset."""
        from ama.operations import inspect

        return inspect.head_info(self._session, self._tree.head.read().head)

    def status(self) -> Status:
        """Compare the worktree, the staging area and HEAD, without asking a store.

        Raises:
            IntegrityError: HEAD or the index is damaged.

        Example:
            >>> import ama
            >>> ama.Repo.open("worktree").status().clean
            True
        """
        from ama.operations import inspect

        return inspect.status(self._session)

    def diff(
        self,
        old: str | None = None,
        new: str | None = None,
        *,
        staged: bool = False,
        paths: PathLike | Iterable[PathLike] = (),
    ) -> tuple[Change, ...]:
        """Return the files that differ.

        Args:
            old: An asset; by default the staging area (with `staged`: HEAD).
            new: An asset; by default the worktree (with `staged`: the staging area).
            staged: Whether to compare the staging area instead of the worktree.
            paths: Files, directories or globs to compare; all by default.

        Raises:
            NotFound: There is no such asset, or a path matches nothing.

        Example:
            >>> import ama
            >>> ama.Repo.open("worktree").diff("HEAD")
            ()
        """
        from ama.operations import inspect

        return inspect.diff(self._session, old, new, staged=staged, paths=several(paths))

    def diff_contents(
        self,
        old: str | None = None,
        new: str | None = None,
        *,
        staged: bool = False,
        paths: PathLike | Iterable[PathLike] = (),
    ) -> Iterator[FileDiff]:
        r"""Yield the differences within files: lines of texts, tensors of models.

        Models are safetensors files, and HDF5 files if h5py is installed. Other files are only
        reported as different.

        Args:
            old, new, staged, paths: See `diff`.

        Returns:
            The change of each path that differs, with its content's differences where the format
            is known.

        Raises:
            NotFound: There is no such asset, or a path matches nothing.
            IntegrityError: A file is damaged.

        Example:
            >>> import ama
            >>> repo = ama.Repo.open("worktree")
            >>> _ = (repo.root / "model.txt").write_text("weights\n")
            >>> [found] = repo.diff_contents("HEAD")
            >>> found.change.path, found.content.hunks[0].lines[-1]
            ('model.txt', '+weights')
        """
        from ama.operations import inspect

        wanted = several(paths)
        return inspect.diff_contents(self._session, old, new, staged=staged, paths=wanted)

    def log(self, name: str = "HEAD", *, limit: int | None = None) -> list[AssetInfo]:
        """Return an asset and its ancestors, newest first.

        Args:
            name: The asset's name, see `resolve`.
            limit: The maximum number of assets; at least 1.

        Raises:
            NotFound: There is no such asset.
            InvalidInput: The limit is below 1.

        Example:
            >>> import ama
            >>> [info.number for info in ama.Repo.open("worktree").log()]
            [1]
        """
        from ama.operations import inspect

        return Lines(inspect.log(self._session, name, at_least_one(limit)))

    def imports(self, assets: Iterable[AssetInfo]) -> dict[str, Note]:
        """Return the newest note about an import of each asset; see `Store.imports`.

        There are none while the store can't be reached.

        Example:
            >>> import ama
            >>> repo = ama.Repo.open("worktree")
            >>> repo.imports(repo.log())
            {}
        """
        from ama.operations.store_notes import imports_of

        try:
            store = self._session.stores.open(self.remote_url)
            return imports_of(store, store.view(), assets)
        except (NotFound, StorageError):
            return {}

    def resolve(self, name: str) -> AssetInfo:
        """Return the asset that a name means.

        Args:
            name: Any form that `Store.resolve` takes, HEAD, or `@alias` for an alias of this
                worktree's class.

        Raises:
            NotFound: There is no such asset; the hint suggests similar names.
            InvalidInput: The name has none of these forms, or several assets match it.

        Example:
            >>> import ama
            >>> ama.Repo.open("worktree").resolve("HEAD").class_name
            'models'
        """
        _, asset, view = self._session.names.resolve_by_log(name)
        return self._session.content.info(asset, Describer(view))

    def summary(self, name: str = "HEAD", *, most_files: int | None = None) -> Summary:
        """Summarise an asset on one screen; see `Asset.summary`.

        For an unpublished asset, or while its store can't be reached (`away` says why), the summary
        holds only what the asset itself says.

        Args:
            name: See `resolve`.
            most_files: The most files to list, the first by their paths; by default all.

        Raises:
            NotFound, InvalidInput: See `resolve`.
            InvalidInput: `most_files` is below 1.
            IntegrityError: The asset is damaged.

        Example:
            >>> import ama
            >>> ama.Repo.open("worktree").summary("models@best").asset.number
            1
        """
        from ama.catalog.questions import Questions, summary_here
        from ama.worktree.status import as_file

        at_least_one(most_files)
        session = self._session
        class_name, asset, view = session.names.resolve_by_log(name)
        if view is not None and not self.away and view.class_state(class_name).number(asset):
            store = session.stores.open(self.remote_url)
            questions = Questions(store, self.settings, session.progress).at(view)
            with suppress(NotFound, StorageError):
                return questions.summary(class_name, asset, most_files)
        files = session.content.live_listing(asset)

        def open_file(path: str) -> BinaryIO:
            return session.content.open(files[path])

        listed = tuple(map(as_file, files.values()))
        environment = environment_of(session.content.sources().asset(asset).extra)
        info = session.content.info(asset, Describer(view))
        return summary_here(info, listed, open_file, self.settings, most_files, environment)

    def files(self, name: str = "HEAD", path: str = "") -> tuple[File, ...]:
        """Return the files of an asset, in the order of their paths.

        Args:
            name: The asset's name.
            path: A file, or a directory to list everything below it; by default all. A POSIX path
                relative to the asset's root.

        Raises:
            NotFound: There is no such asset, or nothing at the path.
            InvalidInput: There are too many files to list. Only a forged asset has so many, or one
                that repeats the same directories many times.

        Example:
            >>> import ama
            >>> [file.path for file in ama.Repo.open("worktree").files()]
            ['model.txt']
        """
        from ama.worktree.status import as_file, files_at

        session = self._session
        if path:
            tree = session.content.live_tree(session.names.resolve(name))
            return Rows(files_at(tree, path, name, session.content.sources().tree))
        return Rows(as_file(item) for item in session.names.contents(name).values())

    def file(self, name: str, path: str) -> File:
        """Return one file of an asset without listing the others.

        Args:
            name: The asset's name.
            path: A POSIX path relative to the asset's root.

        Raises:
            NotFound: The asset has no such file; the hint suggests similar paths.
            InvalidInput: The path is a directory.

        Example:
            >>> import ama
            >>> ama.Repo.open("worktree").file("HEAD", "model.txt").size
            7
        """
        from ama.worktree.status import as_file

        return as_file(self._find(name, path))

    def _find(self, name: str, path: str) -> Listed:
        from ama.worktree.status import find_file

        session = self._session
        tree = session.content.live_tree(session.names.resolve(name))
        return find_file(tree, path, name, session.content.sources().tree)

    def read(self, name: str, path: str) -> Iterator[bytes]:
        """Yield a file's bytes in pieces; the last piece only after the whole file is verified.

        Args:
            name: The asset's name.
            path: A POSIX path relative to the asset's root.

        Raises:
            NotFound: The asset has no such file.
            IntegrityError: The file is damaged.

        Example:
            >>> import ama
            >>> b"".join(ama.Repo.open("worktree").read("HEAD", "model.txt"))
            b'weights'
        """
        return self._session.content.read(self._find(name, path))

    def classes(self) -> tuple[ClassInfo, ...]:
        """Return the classes of the store; see `Store.classes`.

        If the store can't be reached, answer from the last fetch; `away` says why.

        Raises:
            NotFound: Nothing was uploaded there yet.
            StorageError: The store can't be reached, and was never fetched.

        Example:
            >>> import ama
            >>> [found.name for found in ama.Repo.open("worktree").classes()]
            ['models']
        """
        return self._listed(lambda store: store.classes())

    def assets(self, class_name: str, *, limit: int | None = None) -> tuple[AssetInfo, ...]:
        """Return the assets of a class, newest first; see `Store.assets`, and `classes`.

        Example:
            >>> import ama
            >>> [asset.number for asset in ama.Repo.open("worktree").assets("models")]
            [1]
        """
        return self._listed(lambda store: store.assets(class_name, limit=limit))

    def history(self, class_name: str, *, limit: int | None = None) -> list[AssetInfo]:
        """Return every asset ever made of a class; see `Store.history`, and `classes`.

        Example:
            >>> import ama
            >>> [info.number for info in ama.Repo.open("worktree").history("models")]
            [1]
        """
        return self._listed(lambda store: store.history(class_name, limit=limit))

    def _listed(self, read: Callable[[Store], T]) -> T:
        """Read from the store or, if it can't be reached, from what this machine saw last."""
        from ama.store import Store

        session = self._session
        try:
            return read(self.store())
        except StorageError as error:
            remote = session.stores.last_seen(self._tree.head.read().head)
            if remote is None:
                raise
            session.stores.away = error
            try:
                return read(Store(remote, self.settings, session.progress))
            except (StorageError, IntegrityError):  # not all of it was fetched
                raise error from None

    # Staging

    def is_tracked(self, path: PathLike) -> bool:
        """Tell whether a file is staged or in HEAD's asset; it need not exist in the worktree.

        Args:
            path: The file's path, not a glob.

        Example:
            >>> import ama
            >>> ama.Repo.open("worktree").is_tracked("model.txt")
            True
        """
        from ama.operations import inspect

        path_text("a file's name", path)
        return inspect.is_tracked(self._session, path)

    # Publishing

    def store(self, remote: str | None = None) -> Store:
        """Open the store that this worktree publishes to, or another one.

        Args:
            remote: See `upload`.

        Raises:
            NotFound: Nothing was uploaded there yet.

        Example:
            >>> import ama
            >>> [found.name for found in ama.Repo.open("worktree").store().classes()]
            ['models']
        """
        from ama.store import Store

        session = self._session
        url = session.stores.url(remote, self._tree.head.read().head)
        return Store(session.stores.open(url), self.settings, session.progress)

    def fsck(self) -> FsckReport:
        """Verify everything that the worktree itself holds: HEAD, the index, its packs.

        Example:
            >>> import ama
            >>> ama.Repo.open("worktree").fsck().ok
            True
        """
        from ama.maintenance.fsck_worktree import check_worktree

        return check_worktree(self._tree, self._session.progress)
