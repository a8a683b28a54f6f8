"""What is taken out of an asset, file by file, verified, in an order that is always the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ama.errors import IntegrityError, shown
from ama.format.chunking import THRESHOLD
from ama.format.names import fold_name
from ama.format.objects import Asset, EntryKind, Kind
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from ama.stores.revisions import Describer
from ama.stores.sources import Sources
from ama.system.progress import Progress
from ama.transfer.download import Target, objects_of
from ama.values import AssetInfo, Note
from ama.worktree.fetching import check_link_length, checked_link
from ama.worktree.listing import Listing, survey
from ama.worktree.scan import require_no_git
from ama.worktree.trees import A_PART, Listed

WINDOW = 16 * 1024 * 1024
"""The most bytes of small files in memory."""

MOST_IN_WINDOW = 4096
"""The most small files in memory."""

DESCRIPTION = "ama.json"
"""What tells where the files come from, unless the asset has a file of that name."""


class Member(NamedTuple):
    """A file on its way out.

    Attributes:
        path: Where it goes, POSIX, relative to the place of all.
        kind: File, executable or symlink.
        size: Its bytes; of a symlink, those of its target's text.
        created: When its asset was made, in UTC microseconds.
        pieces: Its bytes, to be taken before those of the next member.
    """

    path: str
    kind: EntryKind
    size: int
    created: int
    pieces: Iterable[bytes]


@dataclass(frozen=True, slots=True)
class Taken:
    """An asset that is taken out.

    Attributes:
        info: What it is.
        asset: Its record.
        listing: Its files.
        sources: Its objects.
        notes: What was said later of it.
        directory: Where its files go, with a slash; "" if they go to the top.
        links: The targets of its symlinks by path; none leads out of it.
    """

    info: AssetInfo
    asset: Asset
    listing: Listing
    sources: Sources
    notes: tuple[Note, ...] = ()
    directory: str = ""
    links: dict[str, str] = field(default_factory=dict)

    @property
    def description(self) -> str:
        """Return the name of the file that describes it, which none of its own has."""
        taken = {fold_name(entry.name) for entry in self.sources.tree(self.asset.tree)}
        name, number = DESCRIPTION, 1
        while fold_name(name) in taken:
            number += 1
            name = f"ama-{number}.json"
        return name


def take(remote: Remote, view: LogView, target: Target, directory: str = "") -> Taken:
    """Return an asset that is to be taken out, after a check of its names and symlinks.

    Args:
        remote: The store.
        view: Its log.
        target: The asset.
        directory: Where its files go, with a slash; "" for the top.

    Raises:
        NotFound: It is not in the store, or was deleted.
        InvalidInput: A symlink leads out of it, or a name is git's own.
        IntegrityError: It is damaged.
    """
    view.require_whole()
    sources = Sources(objects_of(remote, view, target))
    asset = sources.asset(target.asset)
    listing = survey(asset.tree, sources.tree, wanted=True, hint=A_PART)
    if listing.odd:
        require_no_git(item.path for item in listing)
    describer = Describer(view)
    notes = remote.log.notes.at(view).of(target.class_name, target.asset)
    return Taken(
        describer.info(target.asset, asset, listing.size),
        asset,
        listing,
        sources,
        tuple(map(describer.note, notes)),
        directory,
        _links(listing, sources),
    )


def _links(listing: Listing, sources: Sources) -> dict[str, str]:
    """Return the targets of all symlinks, read at once."""
    items: dict[bytes, list[Listed]] = {}
    for item in listing:
        if item.kind is EntryKind.SYMLINK:
            check_link_length(item, sources)
            items.setdefault(item.id, []).append(item)
    found = _read(list(items), sources)
    return {each.path: checked_link(each, found[i]) for i, some in items.items() for each in some}


def _read(ids: list[bytes], sources: Sources) -> dict[bytes, bytes]:
    """Return the bytes of small files."""
    found: dict[bytes, bytes] = {}
    for _ in sources.each_file(ids, found.__setitem__):
        pass
    return found


def members_of(
    taken: Taken, describe: Callable[[], Iterable[bytes]], progress: Progress
) -> Iterator[Member]:
    """Yield what goes out of an asset: its description first, then its files.

    Args:
        taken: The asset.
        describe: Returns the bytes of the description.
        progress: The progress of the files' bytes.

    Raises:
        IntegrityError: Content is damaged. It may be raised while a member's pieces are taken.
    """
    created, top = taken.asset.created_at, taken.directory
    size = sum(map(len, describe()))
    yield Member(top + taken.description, EntryKind.FILE, size, created, describe())
    for item, pieces in contents(taken):
        counted = _counted(item, pieces, progress)
        yield Member(top + item.path, item.kind, item.size, created, counted)


def contents(taken: Taken) -> Iterator[tuple[Listed, Iterable[bytes]]]:
    """Yield the files of an asset in order, each with its verified bytes.

    Small files are read many at a time, large ones while their bytes are taken.
    """
    for window in _windows(taken.listing):
        first = window[0]
        if first.size >= THRESHOLD and first.kind is not EntryKind.SYMLINK:
            yield first, taken.sources.stream(first.id, Kind.DATA)
            continue
        ids = dict.fromkeys(item.id for item in window if item.kind is not EntryKind.SYMLINK)
        found = _read(list(ids), taken.sources)
        for item in window:
            link = item.kind is EntryKind.SYMLINK
            yield item, (taken.links[item.path].encode() if link else found[item.id],)


def _windows(files: Iterable[Listed]) -> Iterator[list[Listed]]:
    """Yield neighbours that fit in memory; a large file alone."""
    window: list[Listed] = []
    size = 0
    for item in files:
        large = item.size >= THRESHOLD
        if window and (large or size + item.size > WINDOW or len(window) == MOST_IN_WINDOW):
            yield window
            window, size = [], 0
        if large:
            yield [item]
        else:
            window.append(item)
            size += item.size
    if window:
        yield window


def _counted(item: Listed, pieces: Iterable[bytes], progress: Progress) -> Iterator[bytes]:
    """Yield the bytes of a file, and check that they are as many as its asset says."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > item.size:
            break
        yield piece
        progress.advance(len(piece))
    if size != item.size:
        raise IntegrityError(
            f"{shown(item.path)} is damaged: it has another size than its asset says"
        )
