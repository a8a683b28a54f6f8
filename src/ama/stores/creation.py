"""Creation of stores: where one may be made, and only when there is something to put into it."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ama.errors import AlreadyExists, Conflict, Hint, InvalidInput, NotFound, StorageError, shown
from ama.settings import CONTROL_DIRECTORY, Settings
from ama.storage.local import LocalStorage
from ama.storage.protocol import Buffer, Range, Storage
from ama.storage.urls import check_url, open_storage
from ama.stores.remote import FORMAT, Remote, encode_format, new_format, require_fit
from ama.system.disk import is_directory
from ama.system.encoding import from_system, to_system
from ama.system.fs import is_temp

_OF_THE_DISK = "lost+found"

_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
_ELSEWHERE = Hint("move-data")


def prepare(storage: Storage, settings: Settings, *, new_store: bool = False) -> Remote:
    """Open the store in a storage; if there is none, prepare one that the first write makes.

    Args:
        storage: The storage.
        settings: The settings.
        new_store: Whether a store may be made where this machine has seen one before.

    Raises:
        InvalidInput: There is no store, and none may be made there.
        StorageError: There was one, and it is gone.
    """
    if new_store:
        Remote.forget(storage, settings.cache_dir)
    try:
        return Remote.open(storage, settings.cache_dir, settings.reach)
    except NotFound:
        check_place(storage, settings)
    data = encode_format(new_format())

    def remember() -> None:
        Remote.remember(storage, settings.cache_dir, data)

    unmade = Unmade(storage, data, remember, own=_is_own(storage, settings))
    remote = Remote.of(unmade, data, settings.cache_dir, reach=settings.reach)
    remote.log.mirror_of = None
    return remote


def create(storage: Storage, settings: Settings, *, new_store: bool = False) -> Remote:
    """Open the store in a storage; if there is none, make it at once. See `prepare`."""
    remote = prepare(storage, settings, new_store=new_store)
    if isinstance(remote.storage, Unmade):
        return Remote.create(storage, settings.cache_dir, settings.reach)[0]
    return remote


def is_there(url: str, settings: Settings) -> bool:
    """Whether a URL for a remote may have a store; no network is asked.

    Raises:
        InvalidInput: There is no store, and none may be made there.
    """
    check_url(url)
    if "://" in url and not url.startswith("file:"):
        return True
    if "://" not in url:
        url = from_system(os.path.abspath(os.path.expanduser(to_system(url))))
    storage = open_storage(url)
    if storage.sizes([FORMAT]) != [None]:
        return True
    check_place(storage, settings)
    return False


def check_place(storage: Storage, settings: Settings) -> None:
    """Refuse a place where a store would mix with other files.

    The store on this machine is ama's own, wherever the user's directories are.

    Raises:
        InvalidInput: The storage is a directory with something else in it, or one in a worktree.
    """
    if not isinstance(storage, LocalStorage) or _is_own(storage, settings):
        return
    place = Path(os.path.realpath(to_system(storage.url)))
    elsewhere = "give a directory of its own, such as "
    for directory in (place, *place.parents):
        if is_directory(directory / CONTROL_DIRECTORY):
            beside = directory.parent / "ama-store"
            raise InvalidInput(
                f"{shown(place)} is in the worktree {shown(directory)}, and a store is no part of"
                " what it holds",
                hint=f"{elsewhere}{shown(beside)}",
            )
    try:
        names = [name for name in os.listdir(place) if not is_temp(name) and name != _OF_THE_DISK]
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise InvalidInput(
            f"{shown(place)} is no directory, so no store can be made there",
            hint="give a directory",
        ) from None
    except OSError:
        return  # the first write there will report why
    if names and FORMAT not in names:  # otherwise somebody has just made one
        raise InvalidInput(
            f"{shown(place)} has other files in it and is no ama store, so none is made there",
            hint=f"{elsewhere}{shown(place / 'ama-store')}",
        )


def _is_own(storage: Storage, settings: Settings) -> bool:
    return isinstance(storage, LocalStorage) and storage.url == settings.default_store


class Unmade:
    """The storage of a store that isn't made yet: the first write into it makes the store.

    So a publication that is refused before it sends anything leaves nothing behind.

    Args:
        inner: The storage that does the work.
        format_bytes: The new store's format.json.
        made: A function called once the store is made.
        own: Whether it is the store on this machine, whose place nobody has chosen.
    """

    def __init__(
        self, inner: Storage, format_bytes: bytes, made: Callable[[], None], *, own: bool = False
    ) -> None:
        self.inner = inner
        self.made = False
        self._format = format_bytes
        self._tell = made
        self._own = own
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Return the other storage's URL."""
        return self.inner.url

    @property
    def can_create(self) -> bool | None:
        """Return the other storage's answer."""
        return self.inner.can_create

    @property
    def across_network(self) -> bool:
        """Return the other storage's answer."""
        return self.inner.across_network

    def read(self, ranges: Sequence[Range]) -> list[bytes | None]:
        """Read a batch of ranges. See `Storage.read`."""
        return self.inner.read(ranges)

    def put(self, name: str, data: Buffer) -> None:
        """Write bytes under a name that their content gives. See `Storage.put`."""
        self.make()
        self.inner.put(name, data)

    def create(self, name: str, data: Buffer) -> None:
        """Write a name that must be absent. See `Storage.create`."""
        self.make()
        self.inner.create(name, data)

    def replace(self, name: str, data: Buffer) -> None:
        """Write a name, whether or not it exists. See `Storage.replace`."""
        self.make()
        self.inner.replace(name, data)

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """Return the size of each name in bytes. See `Storage.sizes`."""
        return self.inner.sizes(names)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Return the names that begin with `prefix`. See `Storage.list`."""
        return self.inner.list(prefix)

    def delete(self, name: str) -> None:
        """Delete a name. See `Storage.delete`."""
        self.inner.delete(name)

    def cancel(self) -> None:
        """Fail at once the requests that threads wait for. See `Storage.cancel`."""
        self.inner.cancel()

    def is_overtaken(self) -> bool:
        """Whether somebody else has made the store meanwhile: this one will never be made."""
        return not self.made and self.inner.read([Range(FORMAT)]) not in ([None], [self._format])

    def make(self) -> None:
        """Make the store now, unless that was done.

        Raises:
            Conflict: Somebody else has made one.
            StorageError: None can be made there.
        """
        with self._lock:
            if self.made:
                return
            try:
                require_fit(self.inner)
                self.inner.create(FORMAT, self._format)
            except StorageError as error:
                if self._own and error.errno in _CLOSED:
                    raise StorageError(error.message, hint=_ELSEWHERE, errno=error.errno) from error
                raise
            except AlreadyExists:
                # It may be our own, whose answer was lost.
                if self.inner.read([Range(FORMAT)]) != [self._format]:
                    raise Conflict(
                        f"somebody else has made the store at {self.url} meanwhile",
                        hint="run the same command again",
                    ) from None
            self._tell()
            self.made = True
