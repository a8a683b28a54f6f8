"""The methods of `ama.Repo` that change the next asset, a store, or the worktree's files."""

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
        """Stage files as they are now: all of them or, if one can't be staged, none.

        Args:
            paths: Files, directories and globs.
            copy: Whether to store large files here now, instead of reading them at the upload.
            force: Whether to stage files that look like secrets, and ignored files that are named.

        Raises:
            NotFound: There is no such file.
            InvalidInput: A file can't be in an asset, is ignored, or looks like a secret.
            Conflict: A file changed while it was read.

        Example:
            >>> import ama
            >>> from pathlib import Path
            >>> _ = Path("worktree/notes.md").write_text("first try")
            >>> [change.path for change in ama.Repo.open("worktree").add(["*.md"]).changes]
            ['notes.md']
        """
        from ama.operations import staging

        return staging.add(self._session, several(paths), copy=copy, force=force)

    def remove(
        self, paths: PathLike | Iterable[PathLike], *, keep_files: bool = False, force: bool = False
    ) -> RemoveResult:
        """Unstage files, and delete them from the worktree.

        Args:
            paths: Staged files, directories, or globs.
            keep_files: Whether to keep the files in the worktree.
            force: Whether to delete files whose content is stored nowhere else.

        Raises:
            NotFound: A path isn't staged.
            Conflict: A file's content is stored nowhere else.

        Example:
            >>> import ama
            >>> ama.Repo.open("worktree").remove(["model.txt"], keep_files=True).removed
            ('model.txt',)
        """
        from ama.operations import staging

        chosen = several(paths)
        return staging.remove(self._session, chosen, keep_files=keep_files, force=force)

    def restore(
        self,
        paths: PathLike | Iterable[PathLike],
        *,
        staged: bool = False,
        source: str | None = None,
        force: bool = False,
    ) -> RestoreResult:
        """Restore files from the staging area, or the staging area from HEAD.

        Files that a partial worktree leaves out stay out, unless a path or a glob names them.

        Args:
            paths: Files, directories, or globs.
            staged: Whether to restore the staging area instead of files.
            source: An asset to restore from instead.
            force: Whether to overwrite files, and unstage deleted files, whose content is stored
                nowhere else.

        Raises:
            NotFound: A path is in neither side.
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
        """Set aliases, message and metadata of the next asset, for its commit or upload.

        Args:
            aliases: The aliases to point to it.
            message: Why it was made.
            metadata: Names with texts, numbers or truth values, also numpy's.
            unset: Metadata names to remove; `alias:NAME` for an alias, `message` for the message.

        Raises:
            InvalidInput: An alias, the message or a metadata value is invalid.
            NotFound: A name to unset is not set.

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
        """Return everything that `set` and `link` have noted for the next asset.

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
        """Link the next asset to another one, as it is now, that it is made from.

        Args:
            asset: The other asset's name, in any form that `Store.resolve` takes; or an alias of
                any class.
            label: The role of the other asset, such as "training data".
            class_name: The class of the alias.
            alias: Whether `asset` is an alias, even if a class has the same name.

        Raises:
            NotFound: There is no such asset.
            InvalidInput: Several classes have the alias, or the label is not a text.
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
        """Return the links of the next asset.

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
        """Remove a link of the next asset, and return it.

        Args:
            asset: The linked asset's name, id, class or alias.

        Raises:
            NotFound: There is no such link.

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
        """Make an asset of the staged files, and store all of it here; a push publishes it.

        Args:
            message: Why it was made.
            code: See `upload`.

        Raises:
            InvalidInput: Nothing was ever staged.
            Conflict: A file changed after it was added; or only the message is new, and changed
                files were not added.

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
        """Make an asset of the staged files and publish it; with nothing new, do nothing.

        Args:
            remote: A remote's name, or a URL; by default the configured one, else the store on
                this machine.
            message: Why it was made.
            new_store: Whether to create a store even if this machine has seen one there that was
                deleted on purpose.
            code: The directory of the code that made it, in a git repository; by default that of
                the worktree, else of the calling script.
            once: Whether to use an equal asset of the store instead, if there is one: of the same
                class, with the same files, refs and metadata. Aliases move to it.

        Raises:
            InvalidInput: Nothing was ever staged, or no store can be created there.
            Conflict: A file changed after it was added; only the message is new, and changed files
                were not added; or an alias has moved on.
            StorageError: The store can't be reached, or is gone. Nothing is lost; another call
                continues.

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
        self,
        *,
        remote: str | None = None,
        new_store: bool = False,
        repair: bool = False,
        materialize: bool = False,
    ) -> UploadResult:
        """Publish the commits that a store lacks.

        Args:
            remote, new_store: See `upload`.
            repair: Whether to repair the store: first its log, see `ama.repair_log`; then HEAD's
                asset and its ancestors. Their content is read back, and damaged or lost parts are
                sent again from this worktree, or from another store that it knows.
            materialize: Whether to send also the content of HEAD's asset and its ancestors that the
                store would have, or has, only by reference.

        Raises:
            InvalidInput, Conflict, StorageError: See `upload`.
            IntegrityError: Something could not be repaired; everything else was.

        Example:
            >>> import ama
            >>> repo = ama.Repo.open("worktree")
            >>> _ = repo.commit("again")
            >>> [asset.number for asset in repo.push().published]
            [2]
        """
        from ama.operations import upload

        return upload.push(
            self._session, remote, new_store=new_store, repair=repair, materialize=materialize
        )

    def fetch(self, *, remote: str | None = None, force: bool = False) -> FetchResult:
        """Read a store's log, and return the assets of this class that are new there.

        Args:
            remote: See `upload`.
            force: Whether to accept a log that contradicts what this machine saw, because the
                store was restored from a backup, or made anew. HEAD's asset and its ancestors wait
                for a push again, if the store has lost them.

        Raises:
            NotFound: There is no store.
            IntegrityError: The log is damaged or, without `force`, contradicts what this machine
                saw.

        Example:
            >>> import ama
            >>> ama.Repo.open("worktree").fetch().new_assets
            ()
        """
        from ama.operations import switch

        return switch.fetch(self._session, remote, force=force)

    def pull(self, *, remote: str | None = None, force: bool = False) -> SwitchResult:
        """Switch to the asset that HEAD's alias points to now, or to the class's newest asset.

        If HEAD is ahead of that asset, do nothing; `ahead_of` names the asset.

        Args:
            remote: See `upload`.
            force: See `switch`.

        Raises:
            Conflict: Something would be lost, or there are unpublished commits.

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
            asset: The asset's name.
            force: Whether to drop changes that are stored nowhere else.

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
