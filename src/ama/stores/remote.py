"""A store as seen from this machine: its format, its log and its objects, with what is cached."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ama.errors import (
    UPGRADE,
    AlreadyExists,
    AmaError,
    FormatError,
    Hint,
    IntegrityError,
    NotFound,
    StorageError,
    shown,
)
from ama.format.entries import Entry, Publish, entry_hash, entry_name
from ama.format.hashing import asset_id, blob_id, short
from ama.format.objects import Asset, decode_asset
from ama.format.packindex import PackIndex
from ama.format.state import AssetRecord
from ama.storage.protocol import Range, Storage
from ama.stores.cache import Cache
from ama.stores.log_files import HINT, read_readable
from ama.stores.log_reader import way_back
from ama.stores.log_view import LogView
from ama.stores.log_writer import Log
from ama.stores.object_reader import ObjectStore, index_name

FORMAT = "format.json"
MAGIC = "ama store"
VERSION = 1
MAX_FORMAT = 64 * 1024
REPAIR = Hint("repair")
MAKE_AGAIN = Hint("repair-index")

_ID = re.compile("[0-9a-f]{32}").fullmatch


@dataclass(frozen=True, slots=True)
class StoreFormat:
    """What a store's format.json says: its version, its random id, and features at creation."""

    id: str
    version: int = VERSION
    read_features: tuple[str, ...] = ()
    write_features: tuple[str, ...] = ()


def encode_format(store: StoreFormat) -> bytes:
    """Return the bytes of a format.json.

    Example:
        >>> decode_format(encode_format(StoreFormat("0" * 32)), "example").version
        1
    """
    fields = {
        "magic": MAGIC,
        "version": store.version,
        "id": store.id,
        "features": {"read": list(store.read_features), "write": list(store.write_features)},
    }
    return json.dumps(fields, indent=2).encode() + b"\n"


def decode_format(data: bytes, url: str) -> StoreFormat:
    """Return what a format.json says.

    Raises:
        IntegrityError: It is damaged.
        FormatError: The store is of a newer format, or needs features that aren't known.
    """
    try:
        if len(data) > MAX_FORMAT:
            raise ValueError(f"larger than {MAX_FORMAT} bytes")
        fields: dict[str, Any] = json.loads(data)
        if fields["magic"] != MAGIC or type(fields["version"]) is not int or fields["version"] < 1:
            raise ValueError("not a store's")
        if fields["version"] > VERSION:
            raise FormatError(
                f"{url} is a store of format {fields['version']}, and this version of ama knows"
                f" formats up to {VERSION}",
                hint=UPGRADE,
            )
        if not _ID(fields["id"]):
            raise ValueError("its id is not 32 hex digits")
        features = fields["features"]
        read, write = _texts(features["read"]), _texts(features["write"])
        store = StoreFormat(fields["id"], fields["version"], read, write)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(
            f"{FORMAT} of {url} is damaged: {error}", hint=way_back(url, known=False)
        ) from error
    if store.read_features:
        raise FormatError(
            f"{url} has features that this version of ama does not know:"
            f" {', '.join(store.read_features)}",
            hint=UPGRADE,
        )
    return store


def _texts(values: Any) -> tuple[str, ...]:
    if type(values) is not list or any(type(value) is not str for value in values):
        raise ValueError("a list of features is none")
    return tuple(values)


class Remote:
    """An open store.

    Args:
        storage: Where it is.
        store: What its format.json says.
        format_bytes: That file's bytes, which the log's first entry hangs on.
        cache: What this machine remembers of it.
        hint: HINT's bytes, where they were read along.
    """

    def __init__(
        self,
        storage: Storage,
        store: StoreFormat,
        format_bytes: bytes,
        cache: Cache,
        hint: bytes | None = None,
    ) -> None:
        self.storage = storage
        self.format = store
        self.cache = cache
        self.log = Log(
            storage,
            entry_hash(format_bytes),
            cache,
            read_features=store.read_features,
            write_features=store.write_features,
        )
        self._hint = hint
        self._indexes: dict[bytes, PackIndex] = {}

    @classmethod
    def of(
        cls,
        storage: Storage,
        format_bytes: bytes,
        cache_dir: Path | None,
        hint: bytes | None = None,
    ) -> Remote:
        """Return the store of which format.json's bytes are known, without asking for it.

        Raises:
            IntegrityError, FormatError: They can't be read.
        """
        store = decode_format(format_bytes, storage.url)
        cache = Cache.of_store(cache_dir, store.id, storage.url)
        return cls(storage, store, format_bytes, cache, hint)

    @classmethod
    def open(cls, storage: Storage, cache_dir: Path | None) -> Remote:
        """Open the store in a storage.

        Raises:
            NotFound: There is none.
            StorageError: It can't be reached, or this machine has seen one there that is gone.
            IntegrityError, FormatError: There is one that can't be read.
        """
        seen = _seen(storage, cache_dir)  # before it is asked: another process may be making it
        format_bytes, hint = read_readable(storage, [FORMAT, HINT])
        if format_bytes is None:
            if hint is not None or storage.sizes([entry_name(1)]) != [None]:
                raise IntegrityError(
                    f"{FORMAT} of {storage.url} is missing, but its log is there",
                    hint=way_back(storage.url, known=seen is not None),
                )
            from ama.storage.check import require_bucket

            require_bucket(storage)
            if seen is not None:
                raise gone(storage.url)
            raise _no_store(storage)
        try:
            remote = cls.of(storage, format_bytes, cache_dir, hint or b"")
        except IntegrityError as error:
            known = way_back(storage.url, known=seen is not None)
            raise IntegrityError(error.message, hint=known) from error
        if seen != format_bytes:
            cls.remember(storage, cache_dir, format_bytes)
        return remote

    @classmethod
    def remembered(cls, storage: Storage, cache_dir: Path | None) -> Remote | None:
        """Return the store that this machine saw last in a storage, as it was, without asking."""
        format_bytes = _seen(storage, cache_dir)
        if format_bytes is None:
            return None
        try:
            return _AsSeen.of(storage, format_bytes, cache_dir)
        except (IntegrityError, FormatError):
            return None

    @staticmethod
    def seen(storage: Storage, cache_dir: Path | None) -> bytes | None:
        """Return the format.json that this machine saw last in a storage; None if it saw none."""
        return _seen(storage, cache_dir)

    @staticmethod
    def remember(storage: Storage, cache_dir: Path | None, format_bytes: bytes) -> None:
        """Note which store this machine has seen in a storage."""
        Cache.of_urls(cache_dir).put(_url_file(storage.url), format_bytes)

    @staticmethod
    def forget(storage: Storage, cache_dir: Path | None) -> None:
        """Forget that this machine has seen a store in a storage."""
        Cache.of_urls(cache_dir).drop(_url_file(storage.url))

    @classmethod
    def create(cls, storage: Storage, cache_dir: Path | None) -> tuple[Remote, bool]:
        """Open the store in a storage, made first where there is none.

        Returns:
            The store, and whether this call made it.
        """
        try:
            return cls.open(storage, cache_dir), False
        except NotFound:
            pass
        require_fit(storage)
        try:
            storage.create(FORMAT, encode_format(StoreFormat(os.urandom(16).hex())))
            created = True
        except AlreadyExists:
            created = False
        return cls.open(storage, cache_dir), created

    @property
    def url(self) -> str:
        """Where the store is."""
        return self.storage.url

    def view(self) -> LogView:
        """Return the log as it is now."""
        hint, self._hint = self._hint, None
        return self.log.view(hint)

    def glance(self) -> LogView:
        """Return the log as it is now, for who only reads: one round trip if nothing happened.

        Who decides something asks for `view`, see `LogReader.confirmed_view`.
        """
        hint, self._hint = self._hint, None
        return self.log.confirmed_view(hint) or self.log.view(hint)

    def as_of(self, view: LogView) -> Remote:
        """Return this store as a log says that it is, which isn't asked for again."""
        return _AsOf(self, view)

    def record(self, view: LogView, class_name: str, asset: bytes) -> AssetRecord | None:
        """Return what the log says of an asset, or None if it isn't published here."""
        state = view.class_state(class_name)
        return next((record for record in state.assets if record.id == asset), None)

    def indexes(
        self, ids: Iterable[bytes], damage: list[AmaError] | None = None
    ) -> list[PackIndex]:
        """Return indexes by id: from the cache, the others in one batch.

        Args:
            ids: The indexes.
            damage: Takes the errors about those that are lost or damaged, which are left out.

        Raises:
            IntegrityError: One is lost or damaged, and no `damage` was given.
        """
        wanted = list(dict.fromkeys(ids))
        missing = []
        for index in wanted:
            if index not in self._indexes:
                data = self.cache.get(index_name(index))
                if data is None or not self._keep(index, data, required=False):
                    missing.append(index)
        ranges = [Range(index_name(index)) for index in missing]
        answers = self.storage.read(ranges) if ranges else []
        for index, data in zip(missing, answers, strict=True):
            try:
                if data is None:
                    raise IntegrityError(
                        f"{index_name(index)} of {self.url} is missing", hint=MAKE_AGAIN
                    )
                self._keep(index, data, required=True)
                self.cache.put(index_name(index), data)
            except (IntegrityError, FormatError) as error:
                if damage is None:
                    raise
                damage.append(error)
        return [self._indexes[index] for index in wanted if index in self._indexes]

    def _keep(self, index: bytes, data: bytes, *, required: bool) -> bool:
        name = index_name(index)
        try:
            # Its id first: what a damaged one says of its version means nothing.
            if blob_id(data) != index:
                raise IntegrityError(
                    f"{name} of {self.url} is damaged: its bytes have another hash",
                    hint=MAKE_AGAIN,
                )
            self._indexes[index] = PackIndex(data, f"{name} of {self.url}")
        except (IntegrityError, FormatError):
            if required:
                raise
            return False
        return True

    def current(self, view: LogView) -> ObjectStore:
        """Return all objects that the store's current indexes name.

        A damaged index, or a damaged log, is an error only for who asks for what is not found.
        """
        damage = [] if view.damage is None else [view.damage]
        indexes = self.indexes(view.root.indexes, damage)
        return ObjectStore(self.storage, indexes, damage[0] if damage else None, hint=REPAIR)

    def publish_event(self, view: LogView, class_name: str, record: AssetRecord) -> Publish:
        """Return the event that published an asset."""
        entry: Entry = view.entry(record.entry) or self.log.read_entry(record.entry)
        for event in entry.events:
            if isinstance(event, Publish) and event.asset == record.id:
                return event
        raise IntegrityError(
            f"log entry {record.entry} of {self.url} does not publish {short(record.id)} in"
            f" {class_name}, though the log's checkpoint says so",
            hint=Hint("fsck"),
        )

    def objects_of(self, view: LogView, class_name: str, record: AssetRecord) -> ObjectStore:
        """Return the objects that the indexes of one published asset name.

        Its needs are enough. What else its entry added may be for others, and gone. Only if
        something is damaged or lost, it is looked for in all other current indexes too: somebody
        may have sent it again.
        """
        event = self.publish_event(view, class_name, record)
        damage: list[AmaError] = []
        indexes = self.indexes(view.root.current(event.needs), damage)
        others = cache(lambda: self.indexes(view.root.indexes, []))
        found = damage[0] if damage else None
        return ObjectStore(self.storage, indexes, found, others, REPAIR)

    def assets(self, view: LogView, wanted: Sequence[tuple[str, bytes]]) -> dict[bytes, Asset]:
        """Return the asset objects of some assets, given as (class, id), in few requests.

        They are remembered, so that listing a class again asks for the new ones only.

        Raises:
            NotFound: The store doesn't have one of them.
            IntegrityError: One of them is damaged.
        """
        found: dict[bytes, Asset] = {}
        missing = []
        for _, asset in dict.fromkeys(wanted):
            data = self.cache.get(_asset_file(asset))
            if data is not None and asset_id(data) == asset:
                found[asset] = decode_asset(data, f"asset {short(asset)}")
            else:
                missing.append(asset)
        if missing:
            objects = self.current(view)
            for asset, data in objects.read_records(missing):
                if asset_id(data) != asset:
                    raise IntegrityError(f"asset {short(asset)} of {self.url} is of another kind")
                found[asset] = decode_asset(data, f"asset {short(asset)}")
                self.cache.put(_asset_file(asset), data)
        return found

    def remembered_assets(
        self, view: LogView, class_name: str, limit: int
    ) -> Iterator[tuple[bytes, Asset]]:
        """Yield what this machine remembers of a class's assets, newest first, without a request.

        Args:
            view: The log.
            class_name: The class.
            limit: How many are looked up at most.
        """
        for record in view.class_state(class_name).assets[: -limit - 1 : -1]:
            data = self.cache.get(_asset_file(record.id))
            if data is not None and asset_id(data) == record.id:
                yield record.id, decode_asset(data, f"asset {short(record.id)}")

    def remember_indexes(self, indexes: Iterable[PackIndex]) -> None:
        """Keep indexes that were written, so that they aren't read."""
        for index in indexes:
            self._indexes[index.id] = index
            self.cache.put(index_name(index.id), index.data)

    def remember_asset(self, asset: bytes, data: bytes) -> None:
        """Keep an asset object that was read or written, for the next listing."""
        self.cache.put(_asset_file(asset), data)


class _AsOf(Remote):
    """A store as one view of its log has it; what is cached of it is the other's."""

    def __init__(self, remote: Remote, view: LogView) -> None:
        self.__dict__.update(remote.__dict__)
        self._seen = view

    def view(self) -> LogView:
        """Return the view."""
        return self._seen

    def glance(self) -> LogView:
        """Return the view."""
        return self._seen


class _AsSeen(Remote):
    """A store as this machine saw it last: its log is not asked for."""

    def view(self) -> LogView:
        """Return the log as it was seen last."""
        view = self.log.cached_view()
        if view is None:
            raise StorageError(f"nothing was seen of {self.url} yet")
        return view


def _no_store(storage: Storage) -> NotFound:
    if storage.can_create is False:
        return NotFound(
            f"there is no ama store at {shown(storage.url)}",
            hint=Hint("check-url"),
        )
    return NotFound(
        f"there is no ama store at {shown(storage.url)}: nothing was uploaded there yet",
        hint=Hint("no-store-yet"),
    )


def gone(url: str) -> StorageError:
    """Say that a store that was seen is there no more: its disk may be away, and come back."""
    return StorageError(
        f"the store at {shown(url)} is gone: one was seen there before"
        + ("" if "://" in url else " (is its disk mounted?)"),
        hint=(Hint("bring-store-back"), Hint("new-store")),
        errno=errno.ENOENT,
    )


def _seen(storage: Storage, cache_dir: Path | None) -> bytes | None:
    """Return the format.json that this machine saw last in a storage.

    What is in the memory of a process ends with it, so there another's is nothing to miss.
    """
    if storage.url.startswith("memory://"):
        return None
    return Cache.of_urls(cache_dir).get(_url_file(storage.url))


def require_fit(storage: Storage) -> None:
    """Refuse a storage in which no store may be made.

    Raises:
        IntegrityError: There is the log of a store that has lost its format.json.
        StorageError: Several writers can create the same file there, or it can't be written to.
    """
    from ama.storage.check import require_races_with_one_winner

    # In this order: who makes a store at the same time writes its log after its format.
    if any(True for _ in storage.list("log/")) and storage.sizes([FORMAT]) == [None]:
        raise IntegrityError(
            f"{FORMAT} of {storage.url} is missing, but its log is there",
            hint=way_back(storage.url, known=False),
        )
    require_races_with_one_winner(storage)


def _url_file(url: str) -> str:
    return entry_hash(url.encode()).hex()


def _asset_file(asset: bytes) -> str:
    return f"asset/{asset.hex()}"
