"""A store as seen from this machine: its format, its log and its objects, with their cache."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
from ama.format.hashing import asset_id, short
from ama.format.objects import Asset, decode_asset
from ama.format.packindex import PackIndex
from ama.format.state import AssetRecord
from ama.storage.local import LocalStorage
from ama.storage.outside import Outside, Reach
from ama.storage.protocol import Storage
from ama.stores.cache import Cache
from ama.stores.indexes import FEW, Indexes
from ama.stores.log_errors import FEATURES, check_features, way_back
from ama.stores.log_files import HINT, read_readable
from ama.stores.log_view import LogView, When
from ama.stores.log_writer import Log
from ama.stores.object_reader import ObjectStore
from ama.stores.references import References
from ama.system.encoding import to_system

FORMAT = "format.json"
MAGIC = "ama store"
VERSION = 1
MAX_FORMAT = 64 * 1024
REPAIR = Hint("repair")

NOWHERE = Reach()
"""Files of this machine and buckets alone, with nothing configured."""

_ID = re.compile("[0-9a-f]{32}").fullmatch


@dataclass(frozen=True, slots=True)
class StoreFormat:
    """The content of a store's format.json: its version, its random id, and its first features."""

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
    """Decode a format.json.

    Raises:
        IntegrityError: It is damaged.
        FormatError: The store has a newer format, or needs unknown features.
    """
    try:
        if len(data) > MAX_FORMAT:
            raise ValueError(f"it is larger than {MAX_FORMAT} bytes")
        fields: dict[str, Any] = json.loads(data)
        if fields["magic"] != MAGIC or type(fields["version"]) is not int or fields["version"] < 1:
            raise ValueError("it is not a store's")
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
        # Python's own words for a bad document say nothing to a user.
        why = str(error) if type(error) is ValueError else "it is not a store's"
        raise IntegrityError(
            f"{FORMAT} of {url} is damaged: {why}", hint=way_back(url, known=False)
        ) from error
    check_features(store.read_features, f"{FORMAT} of {url}", "read")
    return store


def new_format() -> StoreFormat:
    """Return the content of a new store's format.json."""
    read, write = FEATURES[-1]
    return StoreFormat(os.urandom(16).hex(), read_features=read, write_features=write)


def formats_of(store_id: str) -> Iterator[bytes]:
    """Yield what a format.json with an id may be: one for each version of ama that makes others.

    Example:
        >>> [decode_format(data, "example").id for data in formats_of("0" * 32)] == ["0" * 32] * 4
        True
    """
    for read, write in FEATURES:
        yield encode_format(StoreFormat(store_id, read_features=read, write_features=write))


def _texts(values: Any) -> tuple[str, ...]:
    if type(values) is not list or any(type(value) is not str for value in values):
        raise ValueError("a list of features is none")
    return tuple(values)


class Remote:
    """An open store.

    Args:
        storage: The store's storage.
        store: The content of its format.json.
        format_bytes: The bytes of that file, which the log's first entry depends on.
        cache: The cache of the store on this machine.
        hint: HINT's bytes, if they were read with it.
        reach: What its references may lead to.
    """

    def __init__(
        self,
        storage: Storage,
        store: StoreFormat,
        format_bytes: bytes,
        cache: Cache,
        hint: bytes | None = None,
        reach: Reach = NOWHERE,
    ) -> None:
        self.storage = storage
        self.references = References(Outside(reach, storage.url))
        self.format = store
        self.format_bytes = format_bytes
        self.cache = cache
        self.log = Log(
            storage,
            entry_hash(format_bytes),
            cache,
            read_features=store.read_features,
            write_features=store.write_features,
        )
        self._hint = hint
        self._indexes = Indexes(storage, cache)

    @classmethod
    def of(
        cls,
        storage: Storage,
        format_bytes: bytes,
        cache_dir: Path | None,
        hint: bytes | None = None,
        reach: Reach = NOWHERE,
    ) -> Remote:
        """Return the store with a known format.json, without asking for it.

        Raises:
            IntegrityError, FormatError: They can't be read.
        """
        store = decode_format(format_bytes, storage.url)
        cache = Cache.of_store(cache_dir, store.id, storage.url)
        return cls(storage, store, format_bytes, cache, hint, reach)

    @classmethod
    def open(cls, storage: Storage, cache_dir: Path | None, reach: Reach = NOWHERE) -> Remote:
        """Open the store in a storage.

        Raises:
            NotFound: There is no store.
            StorageError: It can't be reached, or this machine has seen one there that is gone.
            IntegrityError, FormatError: The store can't be read.
        """
        seen = _seen(storage, cache_dir)  # before asking: another process may be making it
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
            remote = cls.of(storage, format_bytes, cache_dir, hint or b"", reach)
        except IntegrityError as error:
            known = way_back(storage.url, known=seen is not None)
            raise IntegrityError(error.message, hint=known) from error
        if seen != format_bytes:
            cls.remember(storage, cache_dir, format_bytes)
        return remote

    @classmethod
    def last_seen(
        cls, storage: Storage, cache_dir: Path | None, reach: Reach = NOWHERE
    ) -> Remote | None:
        """Return the store in a storage as this machine saw it last, without asking for it.

        None where it saw none, or nothing of its log.
        """
        format_bytes = _seen(storage, cache_dir)
        if format_bytes is None:
            return None
        try:
            remote = cls.of(storage, format_bytes, cache_dir, reach=reach)
        except (IntegrityError, FormatError):
            return None
        view = remote.log.view(When.LAST_SEEN)
        return None if view is None else remote.at(view)

    @staticmethod
    def seen(storage: Storage, cache_dir: Path | None) -> bytes | None:
        """Return the format.json that this machine last saw in a storage; None if it saw none."""
        return _seen(storage, cache_dir)

    @staticmethod
    def remember(storage: Storage, cache_dir: Path | None, format_bytes: bytes) -> None:
        """Note the store that this machine has seen in a storage."""
        Cache.of_urls(cache_dir).put(_url_file(storage.url), format_bytes)

    @staticmethod
    def forget(storage: Storage, cache_dir: Path | None) -> None:
        """Forget that this machine has seen a store in a storage."""
        Cache.of_urls(cache_dir).drop(_url_file(storage.url))

    @classmethod
    def create(
        cls, storage: Storage, cache_dir: Path | None, reach: Reach = NOWHERE
    ) -> tuple[Remote, bool]:
        """Open the store in a storage; make it first if there is none.

        Returns:
            The store, and whether this call made it.
        """
        try:
            return cls.open(storage, cache_dir, reach), False
        except NotFound:
            pass
        require_fit(storage)
        try:
            storage.create(FORMAT, encode_format(new_format()))
            created = True
        except AlreadyExists:
            created = False
        return cls.open(storage, cache_dir, reach), created

    @property
    def url(self) -> str:
        """Return the store's URL."""
        return self.storage.url

    def view(self, *, only_reading: bool = False) -> LogView:
        """Return the log as it is now.

        Args:
            only_reading: Whether nothing is decided by it: one round trip then if nothing
                happened. See `LogReader.view`.
        """
        hint, self._hint = self._hint, None
        return self.log.view(hint=hint, only_reading=only_reading)

    def at(self, view: LogView) -> Remote:
        """Return this store as a view of its log shows it; its `view` doesn't ask again."""
        return _At(self, view)

    def record(self, view: LogView, class_name: str, asset: bytes) -> AssetRecord | None:
        """Return an asset's record in the log, or None if it isn't published here."""
        return view.class_state(class_name).find(asset)

    def indexes(
        self, ids: Iterable[bytes], damage: list[AmaError] | None = None
    ) -> list[PackIndex]:
        """Return indexes by id: from the cache, the others in few batches.

        Args:
            ids: The indexes.
            damage: A list for the errors of lost or damaged indexes, which are left out.

        Raises:
            IntegrityError: One is lost or damaged, and there is no `damage`.
        """
        return self._indexes.whole(ids, damage)

    def index_parts(self, ids: Iterable[bytes], damage: list[AmaError]) -> list[PackIndex]:
        """Return indexes by id for few questions: long ones are not verified; see `Indexes`.

        Args:
            ids: The indexes.
            damage: A list for the errors of lost or damaged indexes, which are left out.
        """
        return self._indexes.parts(ids, damage)

    def unknown_indexes(self, ids: Iterable[bytes]) -> int:
        """Return how many of some indexes this machine does not have."""
        return self._indexes.unknown(ids)

    def current(self, view: LogView) -> ObjectStore:
        """Return all objects in the store's current indexes.

        A damaged index or log is an error only for a caller that finds something missing.
        """
        damage = [] if view.damage is None else [view.damage]
        indexes = self.indexes(view.root.indexes, damage)
        found = damage[0] if damage else None
        return self.objects(indexes, found, hint=REPAIR)

    def objects(
        self, indexes: Iterable[PackIndex], damage: AmaError | None = None, **options: Any
    ) -> ObjectStore:
        """Return the objects in some of its indexes; for `options` see `ObjectStore`."""
        return ObjectStore(self.storage, indexes, damage, references=self.references, **options)

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

    def needs(self, view: LogView, class_name: str, record: AssetRecord) -> tuple[bytes, ...]:
        """Return the current indexes that together name all of an asset's content.

        Raises:
            IntegrityError: The entry that published it can't be read, and no checkpoint says it.
        """
        needs = record.needs
        if needs is None:
            needs = self.publish_event(view, class_name, record).needs
        return view.root.current(needs)

    def objects_of(
        self, view: LogView, class_name: str, record: AssetRecord, *, whole: bool = True
    ) -> ObjectStore:
        """Return the objects in the indexes of one published asset.

        Its needs suffice. Other indexes of its entry may serve other assets, and be gone. Only if
        something is damaged or lost, all other current indexes are searched too: somebody may have
        sent it again.

        Args:
            view: The log.
            class_name: The asset's class.
            record: The asset's record in the log.
            whole: Whether most objects are wanted. If not, long indexes are read in parts.
        """
        return self.objects_in(view, self.needs(view, class_name, record), whole=whole)

    def objects_in(
        self, view: LogView, needs: Iterable[bytes], *, whole: bool = True
    ) -> ObjectStore:
        """Return the objects in some current indexes, as `objects_of` an asset.

        Args:
            view: The log.
            needs: The indexes.
            whole: Whether most objects are wanted. If not, long indexes are read in parts.
        """
        damage: list[AmaError] = []
        indexes = (
            self._indexes.whole(needs, damage) if whole else self._indexes.parts(needs, damage)
        )
        others = cache(lambda: self.indexes(view.root.indexes, []))
        found = damage[0] if damage else None
        verify = self._indexes.whole
        return self.objects(indexes, found, added=others, hint=REPAIR, verify=verify)

    def assets(self, view: LogView, wanted: Sequence[tuple[str, bytes]]) -> dict[bytes, Asset]:
        """Return some assets' objects, given as (class, id), in few requests.

        They are cached, so that the next listing of a class asks only for new ones.

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
            objects = self._holding(view, {asset: name for name, asset in wanted}, missing)
            for asset, data in objects.read_records(missing):
                if asset_id(data) != asset:
                    raise IntegrityError(f"asset {short(asset)} of {self.url} is of another kind")
                found[asset] = decode_asset(data, f"asset {short(asset)}")
                self.cache.put(_asset_file(asset), data)
        return found

    def _holding(
        self, view: LogView, classes: Mapping[bytes, str], assets: Sequence[bytes]
    ) -> ObjectStore:
        """Return the objects in indexes that name some assets: in those that their entries name,
        unless there are hardly more.
        """
        damage = [] if view.damage is None else [view.damage]
        ids: Collection[bytes] = view.root.indexes
        if len(ids) > max(FEW, 2 * len(assets)):
            ids = self._needed(view, classes, assets) or ids
        return self.objects(
            self._indexes.parts(ids, damage),
            damage[0] if damage else None,
            added=cache(lambda: self.indexes(view.root.indexes, [])),
            hint=REPAIR,
            verify=self._indexes.whole,
        )

    def _needed(
        self, view: LogView, classes: Mapping[bytes, str], assets: Sequence[bytes]
    ) -> tuple[bytes, ...]:
        """Return the indexes that assets need; none if the log doesn't say it of each."""
        states = view.class_states({classes[asset] for asset in assets})
        wanted = set(assets)
        entries = {
            r.id: r.entry for state in states.values() for r in state.assets if r.id in wanted
        }
        if entries.keys() != wanted:
            return ()
        numbers = sorted(set(entries.values()))
        known = [entry for n in numbers if (entry := view.entry(n)) is not None]
        seen = {entry.number for entry in known}
        try:
            known += self.log.read_entries(n for n in numbers if n not in seen)
        except IntegrityError:
            return ()
        events = (event for entry in known for event in entry.events)
        published = [e for e in events if isinstance(e, Publish) and e.asset in wanted]
        return view.root.current(index for event in published for index in event.needs)

    def remembered_assets(
        self, view: LogView, class_name: str, limit: int
    ) -> Iterator[tuple[bytes, Asset]]:
        """Yield the cached assets of a class, newest first, without a request.

        Args:
            view: The log.
            class_name: The class.
            limit: The most assets to look up.
        """
        for record in view.class_state(class_name).assets[: -limit - 1 : -1]:
            known = self.remembered_asset(record.id)
            if known is not None:
                yield record.id, known

    def remembered_asset(self, asset: bytes) -> Asset | None:
        """Return a cached asset, or None."""
        data = self.cache.get(_asset_file(asset))
        if data is None or asset_id(data) != asset:
            return None
        return decode_asset(data, f"asset {short(asset)}")

    def remember_indexes(self, indexes: Iterable[PackIndex]) -> None:
        """Keep written indexes, so that they needn't be read."""
        for index in indexes:
            self._indexes.remember(index)

    def remember_asset(self, asset: bytes, data: bytes) -> None:
        """Keep an asset object, for the next listing."""
        self.cache.put(_asset_file(asset), data)


class _At(Remote):
    """A store as one view of its log shows it; what is cached of it is the other's."""

    def __init__(self, remote: Remote, view: LogView) -> None:
        self.__dict__.update(remote.__dict__)
        self._view = view

    def view(self, *, only_reading: bool = False) -> LogView:
        """Return the view."""
        return self._view


def _no_store(storage: Storage) -> NotFound:
    is_file = isinstance(storage, LocalStorage) and os.path.isfile(to_system(storage.url))
    if storage.can_create is False or is_file:
        return NotFound(
            f"there is no ama store at {shown(storage.url)}" + ": that is a file" * is_file,
            hint=Hint("check-url"),
        )
    return NotFound(
        f"there is no ama store at {shown(storage.url)}: nothing was uploaded there yet",
        hint=Hint("no-store-yet"),
    )


def gone(url: str) -> StorageError:
    """Return the error for a store that was seen and is gone: its disk may come back."""
    return StorageError(
        f"the store at {shown(url)} is gone: one was seen there before"
        + ("" if "://" in url else " (is its disk mounted?)"),
        hint=(Hint("bring-store-back"), Hint("new-store")),
        errno=errno.ENOENT,
    )


def _seen(storage: Storage, cache_dir: Path | None) -> bytes | None:
    """Return the format.json that this machine last saw in a storage.

    A store in a process's memory ends with it, so another process doesn't miss it.
    """
    if storage.url.startswith("memory://"):
        return None
    return Cache.of_urls(cache_dir).get(_url_file(storage.url))


def require_fit(storage: Storage) -> None:
    """Refuse a storage in which no store may be made.

    Raises:
        IntegrityError: It has the log of a store that has lost its format.json.
        StorageError: Several writers can create the same file there, or it can't be written to.
    """
    from ama.storage.check import require_races_with_one_winner

    # In this order: another maker of a store writes its log after its format.
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
