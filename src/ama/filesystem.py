"""`ama://`: assets as a file system of fsspec, to read.

Pandas, Dask, pyarrow and others take its URLs:

    ama://CLASS@ALIAS/PATH    ama://CLASS/NUMBER/PATH    ama://ID/PATH

A directory of a class has its assets by their numbers. The store is the configured one, or that of
`storage_options={"store": URL}`, or of a chained URL: `ama://models@best/model.h5::s3://bucket/ama`.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from posixpath import dirname, join, normpath
from typing import Any, BinaryIO, NoReturn

from fsspec import AbstractFileSystem

from ama.asset import Asset
from ama.errors import Hint, InvalidInput, NotFound, StorageError, shown
from ama.operations.masking import is_secret_name
from ama.settings import Settings
from ama.storage.urls import parse_url, split_options
from ama.store import Store
from ama.stores.revisions import class_state
from ama.values import Directory, File
from ama.wording.hints import words

REFRESH_S = 60.0
"""The seconds after which an alias is looked up anew: until then, all of it is of one asset."""

MOST_LINKS = 40
"""The symlinks to follow on the way to a file, as Linux does."""

_FSSPEC = frozenset(
    {
        *("use_listings_cache", "listings_expiry_time", "max_paths", "skip_instance_cache"),
        *("asynchronous", "loop", "batch_size", "auto_mkdir", "add_docs", "add_aliases"),
    }
)
_OPTIONS = "store, target_options and refresh"

_NUMBER = re.compile(r"[0-9]+(~[0-9]*)?").fullmatch
_ID = re.compile(r"[0-9a-f]{7,64}(~[0-9]*)?").fullmatch

Info = dict[str, Any]


class AmaFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """The assets of a store, to read; see fsspec's documentation for its methods.

    `info` of a file has its BLAKE3 as "blake3", which is also its `ukey`. An alias is looked up
    anew after a minute, or after `invalidate_cache`.

    Args:
        store: The store's URL, or a `Store`; by default the configured one.
        fo: The rest of a chained URL.
        target_protocol: The protocol of that.
        target_options: The options of the storage's client; never a credential.
        refresh: The seconds after which an alias is looked up anew.
        storage_options: See fsspec.

    Raises:
        InvalidInput: The URL or an option of the store is or holds a credential, or there is no
            such option.

    Example:
        >>> import fsspec
        >>> import ama
        >>> store = ama.Store.open("store")
        >>> with fsspec.open("ama://models@best/model.txt", store=store) as file:
        ...     file.read()
        b'weights'
        >>> files = fsspec.filesystem("ama", store=store)
        >>> files.ls("models", detail=False), files.ls("models/1", detail=False)
        (['models/1'], ['models/1/model.txt'])
    """

    protocol = "ama"
    root_marker = ""

    def __init__(
        self,
        store: str | os.PathLike[str] | Store | None = None,
        fo: str | None = None,
        target_protocol: str | None = None,
        target_options: Mapping[str, Any] | None = None,
        refresh: float = REFRESH_S,
        **storage_options: Any,
    ) -> None:
        super().__init__(**storage_options)
        # At once: what fsspec is given travels with a pickle, used or not.
        for name, value in storage_options.items():
            if is_secret_name(name, str(value)):
                raise InvalidInput(
                    f"option {shown(name)} of ama:// is a credential, and would travel with it",
                    hint="let the storage's client find it: in the environment, or its own files",
                )
            # Another store would be read in place of the one that was meant.
            if name not in _FSSPEC:
                raise InvalidInput(f"ama:// has no option {shown(name)}, but {_OPTIONS}")
        self._given = store
        self._options = target_options or None
        if fo is not None:
            self._given = fo if target_protocol == "file" else f"{target_protocol}://{fo}"
        if isinstance(self._given, str) and "://" in self._given:
            parse_url(self._given, split_options(self._options or {})[0])
        self._refresh = refresh
        self._assets: dict[str, tuple[Asset, float]] = {}
        self._opened: tuple[str, Store] | None = None

    @property
    def store(self) -> Store:
        """Return the store, opened once for each place: where a relative path leads, and which
        store is configured, may change.
        """
        if isinstance(self._given, Store):
            return self._given
        if self._given is None:
            settings = Settings.load(None)
            return self._opened_at(settings.remote_url(), lambda: Store.default(settings))
        given = os.fspath(self._given)
        return self._opened_at(given, lambda: Store.open(given, options=self._options))

    def _opened_at(self, given: str, opened: Callable[[], Store]) -> Store:
        place = given if "://" in given else os.path.abspath(given)
        if self._opened is None or self._opened[0] != place:
            self._assets.clear()
            self._opened = place, opened()
        return self._opened[1]

    # What is where

    def info(self, path: str, **kwargs: Any) -> Info:
        """Return the name, size, type and BLAKE3 of what is at a path.

        Raises:
            FileNotFoundError: There is nothing.
        """
        path = self._strip_protocol(path)
        with _as_files_have_it(path):
            if not path:
                return _directory("")
            name, inner = _split(path)
            if name is None:
                class_state(self.store.remote.view(), path, self.store.url)
                return _directory(path)
            return self._info(path, asset := self._asset(name), asset.entry(inner))

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        """Return what stands in a directory: the classes, assets of one, or files and directories.

        Raises:
            FileNotFoundError: There is nothing.
        """
        path = self._strip_protocol(path)
        with _as_files_have_it(path):
            found = list(self._listed(path))
        return found if detail else [each["name"] for each in found]

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Return the files below a path; those of an asset come at once."""
        path = self._strip_protocol(path)
        name, inner = _split(path) if path else (None, "")
        if name is None or withdirs or maxdepth is not None:
            return super().find(path, maxdepth, withdirs, detail, **kwargs)
        try:
            asset = self._asset(name)
            files = asset.files(inner)
        except NotFound:
            return {} if detail else []
        top = path.removesuffix(inner).rstrip("/")
        found = {f"{top}/{each.path}": each for each in files}
        return (
            {at: self._info(at, asset, each) for at, each in found.items()}
            if detail
            else list(found)
        )

    def _listed(self, path: str) -> Iterator[Info]:
        if not path:
            yield from (_directory(found.name) for found in self.store.classes())
            return
        name, inner = _split(path)
        if name is None:
            state = class_state(self.store.remote.view(), path, self.store.url)
            live = sorted(n for n, record in state.newest() if record.status != "deleted")
            yield from (_directory(f"{path}/{number}") for number in live)
            return
        asset = self._asset(name)
        if isinstance(found := asset.entry(inner), File):
            yield self._info(path, asset, found)
            return
        for each in asset.entries(inner):
            yield self._info(join(path, each.path.rpartition("/")[2]), asset, each)

    def _info(self, path: str, asset: Asset, found: File | Directory) -> Info:
        if isinstance(found, File) and found.kind == "symlink":
            return self._link_info(path, asset, found)
        if isinstance(found, Directory):
            return _directory(path, found.size)
        info = {"name": path, "size": found.size, "type": "file", "blake3": found.id}
        return info | ({"mode": 0o755} if found.kind == "executable" else {})

    def _link_info(self, path: str, asset: Asset, link: File) -> Info:
        """Return what is behind a symlink, as other file systems do."""
        try:
            found = _behind(asset, link)
        except (NotFound, OSError):
            return {"name": path, "size": link.size, "type": "other", "islink": True}
        return self._info(path, asset, found) | {"islink": True}

    def _asset(self, name: str) -> Asset:
        """Return an asset by its name; what a name means is looked up now and then."""
        store = self.store
        known = self._assets.get(name)
        if known is None or time.monotonic() - known[1] > self._refresh:
            known = self._assets[name] = store.resolve(name), time.monotonic()
        return known[0]

    def _file(self, path: str) -> tuple[Asset, File]:
        """Return the file at a path, behind symlinks, and its asset.

        Raises:
            FileNotFoundError, IsADirectoryError: There is none.
        """
        with _as_files_have_it(path):
            name, inner = _split(path) if path else (None, "")
            if name is None:
                self.info(path)
                raise _is_a_directory(path)
            asset = self._asset(name)
            found = _behind(asset, asset.entry(inner))
            if isinstance(found, Directory):
                raise _is_a_directory(path)
            return asset, found

    # Content

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> BinaryIO:
        if mode != "rb":
            self._refuse(path)
        asset, found = self._file(path)
        return asset.open(found.path)

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        """Return the bytes of a file, or of a part of it."""
        asset, found = self._file(self._strip_protocol(path))
        if start is None and end is None:
            return asset.read(found.path)
        first, last, _ = slice(start, end).indices(found.size)
        with asset.open(found.path) as file:
            file.seek(first)
            return file.read(max(last - first, 0))

    def ukey(self, path: str) -> str:
        """Return the BLAKE3 of a file, in hex."""
        return self._file(self._strip_protocol(path))[1].id

    def checksum(self, path: str) -> int:
        """Return a number that tells a file's content from others: the beginning of its BLAKE3."""
        return int(self.ukey(path)[:16], 16)

    def created(self, path: str) -> Any:
        """Return when the asset was made, in UTC."""
        return self._made(path)

    def modified(self, path: str) -> Any:
        """Return when the asset was made, in UTC."""
        return self._made(path)

    def _made(self, path: str) -> Any:
        path = self._strip_protocol(path)
        with _as_files_have_it(path):
            name, inner = _split(path) if path else (None, "")
            if name is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            asset = self._asset(name)
            asset.entry(inner)
            return asset.info.created_at

    def invalidate_cache(self, path: str | None = None) -> None:
        """Look up every alias anew."""
        self._assets.clear()
        super().invalidate_cache(path)

    # What changes something

    def _refuse(self, path: object) -> NoReturn:
        raise StorageError(
            f"ama://{path}: assets are never changed; ama.publish('CLASS', FILES) makes a new one",
            hint=Hint("publish-it"),
            errno=errno.EROFS,
        )

    def mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        """Refuse: assets are published."""
        self._refuse(path)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Refuse: assets are published."""
        self._refuse(path)

    def rmdir(self, path: str) -> None:
        """Refuse: assets are deprecated or deleted by ama."""
        self._refuse(path)

    def _rm(self, path: str) -> None:
        self._refuse(path)

    def rm_file(self, path: str) -> None:
        """Refuse: assets are deprecated or deleted by ama."""
        self._refuse(path)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Refuse: assets are deprecated or deleted by ama."""
        self._refuse(path)

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        """Refuse: assets are published."""
        self._refuse(path2)

    def mv(self, path1: str, path2: str, **kwargs: Any) -> None:
        """Refuse: assets are published."""
        self._refuse(path2)

    def touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        """Refuse: assets are published."""
        self._refuse(path)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        """Refuse: assets are published."""
        self._refuse(path)

    def put_file(self, lpath: str, rpath: str, **kwargs: Any) -> None:
        """Refuse: assets are published."""
        self._refuse(rpath)


def _is_a_directory(path: str) -> IsADirectoryError:
    said = f"{os.strerror(errno.EISDIR)}: name a file in it"
    return IsADirectoryError(errno.EISDIR, said, f"ama://{path}")


def _split(path: str) -> tuple[str | None, str]:
    """Split a path into an asset's name and the path in it; the name is None for a class.

    Example:
        >>> _split("models@best/a/b"), _split("models/7/a"), _split("models")
        (('models@best', 'a/b'), ('models/7', 'a'), (None, ''))
    """
    first, _, rest = path.partition("/")
    if "@" in first or "~" in first or _ID(first):
        return first, rest
    number, _, inner = rest.partition("/")
    if _NUMBER(number):
        return f"{first}/{number}", inner
    if rest:
        raise NotFound(
            f"{first}/{number} is no asset: a number or an alias is missing",
            hint=f"write ama://{first}@ALIAS/{rest} or ama://{first}/NUMBER/{rest}",
        )
    return None, ""


def _behind(asset: Asset, found: File | Directory) -> File | Directory:
    """Return what is behind a symlink, or behind several in a row.

    Raises:
        NotFound: There is nothing.
        OSError: They lead in a circle.
    """
    for _ in range(MOST_LINKS):
        if isinstance(found, Directory) or found.kind != "symlink":
            return found
        target = asset.read(found.path).decode("utf-8", "surrogatepass")
        inner = normpath(join(dirname(found.path), target))
        found = asset.entry("" if inner == "." else inner)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), found.path)


def _directory(path: str, size: int = 0) -> Info:
    return {"name": path, "size": size, "type": "directory"}


@contextmanager
def _as_files_have_it(path: str) -> Iterator[None]:
    """Turn what is not there into the error that other file systems raise."""
    try:
        yield
    except (NotFound, InvalidInput) as error:
        # The programs that read show this text alone: what would help is a part of it.
        said = ": ".join(filter(None, (error.message, words(error.hints))))
        raise FileNotFoundError(errno.ENOENT, said, f"ama://{path}") from error
