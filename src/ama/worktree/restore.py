"""`restore`: files back to the index, or the index back to an asset."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from ama.errors import Conflict, Hint, NotFound, shown
from ama.format.chunking import THRESHOLD
from ama.format.hashing import blob_id
from ama.format.objects import Kind, encode_recipe
from ama.stores.sources import Sources
from ama.system.progress import Progress
from ama.worktree.add import summary
from ama.worktree.checkout import Checkout, staged_meanwhile
from ama.worktree.entries import IndexEntry
from ama.worktree.layout import Worktree
from ama.worktree.plan import Policy, as_skipped, is_safe, plan_changes
from ama.worktree.reader import read_entry
from ama.worktree.scan import (
    directories_of,
    is_behind,
    look,
    obstacles,
    require_no_git,
    require_not_inside,
)
from ama.worktree.staging import RACY, Index
from ama.worktree.trees import Listed, staged_files

_WITHOUT = ("download", "ASSET", "-o", "DIR")


@dataclass(frozen=True, slots=True)
class Restored:
    """The paths that were brought back, those that went because the source has none, and those of
    a partial worktree that were not brought here.
    """

    restored: tuple[str, ...]
    deleted: tuple[str, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """Content that may go, because it is kept elsewhere.

    Attributes:
        stored: Paths and ids whose content is stored elsewhere.
        in_asset: Tells whether an asset has some content: what was only ever staged lies in the
            local packs as well, and nobody would find it there.
        force: Whether files whose content is stored nowhere are overwritten.
    """

    stored: Mapping[str, bytes]
    in_asset: Callable[[bytes], bool]
    force: bool


def choose(
    tree: Worktree, paths: Iterable[str], known: Iterable[str], removed: Iterable[str] = ()
) -> dict[str, bool]:
    """Return the known paths under some paths (files, directories, globs).

    Each comes with whether a path or glob names it directly, and not only its directory.

    Args:
        tree: The worktree.
        paths: Relative to the root; "" for all.
        known: The paths that may be named.
        removed: The paths known before their removal was staged.

    Raises:
        NotFound: A path names none.
    """
    known = list(known)
    chosen: dict[str, bool] = {}
    for path in paths:
        below = tree.named(path, known)
        if not below and path:
            if tree.named(path, removed):
                raise NotFound(
                    f"{shown(path)} is not staged any more: its removal is",
                    hint=Hint("unstage-removal", paths=tree.typed([path])),
                )
            raise NotFound(f"{shown(path)} is not in this asset", hint=Hint("ls-here"))
        for name in below:
            alone = bool(path) and not name.startswith(f"{path}/")
            chosen[name] = chosen.get(name, False) or alone
    return chosen


def restore_staged(
    tree: Worktree,
    paths: Sequence[str],
    source: Mapping[str, Listed],
    sources: Sources,
    *,
    wanted: Callable[[Index], Callable[[str], bool]],
    promised: Collection[bytes],
    in_asset: Callable[[bytes], bool],
    force: bool,
) -> Restored:
    """Set index entries back to an asset's; no file of the worktree is touched.

    An index that is lost or damaged begins anew if all of it is set back. Where it is lost, nobody
    knows which files a partial worktree leaves out, so none that is absent counts as deleted.

    Args:
        tree: The worktree.
        paths: Files or directories, relative to the root; "" for all.
        source: The asset's files.
        sources: The sources of content that HEAD's asset doesn't have.
        wanted: A function that returns, for an index, a test of the paths that a partial worktree
            has.
        promised: The content that is published with HEAD's asset.
        in_asset: Whether an asset has some content.
        force: Whether to drop content that was only ever staged and whose file is deleted.

    Raises:
        Conflict: Such content would be lost.
        InvalidInput: No file here may have such a name.
    """
    anew = "" in paths
    is_lost = tree.index.is_lost()
    index = tree.index.read(anew=anew)
    chosen = choose(tree, paths, dict.fromkeys([*index.entries, *source]))
    back: list[IndexEntry] = []
    gone: list[str] = []
    is_wanted = (lambda path: False) if is_lost else wanted(index)
    for path in chosen:
        item, entry = source.get(path), index.entries.get(path)
        if item is None:
            gone.append(path)
        elif _differs(item, index):
            left_out = not is_wanted(path) if entry is None else entry.skipped
            skipped = left_out and look(tree.root, path) is None
            back.append(IndexEntry(path, item.kind, item.id, item.size, RACY, 0, 0, False, skipped))
    if not force:
        leaving = _giving_way(index, (*gone, *(entry.path for entry in back)))
        _require_no_last_copy(tree, source, leaving, in_asset)
    require_no_git((entry.path for entry in back if not entry.skipped), _WITHOUT)
    back = _kept_here(tree, back, sources, promised)
    tree.index.update(lambda latest: latest.with_entries(back, gone), anew=anew)
    return Restored(tuple(entry.path for entry in back), tuple(gone))


def restore_files(
    tree: Worktree,
    paths: Sequence[str],
    source: Mapping[str, Listed] | None,
    sources: Sources,
    *,
    wanted: Callable[[Index], Callable[[str], bool]],
    base: Collection[str],
    kept: Kept,
    progress: Progress,
) -> Restored:
    """Set files of the worktree back to the index, or to an asset.

    A file that a partial worktree leaves out comes only if a path names it directly; then the index
    follows the asset.

    Args:
        tree: The worktree.
        paths: Files or directories, relative to the root; "" for all.
        source: The asset's files; None for what is staged.
        sources: Where content comes from.
        wanted: Returns, for an index, which paths are to be here in a partial worktree.
        base: The paths of HEAD's asset.
        kept: What content may go.
        progress: Is told of the bytes written.

    Raises:
        Conflict: A file's content is stored nowhere, and would be lost.
        InvalidInput: No file here may have such a name.
        NotFound: A path names nothing, or a file that is only staged by reference is gone.
    """
    index = tree.index.read()
    promised = set(kept.stored.values())
    target = source if source is not None else staged_files(index)
    known = dict.fromkeys([*target, *(index.entries if source is not None else ())])
    chosen = choose(tree, paths, known, base if source is None else ())
    left_out = _left_out(tree, index, chosen, target, wanted(index))
    coming = [path for path in chosen if path in target and path not in left_out]
    require_no_git(coming, _WITHOUT)
    leaving = {path for path in chosen if path not in target}
    require_not_inside(tree.root, [*coming, *leaving])

    def keep(paths: tuple[str, ...]) -> Hint:
        return Hint("add-to-keep" if source is None else "add-and-commit", paths=paths)

    policy = Policy(partial(_is_kept, tree, kept), keep, kept.force)
    plan = plan_changes(tree, index, [target[path] for path in coming], leaving, policy)
    if source is None:
        _check_kept(tree, index, plan.write, sources, promised)
    elif not kept.force:
        _require_no_last_copy(tree, target, _giving_way(index, chosen), kept.in_asset)
    gone = tuple(sorted(leaving))
    skipped = [as_skipped(target[path]) for path in left_out if _differs(target[path], index)]
    skipped = _kept_here(tree, skipped, sources, promised)
    plan = replace(plan, skipped=tuple(skipped))

    unmoved = partial(_staged_alike, index, paths=tuple(chosen))

    def changed(latest: Index) -> Index:
        if not unmoved(latest):
            raise staged_meanwhile()
        return latest.with_entries(back, gone)

    with Checkout(tree, None) as checkout:
        # Each file is put back at once, and the index stays true meanwhile: a crash leaves nothing
        # that must be finished first.
        entries = checkout.place(plan, sources, begun=None, unmoved=unmoved, progress=progress)
        back = _keep_small(tree, list(entries), promised)
        checkout.finish(changed)
    return Restored(tuple(item.path for item in plan.write), gone, tuple(left_out))


def _is_kept(tree: Worktree, kept: Kept, path: str, content: bytes, item: Listed | None) -> bool:
    """Whether content may leave a path, where `item` is to be then."""
    stays = (item is not None and item.id == content) or kept.stored.get(path) == content
    return stays or (is_safe(tree, path, content, item) and kept.in_asset(content))


def _left_out(
    tree: Worktree,
    index: Index,
    chosen: Mapping[str, bool],
    target: Collection[str],
    wanted: Callable[[str], bool],
) -> dict[str, None]:
    """Return the paths that a partial worktree doesn't have, and shouldn't have.

    A file that is there all the same, or is named directly, isn't one of them.
    """
    entries = index.entries
    absent = [
        path
        for path, is_named in chosen.items()
        if path in target
        and not (is_named or wanted(path))
        and (path not in entries or entries[path].skipped)
    ]
    blocked = obstacles(tree.root, absent)
    return {
        path: None for path in absent if is_behind(path, blocked) or look(tree.root, path) is None
    }


def _differs(item: Listed, index: Index) -> bool:
    entry = index.entries.get(item.path)
    return entry is None or (entry.id, entry.kind) != (item.id, item.kind)


def _staged_alike(one: Index, other: Index, paths: Iterable[str]) -> bool:
    """Whether two indexes have the same content at some paths."""
    pairs = ((one.entries.get(path), other.entries.get(path)) for path in paths)
    return all((a and a[1:3]) == (b and b[1:3]) for a, b in pairs)


def _giving_way(index: Index, paths: Iterable[str]) -> list[IndexEntry]:
    """Return the staged files that give way if other files, or none, are staged at some paths."""
    entries = index.entries
    paths = tuple(paths)
    places = dict.fromkeys((*paths, *directories_of(paths)))
    return [entries[path] for path in places if path in entries]


def _require_no_last_copy(
    tree: Worktree,
    source: Mapping[str, Listed],
    leaving: Iterable[IndexEntry],
    in_asset: Callable[[bytes], bool],
) -> None:
    """Check that unstaging doesn't lose the last copy of a deleted file's content.

    A user who has changed a file since has the newer content; one who deleted it has nothing.
    """
    differing = [e for e in leaving if e.path not in source or source[e.path].id != e.id]
    blocked = obstacles(tree.root, [entry.path for entry in differing])
    lost = sorted(
        entry.path
        for entry in differing
        if (is_behind(entry.path, blocked) or look(tree.root, entry.path) is None)
        and entry.id in tree.objects
        and not in_asset(entry.id)
    )
    if lost:
        raise Conflict(
            f"{summary(lost)} {'was' if len(lost) == 1 else 'were'} deleted, and the content is in"
            " no asset: it would be lost",
            hint=(Hint("restore-first", paths=tree.typed(lost)), Hint("drop-anyway")),
        )


def _check_kept(
    tree: Worktree,
    index: Index,
    write: Iterable[Listed],
    sources: Sources,
    promised: Collection[bytes],
) -> None:
    """Check that staged files whose content may be stored nowhere are still there.

    Raises:
        NotFound: A large file was staged by reference, and is gone.
    """
    for item in write:
        if index.entries[item.path].stored or item.id in promised:
            continue
        try:
            sources.holding(item.id)
        except NotFound:
            there = look(tree.root, item.path) is not None
            raise NotFound(
                f"{shown(item.path)} was {'changed' if there else 'deleted'}, and its content as it"
                " was added was never kept",
                hint=Hint("stage-as-it-is" if there else "take-out", paths=tree.typed([item.path])),
            ) from None


def _kept_here(
    tree: Worktree, back: Sequence[IndexEntry], sources: Sources, promised: Collection[bytes]
) -> list[IndexEntry]:
    """Store content here: the local packs, the worktree or HEAD's asset must have staged content.

    Args:
        tree: The worktree.
        back: The entries to stage, whose content may not be in the worktree.
        sources: The sources of their content.
        promised: The content that is published with HEAD's asset.

    Returns:
        The same entries, marked as stored if they are stored here.
    """
    lacking = {e.id: e.size for e in back if e.id not in tree.objects and e.id not in promised}
    _fetch_content(tree, lacking, sources)
    return [entry._replace(stored=entry.id in tree.objects) for entry in back]


def _fetch_content(tree: Worktree, lacking: Mapping[bytes, int], sources: Sources) -> None:
    """Fetch content into the local packs.

    Args:
        tree: The worktree.
        lacking: The ids of the files' content, and their sizes.
        sources: The sources of the content.
    """
    if not lacking:
        return
    small = [object_id for object_id, size in lacking.items() if size < THRESHOLD]
    fetched: dict[bytes, bytes] = {}
    with tree.objects.writing() as writer:
        for done in sources.each_file(small, fetched.__setitem__):
            for object_id in done:
                writer.add(Kind.DATA, object_id, fetched.pop(object_id))
        for object_id in lacking.keys() - set(small):
            recipe = sources.recipe(object_id)
            names = [object_id] if recipe is None else [chunk for chunk, _ in recipe.chunks]
            for name, data in zip(names, sources.stream(object_id, Kind.DATA), strict=True):
                writer.add(Kind.DATA, name, data)
            if recipe is not None:
                writer.add(Kind.RECIPE, object_id, encode_recipe(recipe))


def _keep_small(
    tree: Worktree, entries: Sequence[IndexEntry], promised: Collection[bytes]
) -> list[IndexEntry]:
    """Store small files just put back, as `add` would; large ones are here to be read."""
    kept: dict[bytes, bytes] = {}
    for entry in entries:
        if entry.id not in promised and entry.size < THRESHOLD and entry.id not in tree.objects:
            data = read_entry(tree.root, entry.path, entry.kind)
            if blob_id(data) == entry.id:
                kept[entry.id] = data
    if not kept:
        return list(entries)
    with tree.objects.writing() as writer:
        for object_id, data in kept.items():
            writer.add(Kind.DATA, object_id, data)
    return [entry._replace(stored=entry.stored or entry.id in kept) for entry in entries]
