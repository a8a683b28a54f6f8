"""The methods of `ama.Store` that bring the files of assets to this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ama.errors import Hint, IntegrityError, InvalidInput, StorageError, shown
from ama.operations.session import several
from ama.operations.store_changes import StoreChanges
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from ama.stores.revisions import parse_revision
from ama.system.encoding import from_system, given, path_text, system_path
from ama.transfer.cached import Wanted, fetch
from ama.transfer.deliver import deliver
from ama.transfer.download import Order, Selection, Target

if TYPE_CHECKING:
    from ama.results import (
        DownloadResult,
        ExportResult,
        LocalCopy,
        MirrorResult,
        StoreExportResult,
    )
    from ama.transfer.mirror import Order as MirrorOrder


class StoreContent(StoreChanges):
    """The methods of `ama.Store` that bring the files of assets to this machine."""

    away: StorageError | None = None
    """Why the store can't be reached, if `fetch` has taken what was seen last instead."""

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

        Complete a directory that already has this asset; its files stay, even changed ones.

        Args:
            name: See `resolve`.
            directory: The directory; by default named after the alias in `name`, else
                `class-number`, in the working directory.
            refs: Whether to download everything that the asset was made from, transitively, each
                asset into `class-number` beside it.
            include: Globs of the files to download; all by default.
            exclude: Globs of files to leave out.
            metadata_only: Whether to download only the asset's metadata, and no file.
            partial: Whether to skip refs whose content is not in this store, instead of an error.

        Raises:
            NotFound: There is no such asset, the globs match none of its files, or (unless
                `partial`) a ref is not in this store.
            AlreadyExists: The directory holds something else.
            InvalidInput: `metadata_only` is combined with globs.
            IntegrityError: Content is damaged; no damaged file was written.

        Example:
            >>> import ama
            >>> ama.Store.open("store").download("models@best", "copy").files
            1
        """
        selection = Selection(several(include), several(exclude), metadata_only)
        if metadata_only and (selection.include or selection.exclude):
            raise InvalidInput(
                "metadata only, and a choice of files, exclude each other",
                hint=Hint("drop-metadata-only"),
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
        return deliver(self.remote, view, order, self.settings, self._progress)

    def export(
        self,
        name: str,
        to: str | os.PathLike[str],
        *,
        refs: bool = False,
        partial: bool = False,
        force: bool = False,
    ) -> ExportResult:
        """Write an asset's files as plain files, for those who have no ama.

        An `ama.json` beside them says where they come from: store, class, number, id, author, time,
        message, metadata, refs, notes, and each file with its hash. If the asset has a file of that
        name, it is `ama-2.json`.

        Args:
            name: See `resolve`.
            to: A directory; or an archive, by its end: .zip, .tar, .tar.gz, .tar.zst; or a URL of
                either. An archive, and a new directory, are there whole or not at all. A zip and a
                tar are the same, byte for byte, each time the store says the same of the asset.
            refs: Whether to write everything that the asset was made from too, transitively, each
                asset into `class-number`.
            partial: Whether to skip refs whose content is not in this store, instead of an error.
            force: Whether files that are there may be overwritten. Others there stay.

        Raises:
            NotFound: There is no such asset, or (unless `partial`) a ref is not in this store.
            AlreadyExists: There is a file, or a directory that isn't empty.
            InvalidInput: The place is none, or a symlink of the asset leads out of it.
            IntegrityError: Content is damaged; no damaged file was written.
            StorageError: The store or the place can't be reached.

        Example:
            >>> import ama
            >>> store = ama.Store.open("store")
            >>> store.export("models@best", "model.zip").files
            1
            >>> import zipfile
            >>> zipfile.ZipFile("model.zip").namelist()
            ['ama.json', 'model.txt']
        """
        from ama.exporting.export import Order, export

        path_text("the place", to)
        place = given(to)
        view = self._whole_view()
        order = Order(self._target(view, name, None), place, refs, partial, force)
        return export(self.remote, view, order, self.settings, self._progress)

    def export_everything(self, to: str | os.PathLike[str]) -> StoreExportResult:
        """Write all assets as plain files with JSON, from which one can go on without ama.

        Called again, it writes what is new in the store. Files of the same content are hard links
        where the disk can do that, and read-only. A README.txt there explains the layout.

        Args:
            to: A directory of its own.

        Raises:
            AlreadyExists: The directory has something else.
            InvalidInput: It is no directory of this machine, or is in the store.
            Conflict: The store has another history than what is there.
            IntegrityError: The log is damaged. An asset that is damaged is named in the result.
            StorageError: The store can't be reached, or the disk refuses.

        Example:
            >>> import ama
            >>> store = ama.Store.open("store")
            >>> [asset.number for asset in store.export_everything("plain").new]
            [1]
            >>> store.export_everything("plain").new
            ()
        """
        from ama.exporting.everything import export_everything
        from ama.exporting.export import require_outside
        from ama.exporting.places import looks_like_archive
        from ama.system.disk import is_directory

        path_text("the directory", to)
        if "://" in str(to):
            raise InvalidInput(
                f"{shown(to)}: a whole store is exported into a directory of this machine",
                hint="sync that directory with the tool of your bucket",
            )
        top = os.path.abspath(os.path.expanduser(system_path(to)))
        name = from_system(os.path.basename(top))
        if looks_like_archive(name) and not is_directory(top):
            raise InvalidInput(
                f"{shown(name)}: a whole store is exported into a directory, not an archive",
                hint="give the name of a directory, and pack that",
            )
        require_outside(top, self.remote)
        view = self._whole_view()
        return export_everything(self.remote, view, top, self.settings, self._progress)

    def mirror(
        self,
        to: str | os.PathLike[str],
        *,
        dry_run: bool = False,
        check: bool = False,
        force: bool = False,
    ) -> MirrorResult:
        """Bring a mirror of this store, byte for byte, to where the store is.

        It has the same log, so numbers, aliases, history, notes and statuses are the same, and each
        pack and index is checked by its id on the way. Only what it lacks is copied. A call that
        was interrupted is completed by the next one. ama refuses to publish to a mirror.

        Args:
            to: A directory's path, or a URL; by its options as they are configured for a remote.
            dry_run: Whether to write nothing, and only say what would be copied.
            check: Whether to read back all that the mirror has, and put back what it has lost or
                damaged.
            force: Whether a copy of this store that may be published to becomes a mirror.

        Raises:
            Conflict: The mirror has diverged: its log has what this store's has not.
            AlreadyExists: There is another store, a copy that is no mirror, or other files.
            IntegrityError: The log, or content that is needed, is lost or damaged. The mirror
                stays as it is.
            StorageError: One of the two can't be reached, or the mirror can't be written to.

        Example:
            >>> import ama
            >>> store = ama.Store.open("store")
            >>> store.mirror("mirror").entries
            1
            >>> ama.Store.open("mirror").resolve("models@best").read("model.txt")
            b'weights'
            >>> store.mirror("mirror").entries
            0
        """
        from ama.transfer.mirror import mirror

        if dry_run and check:
            raise InvalidInput("what is checked is put back, so there is no dry run of it")
        order = self._mirror_order(to, dry_run=dry_run, check=check, force=force)
        return mirror(order, self._progress)

    def keep_mirrored(
        self,
        to: str | os.PathLike[str],
        *,
        every: float = 60,
        force: bool = False,
        failed: Callable[[StorageError], object] | None = None,
    ) -> Iterator[MirrorResult]:
        """Mirror this store again and again, and yield what brought something; see `mirror`.

        While one of the two can't be reached, it tries again. A look that finds nothing new costs
        one round trip.

        Args:
            to: See `mirror`.
            every: The seconds between two looks.
            force: See `mirror`.
            failed: Called with the error of a look that failed for the moment.

        Raises:
            Conflict, AlreadyExists, IntegrityError, StorageError: See `mirror`.

        Example:
            >>> import ama
            >>> results = ama.Store.open("store").keep_mirrored("mirror", every=5)
            >>> next(results).entries
            1
        """
        from ama.transfer.mirror import keep_mirrored

        seconds: object = every
        if not (isinstance(seconds, int | float) and 0 < seconds < float("inf")):
            raise InvalidInput(f"{shown(repr(every))} is no number of seconds")
        if not (failed is None or callable(failed)):
            raise InvalidInput(f"{shown(repr(failed))} can't be called")

        def pause(error: StorageError | None) -> None:
            if error is not None and failed is not None:
                failed(error)
            time.sleep(every)

        return keep_mirrored(self._mirror_order(to, force=force), self._progress, pause)

    def _mirror_order(
        self,
        to: str | os.PathLike[str],
        *,
        dry_run: bool = False,
        check: bool = False,
        force: bool = False,
    ) -> MirrorOrder:
        from ama.storage.urls import open_storage
        from ama.transfer.mirror import Order as MirrorOrder

        if "://" in path_text("the mirror's URL", to):
            place = given(to)
        else:
            place = from_system(os.path.abspath(os.path.expanduser(system_path(to))))
        target = open_storage(place, self.settings.options_at(place))
        return MirrorOrder(self.remote, target, self.settings, dry_run, force, check)

    def fetch(
        self, name: str, *, include: str | Iterable[str] = (), exclude: str | Iterable[str] = ()
    ) -> Path:
        """Return a read-only directory of this machine with the files of an asset.

        It is in the content cache, which worktrees, processes and, if they share its directory,
        users share: what is there isn't fetched again, and of a next version only changed chunks
        are. If the store can't be reached, what was seen last counts. For files to change, see
        `download`.

        Args:
            name: See `resolve`.
            include: Globs of the files; all by default.
            exclude: Globs of files to leave out.

        Returns:
            The directory; with globs, one that has only these files. Don't keep its path for
            another day: what wasn't used for long is deleted when the cache is full.

        Raises:
            NotFound: There is no such asset, or the globs match none of its files.
            InvalidInput: See `resolve`; or the cache is switched off.
            StorageError: The cache can't be written; or the store can't be reached, and not all is
                here.
            IntegrityError: Content is damaged.

        Example:
            >>> import ama
            >>> directory = ama.Store.open("store").fetch("models@best")
            >>> [file.name for file in directory.iterdir()]
            ['model.txt']
        """
        return self.local_copy(name, None, include, exclude).path

    def local_copy(
        self,
        name: str,
        path: str | None = None,
        include: str | Iterable[str] = (),
        exclude: str | Iterable[str] = (),
    ) -> LocalCopy:
        """Return where files of an asset are on this machine, and what they are; see `fetch`.

        Args:
            name: See `resolve`.
            path: A file or a directory of the asset, instead of globs; see `Asset.path`.
            include: See `fetch`.
            exclude: See `fetch`.

        Example:
            >>> import ama
            >>> copy = ama.Store.open("store").local_copy("models@best", "model.txt")
            >>> copy.path.name, copy.files, copy.size
            ('model.txt', 1, 7)
        """
        wanted = Wanted(Selection(several(include), several(exclude)), path or None)
        view = self._view_or_last()
        target = self._target(view, name, None)
        try:
            return self._fetched(view, target, wanted)
        except (IntegrityError, StorageError) as error:
            if self.away is None:
                raise
            # Of a directory that is gone, all content is.
            raise self.away from error

    def _view_or_last(self) -> LogView:
        """Return the log as it is now; if the store can't be reached, as it was seen last."""
        try:
            return self.remote.view()
        except StorageError as error:
            seen = Remote.last_seen(
                self.remote.storage, self.settings.cache_dir, self.settings.reach
            )
            if seen is None:
                raise
            self.away = error
            return seen.view()

    def _fetched(self, view: LogView, target: Target, wanted: Wanted) -> LocalCopy:
        return fetch(self.settings, self.remote, view, target, wanted, self._progress)
