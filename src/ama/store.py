"""The public face of a store: listing, resolving, reading and downloading, without a worktree."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from ama.asset import Asset, compare
from ama.catalog.questions import Questions, moment_of, named_content
from ama.errors import InvalidInput, NotFound, shown
from ama.format.names import check_class
from ama.format.objects import check_text
from ama.lineage import ancestry
from ama.notebook import Lines, Rows, progress_here, store_page
from ama.operations.session import at_least_one, now, several
from ama.operations.store_content import StoreContent
from ama.operations.store_notes import StoreNotes
from ama.results import CopyResult
from ama.settings import Settings
from ama.storage.urls import open_storage
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from ama.stores.revisions import (
    Describer,
    class_state,
    find_alias,
)
from ama.system.encoding import check_texts, from_system, given, path_text, system_path
from ama.system.progress import NO_PROGRESS, Progress
from ama.transfer.download import Target
from ama.values import AssetInfo, Change, ClassInfo, File

if TYPE_CHECKING:
    from ama.catalog.values import Comparison, Findings, Leaderboard, Summary
    from ama.contents.comparison import FileDiff
    from ama.results import FsckReport


class Store(StoreContent, StoreNotes):
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
        self._questions = Questions(remote, settings, progress)
        self._entry: int | None = None

    @classmethod
    def open(
        cls,
        url: str | os.PathLike[str],
        *,
        create: bool = False,
        new_store: bool = False,
        settings: Settings | None = None,
        options: Mapping[str, str | int | float | bool] | None = None,
        progress: Progress | None = None,
    ) -> Store:
        """Open the store at a URL.

        Args:
            url: A directory's path, or a URL.
            create: Whether to create a store if there is none.
            new_store: Whether `create` may replace a store that this machine has seen there and
                that was deleted on purpose.
            settings: The settings; by default loaded from the environment and the user's config
                file.
            options: Options of the storage's client, such as `endpoint_url`, and ama's own, in
                addition to those behind the URL's '?'; by default ama's own options that are
                configured for a remote at this URL.
            progress: Receives the progress of long work; by default a bar in a notebook.

        Raises:
            NotFound: There is no store.
            InvalidInput: No store fits there: the directory is not empty, or is in a worktree.
            StorageError: The store can't be reached, or this machine has seen it and it is gone.
            FormatError: The store has a newer format.
            IntegrityError: The store is damaged.

        Example:
            >>> import ama
            >>> ama.Store.open("new-store", create=True).classes()
            ()
        """
        settings, progress = settings or Settings.load(None), progress_here(progress)
        if not (options is None or isinstance(options, Mapping)):
            raise InvalidInput(f"options are a mapping, not of type {type(options).__name__}")
        if "://" in path_text("the store's URL", url):
            place = given(url)
        else:
            place = from_system(os.path.abspath(system_path(url)))
        storage = open_storage(place, settings.options_at(place) if options is None else options)
        if create:
            from ama.stores.creation import create as make

            return cls(make(storage, settings, new_store=new_store), settings, progress)
        return cls(Remote.open(storage, settings.cache_dir, settings.reach), settings, progress)

    @classmethod
    def default(
        cls,
        settings: Settings | None = None,
        *,
        remote: str | None = None,
        progress: Progress | None = None,
    ) -> Store:
        """Open the configured store, or else the one on this machine.

        Args:
            settings: The settings; loaded by default.
            remote: A configured remote's name, or a URL, to open instead.
            progress: Receives the progress of long work; by default a bar in a notebook.

        Raises:
            NotFound: Nothing was uploaded there yet.

        Example:
            >>> import ama
            >>> settings = ama.Repo.open("worktree").settings
            >>> [found.name for found in ama.Store.default(settings).classes()]
            ['models']
        """
        settings = settings or Settings.load(None)
        url = settings.remote_url(remote)
        storage = open_storage(url, settings.options_at(url))
        return cls(
            Remote.open(storage, settings.cache_dir, settings.reach),
            settings,
            progress_here(progress),
        )

    def __repr__(self) -> str:
        # fsspec tells arguments from others by this: two stores are never one.
        entry = "" if self._entry is None else f" at entry {self._entry}"
        return f"<ama.Store {self.url} {self.id[:12]}{entry}>"

    def _repr_html_(self) -> str:
        """Return what is known of the store without asking a network, as a notebook shows it."""
        return store_page(self.remote, self.settings.cache_dir, self._entry)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the URL: it is opened where it arrives, with the settings and logins there."""
        return Store.open, (self.url,)

    def __dask_tokenize__(self) -> tuple[str, str]:
        """Return what tells this store from others, as Dask asks for it."""
        return "ama.Store", self.id

    @property
    def id(self) -> str:
        """The store's own random id: 32 hex digits."""
        return self.remote.format.id

    def snapshot(self) -> Store:
        """Return this store as it is now, to answer several questions from one read of its log.

        Without a snapshot, each question costs a round trip to the bucket. All answers of a
        snapshot are true of the same moment; it does not see later publications.

        Raises:
            StorageError: The store can't be reached.

        Example:
            >>> import ama
            >>> now = ama.Store.open("store").snapshot()
            >>> now.resolve("models@best").summary().asset == now.resolve("models/1").info
            True
        """
        return self._at(self.remote.view(only_reading=True))

    def _at(self, view: LogView) -> Store:
        found = Store(self.remote.at(view), self.settings, self._progress)
        found._questions = self._questions.at(view)
        found._entry = view.number
        return found

    # What there is

    def classes(self) -> tuple[ClassInfo, ...]:
        """Return the store's classes, sorted by name.

        Raises:
            IntegrityError: The store's log is damaged.

        Example:
            >>> import ama
            >>> [(found.name, found.assets) for found in ama.Store.open("store").classes()]
            [('models', 1)]
        """
        view = self._whole_view()
        states = view.class_states()
        view.load([part for state in states.values() for part in state.parts_of_newest()])
        newest = {
            name: found.id for name, state in states.items() if (found := state.newest_live())
        }
        assets = self.remote.assets(view, list(newest.items()))
        describer = Describer(view)
        return Rows(
            ClassInfo(
                name,
                state.live,
                describer.info(newest[name], assets[newest[name]]) if name in newest else None,
            )
            for name, state in sorted(states.items())
        )

    def assets(self, class_name: str, *, limit: int | None = None) -> tuple[AssetInfo, ...]:
        """Return the assets of a class, newest first, without deleted ones.

        Args:
            class_name: The class.
            limit: The maximum number of assets; at least 1.

        Raises:
            NotFound: There is no such class; the hint suggests similar names.
            InvalidInput: The limit is below 1.

        Example:
            >>> import ama
            >>> [asset.aliases for asset in ama.Store.open("store").assets("models")]
            [('best',)]
        """
        at_least_one(limit)
        view = self._whole_view()
        state = class_state(view, class_name, self.url)
        newest = ((class_name, r.id) for _, r in state.newest() if r.status != "deleted")
        live = list(islice(newest, limit))
        assets = self.remote.assets(view, live)
        describer = Describer(view)
        return Rows(describer.info(asset, assets[asset]) for _, asset in live)

    def resolve(self, name: str, *, class_name: str | None = None) -> Asset:
        """Return the asset that a name means.

        Args:
            name: `class/7`, `class@alias`, `class` (the newest), or 7 or more hex digits of an
                id; each with `~N` for the N-th parent. With `class_name`, also an alias alone.
                A deleted asset has its `info`, but no content.
            class_name: The class that the asset must belong to.

        Raises:
            NotFound: There is no such asset; the hint suggests similar names.
            InvalidInput: The name has none of these forms, several assets match it, or the asset
                belongs to another class.

        Example:
            >>> import ama
            >>> ama.Store.open("store").resolve("models@best").info.number
            1
        """
        view = self.remote.view()
        return self._asset(view, self._target(view, name, class_name))

    def summary(self, name: str, *, most_files: int | None = None) -> Summary:
        """Summarise an asset on one screen; see `resolve` and `Asset.summary`.

        Example:
            >>> import ama
            >>> ama.Store.open("store").summary("models@best").asset.number
            1
        """
        return self.snapshot().resolve(name).summary(most_files=most_files)

    def files(self, name: str, path: str = "") -> tuple[File, ...]:
        """Return the files of an asset, or those below a path; see `resolve` and `Asset.files`.

        Example:
            >>> import ama
            >>> [file.path for file in ama.Store.open("store").files("models@best")]
            ['model.txt']
        """
        return self.resolve(name).files(path)

    def file(self, name: str, path: str) -> File:
        """Return a file of an asset; see `resolve` and `Asset.file`.

        Example:
            >>> import ama
            >>> ama.Store.open("store").file("models@best", "model.txt").size
            7
        """
        return self.resolve(name).file(path)

    def read(self, name: str, path: str) -> Iterator[bytes]:
        """Yield a file's bytes in pieces; see `resolve` and `Asset.stream`.

        Example:
            >>> import ama
            >>> b"".join(ama.Store.open("store").read("models@best", "model.txt"))
            b'weights'
        """
        return self.resolve(name).stream(path)

    def log(self, name: str, *, limit: int | None = None) -> list[AssetInfo]:
        """Return an asset and its ancestors, newest first.

        Args:
            name: See `resolve`.
            limit: The maximum number of assets; at least 1.

        Raises:
            NotFound, InvalidInput: See `resolve`.
            InvalidInput: The limit is below 1.

        Example:
            >>> import ama
            >>> len(ama.Store.open("store").log("models"))
            1
        """
        at_least_one(limit)
        history = ancestry(self.resolve(name), Asset.parents)
        return Lines(asset.info for asset in islice(history, limit))

    def history(self, class_name: str, *, limit: int | None = None) -> list[AssetInfo]:
        """Return every asset ever made of a class, newest first, with its status.

        The author and time of deleted assets are known, too.

        Args:
            class_name: The class.
            limit: The maximum number of assets; at least 1.

        Raises:
            NotFound: There is no such class; the hint suggests similar names.
            InvalidInput: The limit is below 1.

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
        wanted = [(class_name, record.id) for _, record in islice(state.newest(), limit)]
        assets = self.remote.assets(view, wanted)
        describer = Describer(view)
        return Lines(describer.info(asset, assets[asset]) for _, asset in wanted)

    def diff(self, old: str, new: str, *, paths: str | Iterable[str] = ()) -> tuple[Change, ...]:
        """Return the files that differ between two assets.

        Args:
            old: The name of an asset, see `resolve`.
            new: The name of another asset.
            paths: Files or directories to compare, relative to the assets' root; all by default.

        Raises:
            NotFound: Neither asset has a path; see also `resolve`.
            InvalidInput: See `resolve`.

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
        """Yield the differences within the files of two assets: see `Repo.diff_contents`.

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
        tags: str | Iterable[str] = (),
        as_published: bool = False,
        sort: str = "class",
        reverse: bool = False,
        limit: int | None = None,
    ) -> Findings:
        """Find the assets that hold a file, under any name, or meet conditions.

        An asset must meet all conditions. Deleted assets are left out.

        Args:
            file: A file of this machine; `ASSET:PATH`, a file of an asset; or a file's hash as
                `b3sum` prints it, or at least the first 7 digits of it.
            class_name: The class of the assets.
            name: A glob for a file's path or, without a slash, for the last part of the path.
            alias: A glob for an alias of the asset.
            author: A part of the author, in any case.
            since: The earliest time of creation. A text is a date or time in ISO 8601 (by default
                UTC), or an age such as `3d`, `12h`, `2w`.
            until: The time before which the asset was made.
            meta: Conditions on metadata: `KEY`, `KEY=VALUE`, and the same with != < <= > >=. A key
                may be the last parts of a longer one. What was noted later counts, the newest
                value first; see `note`.
            params: Conditions on values in files, and in the metadata; after `FILE:` only on those
                of such files.
            tags: Globs of tags; the asset must have a tag for each.
            as_published: Whether to leave out what was noted later.
            sort: "class" (and number), "created" or "author".
            reverse: Whether to reverse the order.
            limit: The maximum number of assets; at least 1.

        Returns:
            The assets, each with the paths of its files that match.

        Raises:
            NotFound: There is no such file, here or in the store, or no such class.
            InvalidInput: A condition is malformed, or several files' hashes begin with the digits;
                or tags are wanted of assets as they were published, which have none.

        Example:
            >>> import ama
            >>> store = ama.Store.open("store")
            >>> [(each.asset.number, each.paths) for each in store.find("models/1:model.txt")]
            [(1, ('model.txt',))]
            >>> len(store.find(author="nobody"))
            0
        """
        from ama.catalog.conditions import parse_meta, parse_param
        from ama.catalog.find import Criteria

        at_least_one(limit)
        check_texts(class_name=class_name, name=name, alias=alias, author=author, sort=sort)
        if file is not None:
            path_text("the file", file)
        for moment in (since, until):
            if not (moment is None or isinstance(moment, (str, datetime))):
                raise InvalidInput(f"{shown(repr(moment))} is neither a text nor a datetime")
        on_meta, on_params, wanted = several(meta), several(params), several(tags)
        for text in (name, alias, author, *on_meta, *on_params, *wanted):
            check_text("condition", text or "")
        if wanted and as_published:
            raise InvalidInput("an asset as it was published has no tags: they are noted later")
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
            tags=tuple(wanted),
            as_published=as_published,
        )
        return now._questions.find(criteria, sort=sort, reverse=reverse, limit=limit)

    def _content(self, file: str | os.PathLike[str]) -> bytes:
        """Return the id of the file to find."""
        found = named_content(file)
        if found is not None:
            return bytes.fromhex(found) if len(found) == 64 else self._questions.content_id(found)
        # Not a file of this machine. In ASSET:PATH, a str already spells the path as ama does.
        text = file if isinstance(file, str) else from_system(file)
        asset, colon, path = text.partition(":")
        if not colon:
            raise NotFound(
                f"{shown(text)}: no such file", hint="name a file here, ASSET:PATH, or a hash"
            )
        return bytes.fromhex(self.resolve(asset).file(path).id)

    def compare(
        self, *names: str, same_files: bool = True, as_published: bool = False
    ) -> Comparison:
        """Compare assets of this store: return what differs, and what is the same.

        Args:
            names: Two names or more; see `resolve`.
            same_files: Whether to list the files that are the same, too; see `ama.compare`.
            as_published: Whether to leave out what was noted later.

        Raises:
            NotFound, InvalidInput: See `resolve`.
            InvalidInput: There are fewer than two names.

        Example:
            >>> import ama
            >>> [f.kind for f in ama.Store.open("store").compare("models/1", "models@best").files]
            ['same']
        """
        assets = map(self.snapshot().resolve, names)
        return compare(*assets, same_files=same_files, as_published=as_published)

    def leaderboard(
        self,
        class_name: str,
        *,
        columns: str | Iterable[str] = (),
        sort: str | None = None,
        reverse: bool = False,
        limit: int | None = None,
        as_published: bool = False,
    ) -> Leaderboard:
        """Return the assets of a class side by side, with their metrics and what differs.

        Args:
            class_name: The class.
            columns: Keys of values, or the last parts of keys, optionally after `FILE:`; by default
                the first metrics, and the first parameters that differ.
            sort: A key like those of `columns`. The best value comes first if ama knows which is
                better, else the least; assets without a number come last. By default the newest
                asset comes first.
            reverse: Whether to reverse the order.
            limit: The maximum number of assets; at least 1.
            as_published: Whether to leave out what was noted later.

        Raises:
            NotFound: There is no such class, or no such value.
            InvalidInput: Several keys end with the same parts.

        Example:
            >>> import ama
            >>> [row.asset.number for row in ama.Store.open("store").leaderboard("models").rows]
            [1]
        """
        at_least_one(limit)
        check_texts(sort=sort)
        now = self.snapshot()
        class_state(now._whole_view(), class_name, self.url)
        return now._questions.leaderboard(
            class_name,
            columns=several(columns),
            sort=sort,
            reverse=reverse,
            limit=limit,
            as_published=as_published,
        )

    # Aliases

    def copy(self, name: str, to: Store, aliases: Sequence[str] = ()) -> CopyResult:
        """Publish an asset of this store in another, with its ancestors and all it was made from.

        Send only what the other store lacks. Each store numbers its own assets, so the number may
        change. An ancestor deleted here is copied as a deleted record; a deleted asset that the
        asset was made from is not copied.

        Args:
            name: The asset's name.
            to: The target store.
            aliases: The aliases to set in the target. Aliases of this store are not copied.

        Raises:
            NotFound: There is no such asset, its content is not in this store, or one of the two
                stores has deleted it.
            InvalidInput: `to` is not a store.
            Conflict: An alias has moved on in the target.
            StorageError: One of the stores can't be reached.

        Example:
            >>> import ama
            >>> archive = ama.Store.open("archive", create=True)
            >>> result = ama.Store.open("store").copy("models/1", archive, ["best"])
            >>> [asset.number for asset in result.published]
            [1]
        """
        from ama.stores.creation import Unmade
        from ama.transfer.copy import copy_asset

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
        there = to._at(done.view)
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

    def fsck(self, *, sources: bool = False, read_data: bool = False) -> FsckReport:
        """Verify everything in the store: the log, its checkpoints, every index, pack and id.

        Args:
            sources: Whether to ask if the sources of content by reference are as they were, by a
                request each.
            read_data: Whether to read all content by reference, too.

        Returns:
            The damage, and the assets that it affects.

        Example:
            >>> import ama
            >>> ama.Store.open("store").fsck().ok
            True
        """
        from ama.maintenance.fsck_store import check_store, remember

        report = check_store(self.remote, self._progress, sources=sources, read_data=read_data)
        remember(self.remote, now(), len(report.problems))
        return report

    # Names

    def find_alias(self, alias: str, class_name: str | None = None) -> Asset:
        """Return the asset that an alias points to, in any class if none is given.

        Raises:
            NotFound: No class has the alias.
            InvalidInput: Several classes have the alias.

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
        return Asset(self.remote, view, target, self, self._questions)
