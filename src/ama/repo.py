"""The public face of a worktree. What its methods do stands in `ama.operations`.

That is imported by each method when it is called: `ama status` must not wait for what only an
upload needs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ama.errors import IntegrityError, InvalidInput, NotFound, StorageError
from ama.format.names import check_class
from ama.format.objects import check_text
from ama.operations.session import Session, absolute, at_least_one, several
from ama.settings import Settings
from ama.stores.description import Describer
from ama.stores.log_view import When
from ama.system.encoding import from_system, path_text
from ama.system.progress import NO_PROGRESS, Progress
from ama.worktree.layout import Worktree
from ama.worktree.trees import Listed

if TYPE_CHECKING:
    from ama.catalog.values import Summary
    from ama.contents.comparison import FileDiff
    from ama.results import (
        AddResult,
        CommitResult,
        FetchResult,
        FsckReport,
        RemoveResult,
        RestoreResult,
        SwitchResult,
        UploadResult,
    )
    from ama.store import Store
    from ama.values import AssetInfo, Change, ClassInfo, File, Ref, Scalar, Staged, Status

T = TypeVar("T")
PathLike = str | os.PathLike[str]


class Repo:
    """A worktree: a directory whose files become assets.

    Paths are absolute, or relative to the worktree's root. Where several may be given, one may
    stand alone.

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
        progress: Progress = NO_PROGRESS,
    ) -> Repo:
        """Start an asset of a class in a directory.

        In a directory that is a worktree already, another asset is started there, without a
        parent: nothing is staged afterwards.

        Args:
            path: The directory, which is made if it isn't there.
            class_name: The class; one that no store has yet is simply new.
            force: Whether commits that are published nowhere, and what is staged or set, are left
                behind.
            here: Whether the directory may lie inside another worktree, which passes it over from
                then on.
            settings: What is configured; read by default.
            progress: Is told of long work.

        Raises:
            InvalidInput: The name can't be a class's, or the directory is inside a worktree.
            Conflict: Something staged or committed there would be lost; or the worktree around it
                has files in it.

        Example:
            >>> import ama
            >>> ama.Repo.init("run", "models").class_name
            'models'
        """
        from ama.operations import edit

        check_class(class_name)
        tree = Worktree.make(absolute(path), here=here)
        repo = cls(tree, settings or Settings.load(tree.root).for_script(), progress)
        edit.start(repo._session, class_name, force=force)
        return repo

    @classmethod
    def open(
        cls,
        path: PathLike = ".",
        *,
        settings: Settings | None = None,
        progress: Progress = NO_PROGRESS,
    ) -> Repo:
        """Open the worktree that a directory lies in.

        Args:
            path: The directory.
            settings: What is configured; read by default.
            progress: Is told of long work.

        Raises:
            NotFound: It lies in none.

        Example:
            >>> import ama
            >>> ama.Repo.open("worktree").class_name
            'models'
        """
        tree = Worktree.find(absolute(path))
        return cls(tree, settings or Settings.load(tree.root).for_script(), progress)

    def __repr__(self) -> str:
        return f"<ama.Repo {from_system(self.root)}>"

    # What there is

    @property
    def away(self) -> StorageError | None:
        """Why the store could not be asked, where what this machine saw last served; else None."""
        return self._session.stores.away

    @property
    def root(self) -> Path:
        """The worktree's directory."""
        return self._tree.root

    @property
    def class_name(self) -> str:
        """The class that assets are made of here."""
        return self._tree.head.read().head.class_name

    @property
    def remote_url(self) -> str:
        """Where the store is that this worktree publishes to, where no other one is named."""
        return self._session.stores.url(None, self._tree.head.read().head)

    @property
    def head(self) -> AssetInfo | None:
        """The asset that the next one comes from; None before the first."""
        from ama.operations import inspect

        return inspect.head_info(self._session, self._tree.head.read().head)

    def status(self) -> Status:
        """Compare the worktree, the staging area and HEAD; no store is asked.

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
        """Return what differs, file by file.

        Args:
            old: An asset. Without one: what is staged (with `staged`: HEAD).
            new: An asset. Without one: the worktree (with `staged`: what is staged).
            staged: Whether the staging area takes the worktree's place.
            paths: Files, directories or globs to look at; all by default.

        Raises:
            NotFound: There is no such asset, or nothing of the name of a path.

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
        r"""Yield what differs within files: the lines of texts, the tensors of models.

        Models are HDF5 files, read if h5py is installed, and safetensors. Of other files it is only
        known that they differ.

        Args:
            old, new, staged, paths: See `diff`.

        Returns:
            For each path that differs, the change and, as far as it can be told, its content's.

        Raises:
            NotFound: There is no such asset, or nothing of the name of a path.
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
        """Return an asset and those that it came from, newest first.

        Args:
            name: The asset's, see `resolve`.
            limit: How many at most; at least 1.

        Raises:
            NotFound: There is no such asset.
            InvalidInput: The limit is below 1.

        Example:
            >>> import ama
            >>> [info.number for info in ama.Repo.open("worktree").log()]
            [1]
        """
        from ama.operations import inspect

        return inspect.log(self._session, name, at_least_one(limit))

    def resolve(self, name: str) -> AssetInfo:
        """Return what is known of the asset that a name means.

        Args:
            name: In any of the forms of `Store.resolve`, HEAD, or `@alias` for one of this
                worktree's class.

        Raises:
            NotFound: There is none; the hint has the nearest names.
            InvalidInput: The name has none of the forms, or several assets have it.

        Example:
            >>> import ama
            >>> ama.Repo.open("worktree").resolve("HEAD").class_name
            'models'
        """
        _, asset, view = self._session.names.resolve_by_log(name)
        return self._session.content.info(asset, Describer(view))

    def summary(self, name: str = "HEAD") -> Summary:
        """Return an asset on one screen; see `Asset.summary`.

        Before it is published, or where its store can't be reached (`away` says why), it is what
        the asset itself says.

        Args:
            name: See `resolve`.

        Raises:
            NotFound, InvalidInput: See `resolve`.
            IntegrityError: It can't be read.

        Example:
            >>> import ama
            >>> ama.Repo.open("worktree").summary("models@best").asset.number
            1
        """
        from ama.catalog.questions import Questions, summary_here
        from ama.worktree.status import as_file

        session = self._session
        class_name, asset, view = session.names.resolve_by_log(name)
        if view is not None and not self.away and view.class_state(class_name).number(asset):
            store = session.stores.open(self.remote_url)
            questions = Questions(store, self.settings, session.progress).at(view)
            with suppress(NotFound, StorageError):
                return questions.summary(class_name, asset)
        files = session.content.live_listing(asset)

        def read(path: str) -> bytes:
            return b"".join(session.content.read(files[path]))

        listed = tuple(map(as_file, files.values()))
        return summary_here(
            session.content.info(asset, Describer(view)), listed, read, self.settings
        )

    def files(self, name: str = "HEAD", path: str = "") -> tuple[File, ...]:
        """Return the files of an asset, in the order of their paths.

        Args:
            name: The asset's name.
            path: A file, or a directory for what is below it; by default all. POSIX, relative to
                the asset's root.

        Raises:
            NotFound: There is no such asset, or nothing at the path.
            InvalidInput: There are more files than can be listed, as only a forged asset has, or
                one that holds the same directories many times.

        Example:
            >>> import ama
            >>> [file.path for file in ama.Repo.open("worktree").files()]
            ['model.txt']
        """
        from ama.worktree.status import as_file, files_at

        session = self._session
        if path:
            tree = session.content.live_tree(session.names.resolve(name))
            return files_at(tree, path, name, session.content.sources().tree)
        return tuple(as_file(item) for item in session.names.contents(name).values())

    def file(self, name: str, path: str) -> File:
        """Return a file of an asset, which takes no listing.

        Args:
            name: The asset's name.
            path: POSIX, relative to the asset's root.

        Raises:
            NotFound: The asset has no such file; the hint has the nearest.
            InvalidInput: It is a directory.

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
        """Yield a file's bytes in pieces; the last one only if the whole is what was added.

        Args:
            name: The asset's name.
            path: POSIX, relative to the asset's root.

        Raises:
            NotFound: The asset has no such file.
            IntegrityError: It is damaged.

        Example:
            >>> import ama
            >>> b"".join(ama.Repo.open("worktree").read("HEAD", "model.txt"))
            b'weights'
        """
        return self._session.content.read(self._find(name, path))

    def classes(self) -> tuple[ClassInfo, ...]:
        """Return the classes of the store; see `Store.classes`.

        Where it can't be reached, what this machine fetched last serves, and `away` says why.

        Raises:
            NotFound: Nothing was uploaded there yet.
            StorageError: It can't be reached, and was never fetched.

        Example:
            >>> import ama
            >>> [found.name for found in ama.Repo.open("worktree").classes()]
            ['models']
        """
        return self._listed(lambda store: store.classes())

    def assets(self, class_name: str) -> tuple[AssetInfo, ...]:
        """Return the assets of a class, newest first; see `Store.assets`, and `classes`.

        Example:
            >>> import ama
            >>> [asset.number for asset in ama.Repo.open("worktree").assets("models")]
            [1]
        """
        return self._listed(lambda store: store.assets(class_name))

    def history(self, class_name: str, *, limit: int | None = None) -> list[AssetInfo]:
        """Return every asset that was ever made of a class; see `Store.history`, and `classes`.

        Example:
            >>> import ama
            >>> [info.number for info in ama.Repo.open("worktree").history("models")]
            [1]
        """
        return self._listed(lambda store: store.history(class_name, limit=limit))

    def _listed(self, read: Callable[[Store], T]) -> T:
        """Read from the store or, where it can't be reached, from what was seen of it."""
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
        """Whether a file is staged under this very name, or in HEAD's asset; it may not be here.

        Args:
            path: The file's.

        Example:
            >>> import ama
            >>> ama.Repo.open("worktree").is_tracked("model.txt")
            True
        """
        from ama.operations import inspect

        path_text("a file's name", path)
        return inspect.is_tracked(self._session, path)

    def add(
        self, paths: PathLike | Iterable[PathLike], *, copy: bool = False, force: bool = False
    ) -> AddResult:
        """Stage files as they are now. Nothing is staged unless everything can be.

        Args:
            paths: Files, directories and globs.
            copy: Whether large files are stored here now; else they are read at the upload.
            force: Whether files that look like secrets are staged too, and those that are ignored
                and named here.

        Raises:
            NotFound: There is no such file.
            InvalidInput: A file can't be in an asset, is ignored, or looks like a secret.
            Conflict: A file was changed while it was read.

        Example:
            >>> import ama
            >>> from pathlib import Path
            >>> _ = Path("worktree/notes.md").write_text("first try")
            >>> [change.path for change in ama.Repo.open("worktree").add(["*.md"]).changes]
            ['notes.md']
        """
        from ama.operations import edit

        return edit.add(self._session, several(paths), copy=copy, force=force)

    def remove(
        self, paths: PathLike | Iterable[PathLike], *, keep_files: bool = False, force: bool = False
    ) -> RemoveResult:
        """Unstage files, and delete them here too.

        Args:
            paths: Staged files, directories, or globs of them.
            keep_files: Whether the files themselves stay.
            force: Whether files whose content is stored nowhere else are deleted too.

        Raises:
            NotFound: A path isn't staged.
            Conflict: A file's content is stored nowhere else.

        Example:
            >>> import ama
            >>> ama.Repo.open("worktree").remove(["model.txt"], keep_files=True).removed
            ('model.txt',)
        """
        from ama.operations import edit

        chosen = several(paths)
        return edit.remove(self._session, chosen, keep_files=keep_files, force=force)

    def restore(
        self,
        paths: PathLike | Iterable[PathLike],
        *,
        staged: bool = False,
        source: str | None = None,
        force: bool = False,
    ) -> RestoreResult:
        """Bring files back: the worktree's to what is staged, or what is staged to HEAD.

        What a partial worktree left out stays so, unless it is named itself or by a glob.

        Args:
            paths: Files, directories, or globs.
            staged: Whether the staging area is brought back, and no file touched.
            source: The asset to bring back from, instead.
            force: Whether files whose content is stored nowhere else are overwritten, and such
                content of deleted files unstaged.

        Raises:
            NotFound: A path is in neither.
            Conflict: A file's content is stored nowhere else, and would be lost.

        Example:
            >>> import ama
            >>> from pathlib import Path
            >>> Path("worktree/model.txt").unlink()
            >>> ama.Repo.open("worktree").restore(["model.txt"]).restored
            ('model.txt',)
        """
        from ama.operations import edit

        chosen = several(paths)
        return edit.restore(self._session, chosen, staged=staged, source=source, force=force)

    def set(
        self,
        *,
        aliases: str | Iterable[str] = (),
        message: str | None = None,
        metadata: Mapping[str, Scalar] | None = None,
        unset: str | Iterable[str] = (),
    ) -> Staged:
        """Note what the next asset gets. It takes effect with the upload.

        Args:
            aliases: Aliases that are to point to it.
            message: Why it was made.
            metadata: Names with texts, numbers or truth values, also numpy's.
            unset: Metadata names to take back; `alias:NAME` an alias, `message` the message.

        Raises:
            InvalidInput: An alias, a message or a metadata value that can't be one.
            NotFound: What is to be unset isn't set.

        Example:
            >>> import ama
            >>> ama.Repo.open("worktree").set(message="a first model").message
            'a first model'
        """
        from ama.operations import edit

        if message is not None:
            check_text("message", message)
        if not isinstance(metadata or {}, Mapping):
            raise InvalidInput("metadata is a mapping of names to texts, numbers or truth values")
        names, dropped = several(aliases), several(unset)
        edit.set_notes(self._session, names, message, metadata or {}, dropped)
        return self.noted()

    def noted(self) -> Staged:
        """Return what `set` and `link` have noted for the next asset.

        Example:
            >>> import ama
            >>> ama.Repo.open("worktree").noted().aliases
            ()
        """
        from ama.values import Staged

        notes = self._tree.index.read().notes_for(self._tree.head.read().head)
        return Staged(notes.aliases, notes.message, dict(notes.metadata), self.refs())

    def link(
        self,
        asset: str,
        *,
        label: str = "",
        class_name: str | None = None,
        alias: bool = False,
    ) -> Ref:
        """Note that the next asset was made from another one, as that is now.

        Args:
            asset: Its name in any of the forms of `Store.resolve`; or an alias, looked up in
                every class.
            label: What it was to this one, such as "training data".
            class_name: The class in which the alias is looked up.
            alias: Whether `asset` is an alias, even if a class has the same name.

        Raises:
            NotFound: There is no such asset.
            InvalidInput: Several classes have the alias, or the label is no text.
            StorageError: The store can't be reached.

        Example:
            >>> import ama
            >>> repo = ama.Repo.open("worktree")
            >>> ama.Repo.init(repo.root, "reports").link("models@best", label="model").number
            1
        """
        from ama.operations import edit

        check_text("asset's name", asset)
        check_text("label", label)
        link = edit.link(self._session, asset, label, class_name, alias=alias)
        return next(ref for ref in self.refs() if ref.asset == link.asset.hex())

    def refs(self) -> tuple[Ref, ...]:
        """Return what the next asset is noted to be made from.

        Example:
            >>> import ama
            >>> ama.Repo.open("worktree").refs()
            ()
        """
        head = self._tree.head.read().head
        notes = self._tree.index.read().notes_for(head)
        if not notes.refs:
            return ()
        return self._session.stores.describer(head, When.LAST_SEEN).refs(notes.refs)

    def unlink(self, asset: str) -> Ref:
        """Take a link back that was noted for the next asset.

        Args:
            asset: The linked asset's name, id, class or alias.

        Raises:
            NotFound: No such link is noted.

        Example:
            >>> import ama
            >>> repo = ama.Repo.init(ama.Repo.open("worktree").root, "reports")
            >>> _ = repo.link("models@best")
            >>> repo.unlink("models/1").class_name
            'models'
        """
        from ama.operations import edit

        check_text("asset's name", asset)
        return edit.take_back(self._session, self.refs(), asset)

    # Publishing

    def commit(self, message: str | None = None, *, code: PathLike | None = None) -> CommitResult:
        """Make an asset of what is staged, stored here whole; a push publishes it.

        Args:
            message: Why it was made.
            code: See `upload`.

        Raises:
            InvalidInput: Nothing was ever staged.
            Conflict: A file was changed since it was added; or only the message is new, and `add`
                was forgotten.

        Example:
            >>> import ama
            >>> ama.Repo.open("worktree").commit("trained longer").created
            True
        """
        from ama.operations import upload

        if message is not None:
            check_text("message", message)
        return upload.commit(self._session, message, _code_directory(code))

    def upload(
        self,
        *,
        remote: str | None = None,
        message: str | None = None,
        new_store: bool = False,
        code: PathLike | None = None,
        once: bool = False,
    ) -> UploadResult:
        """Make an asset of what is staged and publish it; with nothing new, do nothing.

        Args:
            remote: A remote's name, or a URL; by default the configured one, else the store on
                this machine.
            message: Why it was made.
            new_store: Whether a store is made even where one was seen before, which was deleted
                on purpose.
            code: The directory of the code that made it, in a git repository; by default that of
                the worktree, else of the calling script.
            once: Whether an asset of the store that says the same is taken instead: one of the
                class with the same files, refs and metadata. Aliases move to it.

        Raises:
            InvalidInput: Nothing was ever staged, or no store can be made there.
            Conflict: A file was changed since it was added; only the message is new, and `add` was
                forgotten; or an alias has moved on meanwhile.
            StorageError: The store can't be reached, or is gone; nothing is lost, and the next try
                goes on.

        Example:
            >>> import ama
            >>> repo = ama.Repo.open("worktree")
            >>> repo.upload(message="trained longer").asset.number
            2
            >>> repo.upload().published
            ()
        """
        from ama.operations import upload

        if message is not None:
            check_text("message", message)
        return upload.upload(
            self._session,
            remote,
            message,
            new_store=new_store,
            code_dir=_code_directory(code),
            once=once,
        )

    def push(
        self, *, remote: str | None = None, new_store: bool = False, repair: bool = False
    ) -> UploadResult:
        """Publish the commits that a store lacks.

        Args:
            remote, new_store: See `upload`.
            repair: Whether to read back all that the store holds of this asset and of those before
                it, and to send again what is damaged or lost there, as far as it can be had: from
                this worktree, or from another store that it knows. What is damaged or lost of the
                store's log is put back before, see `ama.repair_log`.

        Raises:
            InvalidInput, Conflict, StorageError: See `upload`.
            IntegrityError: Something could not be repaired; all else was.

        Example:
            >>> import ama
            >>> repo = ama.Repo.open("worktree")
            >>> _ = repo.commit("again")
            >>> [asset.number for asset in repo.push().published]
            [2]
        """
        from ama.operations import upload

        return upload.push(self._session, remote, new_store=new_store, repair=repair)

    def fetch(self, *, remote: str | None = None, force: bool = False) -> FetchResult:
        """Look at a store, and tell which assets of this class are new there.

        Args:
            remote: See `upload`.
            force: Whether the store's log is taken as it is now where it is not the one that this
                machine saw: the store was put back from a backup, or made anew. What of HEAD and
                the assets before it isn't there any more waits for a push again.

        Raises:
            NotFound: There is no store.
            IntegrityError: Its log is damaged, or (without `force`) another than was seen before.

        Example:
            >>> import ama
            >>> ama.Repo.open("worktree").fetch().new_assets
            ()
        """
        from ama.operations import switch

        return switch.fetch(self._session, remote, force=force)

    def pull(self, *, remote: str | None = None, force: bool = False) -> SwitchResult:
        """Bring the worktree to what HEAD's alias points to now, or to the class's newest asset.

        Where HEAD was made from that asset, nothing is done (`ahead_of` says so).

        Args:
            remote: See `upload`.
            force: See `switch`.

        Raises:
            Conflict: Something would be lost, or there are commits that aren't published.

        Example:
            >>> import ama
            >>> ama.Repo.open("worktree").pull().new.number
            1
        """
        from ama.operations import switch

        return switch.pull(self._session, remote, force=force)

    def switch(self, asset: str, *, force: bool = False) -> SwitchResult:
        """Make the worktree hold another asset.

        Args:
            asset: Its name.
            force: Whether what is stored nowhere else may be lost.

        Raises:
            NotFound: There is no such asset.
            Conflict: Something would be lost.

        Example:
            >>> import ama
            >>> ama.Repo.open("worktree").switch("models/1").changes
            ()
        """
        from ama.operations import switch

        return switch.switch(self._session, asset, force=force)

    def store(self, remote: str | None = None) -> Store:
        """Return the store that this worktree publishes to, or another one.

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
        """Verify everything that the worktree holds itself: HEAD, the index, its packs.

        Example:
            >>> import ama
            >>> ama.Repo.open("worktree").fsck().ok
            True
        """
        from ama.maintenance.fsck_worktree import check_worktree

        return check_worktree(self._tree, self._session.progress)


def _code_directory(code: PathLike | None) -> Path | None:
    return None if code is None else Path(absolute(code))
