"""The methods of `ama.Store` that change aliases and the status of assets."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ama.errors import Hint, InvalidInput, NotFound, shown
from ama.format.entries import Event, Feature
from ama.format.names import check_alias, check_class
from ama.format.objects import check_text
from ama.operations.session import absolute, now, several
from ama.results import FetchResult, StatusChange
from ama.settings import Settings
from ama.stores.log_errors import FEATURES
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from ama.stores.revisions import (
    Describer,
    Revision,
    class_state,
    find_asset,
    go_back,
    parse_revision,
    require_live,
    unknown_alias,
)
from ama.system.progress import Progress
from ama.transfer.aliases import set_alias
from ama.transfer.download import Target
from ama.values import AliasMove, Scalar

if TYPE_CHECKING:
    from ama.results import AliasChange, UploadResult
    from ama.transfer.delete import Decide
    from ama.transfer.publish_files import Description


class StoreChanges:
    """The methods of `ama.Store` that read and change aliases, and change the status of assets."""

    remote: Remote
    settings: Settings
    _progress: Progress

    @property
    def url(self) -> str:
        """The store's URL."""
        return self.remote.url

    def publish(
        self,
        class_name: str,
        files: Iterable[str | os.PathLike[str]] | Mapping[str, str | os.PathLike[str] | bytes],
        *,
        aliases: str | Iterable[str] = (),
        refs: str | Iterable[str] | Mapping[str, str] = (),
        metadata: Mapping[str, Scalar] | None = None,
        message: str | None = None,
        once: bool = False,
        code: str | os.PathLike[str] | None = None,
        environment: bool = False,
        force: bool = False,
        extend: bool | str = False,
        without: str | Iterable[str] = (),
    ) -> UploadResult:
        """Publish files as an asset, without a worktree: nothing is kept beside them.

        The asset that the first alias points to is its parent. A failed call can be made again:
        with `once`, it never publishes the same thing twice. The asset says by which command line,
        where and on which machine it was made (`Asset.run`), without credentials, unless
        `record.run` is false.

        Args:
            class_name: The asset's class.
            files: The files: a file is named as it is called, a directory stands for what is in it.
                Or by their paths in the asset: paths or contents. A symlink that is given stands
                for what it leads to; one in a directory stays a symlink.
            aliases: The aliases that it gets.
            refs: What it was made from: names of assets in this store, or their labels by these.
            metadata: Texts, numbers and truth values by their keys.
            message: Why it was made.
            once: Whether to publish nothing if the class has an asset that says the same: that
                gets the aliases.
            code: The directory of the code that made it; by default that of the calling script; see
                `Settings.code`.
            environment: Whether to record the packages of this Python: `Asset.environment`.
            force: Whether to take files that look like secrets.
            extend: Another asset of the class: the new one follows it, and also has its files, as
                far as they are not given. They are not sent or read. True: the one that the first
                alias points to, if it does. If others extend what the first alias points to at the
                same time, nobody's files are lost.
            without: Paths of files or directories of that asset that it does not have.

        Raises:
            NotFound: There is no such file, or no such asset to link.
            InvalidInput: A name or a value can't be in an asset, or a file looks like a secret.
            Conflict: An alias has moved on, or a file changed meanwhile.
            StorageError: The store can't be reached.

        Example:
            >>> import ama
            >>> store = ama.Store.open("store")
            >>> result = store.publish("models", {"notes.txt": b"better"}, aliases="best")
            >>> result.asset.number, store.resolve("models@best").read("notes.txt")
            (2, b'better')
        """
        from ama.operations.publishing import look_at, publish
        from ama.worktree.given import Listing, inside, read_all

        said = self._described(class_name, several(aliases), refs, metadata, message)
        code_dir = None if code is None else absolute(code)
        self.settings.code_directory(code_dir)
        gone = tuple(inside(path) for path in several(without))
        if gone and extend is False:
            raise InvalidInput("without extend, there is nothing to leave out")
        if extend is not False:
            said = self._extending(said, extend, gone, once=once)
        if not isinstance(files, (Mapping, str, bytes, os.PathLike)) and isinstance(
            files, Iterable
        ):
            files = tuple(files)
        if gone and not files:
            listing = Listing((), {})
        else:
            listing = look_at(self.remote, self.settings, files, force=force)
        return publish(
            self.remote,
            self.settings,
            read_all(listing, force=force, progress=self._progress),
            said,
            once=once,
            code_dir=code_dir,
            environment=environment,
            progress=self._progress,
        )

    def _extending(
        self, said: Description, extend: bool | str, gone: tuple[str, ...], *, once: bool
    ) -> Description:
        from ama.transfer.publish_files import Extend

        portable = self.settings.portable_names
        if not isinstance(extend, bool):
            check_text("asset's name", extend)
            found = self._target(self._whole_view(), extend, said.class_name)
            named = parse_revision(extend, said.class_name)
            if named != Revision(said.class_name, alias=next(iter(said.aliases), "")):
                fixed = Extend(found.asset, gone, portable=portable)
                return replace(said, extend=fixed)
        if not said.aliases:
            raise InvalidInput(
                "an asset is extended by its alias, and none is given",
                hint="give the asset that is to be extended",
            )
        return replace(said, extend=Extend(None, gone, lenient=once, portable=portable))

    def _described(
        self,
        class_name: str,
        aliases: Iterable[str],
        refs: str | Iterable[str] | Mapping[str, str],
        metadata: Mapping[str, Scalar] | None,
        message: str | None,
    ) -> Description:
        from ama.operations.publishing import described

        def find(name: str) -> tuple[str, bytes]:
            view = self.remote.view()
            target = self._target(view, name, None)
            require_live(view, target.class_name, target.asset, self.url)
            return target.class_name, target.asset

        labels = refs if isinstance(refs, Mapping) else dict.fromkeys(several(refs), "")
        return described(class_name, aliases, metadata or {}, message, labels, find)

    def aliases(self, class_name: str | None = None) -> tuple[AliasMove, ...]:
        """Return the targets of the aliases of a class, or of all, and who set them.

        Raises:
            NotFound: There is no such class.

        Example:
            >>> import ama
            >>> [move.alias for move in ama.Store.open("store").aliases("models")]
            ['best']
        """
        view = self._whole_view()
        names = view.class_names if class_name is None else (class_name,)
        describer = Describer(view)
        found = []
        for name in names:
            state = class_state(view, name, self.url)
            moves = state.last_moves()
            state.load(move.asset for move in moves.values() if move.asset)
            found += [describer.move(name, alias, move) for alias, move in moves.items()]
        return tuple(found)

    def alias_history(self, class_name: str, alias: str) -> tuple[AliasMove, ...]:
        """Return every move of an alias, newest first.

        Raises:
            NotFound: The class never had the alias.

        Example:
            >>> import ama
            >>> [move.number for move in ama.Store.open("store").alias_history("models", "best")]
            [1]
        """
        check_alias(alias)
        view = self._whole_view()
        state = class_state(view, class_name, self.url)
        if state.last_move(alias) is None:
            raise unknown_alias(state, alias)
        return Describer(view).moves(class_name, alias)

    def move_alias(self, class_name: str, alias: str, to: str) -> AliasChange:
        """Point an alias to an asset of its class.

        Args:
            class_name: The class.
            alias: The alias. It may be new.
            to: The asset's name, or its number in the class.

        Raises:
            NotFound: There is no such class or asset, or the asset was deleted.
            InvalidInput: The asset belongs to another class.
            Conflict: Somebody else moved the alias at the same time.

        Example:
            >>> import ama
            >>> ama.Store.open("store").move_alias("models", "production", "models/1").new_number
            1
        """
        check_class(class_name)
        check_alias(alias)
        check_text("asset's name", to)
        name = f"{class_name}/{to}" if to.isdigit() and len(to) < 7 else to
        view = self._whole_view()
        class_state(view, class_name, self.url)
        target = self._target(view, name, class_name)
        return self._set_alias(view, class_name, alias, target.asset)

    def remove_alias(self, class_name: str, alias: str) -> AliasChange:
        """Remove an alias; its history stays.

        Raises:
            NotFound: The class does not have the alias.
            Conflict: Somebody else moved the alias at the same time.

        Example:
            >>> import ama
            >>> ama.Store.open("store").remove_alias("models", "best").new is None
            True
        """
        check_alias(alias)
        view = self._whole_view()
        state = class_state(view, class_name, self.url)
        if state.target(alias) is None:
            raise unknown_alias(state, alias)
        return self._set_alias(view, class_name, alias, None)

    def _set_alias(
        self, view: LogView, class_name: str, alias: str, asset: bytes | None
    ) -> AliasChange:
        author = self.settings.author()
        return set_alias(self.remote, view, class_name, alias, asset, author=author, now=now)

    def deprecate(self, name: str, reason: str = "", *, undo: bool = False) -> StatusChange:
        """Advise against an asset. The asset does not change; a download of it warns.

        Args:
            name: The asset's name, see `resolve`; not a class alone.
            reason: The reason; required unless `undo`.
            undo: Whether to lift the deprecation.

        Raises:
            NotFound: There is no such asset.
            InvalidInput: The reason is missing, or the name is a class alone.
            Conflict: The asset was deleted.

        Example:
            >>> import ama
            >>> store = ama.Store.open("store")
            >>> store.deprecate("models/1", "wrong labels").asset.status
            'deprecated'
            >>> store.deprecate("models/1", undo=True).asset.status
            'active'
        """
        from ama.transfer import delete

        check_text("reason", reason)
        if not (undo or reason.strip()):
            raise InvalidInput("no reason is given", hint=Hint("say-why"))
        target = self._exact_target(name)
        decide = delete.approving(target) if undo else delete.deprecating(target, reason)
        return self._change_status(target, decide)

    def delete(
        self, name: str, *, reason: str = "", force: bool = False, undo: bool = False
    ) -> StatusChange:
        """Delete an asset: hide it from lists and downloads. Its number and record stay.

        No space is freed. The content stays in the store until a garbage collection; until then,
        anyone with the asset's id can undelete it. Later versions do not prevent the deletion:
        they are whole without the asset.

        Args:
            name: The asset's name, see `resolve`; not a class alone.
            reason: The reason.
            force: Whether to delete the asset even if a live asset was made from it, or an alias
                points to it. That alias does not move.
            undo: Whether to undelete the asset. It becomes active, even if it was deprecated
                before.

        Raises:
            NotFound: There is no such asset; or, with `undo`, its content is gone.
            InvalidInput: The name is a class alone; or, with `undo`, the asset is only deprecated.
            Conflict: A live asset was made from it, or an alias points to it.

        Example:
            >>> import ama
            >>> store = ama.Store.open("store")
            >>> store.delete("models/1", force=True).asset.status
            'deleted'
            >>> store.assets("models")
            ()
            >>> store.delete("models/1", undo=True).asset.aliases
            ('best',)
        """
        from ama.transfer import delete

        check_text("reason", reason)
        target = self._exact_target(name)
        if undo:
            return self._change_status(target, delete.undeleting(self.remote, target))
        decide = delete.deleting(self.remote, target, reason, force=force)
        return self._change_status(target, decide)

    def _exact_target(self, name: str) -> Target:
        """Return the asset that a name means. Refuse a class alone: its newest asset may change."""
        target = self._target(self._whole_view(), name, None)
        if parse_revision(name).is_class:
            raise InvalidInput(
                f"{shown(name)} is a class, and not one of its assets",
                hint=Hint("say-which-of", class_name=name),
            )
        return target

    def _change_status(self, target: Target, decide: Decide) -> StatusChange:
        from ama.transfer.delete import change_status, is_recoverable

        author = self.settings.author()
        old, view = change_status(self.remote, target, decide, author=author, now=now)
        asset = self.remote.assets(view, [(target.class_name, target.asset)])[target.asset]
        found = is_recoverable(self.remote, view, target, old)
        return StatusChange(Describer(view).info(target.asset, asset), old, recoverable=found)

    def upgrade(self) -> tuple[str, ...]:
        """Give an older store the features of a new one; return those that it lacked.

        From then on, versions of ama that don't know them refuse to use the store, or only to write
        to it. What is stored stays as it is; only later uploads make use of them.

        Raises:
            StorageError: The store can't be written to.

        Example:
            >>> import ama
            >>> ama.Store.open("store").upgrade()
            ()
        """
        added: tuple[str, ...] = ()

        def events(view: LogView) -> list[Event]:
            nonlocal added
            there = view.root.read_features, view.root.write_features
            read, write = (
                tuple(name for name in names if name not in known)
                for names, known in zip(FEATURES[-1], there, strict=True)
            )
            added = tuple(sorted({*read, *write}))
            return [Feature(read, write)] if added else []

        self.remote.log.append(events, author=self.settings.author(), now=now)
        return added

    def accept(self) -> FetchResult:
        """Accept the store's log as it is now, even if it contradicts what this machine saw.

        It does so once a store was restored from a backup, or made anew. In a worktree,
        `Repo.fetch(force=True)` does the same, and marks assets that only the worktree still has
        for the next push.

        Returns:
            The assets and aliases that this machine saw and that the store has lost.

        Raises:
            IntegrityError: The log itself is damaged.

        Example:
            >>> import ama
            >>> ama.Store.open("store").accept().lost_assets
            ()
        """
        from ama.operations.rollback import accept

        accepted = accept(self.remote)
        return FetchResult(self.url, (), accepted.assets, accepted.aliases)

    def _whole_view(self) -> LogView:
        view = self.remote.view()
        view.require_whole()
        return view

    def _target(self, view: LogView, name: str, class_name: str | None) -> Target:
        revision = parse_revision(name, class_name)
        if revision.head:
            raise NotFound("HEAD is a worktree's, and a store has none", hint="name a class")
        if class_name is not None and revision == Revision(name) and name != class_name:
            revision = Revision(class_name, alias=check_alias(name))
        start = find_asset(view, revision, self.url, class_name)
        found, asset = go_back(
            name,
            start,
            revision.back,
            lambda each: self.remote.assets(view, [(start[0], each)])[each],
        )
        if class_name not in (None, found):
            is_there = class_name in view.class_names
            raise InvalidInput(
                f"{name} is an asset of {found}, not of {class_name}",
                hint=Hint("list-assets", class_name=class_name)
                if is_there
                else Hint("list-classes"),
            )
        number = view.class_state(found).number(asset)
        if number is None:
            raise NotFound(f"{name} is not published in {self.url}")
        return Target(found, asset, number)
