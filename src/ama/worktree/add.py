"""`add` and `rm`: from the worktree into the staging area."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ama.errors import Conflict, Hint, InvalidInput, NotFound, shown
from ama.format.chunking import THRESHOLD
from ama.format.compression import compress
from ama.format.hashing import Buffer, blob_id, hash_stream
from ama.format.objects import EntryKind, Kind
from ama.stores.pack_writer import PackWriter
from ama.system import fs
from ama.system.encoding import to_system
from ama.system.parallel import in_chunks
from ama.system.progress import Progress
from ama.values import ChangeKind
from ama.worktree.entries import WINDOW, Entries, IndexEntry
from ama.worktree.ignore import secret_names, secret_within
from ama.worktree.layout import Worktree
from ama.worktree.reader import (
    entry_of,
    hash_found,
    link_target,
    look_again,
    opened,
    read_small,
    store_large,
)
from ama.worktree.scan import (
    Found,
    Scanned,
    directories_of,
    is_behind,
    look,
    obstacles,
    require_same,
    surely_unchanged,
    unchanged,
)
from ama.worktree.selection import NameCheck, Selection, require_entered, select
from ama.worktree.staging import RACY, Index
from ama.worktree.status import kind_of_change
from ama.worktree.trees import Listed

_Read = tuple[Found, bytes, int, tuple[int, Buffer] | None, str | None]
_NAMED = 10


@dataclass(frozen=True, slots=True)
class Added:
    """The result of `add`."""

    before: Entries
    after: Entries
    """The entries as this `add` made them; others may have staged more meanwhile."""
    kinds: Mapping[ChangeKind, int]
    """The number of paths that differ in each way."""
    staged_size: int
    """The bytes of the files that are new, or differ."""
    unchanged: int
    size: int
    by_reference: int


def add(
    tree: Worktree,
    paths: Iterable[str | os.PathLike[str]],
    *,
    copy: bool,
    portable: bool,
    force: bool = False,
    progress: Progress,
) -> Added:
    """Stage files in their present state. Nothing is staged unless everything can be.

    The files are looked at twice: first at their names and stat data, then, a window after another,
    at those that must be read. So memory does not grow with their number.

    Args:
        tree: The worktree.
        paths: Files and directories; staged paths below them that are gone are unstaged.
        copy: Whether to store large files here now, instead of only their hashes.
        portable: Whether to refuse names that some system can't hold.
        force: Whether to stage files that look like secrets, and ignored files named directly.
        progress: The progress of the bytes read.

    Raises:
        NotFound: A path names nothing.
        InvalidInput: A file can't be in an asset, or looks like a secret.
        Conflict: A file changed while it was read.
    """
    index = tree.index.read()
    since = time.time_ns()
    selection = select(tree, index, paths, force=force)
    work = _Work(tree, selection, copy=copy, portable=portable, force=force)
    work.look()
    staging = _Staging(tree, index, since, work.secrets, force=force, copy=copy)
    progress.start("Adding", work.to_read)
    try:
        after = staging.stage(work, progress)
    finally:
        progress.finish()
    if work.secrets:
        typed = tree.typed(sorted(work.secrets)[:_NAMED])
        one, some = (
            Hint("ignore-or-add-secret", paths=typed),
            Hint("ignore-or-add-secrets", paths=typed),
        )
        raise secrets_found(work.secrets, one if len(work.secrets) == 1 else some)
    tree.index.update(lambda latest: latest.followed(index.entries, after), still_read=after)
    kinds = Counter(staging.kinds)
    if removed := len(index.entries) + kinds["added"] - len(after):
        kinds["removed"] = removed
    return Added(
        index.entries,
        after,
        dict(+kinds),
        staging.size,
        work.files - staging.kinds.total(),
        work.size,
        staging.by_reference,
    )


class _Work:
    """The files that an `add` must read, and what is known of all that it was asked for.

    Attributes:
        files: The number of files.
        size: The bytes of all files.
        to_read: The bytes of those that must be read.
        gone: The staged paths to unstage.
        secrets: Paths that look like secrets, with the kind of each.
    """

    def __init__(
        self, tree: Worktree, selection: Selection, *, copy: bool, portable: bool, force: bool
    ) -> None:
        self._tree = tree
        self._selection = selection
        self._index = selection.index
        self._copy = copy
        self._portable = portable
        self._force = force
        self._damaged = bool(tree.objects.store.broken_packs())
        self._held: list[Found] | None = []
        self.files = self.size = self.to_read = 0
        self.gone: list[str] = list(selection.gone)
        self.secrets: dict[str, str] = {}

    def look(self) -> None:
        """Look at all files, without reading them: their names, their stat data, what is gone.

        Raises:
            InvalidInput: A name can't be in an asset.
        """
        names = self._name_check()
        entries = self._index.entries
        for part in self._parts():
            self.gone += part.missing
            for directory in part.gone:
                self.gone += (e.path for e in entries.below(directory) if not e.skipped)
            names.check(part)
            if not self._force:
                self.secrets.update(secret_names(item.path for item in part.new))
            self.files += part.unchanged + len(part.new) + len(part.doubtful)
            self.size += part.size
            self.size += sum(item.size for item in (*part.new, *part.doubtful))
            self._hold(self._needed(part))
        require_entered(self._tree, self.gone)

    def _name_check(self) -> NameCheck:
        entries, gone = self._index.entries, self._selection.gone
        return NameCheck(entries, gone, portable=self._portable)

    def _parts(self) -> Iterator[Scanned]:
        return self._selection.scanned(thorough=self._copy or self._damaged)

    def _needed(self, part: Scanned) -> list[Found]:
        return part.new + [item for item in part.doubtful if self._must_read(item)]

    def _hold(self, items: list[Found]) -> None:
        """Keep the files if they are few; else they are looked for again."""
        self.to_read += sum(item.size for item in items)
        if self._held is not None:
            self._held = self._held + items if len(self._held) + len(items) <= WINDOW else None

    def __iter__(self) -> Iterator[Found]:
        if self._held is not None:
            yield from self._held
            return
        names = self._name_check()
        for part in self._parts():
            names.check(part)
            yield from self._needed(part)

    def _must_read(self, item: Found) -> bool:
        entry = self._index.entries[item.path]
        if not unchanged(entry, item, self._index.written_at) or (self._copy and not entry.stored):
            return True
        return self._damaged and entry.stored and entry.id not in self._tree.objects


def secrets_found(found: Mapping[str, str], hint: Hint) -> InvalidInput:
    """Return the error for files that look like secrets, by their kinds of secret."""
    paths = sorted(found)
    named = ", ".join(f"{shown(path)} ({found[path]})" for path in paths[:_NAMED])
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    look, them = ("looks", "it") if len(paths) == 1 else ("look", "them")
    what = f"{named}{more} {look} like a secret, and everybody would have {them}, for good"
    return InvalidInput(what, hint=hint)


class _Staging:
    """The staging of files: their content goes to packs, and their entries to blocks.

    Attributes:
        kinds: The number of files that are new, or differ in each way from what was staged.
        size: Their bytes.
        by_reference: The files that are staged by reference.
    """

    def __init__(
        self,
        tree: Worktree,
        index: Index,
        since: int,
        secrets: dict[str, str],
        *,
        force: bool,
        copy: bool,
    ) -> None:
        self._tree = tree
        self._before = index.entries
        self._since = since
        self._secrets = secrets
        self._force = force
        self._copy = copy
        self.kinds: Counter[ChangeKind] = Counter()
        self.size = self.by_reference = 0

    def stage(self, work: _Work, progress: Progress) -> Entries:
        """Return the entries with all files of some work staged; content is durable then."""
        after = self._before.changed((), work.gone)
        if not work.to_read and not any(True for _ in work):
            return after
        with self._tree.objects.writing() as writer:
            after = self._tree.index.build(after, self._entries(work, writer, progress))
        self._tree.objects.merge_small()
        return after

    def _entries(
        self, work: Iterable[Found], writer: PackWriter, progress: Progress
    ) -> Iterator[IndexEntry]:
        """Yield the entry of each file, with its content in the writer: large ones at the end."""
        large: list[Found] = []

        def small() -> Iterator[Found]:
            for item in work:
                if item.kind is EntryKind.SYMLINK or item.size < THRESHOLD:
                    yield item
                else:
                    large.append(item)

        for done in in_chunks(self._read_all, small()):
            for item, object_id, size, compressed, secret in done:
                if secret is not None:
                    self._secrets.setdefault(item.path, secret)
                if self._secrets:
                    continue  # nothing is staged any more
                if compressed is not None:
                    writer.add_compressed(Kind.DATA, object_id, *compressed, size)
                yield self._counted(entry_of(item, object_id, size, stored=True, since=self._since))
            progress.advance(sum(item.size for item, *_ in done))
        for item in () if self._secrets else large:
            yield self._counted(
                _stage_large(
                    self._tree, item, writer, self._since, copy=self._copy, progress=progress
                )
            )

    def _read_all(self, items: list[Found]) -> list[_Read]:
        known, searched = self._before.entry, not self._force
        return [_read(self._tree, item, known(item.path), searched) for item in items]

    def _counted(self, entry: IndexEntry) -> IndexEntry:
        before = self._before.entry(entry.path)
        kind = "added" if before is None else kind_of_change(before, entry)
        if kind is not None:
            self.kinds[kind] += 1
            self.size += entry.size
        self.by_reference += not entry.stored
        return entry


def _read(tree: Worktree, item: Found, before: IndexEntry | None, searched: bool) -> _Read:
    """Read a small file or a symlink's target; compress it unless it is stored already.

    If it is `searched`, report the kind of secret in it.

    A file to read again that is the same may have damaged stored content, and is stored again.
    """
    if item.kind is EntryKind.SYMLINK:
        data = link_target(tree.root, item.path).encode()
    else:
        data = read_small(tree.root, item.path)
        if len(data) != item.size:
            look_again(tree.root, item)
    if searched and item.kind is not EntryKind.SYMLINK:
        secret = secret_within(item.path, data)
        if secret is not None:
            return item, b"", len(data), None, secret
    object_id = blob_id(data)
    same = before is not None and before.id == object_id
    kept = tree.objects.is_sound(object_id) if same else object_id in tree.objects
    return item, object_id, len(data), None if kept else compress(data, planes=True), None


def _stage_large(
    tree: Worktree,
    item: Found,
    writer: PackWriter,
    since: int,
    *,
    copy: bool,
    progress: Progress,
) -> IndexEntry:
    """Hash a large file. Store it if `copy` asks for that, or if its stored content is damaged."""
    stored = copy
    if not copy:
        with opened(tree.root, item.path) as file:
            object_id, _ = hash_stream(file, progress.advance)
        stored = tree.objects.store.holds(object_id)
        if stored and not tree.objects.is_sound(object_id):
            copy = True
    if copy:
        object_id = store_large(tree.root, item.path, writer, progress.advance)
    look_again(tree.root, item)
    return entry_of(item, object_id, item.size, stored=stored, since=since)


def remove(
    tree: Worktree,
    paths: Iterable[str | os.PathLike[str]],
    *,
    keep_files: bool,
    head: Mapping[str, Listed],
    stored: Mapping[str, bytes],
    force: bool,
) -> tuple[str, ...]:
    """Unstage files, and delete them from the worktree unless `keep_files`.

    Args:
        tree: The worktree.
        paths: Staged files, directories of them, or globs.
        keep_files: Whether the files themselves stay.
        head: HEAD's files by path. Other content in the local packs has no name once
            it is unstaged, and nobody finds it again.
        stored: Paths and ids whose content is stored elsewhere (the published HEAD's).
        force: Whether to delete files whose content is stored nowhere.

    Returns:
        The unstaged paths.

    Raises:
        NotFound: A path is not staged.
        Conflict: A file's content is stored nowhere, or a file was changed meanwhile.
    """
    index = tree.index.read()
    chosen: dict[str, IndexEntry] = {}
    for given in paths:
        path = tree.relative(given)
        below = tree.named(path, index.entries)
        if not below:
            what = shown(tree.near(path))
            raise NotFound(f"{what} is not staged", hint=Hint("ls-and-status"))
        chosen.update((p, index.entries[p]) for p in below)
    blocked = obstacles(tree.root, chosen)
    here: dict[str, Found] = {}
    for path in chosen:
        if not is_behind(path, blocked) and (found := look(tree.root, path)) is not None:
            here[path] = found
    if not keep_files and not force:
        lost = [
            path
            for path, found in here.items()
            if not _is_kept(tree, index, chosen[path], found, head, stored)
        ]
        if lost:
            read_again(tree, lost)
            raise Conflict(
                f"the content of {summary(lost)} is in no asset here, and would be lost",
                hint=(
                    Hint("keep-file", paths=tree.typed(lost)),
                    Hint("delete-file-anyway", paths=tree.typed(lost)),
                ),
            )
    # Files first: after a crash they are still staged, and the same command deletes the rest.
    if not keep_files:
        for path, found in here.items():
            now = look(tree.root, path)
            if now is not None and not force:
                require_same(path, found, now)
            fs.remove(tree.root / to_system(path))
        remove_empty_parents(tree, here)
    tree.index.update(lambda latest: latest.with_entries((), chosen))
    return tuple(chosen)


def _is_kept(
    tree: Worktree,
    index: Index,
    entry: IndexEntry,
    found: Found,
    head: Mapping[str, Listed],
    stored: Mapping[str, bytes],
) -> bool:
    """Whether deleting a staged file of the worktree would lose nothing.

    Times may lie, and an index's word is not enough: both contents are read.
    """
    if surely_unchanged(entry, found, index.written_at):
        content = entry.id
    else:
        content = hash_found(tree.root, found)
    if stored.get(entry.path) == content:
        return True
    item = head.get(entry.path)
    return item is not None and item.id == content and tree.objects.is_sound(content)


def read_again(tree: Worktree, paths: Iterable[str]) -> None:
    """Make the next `add` read these files whatever their times say: they aren't as staged."""
    named = tuple(paths)

    def doubt(latest: Index) -> Index:
        known = latest.entries
        doubted = [known[path]._replace(mtime=RACY) for path in named if path in known]
        return latest.with_entries(doubted)

    tree.index.update(doubt)


def remove_empty_parents(tree: Worktree, paths: Iterable[str]) -> None:
    """Delete directories that the removal of these paths left empty, except the user's own."""
    parents = directories_of(paths) - {tree.start}
    for parent in sorted(parents, key=len, reverse=True):
        fs.remove_empty_directory(tree.root / to_system(parent))


def summary(paths: Sequence[str]) -> str:
    """Name a few of many paths.

    Example:
        >>> summary(["a", "b", "c", "d"])
        'a, b, c and 1 more'
    """
    named = ", ".join(shown(path) for path in paths[:3])
    return named if len(paths) <= 3 else f"{named} and {len(paths) - 3} more"
