"""Files of an asset in this machine's content cache: fetched once, verified, read-only.

They come as those of a download do: through `Incoming`, which verifies them and takes over what a
dead command has fetched.
"""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ama.errors import Hint, InvalidInput, NoSpace, NotFound, StorageError
from ama.format.canonical import encode
from ama.format.chunking import THRESHOLD
from ama.format.hashing import blob_id
from ama.format.objects import EntryKind, Kind, TreeEntry
from ama.results import LocalCopy
from ama.settings import Settings
from ama.stores.log_view import LogView
from ama.stores.object_reader import ObjectStore
from ama.stores.remote import Remote
from ama.stores.revisions import Describer, require_live
from ama.stores.sources import Sources
from ama.system import fs
from ama.system.disk import read_symlink
from ama.system.encoding import path_text, to_system
from ama.system.progress import Progress
from ama.transfer.deliver import instead_of
from ama.transfer.download import (
    Selection,
    Target,
    chosen_of,
    none_chosen,
    objects_of,
)
from ama.transfer.metadata import keep_what_was_read
from ama.worktree.content_cache import FILLING, CachedAsset, ContentCache, Filling, Turn
from ama.worktree.fetching import Fetching, link_text, one_name
from ama.worktree.incoming import Incoming, delete_all
from ama.worktree.layout import INCOMING, turn
from ama.worktree.listing import Below, Files, Listing, Some, size_of, survey
from ama.worktree.near import Near
from ama.worktree.nearby import near_here
from ama.worktree.reader import stays_inside
from ama.worktree.scan import require_no_git, require_possible
from ama.worktree.status import require_entry
from ama.worktree.trees import A_PART, Listed, look_up

MOST_LINKS = 40
"""The symlinks to follow from a file, as Linux does."""

_TRIES = 5
_FULL = (errno.ENOSPC, errno.EDQUOT)


ALL = Selection()


@dataclass(frozen=True, slots=True)
class Wanted:
    """The files of an asset that are wanted here.

    Attributes:
        selection: Some files of all.
        path: Or one file, or a directory.
    """

    selection: Selection = ALL
    path: str | None = None

    @property
    def choice(self) -> str:
        """Return the name of the directory of these files."""
        if self.path is not None:
            return f"path-{_short(('path', self.path))}"
        if self.selection == ALL:
            return "all"
        return f"some-{_short((self.selection.include, self.selection.exclude))}"


def _short(value: tuple[object, ...]) -> str:
    return blob_id(encode(value)).hex()[:16]


@dataclass(slots=True)
class _Reading:
    """An asset's objects: first those that are in the cache, and which of its trees were read."""

    place: CachedAsset
    open_far: partial[ObjectStore]
    opened: list[ObjectStore] = field(default_factory=list)
    trees: dict[bytes, None] = field(default_factory=dict)
    sources: Sources = field(init=False)

    def __post_init__(self) -> None:
        self.sources = Sources(self.place.objects.store, [self._far])
        self.sources.hold_trees()

    def _far(self) -> ObjectStore:
        self.opened.append(self.open_far())
        return self.opened[-1]

    def tree(self, tree: bytes) -> tuple[TreeEntry, ...]:
        self.trees[tree] = None
        return self.sources.tree(tree)

    def link(self, item: Listed, choice: str) -> bytes:
        """Return what a symlink says, from the cache if it is there."""
        for each in (choice, "all"):
            data = self.place.link(each, item)
            if data is not None:
                return data
        return self.sources.read(item.id, Kind.DATA)

    def keep(self, files: Files) -> None:
        large = (item.id for item in files if item.size >= THRESHOLD)
        keep_what_was_read(self.place.objects, self.sources, self.place.id, self.trees, large)

    @property
    def received(self) -> int:
        return sum(store.bytes_read for store in self.opened)


def fetch(
    settings: Settings,
    remote: Remote,
    view: LogView,
    target: Target,
    wanted: Wanted,
    progress: Progress,
) -> LocalCopy:
    """Return files of an asset in the cache; what isn't there is fetched.

    Raises:
        NotFound: It was deleted, or has no such files.
        StorageError: The cache can't be written, or the store isn't reached and not all is here.
        IntegrityError: Content is damaged.
        InvalidInput: The cache is switched off, or this system can't hold a name.
    """
    cache = ContentCache.of(settings)
    if cache is None:
        raise InvalidInput(
            "the content cache of this machine is switched off",
            hint=(Hint("download-instead", asset=target.name), Hint("switch-cache-on")),
        )
    _require_there(remote, view, target)
    place = cache.asset(target.class_name, target.asset)
    place.mark()  # before anything is looked for: whoever deletes sees that it is in use
    whole = wanted.path is None
    if wanted.path is not None:
        path = posixpath.normpath(path_text("a path", wanted.path).strip("/"))
        wanted = Wanted(path="" if path == "." else path)
    reading = _Reading(place, partial(objects_of, remote, view, target, whole=whole))
    files, inner = _choose(reading, target, wanted)
    top = _ready(place, files, wanted)
    if top is None:
        parents = reading.sources.asset(target.asset).parents
        near = near_here(settings, target.class_name, parents)
        try:
            with turn(Turn(cache, target.asset), lambda begun: True, progress):
                top = _ready(place, files, wanted)  # another process may have gone first
                top = top or _bring(cache, reading, files, wanted.choice, near, progress)
        except StorageError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, *_FULL):
                error.hints += (Hint("fetch-elsewhere", asset=target.name),)
            raise
        cache.trim(target.asset)
    cache.pool.verified.save()
    describer = Describer(view)
    asset = reading.sources.asset(target.asset)
    size = sum(entry.size for entry in reading.sources.tree(asset.tree))
    return LocalCopy(
        describer.info(target.asset, asset, size),
        Path(top, to_system(inner)) if inner else Path(top),
        len(files),
        size_of(files),
        reading.received,
        instead_of(remote, view, target),
    )


def _require_there(remote: Remote, view: LogView, target: Target) -> None:
    record = view.class_state(target.class_name).record(target.number)
    if record is None or record.id != target.asset:
        raise NotFound(f"{target.name} is not in {remote.url}")
    require_live(view, target.class_name, target.asset, remote.url)


# Which files


def _choose(reading: _Reading, target: Target, wanted: Wanted) -> tuple[Files, str]:
    """Return the wanted files, and the path of what is handed out in their directory."""
    tree = reading.sources.asset(target.asset).tree
    if wanted.path is None:
        listing = _survey(reading, tree, wanted=bool(wanted.selection.include))
        chosen = chosen_of(listing, wanted.selection)
        if len(listing) and not len(chosen):
            raise none_chosen((target,), wanted.selection)
        return chosen, ""
    path = wanted.path
    entry = require_entry(tree, path, target.name, reading.tree)
    if entry.kind is EntryKind.TREE:
        prefix = f"{path}/" if path else ""
        return Below(prefix, _survey(reading, entry.id, wanted=False)), path
    return tuple(_with_targets(reading, tree, path, wanted.choice)), path


def _survey(reading: _Reading, tree: bytes, *, wanted: bool) -> Listing:
    listing = survey(tree, reading.tree, wanted=wanted, hint=A_PART)
    return listing.read_by(reading.sources.tree)


def _with_targets(reading: _Reading, tree: bytes, path: str, choice: str) -> Iterator[Listed]:
    """Yield a file; of a symlink, all that it leads through in the asset as well."""
    seen: set[str] = set()
    above: list[str] = []
    links = 0
    waiting = path.split("/")[::-1]
    while waiting:
        name = waiting.pop()
        if name == "..":
            del above[-1:]
        if name in ("", ".", ".."):
            continue
        path = "/".join([*above, name])
        entry = look_up(tree, path, reading.tree)
        if entry is None:
            return
        if entry.kind is EntryKind.TREE:
            above.append(name)
            continue
        item = Listed(path, entry.kind, entry.id, entry.size)
        if path not in seen:
            yield item
        seen.add(path)
        links += 1
        if item.kind is not EntryKind.SYMLINK or links > MOST_LINKS:
            return
        text = link_text(item, reading.link(item, choice))
        if not stays_inside(path, text):
            return  # it is refused when it is fetched
        waiting += text.split("/")[::-1]
    prefix = "".join(f"{name}/" for name in above)
    top = look_up(tree, prefix[:-1], reading.tree)
    if top is not None:
        below = Below(prefix, _survey(reading, top.id, wanted=False))
        yield from (each for each in below if each.path not in seen)


# Bringing them


def _ready(place: CachedAsset, files: Files, wanted: Wanted) -> str | None:
    """Return the directory of the files, if there is one; for a part, that of the whole will do."""
    found = place.find(wanted.choice, files)
    if found is None and wanted.path is not None:
        found = place.find("all", files, alone=False)
    return found


def _bring(
    cache: ContentCache,
    reading: _Reading,
    files: Files,
    choice: str,
    near: Near,
    progress: Progress,
) -> str:
    """Fetch what the cache lacks, and make the directory of the files."""
    filling = Filling(cache, reading.place.id)
    _require_names(cache, filling, files)
    filling.make()
    reading.place.make()
    reading.keep(files)
    with Incoming(filling) as incoming:
        own = filling.control / INCOMING / incoming.name
        for tries in range(_TRIES):
            missing = _missing(cache, files)
            fetched = _fetch(cache, reading, incoming, missing, near, progress)
            _take(cache, fetched)
            built = os.path.join(own, f"built-{tries}")
            if _build(cache, files, fetched, built):
                made = reading.place.place(built, choice, files)
                incoming.drop()
                filling.close()
                return made
            delete_all(built)
    raise StorageError(
        f"what is fetched into {cache.directory} is deleted at once", hint=Hint("enlarge-cache")
    )


def _require_names(cache: ContentCache, filling: Filling, files: Files) -> None:
    odd = files.odd if isinstance(files, Listing) else True
    if isinstance(files, Below):
        odd = files.listing.odd
    if odd:
        require_no_git(item.path for item in files)
        require_possible(Path(cache.make(FILLING)), [item.path for item in files])


def _missing(cache: ContentCache, files: Files) -> Some:
    """Return the files whose content isn't in the pool, and all symlinks."""
    has, link = cache.pool.has, EntryKind.SYMLINK
    return Some(files, bytes(item.kind is link or not has(item) for item in files))


def _fetch(
    cache: ContentCache,
    reading: _Reading,
    incoming: Incoming,
    missing: Some,
    near: Near,
    progress: Progress,
) -> Fetching:
    size = sum(item.size for item in missing)
    progress.start("Fetching", size)
    try:
        return incoming.fetch(missing, reading.sources, progress, near)
    except StorageError as error:
        lacking = error.needed - error.free if isinstance(error, NoSpace) else size
        if error.errno not in _FULL or not cache.trim(reading.place.id, lacking):
            raise
        return incoming.fetch(missing, reading.sources, progress, near)
    finally:
        progress.finish()


def _take(cache: ContentCache, fetched: Fetching) -> None:
    """Put the fetched files into the pool."""
    coming, grown = size_of(fetched.files), 0
    cache.grew(coming)  # before: whoever is killed leaves too high a number, not too low a one
    try:
        for item in fetched.files:
            path = fetched.place_of(item.path)
            if item.kind is EntryKind.SYMLINK:
                # Its text is a small file, for when the store can't be reached.
                text = os.fsencode(read_symlink(path))
                path = f"{fetched.top}-text"
                fs.write_private(path, text)
                item = Listed(item.path, EntryKind.FILE, item.id, len(text))
            grown += cache.pool.take(path, item)
    finally:
        cache.grew(grown - coming)


def _build(cache: ContentCache, files: Files, fetched: Fetching, top: str) -> bool:
    """Make a directory of the files; return whether all were there still."""
    made: set[str] = set()
    own = os.path.dirname(top)
    make = partial(fs.make_directories, sync=False, top=own, sharing=cache.sharing)
    make(top)
    copied = 0
    links = []
    for item in files:
        parent = item.path.rpartition("/")[0]
        path = f"{top}{os.sep}{to_system(item.path)}"
        if parent not in made:
            make(os.path.dirname(path))
            made.add(parent)
        if item.kind is EntryKind.SYMLINK:
            links.append((item, path))
            continue
        try:
            taken = cache.pool.put_name(item, path)
        except FileExistsError:
            raise one_name(item) from None
        if taken is None:
            return False
        copied += taken
    for item, path in links:  # nothing is written through them
        try:
            fs.place_new(fetched.place_of(item.path), path)
        except FileExistsError:
            raise one_name(item) from None
    cache.grew(copied)
    return True
