"""What `ama.Repo` changes: the next asset, what is published, and the files of the worktree."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ama.errors import InvalidInput
from ama.format.objects import check_text
from ama.operations.session import Session, absolute, several
from ama.stores.log_view import When
from ama.worktree.layout import Worktree

if TYPE_CHECKING:
    from ama.results import (
        AddResult,
        CommitResult,
        FetchResult,
        RemoveResult,
        RestoreResult,
        SwitchResult,
        UploadResult,
    )
    from ama.values import Ref, Scalar, Staged

PathLike = str | os.PathLike[str]


class RepoChanges:
    """The methods of `ama.Repo` that change something."""

    _session: Session
    _tree: Worktree

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


def _code_directory(code: PathLike | None) -> Path | None:
    return None if code is None else Path(absolute(code))
