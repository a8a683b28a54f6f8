"""Checkouts of another asset: fetch and verify all content first, then place it.

1. compare: find the files to write and to delete;
2. guard: refuse if that would lose content that is stored nowhere;
3. fetch: bring every new file, verified, to `.ama/incoming`, where another try finds it again;
4. look again: refuse if a file, or the index, has changed since the comparison;
5. claim: note the target durably, and write HEAD again;
6. place: delete, rename into place, after one more look at each path; write the index, then HEAD.

A crash before 5 changes nothing; after a crash later on, the same command finishes the work. Of
several commands that saw the same HEAD, only one can write it again, and so only one places
anything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from itertools import chain, repeat
from typing import Protocol

from ama.errors import Conflict, Hint, shown, storage_error
from ama.stores.sources import Sources
from ama.system import disk, fs
from ama.system.encoding import to_system
from ama.system.parallel import where_it_pays
from ama.system.progress import Progress
from ama.worktree.add import remove_empty_parents
from ama.worktree.entries import IndexEntry
from ama.worktree.fetching import Fetching
from ama.worktree.head import Head
from ama.worktree.incoming import Incoming
from ama.worktree.layout import CHECKOUT, Begun, Worktree, busy
from ama.worktree.listing import Listing
from ama.worktree.moves import Moves
from ama.worktree.near import InWorktree, Near, Nothing, Several
from ama.worktree.plan import (
    Plan,
    Policy,
    as_skipped,
    is_empty,
    is_safe,
    look_for_room,
    plan_changes,
    plan_fresh,
    require_clear,
)
from ama.worktree.reader import entry_of
from ama.worktree.scan import (
    Found,
    changed_meanwhile,
    is_behind,
    look,
    obstacles,
    require_no_git,
    require_possible,
    require_same,
)
from ama.worktree.staging import Index
from ama.worktree.trees import Listed


def plan_checkout(
    tree: Worktree,
    index: Index,
    target: Iterable[Listed],
    *,
    wanted: Callable[[str], bool],
    stored: Sequence[Mapping[str, bytes]],
    base: Mapping[str, Listed],
    force: bool,
    instead: tuple[str, ...] = (),
) -> Plan:
    """Return the plan to make the worktree hold `target`.

    Args:
        tree: The worktree.
        index: The present index.
        target: The files that it should hold. If they are a listing, all its chosen files are
            wanted, and the worktree has nothing in it.
        wanted: Whether a path should be here; other paths, unless they are here already, become
            skipped.
        stored: Paths and ids whose content is stored elsewhere, or that an interrupted checkout was
            placing.
        base: The files of the worktree's present asset: a file that has changed here but is the
            same in both assets stays.
        force: Whether to overwrite files whose content is stored nowhere.
        instead: The words of the command that takes `--exclude`, if it is another one.

    Raises:
        Conflict: The plan would lose content.
        InvalidInput: This system can't hold a name, or no file here may have it.
    """
    if isinstance(target, Listing):
        return plan_fresh(tree, target)
    listed = {item.path: item for item in target}
    entries = index.entries

    def here(path: str) -> bool:
        entry = entries.get(path)
        return wanted(path) or (entry is not None and not entry.skipped)

    def is_kept(path: str, content: bytes, item: Listed | None) -> bool:
        return is_safe(tree, path, content, item, *stored, base=base)

    coming = [item for path, item in listed.items() if here(path)]
    require_no_git((item.path for item in coming), instead)
    require_possible(tree.control, [item.path for item in coming])
    leaving = {p for p, entry in entries.items() if p not in listed and not entry.skipped}

    def keep(paths: tuple[str, ...]) -> Hint:
        # During an unfinished checkout, nothing can be added.
        return Hint("keep-elsewhere" if tree.begun() else "add-and-commit", paths=paths)

    policy = Policy(is_kept, keep, force, lambda item: not force and base.get(item.path) == item)
    skipped = [as_skipped(item) for path, item in listed.items() if not here(path)]
    return plan_changes(tree, index, coming, leaving, policy, skipped)


class Checkout:
    """One checkout from begin to end; a context in which it holds `incoming`.

    Args:
        tree: The worktree.
        at: HEAD and its generation, as read, with None for a missing HEAD; None: HEAD stays, and an
            interruption leaves nothing to finish.
        near: What this machine has already, beside the worktree's present files.

    Raises:
        Conflict: Another checkout is in progress here.
    """

    def __init__(
        self, tree: Worktree, at: tuple[int, Head | None] | None, near: Near = Nothing()
    ) -> None:
        self._tree = tree
        self._near = Several(InWorktree(tree), near)
        self._generation, self._head = at or (0, None)
        self._claims = at is not None
        self._incoming = Incoming(tree)
        self._note: bytes | None = None

    def __enter__(self) -> Checkout:
        self._incoming.__enter__()
        self._note = self._tree.noted(CHECKOUT)
        begun = self._tree.begun()
        if begun is not None and begun.incoming and self._incoming.is_others(begun.incoming):
            self.__exit__()
            raise busy()
        return self

    def __exit__(self, *error: object) -> None:
        self._incoming.__exit__(*error)

    def place(
        self,
        plan: Plan,
        sources: Sources,
        *,
        begun: Begun | None,
        unmoved: Callable[[Index], bool],
        progress: Progress,
    ) -> Iterable[IndexEntry]:
        """Fetch the files of a plan, then place them.

        Args:
            plan: The files to write and delete.
            sources: The sources of content.
            begun: The note for whoever finds this interrupted; None: no note.
            unmoved: Whether the index is still that of the plan.
            progress: The progress of the bytes written.

        Returns:
            All entries of the index; to be taken once.

        Raises:
            Conflict: Something has changed since the plan. Unless that was in the last moment,
                nothing was touched.
        """
        progress.start("Fetching", plan.size)
        try:
            fetched = self._incoming.fetch(plan.write, sources, progress, self._near)
        finally:
            progress.finish()
        with self._alone():
            return self._bring(plan, fetched, begun, unmoved)

    def _bring(
        self,
        plan: Plan,
        fetched: Fetching,
        begun: Begun | None,
        unmoved: Callable[[Index], bool],
    ) -> Iterable[IndexEntry]:
        self._look_again(plan)
        if not unmoved(self._tree.index.read()):
            raise staged_meanwhile()
        if begun is not None:
            self._claim(begun._replace(incoming=self._incoming.name).encode())
        else:
            self._tree.require_settled()
        for path in plan.delete:
            _require_same(os.fspath(self._tree.root), path, plan.seen)
            fs.remove(self._tree.root / to_system(path))
        remove_empty_parents(self._tree, plan.delete)
        since = time.time_ns()
        placed = self._place(plan, fetched)
        return chain(plan.keep, plan.skipped, self._entries(fetched, placed, since))

    def finish(self, change: Callable[[Index], Index], head: Head | None = None) -> None:
        """Write the index and HEAD, and delete the note and the fetched content.

        Args:
            change: A function that returns the new index.
            head: HEAD's new place; None: it stays.

        Raises:
            Conflict: Another command took over. Its files are here too, so the note stays.
        """
        self._require_ours()
        with self._alone():
            self._tree.index.update(change)
            if head is not None and head != self._head:
                self._tree.head.write(self._generation, head)
        self._incoming.drop()
        if self._claims and self._tree.noted(CHECKOUT) == self._note:
            self._tree.forget(CHECKOUT)

    def _look_again(self, plan: Plan) -> None:
        tree = self._tree
        if is_empty(tree) and not any(plan.seen.values()):
            return
        paths = plan.seen or {item.path: None for item in plan.write}
        blocked = obstacles(tree.root, paths)
        leaving = set(plan.delete)
        require_clear([item.path for item in plan.write], blocked - leaving)
        for path, found in paths.items():
            if path in leaving:
                now = None if is_behind(path, blocked) else look(tree.root, path)
            else:
                now = look_for_room(tree, path, blocked, leaving)
            if now != found:
                raise changed_meanwhile(path)

    def _claim(self, note: bytes) -> None:
        tree, found = self._tree, self._note
        if tree.noted(CHECKOUT) != found:
            raise busy()
        if found is not None:
            # Of several commands that continue interrupted work, only one may replace its note.
            self._write_head()
        try:
            tree.note(CHECKOUT, note, new=found is None)
        except FileExistsError:
            raise busy() from None
        self._note = note
        try:
            self._write_head()
        except Conflict:
            if tree.noted(CHECKOUT) == note:
                tree.forget(CHECKOUT) if found is None else tree.note(CHECKOUT, found)
            raise

    def _write_head(self) -> None:
        if self._head is not None:
            try:
                self._generation = self._tree.head.write(self._generation, self._head)
            except Conflict:
                raise busy() from None

    def _require_ours(self) -> None:
        if self._claims and self._tree.head.generation() != self._generation:
            raise busy()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Turn an error into one about the other command, if that has changed things here."""
        try:
            yield
        except Conflict:
            if self._claims and self._tree.noted(CHECKOUT) != self._note:
                raise busy() from None
            self._require_ours()
            raise

    def _place(self, plan: Plan, fetched: Fetching) -> dict[str, Found]:
        """Give all fetched files their places, whole directories at once where nothing is yet.

        Returns:
            Those that were placed one by one, as they are there.
        """
        root = os.fspath(self._tree.root)
        placed: dict[str, Found] = {}

        @cache
        def items() -> dict[str, Listed]:
            return {item.path: item for item in fetched.files}

        def item_at(path: str) -> Listed:
            return items()[path]

        def still(path: str) -> None:
            self._require_ours()
            _require_same(root, path, plan.seen)

        def place(paths: list[str]) -> None:
            self._require_ours()
            for path in paths:
                _require_same(root, path, plan.seen)
                move = partial(
                    self._incoming.place,
                    fetched.place_of(path),
                    item=partial(item_at, path),
                    still=partial(still, path),
                )
                placed[path] = _placed(root, path, move, new=plan.seen.get(path) is None)

        def move(directory: str) -> bool:
            self._require_ours()
            target = f"{root}{os.sep}{to_system(directory)}"
            return fs.move_directory(fetched.place_of(directory), target)

        moves = self._moves(fetched)
        barred = [""]
        while barred:
            directories, paths = moves.among(barred)
            barred = [path for path in directories if not move(path)]
            for _ in where_it_pays(place, paths):
                pass
        return placed

    def _moves(self, fetched: Fetching) -> Moves:
        """Return how fetched files get their places, by the fewest renames.

        A directory goes whole only if it has the rights that it would get if it were made there.
        Each one that is to be made is made before anything is placed.
        """
        tree = self._tree
        root, made = os.fspath(tree.root), {""}

        @cache
        def is_alike(directory: str) -> bool:
            place = os.path.join(root, to_system(directory))
            return disk.inherits_alike(fetched.place_of(directory), place)

        def is_free(directory: str) -> bool:
            place = os.path.join(root, to_system(directory))
            return not os.path.lexists(place) and is_alike(directory.rpartition("/")[0])

        def paths() -> Iterator[str]:
            strays = fetched.strays
            for path in strays:
                _make_parents(tree, path.rpartition("/")[0], made)
            return (item.path for item in fetched.files)

        return Moves(paths, is_free, lambda path: _make_parents(tree, path, made))

    def _entries(
        self, fetched: Fetching, placed: Mapping[str, Found], since: int
    ) -> Iterator[IndexEntry]:
        """Yield the entries of the fetched files and, of a listing, of those that are skipped.

        They come as the files do: of a listing, directory by directory.

        Args:
            fetched: The files.
            placed: Those whose stat data aren't those with which they were written.
            since: A moment before any of them had its place.
        """
        local = self._tree.objects
        files = fetched.files
        marked = files.marked() if isinstance(files, Listing) else zip(files, repeat(True))
        position = -1
        for item, is_chosen in marked:
            if not is_chosen:
                yield as_skipped(item)
                continue
            position += 1
            found = placed.get(item.path) or fetched.stats.found(position, item)
            found = found._replace(kind=item.kind)
            stored = item.id in local
            yield entry_of(found, item.id, item.size, stored=stored, since=since, placed=True)


def is_staged_as(latest: Index, seen: Index) -> bool:
    """Whether two indexes have the same entries and notes."""
    if (latest.notes, latest.noted_on) != (seen.notes, seen.noted_on):
        return False
    if latest.entries == seen.entries:
        return True
    now, then = (
        {path: (entry.kind, entry.id, entry.skipped) for path, entry in index.entries.items()}
        for index in (latest, seen)
    )
    return now == then


def staged_meanwhile() -> Conflict:
    """Return the error of a checkout during which something was staged."""
    return Conflict(
        "something was staged or noted here meanwhile",
        hint=Hint("status-then-again"),
    )


def _require_same(root: str, path: str, seen: Mapping[str, Found | None]) -> None:
    """Check that a path, which is changed next, still has what the plan was made with."""
    require_same(path, seen.get(path), look(root, path))


class _Move(Protocol):
    def __call__(self, target: str, *, new: bool) -> None: ...


def _placed(root: str, path: str, move: _Move, *, new: bool) -> Found:
    target = f"{root}{os.sep}{to_system(path)}"
    try:
        move(target, new=new)
    except OSError as error:
        if _made_room(root, path, target):
            return _placed(root, path, move, new=new)
        if isinstance(error, FileExistsError):
            raise changed_meanwhile(path) from None
        raise
    found = look(root, path)
    if found is None:
        raise Conflict(f"{shown(path)} disappeared right after it was written")
    return found


def _made_room(root: str, path: str, target: str) -> bool:
    """Clear a place of what doesn't count there; return whether that is gone."""
    if os.path.isdir(target) and not os.path.islink(target):
        remove_directories(target)  # an empty one; its content is gone by now
    elif not os.path.lexists(target) or look(root, path) is not None:
        return False
    else:
        fs.remove(target)  # a pipe, a socket
    return not os.path.lexists(target)


def remove_directories(path: str) -> None:
    """Delete a directory that has only empty directories and a crash's litter in it."""
    for directory, _, _ in os.walk(path, topdown=False):
        fs.remove_stale_temps(directory, 0)
        fs.remove_empty_directory(directory)


def _make_parents(tree: Worktree, path: str, made: set[str]) -> None:
    """Make the directories above a file, never through a symlink."""
    at = ""
    for part in path.split("/"):
        at = f"{at}/{part}" if at else part
        if at in made:
            continue
        full = tree.root / to_system(at)
        if os.path.islink(full) or os.path.isfile(full):
            raise Conflict(
                f"{shown(at)} is in the way: a directory is to be there",
                hint="move it elsewhere and run the same command again",
            )
        try:
            fs.make_directories(full, sync=False)
        except OSError as error:
            raise storage_error(error, full) from error
        made.add(at)
