"""The way from a staging area to an asset in a store's log: commit, upload, push.

The order makes a crash harmless. First the asset and its trees are durable here; then the store
gets content; then `.ama/pending` gets the entry's bytes; then the entry is created; and only then
does HEAD move. The first command after a crash finds the note, and settles it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from typing import Any

from ama.errors import Conflict, Hint, InvalidInput, NotFound
from ama.format.entries import MAX_TIME, Event
from ama.format.hashing import asset_id
from ama.format.objects import Asset, EntryKind, Kind, encode_asset, encode_recipe
from ama.format.recorded import RUN
from ama.format.state import AssetRecord
from ama.lineage import all_ancestors
from ama.results import AliasChange
from ama.stores.index_choice import IndexChoice
from ama.stores.log_view import LogView
from ama.stores.remote import Remote
from ama.stores.sources import Sources
from ama.system.progress import Progress
from ama.transfer.aliases import Job, check_class_name
from ama.transfer.pending import Claim, numbered
from ama.transfer.push import Push
from ama.values import Scalar
from ama.worktree.add import read_again, summary
from ama.worktree.entries import Entries, IndexEntry
from ama.worktree.head import At, Head, Unpublished
from ama.worktree.layout import Worktree
from ama.worktree.reader import store_entry
from ama.worktree.scan import look, unchanged
from ama.worktree.staging import Index, Notes, is_same
from ama.worktree.trees import build_trees

BATCH = 500
"""The most assets that one entry publishes."""

MOST_REMEMBERED = 1000
"""The most assets of a class, newest first, to compare with a new one: each is a small file."""

MOST_READ = 256
"""The most assets to read for that on a machine that has not seen them, in a store of many."""

SEARCH_WORTH = 16 * 1024 * 1024
"""The bytes that a search of all indexes for an equal asset may cost: 1,024 requests."""

_TELLING = {"git.commit", "git.dirty"}
_RECORDED = {*_TELLING, "git.repository", "git.branch"}
"""The metadata that `git.describe` sets; users set any other name."""


@dataclass(frozen=True, slots=True)
class Who:
    """The author, the clock and the code of a publication."""

    author: str
    """A name and an address."""
    now: Callable[[], int]
    """Returns the time in UTC microseconds."""
    code: Callable[[], Mapping[str, Scalar]] = dict
    """Returns the code's commit as metadata; metadata that the user set wins. It is called only
    when an asset is made, and is no reason to make one."""
    extra: Callable[[], Mapping[str, Any]] = dict
    """Returns what else is recorded of how the asset is made; see `ama.format.recorded`. An equal
    asset may have been made in another way."""


@dataclass(frozen=True, slots=True)
class Publication:
    """A publication to make."""

    tip: bytes
    """The asset: HEAD's, or one just made from it."""
    aliases: tuple[Unpublished, ...] = ()
    """The assets that get aliases."""
    here: Mapping[bytes, IndexEntry] = field(default_factory=dict)
    """The staged files whose content is read from the worktree itself, by id."""
    used: Notes = field(default_factory=Notes)
    """The notes for the asset that take effect with the publication."""
    once: bool = False
    """Whether to publish nothing if the store has an equal asset."""
    made: bytes | None = None
    """The new asset, if `tip` is an equal one of the store."""
    bring: bool = False
    """Whether to send the content of references, instead of these."""


@dataclass(frozen=True, slots=True)
class Published:
    """The result of a publication."""

    assets: tuple[bytes, ...]
    """The assets that it published, oldest first."""
    aliases: tuple[AliasChange, ...]
    """The moves of aliases."""
    view: LogView
    """The store's log afterwards."""
    bytes_sent: int
    bytes_reused: int
    """The bytes of content that the store already had."""
    new_trees: frozenset[bytes] = frozenset()
    """The assets whose trees the store did not have."""


class Found(Exception):
    """The store already has an asset equal to the one to publish."""

    def __init__(self, asset: bytes, data: bytes) -> None:
        super().__init__(asset)
        self.asset = asset
        self.data = data


def find_same(remote: Remote, view: LogView, asset: Asset) -> Found | None:
    """Return the newest asset of a store that is equal to another, or None.

    An equal asset has the same class, files, refs and metadata, and is not deleted. Author, time,
    message and parents don't count. Usually it is one of the newest, and those are remembered here.
    Else read assets only if the store's indexes name the tree; where there are too many indexes to
    search on a new machine, the newest assets alone.
    """
    name = asset.class_name
    newest = view.class_state(name).newest()
    live: Iterator[AssetRecord] = (r for _, r in newest if r.status != "deleted")
    for record in islice(live, MOST_REMEMBERED):
        known = remote.remembered_asset(record.id)
        if known is None:
            live = chain([record], live)
            break
        if _is_again(known, asset):
            return Found(record.id, encode_asset(known))
    first = next(live, None)
    if first is None:
        return None
    choice = IndexChoice(remote)
    searched = choice.at(view, [], SEARCH_WORTH)
    if choice.complete and not any(asset.tree in index for index in searched):
        return None
    records = [first, *(live if choice.complete else islice(live, MOST_READ - 1))]
    assets = remote.assets(view, [(name, record.id) for record in records])
    for record in records:
        if _is_again(assets[record.id], asset):
            return Found(record.id, encode_asset(assets[record.id]))
    return None


def require_new(remote: Remote, view: LogView, sources: Sources, asset: bytes) -> None:
    """Check that a store has no asset equal to one that is not published.

    Call it after each lost race, too: the winner's asset may be equal.

    Raises:
        Found: It has one.
    """
    if not is_published(view, sources, asset):
        same = find_same(remote, view, sources.asset(asset))
        if same is not None:
            raise same


def _is_again(one: Asset, other: Asset) -> bool:
    return (
        one.tree == other.tree
        and set(one.refs) == set(other.refs)
        and _same_metadata(one.metadata, other.metadata)
    )


def _same_metadata(one: Mapping[str, Scalar], other: Mapping[str, Scalar]) -> bool:
    """Tell whether metadata is equal.

    Of git's facts, only the commit and changes to it count: not the branch, not the clone, and not
    a failure to run git.
    """

    def differs(key: str) -> bool:
        if key not in _RECORDED:
            return key not in one or key not in other or not is_same(one[key], other[key])
        return key in _TELLING and key in one and key in other and not is_same(one[key], other[key])

    return not any(map(differs, {**one, **other}))


def make_asset(
    tree: Worktree,
    head: Head,
    index: Index,
    notes: Notes,
    who: Who,
) -> tuple[bytes | None, Entries]:
    """Make the asset of the staging area, durable in the local packs.

    Args:
        tree: The worktree.
        head: The present HEAD.
        index: The staging area.
        notes: The notes for the asset.
        who: The author, the time and the code.

    Returns:
        The asset's id, or None if it would be equal to HEAD's asset; and the staged files with the
        trees that they make.

    Raises:
        InvalidInput: Nothing was ever added here.
    """
    base = tree.objects.asset(head.asset) if head.asset else None
    if base is None and not index.entries and not notes.refs:
        raise InvalidInput("nothing is staged", hint=Hint("stage-files"))
    with tree.objects.writing() as writer:
        entries = build_trees(
            index.entries, tree.objects.__contains__, partial(writer.add, Kind.TREE)
        )
        assert entries.tree is not None
        if base is not None and entries.tree == base.tree and _says(base, notes):
            return None, entries
        created = who.now()
        asset = Asset(
            head.class_name,
            entries.tree,
            (head.asset,) if head.asset else (),
            notes.refs,
            who.author,
            created if base is None else min(max(created, base.created_at + 1), MAX_TIME),
            notes.message or "",
            {**who.code(), **notes.metadata},
            who.extra(),
        )
        data = encoded(asset)
        writer.add(Kind.ASSET, asset_id(data), data)
    return asset_id(data), entries


def encoded(asset: Asset) -> bytes:
    """Return the bytes of a new asset. What was recorded of its run never makes it too large.

    Raises:
        InvalidInput: An asset can't have such a field.
    """
    try:
        return encode_asset(asset)
    except InvalidInput:
        if RUN not in asset.extra:
            raise
        rest = {key: value for key, value in asset.extra.items() if key != RUN}
        return encode_asset(replace(asset, extra=rest))


def _says(asset: Asset, notes: Notes) -> bool:
    """Tell whether an asset has everything in the notes, and so was made with these notes.

    An interrupted command that runs again finds its own asset in this way.
    """
    return (
        notes.message in (None, "", asset.message)
        and set(notes.refs) <= set(asset.refs)
        and all(is_same(asset.metadata.get(key), value) for key, value in notes.metadata.items())
    )


def store_staged(tree: Worktree, waiting: Sequence[IndexEntry], progress: Progress) -> None:
    """Store files that are staged by reference in the local packs.

    Raises:
        Conflict: A file has changed since it was added.
    """
    _check_unchanged(tree, waiting, "committed")
    progress.start("Storing", sum(entry.size for entry in waiting))
    try:
        with tree.objects.writing() as writer:
            for entry in waiting:
                found = store_entry(tree.root, entry, writer, progress.advance)
                if found != entry.id:
                    read_again(tree, [entry.path])
                    raise _changed(tree, [entry.path], "committed")
    finally:
        progress.finish()
    if waiting:
        stored = {entry.path: entry._replace(stored=True) for entry in waiting}

        def mark(latest: Index) -> Index:
            known = latest.entries
            same = [e for e in stored.values() if known.get(e.path) == e._replace(stored=False)]
            return latest.with_entries(same)

        tree.index.update(mark)


class StagedContent(Mapping[bytes, IndexEntry]):
    """The staged files whose content is read from the worktree, by id.

    It iterates over those that differ from a published asset. Others are looked for when somebody
    asks for their content: the file may be nearer than the store, which may be gone.

    Args:
        tree: The worktree.
        index: The staging area.
        new: The files that differ, and that the local packs don't have.
        promised: Whether content is known to be in a store.
    """

    def __init__(
        self,
        tree: Worktree,
        index: Index,
        new: Iterable[IndexEntry],
        promised: Callable[[bytes], bool],
    ) -> None:
        self._tree = tree
        self._index = index
        # After `add`, small files are all stored here: then nothing needs to be looked up.
        lacking = any(block.unstored for block in index.entries.blocks)
        self._others: dict[bytes, IndexEntry] | None = None if lacking else {}
        self._new = {e.id: e for e in new if self._is_as_added(e) or not promised(e.id)}

    def __getitem__(self, content: bytes) -> IndexEntry:
        if content in self._new:
            return self._new[content]
        if self._others == {} or content in self._tree.objects:
            raise KeyError(content)
        if self._others is None:
            found = filter(self._is_as_added, self._index.entries.unstored())
            self._others = {entry.id: entry for entry in found}
        return self._others[content]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._new)

    def __len__(self) -> int:
        return len(self._new)

    def _is_as_added(self, entry: IndexEntry) -> bool:
        found = look(self._tree.root, entry.path)
        return found is not None and unchanged(entry, found, self._index.written_at)


def commit(
    tree: Worktree,
    at: At,
    index: Index,
    notes: Notes,
    who: Who,
    *,
    waiting: Sequence[IndexEntry],
    progress: Progress,
) -> bytes | None:
    """Make an asset of the staging area and move HEAD to it; None if nothing is new.

    Args:
        tree: The worktree.
        at: HEAD as the command read it.
        index: The staging area.
        notes: The notes for the asset.
        who: The author, the time and the code.
        waiting: The staged files whose content is stored neither here nor in a known store.
        progress: The progress of the bytes stored.
    """
    generation, old = at
    store_staged(tree, waiting, progress)
    asset, entries = make_asset(tree, old, index, notes, who)
    if asset is None:
        moved = old
        if notes.aliases and old.asset:
            waiting_commits = _with_aliases(old.unpublished, old.asset, notes.aliases)
            moved = replace(old, unpublished=waiting_commits)
    else:
        commits = (*old.unpublished, Unpublished(asset, notes.aliases))
        moved = replace(old, asset=asset, unpublished=commits, number=None)
    if moved != old:
        tree.head.write(generation, moved)
    used = index.notes_for(old)
    made = asset or old.asset

    def settled(latest: Index) -> Index:
        known = latest.known_as(made, entries) if made else latest
        return known.carried_over(used, old, moved)

    tree.index.update(settled)
    return asset


def _with_aliases(
    commits: Sequence[Unpublished], asset: bytes, aliases: Sequence[str]
) -> tuple[Unpublished, ...]:
    for at, commit_ in enumerate(commits):
        if commit_.asset == asset:
            merged = tuple(dict.fromkeys((*commit_.aliases, *aliases)))
            return (*commits[:at], replace(commit_, aliases=merged), *commits[at + 1 :])
    return (*commits, Unpublished(asset, tuple(aliases), made=False))


def publish(
    tree: Worktree,
    remote: Remote,
    at: At,
    wanted: Publication,
    sources: Sources,
    who: Who,
    progress: Progress,
) -> Published:
    """Publish an asset and those of its ancestors that the store lacks, and move HEAD to it.

    Args:
        tree: The worktree.
        remote: The store.
        at: HEAD as the command read it.
        wanted: The publication to make.
        sources: The sources of objects.
        who: The author, the time and the code.
        progress: The progress of the bytes sent.

    Raises:
        Conflict: An alias has moved on, or a file has changed since it was added.
        Found: The store has an equal asset, and `wanted.once` is set.
    """
    old, tip, here, used = at.head, wanted.tip, wanted.here, wanted.used
    claim = Claim(tree, at, remote)
    _check_unchanged(tree, tuple(here.values()), "published")
    view = remote.view()
    view.require_whole()
    check_class_name(view, old.class_name)
    given: dict[bytes, tuple[str, ...]] = {}
    for commit_ in wanted.aliases:
        given[commit_.asset] = (*given.get(commit_.asset, ()), *commit_.aliases)
    chain = [asset for asset in _unpublished_chain(view, sources, tip) if asset not in given]
    jobs = [Job(asset) for asset in chain] + [
        Job(a, names, made=wanted.made if a == tip else None) for a, names in given.items()
    ]
    jobs.sort(key=_ages(view, sources, tip))
    named = given.get(tip, ())
    alias = old.alias if old.alias in named or not named else named[-1]
    new_head = replace(old, asset=tip, origin=remote.url, unpublished=(), alias=alias)
    published: list[bytes] = []
    changes: list[AliasChange] = []
    new_trees: set[bytes] = set()
    sent = reused = 0
    for start in range(0, len(jobs), BATCH):
        batch = jobs[start : start + BATCH]
        last = start + BATCH >= len(jobs)
        push = Push(
            remote,
            sources,
            batch,
            here=here,
            root=tree.root,
            progress=progress,
            bring=wanted.bring,
        )
        moved = new_head if last else _without(claim.head, batch, remote.url)
        before = {job.asset for job in batch if is_published(view, sources, job.asset)}
        effect = used if last else Notes()
        note = partial(claim.take, moved=moved, used=effect)

        def events(latest: LogView, push: Push = push) -> list[Event]:
            if wanted.once:
                require_new(remote, latest, sources, tip)
            return push.events(latest)

        try:
            appended = remote.log.append(
                events, author=who.author, now=who.now, before=note, view=view
            )
        except (Conflict, InvalidInput, Found):
            # Somebody else's entry has taken the noted number.
            claim.give_up()
            read_again(tree, push.changed)
            raise
        if appended is not None:
            view = appended.view
            published += [job.asset for job in batch if job.asset not in before]
            changes += push.aliases
        elif len(before) < len(batch):
            view = remote.view()  # somebody else has published it meanwhile
        sent, reused = sent + push.bytes_sent, reused + push.bytes_reused
        new_trees |= push.new_trees
        _keep_recipes(tree, push)
        remote.remember_indexes(push.own_indexes)
        for job in batch:
            remote.remember_asset(job.asset, encode_asset(sources.asset(job.asset)))
        claim.settle(numbered(moved, view), effect)
    if not jobs:
        claim.settle(numbered(new_head, view), used)
    return Published(tuple(published), tuple(changes), view, sent, reused, frozenset(new_trees))


def _without(head: Head, batch: Sequence[Job], url: str) -> Head:
    """Return HEAD after the publication of some waiting commits with their aliases."""
    gone = {job.asset for job in batch}
    left = tuple(commit_ for commit_ in head.unpublished if commit_.asset not in gone)
    return replace(head, unpublished=left, origin=head.origin or url)


def _keep_recipes(tree: Worktree, push: Push) -> None:
    """Keep the recipes of large files, so that the next version needs no request to compare."""
    fresh = {i: recipe for i, recipe in push.recipes.items() if i not in tree.objects.store}
    if fresh:
        with tree.objects.writing() as writer:
            for object_id, recipe in fresh.items():
                writer.add(Kind.RECIPE, object_id, encode_recipe(recipe))


def _check_unchanged(tree: Worktree, entries: Sequence[IndexEntry], verb: str) -> None:
    """Refuse early, before reading anything, if a file is gone or has another size."""
    gone, changed = [], []
    for entry in entries:
        found = look(tree.root, entry.path)
        if found is None:
            gone.append(entry.path)
        elif found.size != entry.size and entry.kind is not EntryKind.SYMLINK:
            changed.append(entry.path)
    if gone:
        was, its = ("was", "its") if len(gone) == 1 else ("were", "their")
        raise Conflict(
            f"{summary(gone)} {was} deleted, and {its} content never kept, so nothing was {verb}",
            hint=Hint("put-back-or-rm", paths=tree.typed(gone)),
        )
    if changed:
        raise _changed(tree, changed, verb)


def _changed(tree: Worktree, paths: Sequence[str], verb: str) -> Conflict:
    was = "was" if len(paths) == 1 else "were"
    return Conflict(
        f"{summary(paths)} {was} changed since it was added, so nothing was {verb}",
        hint=Hint("add-again", paths=tree.typed(paths)),
    )


def history(sources: Sources, tip: bytes) -> Iterable[bytes]:
    """Return an asset and its ancestors that can be read, newest first."""

    def parents(asset: bytes) -> tuple[bytes, ...]:
        try:
            return sources.parents(asset)
        except NotFound:
            return ()

    return all_ancestors(tip, parents)


def is_published(view: LogView, sources: Sources, asset: bytes) -> bool:
    """Tell whether an asset is published in a store's log."""
    return view.class_state(sources.asset(asset).class_name).number(asset) is not None


def _ages(view: LogView, sources: Sources, tip: bytes) -> Callable[[Job], tuple[int, int]]:
    """Return a key that sorts jobs: what is published first, then ancestors before their heirs.

    No history is read further back than the store lacks it.
    """

    def older(asset: bytes) -> tuple[bytes, ...]:
        return () if is_published(view, sources, asset) else sources.parents(asset)

    order = {asset: at for at, asset in enumerate(all_ancestors(tip, older))}

    def age(job: Job) -> tuple[int, int]:
        if job.asset in order:
            return 1, -order[job.asset]
        return (0 if is_published(view, sources, job.asset) else 2), 0

    return age


def _unpublished_chain(view: LogView, sources: Sources, tip: bytes) -> list[bytes]:
    """Return the asset and its ancestors that a store lacks, newest first."""

    def lacking(assets: Iterable[bytes]) -> list[bytes]:
        return [asset for asset in assets if not is_published(view, sources, asset)]

    chain = all_ancestors(tip, lambda asset: lacking(sources.parents(asset)))
    return list(chain) if lacking([tip]) else []
