"""The public face of a store: listing, resolving, reading and downloading, without a worktree."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ama.asset import Asset, compare
from ama.describing import Describer
from ama.encoding import from_system, given, system_path
from ama.errors import InvalidInput, NotFound, shown
from ama.given import check_texts, path_text
from ama.logview import LogView
from ama.names import check_alias, check_class
from ama.objects import check_text
from ama.operations.session import at_least_one, now, several
from ama.progress import NO_PROGRESS, Progress
from ama.remote import Remote
from ama.results import (
    AliasChange,
    CopyResult,
    DownloadResult,
    FetchResult,
    FsckReport,
    StatusChange,
)
from ama.revisions import (
    Revision,
    class_state,
    find_alias,
    find_asset,
    parse_revision,
    too_far_back,
    unknown_alias,
)
from ama.settings import Settings
from ama.storage.opening import open_storage
from ama.tracking import Tracker, moment_of, named_content
from ama.transfer.aliasing import set_alias
from ama.transfer.delivering import Order, deliver
from ama.transfer.download import Selection, Target
from ama.values import AliasMove, AssetInfo, Change, ClassInfo

if TYPE_CHECKING:
    from ama.catalog.values import Comparison, Findings, Leaderboard
    from ama.contents.comparing import FileDiff
    from ama.transfer.retiring import Decide


class Store:
    """A store at a URL.

    Example:
        >>> import ama
        >>> store = ama.Store.open("store")
        >>> [found.name for found in store.classes()]
        ['models']
        >>> store.resolve("models@best").info.number
        1
        >>> result = store.download("models@best", "copy")
        >>> result.files
        1
    """

    def __init__(
        self, remote: Remote, settings: Settings, progress: Progress = NO_PROGRESS
    ) -> None:
        self.remote = remote
        self.settings = settings
        self._progress = progress
        self._tracker = Tracker(remote, settings, progress)

    @classmethod
    def open(
        cls,
        url: str | os.PathLike[str],
        *,
        create: bool = False,
        new_store: bool = False,
        settings: Settings | None = None,
        options: Mapping[str, str | int | float | bool] | None = None,
        progress: Progress = NO_PROGRESS,
    ) -> Store:
        """Open the store at a URL.

        Args:
            url: a directory's path, or a URL.
            create: whether it is made if there is none.
            new_store: whether `create` makes one even where this machine has seen one before,
                which was deleted on purpose.
            settings: what is configured; by default read from the environment and the user's
                config file.
            options: what the storage's client is told, such as `endpoint_url`, beside what the URL
                says behind a '?', and ama's own; by default those of ama's own that are configured
                for a remote at this URL.
            progress: is told of long work.

        Raises:
            NotFound: there is no store.
            InvalidInput: none can be made there: it is no empty directory, or lies in a worktree.
            StorageError: it can't be reached, or one was seen there before and is gone.
            FormatError: it is of a newer format.
            IntegrityError: it is damaged.

        Example:
            >>> import ama
            >>> ama.Store.open("new-store", create=True).classes()
            ()
        """
        settings = settings or Settings.load(None)
        if not (options is None or isinstance(options, Mapping)):
            raise InvalidInput(f"options are a mapping, not of type {type(options).__name__}")
        if "://" in path_text("the store's URL", url):
            place = given(url)
        else:
            place = from_system(os.path.abspath(system_path(url)))
        storage = open_storage(place, settings.options_at(place) if options is None else options)
        if create:
            from ama.founding import create as make

            return cls(make(storage, settings, new_store=new_store), settings, progress)
        return cls(Remote.open(storage, settings.cache_dir), settings, progress)

    @classmethod
    def default(
        cls,
        settings: Settings | None = None,
        *,
        remote: str | None = None,
        progress: Progress = NO_PROGRESS,
    ) -> Store:
        """Open the store that is configured, or else the one on this machine.

        Args:
            settings: what is configured; read by default.
            remote: a configured remote's name, or a URL, to open instead.
            progress: is told of long work.

        Raises:
            NotFound: nothing was uploaded there yet.

        Example:
            >>> import ama
            >>> settings = ama.Repo.open("worktree").settings
            >>> [found.name for found in ama.Store.default(settings).classes()]
            ['models']
        """
        settings = settings or Settings.load(None)
        url = settings.remote_url(remote)
        storage = open_storage(url, settings.options_at(url))
        return cls(Remote.open(storage, settings.cache_dir), settings, progress)

    def __repr__(self) -> str:
        return f"<ama.Store {self.url}>"

    @property
    def url(self) -> str:
        """Where the store is."""
        return self.remote.url

    @property
    def id(self) -> str:
        """The store's own random id: 32 hex digits."""
        return self.remote.format.id

    def snapshot(self) -> Store:
        """Return this store as it is now, for several questions that one look at it answers.

        Its log is read once, which takes a round trip to a bucket for each question otherwise, and
        what is asked of the snapshot is true of one moment. What is published later is not in it.

        Raises:
            StorageError: the store can't be reached.

        Example:
            >>> import ama
            >>> now = ama.Store.open("store").snapshot()
            >>> now.resolve("models@best").summary().asset == now.resolve("models/1").info
            True
        """
        return self._as_of(self.remote.glance())

    def _as_of(self, view: LogView) -> Store:
        found = Store(self.remote.as_of(view), self.settings, self._progress)
        found._tracker = self._tracker.as_of(view)
        return found

    # What there is

    def classes(self) -> tuple[ClassInfo, ...]:
        """Return the store's classes, in the order of their names.

        Raises:
            IntegrityError: the store's log is damaged.

        Example:
            >>> import ama
            >>> [(found.name, found.assets) for found in ama.Store.open("store").classes()]
            [('models', 1)]
        """
        view = self._whole_view()
        states = view.class_states()
        newest = {
            name: live[-1]
            for name, state in states.items()
            if (live := [record.id for record in state.assets if record.status != "deleted"])
        }
        assets = self.remote.assets(view, list(newest.items()))
        describer = Describer(view)
        return tuple(
            ClassInfo(
                name,
                sum(record.status != "deleted" for record in state.assets),
                describer.info(newest[name], assets[newest[name]]) if name in newest else None,
            )
            for name, state in sorted(states.items())
        )

    def assets(self, class_name: str) -> tuple[AssetInfo, ...]:
        """Return the assets of a class, newest first, those that were deleted left out.

        Raises:
            NotFound: there's no such class; the hint has the nearest names.

        Example:
            >>> import ama
            >>> [asset.aliases for asset in ama.Store.open("store").assets("models")]
            [('best',)]
        """
        view = self._whole_view()
        state = class_state(view, class_name, self.url)
        live = [(class_name, r.id) for r in reversed(state.assets) if r.status != "deleted"]
        assets = self.remote.assets(view, live)
        describer = Describer(view)
        return tuple(describer.info(asset, assets[asset]) for _, asset in live)

    def resolve(self, name: str, *, class_name: str | None = None) -> Asset:
        """Return the asset that a name means.

        Args:
            name: `class/7`, `class@alias`, `class` (the newest), or 7 or more hex digits of an
                id; each with `~N` for the N-th parent. With `class_name`, also an alias alone.
                Of one that was deleted, `info` is to be had, and no content.
            class_name: where it must be.

        Raises:
            NotFound: there is none; the hint has the nearest names.
            InvalidInput: the name has none of the forms, several assets have it, or it is that of
                an asset of another class.

        Example:
            >>> import ama
            >>> ama.Store.open("store").resolve("models@best").info.number
            1
        """
        view = self.remote.view()
        return self._asset(view, self._target(view, name, class_name))

    def log(self, name: str, *, limit: int | None = None) -> list[AssetInfo]:
        """Return an asset and those that it came from, newest first.

        Args:
            name: see `resolve`.
            limit: how many at most; at least 1.

        Raises:
            NotFound, InvalidInput: see `resolve`.
            InvalidInput: the limit is below 1.

        Example:
            >>> import ama
            >>> len(ama.Store.open("store").log("models"))
            1
        """
        at_least_one(limit)
        asset: Asset | None = self.resolve(name)
        found: list[AssetInfo] = []
        while asset is not None and (limit is None or len(found) < limit):
            found.append(asset.info)
            parents = asset.parents()
            asset = parents[0] if parents else None
        return found

    def history(self, class_name: str, *, limit: int | None = None) -> list[AssetInfo]:
        """Return every asset that was ever made of a class, newest first, with its status.

        Of one that was deleted, too, it is known who made it and when.

        Args:
            class_name: the class.
            limit: how many at most; at least 1.

        Raises:
            NotFound: there's no such class; the hint has the nearest names.
            InvalidInput: the limit is below 1.

        Example:
            >>> import ama
            >>> store = ama.Store.open("store")
            >>> _ = store.delete("models/1", reason="wrong labels", force=True)
            >>> [(asset.number, asset.status) for asset in store.history("models")]
            [(1, 'deleted')]
        """
        at_least_one(limit)
        view = self._whole_view()
        state = class_state(view, class_name, self.url)
        wanted = [(class_name, record.id) for record in reversed(state.assets)][:limit]
        assets = self.remote.assets(view, wanted)
        describer = Describer(view)
        return [describer.info(asset, assets[asset]) for _, asset in wanted]

    def diff(self, old: str, new: str, *, paths: str | Iterable[str] = ()) -> tuple[Change, ...]:
        """Return what differs between two assets, file by file.

        Args:
            old: an asset, see `resolve`.
            new: another one.
            paths: files or directories to look at, relative to the assets' root; all by default.

        Raises:
            NotFound: neither asset has a path; see also `resolve`.
            InvalidInput: see `resolve`.

        Example:
            >>> import ama
            >>> ama.Store.open("store").diff("models/1", "models@best")
            ()
        """
        now = self.snapshot()
        return now.resolve(new).changes_from(now.resolve(old), paths=paths)

    def diff_contents(
        self, old: str, new: str, *, paths: str | Iterable[str] = ()
    ) -> Iterator[FileDiff]:
        """Yield what differs within the files of two assets: see `diff` and `Repo.diff_contents`.

        Example:
            >>> import ama
            >>> list(ama.Store.open("store").diff_contents("models/1", "models@best"))
            []
        """
        now = self.snapshot()
        return now.resolve(new).compare_contents(now.resolve(old), paths=paths)

    # Tracking

    def find(
        self,
        file: str | os.PathLike[str] | None = None,
        *,
        class_name: str | None = None,
        name: str | None = None,
        alias: str | None = None,
        author: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        meta: str | Iterable[str] = (),
        params: str | Iterable[str] = (),
        sort: str = "class",
        reverse: bool = False,
        limit: int | None = None,
    ) -> Findings:
        """Return the assets that hold a file, whatever it is called there, or fit conditions.

        All that is given must hold. Deleted assets are left out.

        Args:
            file: a file of this machine; `ASSET:PATH`, a file of an asset; or its hash, as `b3sum`
                prints it, or the first 7 or more digits of it.
            class_name: the class that they are of.
            name: a glob that the file's path in them fits, or without a slash its last part.
            alias: a glob that one of their aliases fits.
            author: a part of who made them, in any case.
            since: they were made then or later; a text is a date or time in ISO 8601 (UTC if it
                doesn't say), or an age such as `3d`, `12h`, `2w`.
            until: they were made before.
            meta: conditions on metadata: `KEY`, `KEY=VALUE`, and != < <= > >= likewise. A key may
                be the last parts of a longer one.
            params: the same on values in YAML, JSON and TOML files, with `FILE:` before or not.
            sort: "class" (and number), "created" or "author".
            reverse: whether the order is turned round.
            limit: how many at most; at least 1.

        Returns:
            The assets, each with the paths of the file in it.

        Raises:
            NotFound: there is no such file, here or in the store, or no such class.
            InvalidInput: a condition is none, or several files' hashes begin with the digits.

        Example:
            >>> import ama
            >>> store = ama.Store.open("store")
            >>> [(each.asset.number, each.paths) for each in store.find("models/1:model.txt")]
            [(1, ('model.txt',))]
            >>> len(store.find(author="nobody"))
            0
        """
        from ama.catalog.conditions import parse_meta, parse_param
        from ama.catalog.finding import Criteria

        at_least_one(limit)
        check_texts(class_name=class_name, name=name, alias=alias, author=author, sort=sort)
        if file is not None:
            path_text("the file", file)
        for moment in (since, until):
            if not (moment is None or isinstance(moment, (str, datetime))):
                raise InvalidInput(f"{shown(repr(moment))} is neither a text nor a datetime")
        on_meta, on_params = several(meta), several(params)
        for text in (name, alias, author, *on_meta, *on_params):
            check_text("condition", text or "")
        now = self.snapshot()
        criteria = Criteria(
            content=None if file is None else now._content(file),
            class_name=class_name and check_class(class_name),
            name=name,
            alias=alias,
            author=author,
            since=moment_of(since),
            until=moment_of(until),
            meta=tuple(map(parse_meta, on_meta)),
            params=tuple(map(parse_param, on_params)),
        )
        return now._tracker.find(criteria, sort=sort, reverse=reverse, limit=limit)

    def _content(self, file: str | os.PathLike[str]) -> bytes:
        """Return the id of the file that is looked for."""
        found = named_content(file)
        if found is not None:
            return bytes.fromhex(found) if len(found) == 64 else self._tracker.content_id(found)
        # No file of this machine: of an asset's a str is the path as ama has it.
        text = file if isinstance(file, str) else from_system(file)
        asset, colon, path = text.partition(":")
        if not colon:
            raise NotFound(
                f"{shown(text)}: no such file", hint="name a file here, ASSET:PATH, or a hash"
            )
        return bytes.fromhex(self.resolve(asset).file(path).id)

    def compare(self, *names: str) -> Comparison:
        """Return what differs between assets of this store, and what is the same.

        Args:
            names: at least two; see `resolve`.

        Raises:
            NotFound, InvalidInput: see `resolve`.
            InvalidInput: fewer than two.

        Example:
            >>> import ama
            >>> [f.kind for f in ama.Store.open("store").compare("models/1", "models@best").files]
            ['same']
        """
        return compare(*map(self.snapshot().resolve, names))

    def leaderboard(
        self,
        class_name: str,
        *,
        columns: str | Iterable[str] = (),
        sort: str | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Leaderboard:
        """Return the assets of a class side by side, with their metrics and what differs.

        Args:
            class_name: the class.
            columns: keys of values, or the last parts of keys, with `FILE:` before or not; by
                default the first metrics, and the first parameters that differ.
            sort: such a key, of which the best comes first, where it is known which values are
                better, else the least; what has no number there comes last. By default the newest
                comes first.
            reverse: whether the order is turned round.
            limit: how many at most; at least 1.

        Raises:
            NotFound: there is no such class, or no such value.
            InvalidInput: several keys end like this.

        Example:
            >>> import ama
            >>> [row.asset.number for row in ama.Store.open("store").leaderboard("models").rows]
            [1]
        """
        at_least_one(limit)
        check_texts(sort=sort)
        now = self.snapshot()
        class_state(now._whole_view(), class_name, self.url)
        return now._tracker.leaderboard(
            class_name, columns=several(columns), sort=sort, reverse=reverse, limit=limit
        )

    # Aliases

    def aliases(self, class_name: str | None = None) -> tuple[AliasMove, ...]:
        """Return where the aliases of a class (or of all) point to, and who moved them there.

        Raises:
            NotFound: there is no such class.

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
            found += [
                describer.moves(name, alias)[0]
                for alias in sorted(state.aliases)
                if state.target(alias) is not None
            ]
        return tuple(found)

    def alias_history(self, class_name: str, alias: str) -> tuple[AliasMove, ...]:
        """Return every move of an alias, newest first.

        Raises:
            NotFound: the class never had it.

        Example:
            >>> import ama
            >>> [move.number for move in ama.Store.open("store").alias_history("models", "best")]
            [1]
        """
        check_alias(alias)
        view = self._whole_view()
        state = class_state(view, class_name, self.url)
        if alias not in state.aliases:
            raise unknown_alias(state, alias)
        return Describer(view).moves(class_name, alias)

    def move_alias(self, class_name: str, alias: str, to: str) -> AliasChange:
        """Make an alias point to an asset of its class.

        Args:
            class_name: the class.
            alias: the alias, which may be new.
            to: the asset's name, or its number in the class.

        Raises:
            NotFound: there is no such class or asset, or it was deleted.
            InvalidInput: it is an asset of another class.
            Conflict: somebody else moved the alias at the same time.

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

    def copy(self, name: str, to: Store, aliases: Sequence[str] = ()) -> CopyResult:
        """Publish an asset of this store in another, with its ancestors and all it was made from.

        Only what the other store lacks is moved. Numbers are a store's own: it may get another.
        An ancestor that was deleted here comes as a record, and is deleted there too; of what it
        was made from, one that was deleted is not published there.

        Args:
            name: the asset's name.
            to: the store that it comes to.
            aliases: the aliases that it gets there; those that it has here stay here.

        Raises:
            NotFound: there is no such asset, its content is not in this store, or it was deleted
                in one of the two.
            InvalidInput: `to` is no store.
            Conflict: an alias has moved on in the other store.
            StorageError: one of the stores can't be reached.

        Example:
            >>> import ama
            >>> archive = ama.Store.open("archive", create=True)
            >>> result = ama.Store.open("store").copy("models/1", archive, ["best"])
            >>> [asset.number for asset in result.published]
            [1]
        """
        from ama.founding import Unmade
        from ama.transfer.copying import copy_asset

        if not isinstance(to, Store):
            raise InvalidInput(
                f"an asset is copied to a Store, not to {shown(repr(to))}",
                hint="open it: ama.Store.open(URL, create=True)",
            )
        asset = self.resolve(name)
        done = copy_asset(
            self.remote,
            to.remote,
            bytes.fromhex(asset.info.id),
            several(aliases),
            author=self.settings.author(),
            now=now,
            progress=self._progress,
        )
        there = to._as_of(done.view)
        return CopyResult(
            asset=there.resolve(asset.info.id).info,
            published=tuple(there.resolve(found.hex()).info for found in done.assets),
            aliases=done.aliases,
            source=self.url,
            target=to.url,
            bytes_sent=done.bytes_sent,
            bytes_reused=done.bytes_reused,
            store_created=isinstance(to.remote.storage, Unmade) and to.remote.storage.made,
        )

    def remove_alias(self, class_name: str, alias: str) -> AliasChange:
        """Remove an alias; its history stays.

        Raises:
            NotFound: the class doesn't have it.
            Conflict: somebody else moved it at the same time.

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

    # Status

    def deprecate(self, name: str, reason: str = "", *, undo: bool = False) -> StatusChange:
        """Advise against an asset: it stays what it is, and a download of it says so.

        Args:
            name: the asset's name, see `resolve`; a class alone is none.
            reason: why; needed unless `undo`.
            undo: whether it is to be deprecated no more.

        Raises:
            NotFound: there is no such asset.
            InvalidInput: no reason is given, or a class is named alone.
            Conflict: the asset was deleted.

        Example:
            >>> import ama
            >>> store = ama.Store.open("store")
            >>> store.deprecate("models/1", "wrong labels").asset.status
            'deprecated'
            >>> store.deprecate("models/1", undo=True).asset.status
            'active'
        """
        from ama.transfer import retiring

        check_text("reason", reason)
        if not (undo or reason.strip()):
            raise InvalidInput(
                "no reason is given", hint="say why, for those who use it: --reason TEXT"
            )
        target = self._exact_target(name)
        decide = retiring.approving(target) if undo else retiring.deprecating(target, reason)
        return self._change_status(target, decide)

    def delete(
        self, name: str, *, reason: str = "", force: bool = False, undo: bool = False
    ) -> StatusChange:
        """Delete an asset: it is listed and downloaded no more. Its number and record stay.

        No space is freed: the content stays in the store, and whoever has the asset's id can bring
        it back, until a garbage collection takes it. What comes from it as a next version is whole
        without it, and doesn't keep it from being deleted.

        Args:
            name: the asset's name, see `resolve`; a class alone is none.
            reason: why.
            force: whether it is deleted though an asset that isn't was made from it, or an alias
                points to it; that alias stays where it is.
            undo: whether it is to be deleted no more. It is active then, also if it was deprecated
                before.

        Raises:
            NotFound: there is no such asset; or, with `undo`, its content is gone.
            InvalidInput: a class is named alone; or, with `undo`, the asset is only deprecated.
            Conflict: an asset that isn't deleted was made from it, or an alias points to it.

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
        from ama.transfer import retiring

        check_text("reason", reason)
        target = self._exact_target(name)
        if undo:
            return self._change_status(target, retiring.undeleting(self.remote, target))
        decide = retiring.deleting(self.remote, target, reason, force=force)
        return self._change_status(target, decide)

    def _exact_target(self, name: str) -> Target:
        """Return the asset that a name means; a class alone is refused: which is its newest may
        change at any time.
        """
        if parse_revision(name).is_class:
            raise InvalidInput(
                f"{shown(name)} is a class, and not one of its assets",
                hint=f"say which: ama list {shown(name)}",
            )
        return self._target(self._whole_view(), name, None)

    def _change_status(self, target: Target, decide: Decide) -> StatusChange:
        from ama.transfer.retiring import change_status, is_recoverable

        author = self.settings.author()
        old, view = change_status(self.remote, target, decide, author=author, now=now)
        asset = self.remote.assets(view, [(target.class_name, target.asset)])[target.asset]
        found = is_recoverable(self.remote, view, target, old)
        return StatusChange(Describer(view).info(target.asset, asset), old, recoverable=found)

    # Content

    def download(
        self,
        name: str,
        directory: str | os.PathLike[str] | None = None,
        *,
        refs: bool = False,
        include: str | Iterable[str] = (),
        exclude: str | Iterable[str] = (),
        metadata_only: bool = False,
        partial: bool = False,
    ) -> DownloadResult:
        """Write an asset into a directory, whole and verified.

        One that has this very asset is completed: what is there stays, also what was changed.

        Args:
            name: see `resolve`.
            directory: where to; by default named after the alias that `name` has, else
                `class-number`, in the working directory.
            refs: whether all that it was made from comes too, transitively, each asset into
                `class-number` beside it.
            include: globs of the files to have; all by default.
            exclude: globs of files to leave out.
            metadata_only: whether no file comes, only what the asset says.
            partial: whether refs whose content isn't in this store are left out, not an error.

        Raises:
            NotFound: there is no such asset, the globs leave none of its files, or (unless
                `partial`) a ref is not in this store.
            AlreadyExists: the directory holds something else.
            InvalidInput: `metadata_only` goes with no choice of files.
            IntegrityError: content is damaged; no such file was written.

        Example:
            >>> import ama
            >>> ama.Store.open("store").download("models@best", "copy").files
            1
        """
        selection = Selection(several(include), several(exclude), metadata_only)
        if metadata_only and (selection.include or selection.exclude):
            raise InvalidInput(
                "metadata only, and a choice of files, exclude each other",
                hint="leave out --metadata-only, or --include and --exclude",
            )
        view = self.remote.view()
        target = self._target(view, name, None)
        alias = parse_revision(name).alias if "~" not in name else None
        if directory is not None:
            path_text("the directory", directory)
            directory = system_path(directory)
        named = directory or alias or f"{target.class_name}-{target.number}"
        place = Path(os.path.abspath(named))
        order = Order(target, place, alias, selection, refs, partial)
        return deliver(self.remote, view, order, self._progress)

    def fsck(self) -> FsckReport:
        """Verify everything in the store: the log, its checkpoints, every index, pack and id.

        Returns:
            What is damaged, and which assets it touches.

        Example:
            >>> import ama
            >>> ama.Store.open("store").fsck().ok
            True
        """
        from ama.fsck import check_store
        from ama.fsck.remembering import remember

        report = check_store(self.remote, self._progress)
        remember(self.remote, now(), len(report.problems))
        return report

    def accept(self) -> FetchResult:
        """Take the store's log as it is now, where it is not the one that this machine saw before.

        That is so once a store was put back from a backup, or made anew. In a worktree,
        `Repo.fetch(force=True)` does the same, and has what only the worktree has still wait for a
        push.

        Returns:
            What this machine saw in the store and is not there any more.

        Raises:
            IntegrityError: the log is damaged, whatever was seen of it.

        Example:
            >>> import ama
            >>> ama.Store.open("store").accept().lost_assets
            ()
        """
        from ama.operations.accepting import accept

        accepted = accept(self.remote)
        return FetchResult(self.url, (), accepted.assets, accepted.aliases)

    # Names

    def find_alias(self, alias: str, class_name: str | None = None) -> Asset:
        """Return what an alias points to, looked up in every class if none is given.

        Raises:
            NotFound: no class has it.
            InvalidInput: several classes have it.

        Example:
            >>> import ama
            >>> ama.Store.open("store").find_alias("best").info.class_name
            'models'
        """
        view = self.remote.view()
        name, asset = find_alias(view, alias, self.url, class_name)
        number = view.class_state(name).number(asset) or 0
        return self._asset(view, Target(name, asset, number))

    def _asset(self, view: LogView, target: Target) -> Asset:
        return Asset(self.remote, view, target, self.download, self._tracker)

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
        found, asset = find_asset(view, revision, self.url, class_name)
        for _ in range(revision.back):
            parents = self.remote.assets(view, [(found, asset)])[asset].parents
            if not parents:
                raise too_far_back(name)
            asset = parents[0]
            found = self.remote.assets(view, [(found, asset)])[asset].class_name
        if class_name not in (None, found):
            raise InvalidInput(
                f"{name} is an asset of {found}, not of {class_name}",
                hint=f"see its assets: ama list {class_name}",
            )
        number = view.class_state(found).number(asset)
        if number is None:
            raise NotFound(f"{name} is not published in {self.url}")
        return Target(found, asset, number)
