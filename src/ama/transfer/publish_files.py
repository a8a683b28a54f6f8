"""The way from files to an asset in a store's log, without a worktree: nothing is kept here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from ama.errors import Conflict, InvalidInput, NotFound, shown
from ama.format.chunking import THRESHOLD
from ama.format.compression import BYTE_PLANES
from ama.format.entries import MAX_TIME, Event
from ama.format.hashing import asset_id
from ama.format.objects import (
    Asset,
    Kind,
    RefLink,
    TreeEntry,
    decode_tree,
    encode_asset,
    encode_recipe,
    encode_tree,
)
from ama.storage.memory import MemoryStorage
from ama.stores.log_view import LogView
from ama.stores.object_reader import LOOK_UP_BATCH, ObjectStore
from ama.stores.pack_writer import PackWriter
from ama.stores.remote import Remote
from ama.stores.revisions import require_live
from ama.stores.sources import Opener, Sources
from ama.system.progress import Progress
from ama.transfer.aliases import Job, check_class_name
from ama.transfer.publish import Found, Published, Who, encoded, require_new
from ama.transfer.push import Push
from ama.values import Scalar
from ama.worktree.given import GivenFiles
from ama.worktree.joining import Joining
from ama.worktree.reader import cut_source
from ama.worktree.trees import build_trees, top_of

TRIES = 200
"""How often files are put together anew, if others extend the same asset at the same time."""


@dataclass(frozen=True, slots=True)
class Description:
    """What an asset says of itself, beside its files."""

    class_name: str
    aliases: tuple[str, ...] = ()
    refs: tuple[RefLink, ...] = ()
    message: str = ""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    extend: Extend | None = None
    free: bool = False
    """Whether the aliases move from wherever they are."""


@dataclass(frozen=True, slots=True)
class Extend:
    """The rest of an asset's files: those of another one of its class."""

    asset: bytes | None = None
    """That one; None: the one that the first alias is on when the new one is published."""
    without: tuple[str, ...] = ()
    """The paths of those that it does not have."""
    lenient: bool = False
    """Whether these may be gone already."""
    portable: bool = True
    """Whether to refuse names that are one on some systems."""


class _MovedOn(Exception):
    """The asset whose files were to be extended is no longer the one that the alias is on."""


def publish_files(
    remote: Remote,
    files: GivenFiles,
    said: Description,
    who: Who,
    *,
    once: bool,
    progress: Progress,
) -> tuple[bytes, int, Published]:
    """Publish files as an asset; the one that its first alias was on is its parent.

    Args:
        remote: The store.
        files: The files.
        said: What the asset says of itself.
        who: The author, the time and the code.
        once: Whether to publish nothing if the store has an equal asset; that gets the aliases.
        progress: The progress of the bytes sent.

    Returns:
        The asset's id, the bytes of its files, and what was done.

    Raises:
        Conflict: An alias has moved on, or a file changed meanwhile.
    """
    for _ in range(TRIES):
        with suppress(_MovedOn):
            return _publish_files(remote, files, said, who, once=once, progress=progress)
    raise Conflict(
        f"{said.class_name}@{said.aliases[0]} was moved {TRIES} times by others",
        hint="run the same command again",
    )


def _publish_files(
    remote: Remote,
    files: GivenFiles,
    said: Description,
    who: Who,
    *,
    once: bool,
    progress: Progress,
) -> tuple[bytes, int, Published]:
    view = remote.view()
    view.require_whole()
    check_class_name(view, said.class_name)
    extended = _extended(view, said)
    parent = extended or _parent(view, said)
    far: list[Opener] = [lambda: remote.current(view)]
    since = 0
    if parent is not None:
        objects = _objects_of(remote, view, said.class_name, parent)
        far.insert(0, lambda: objects)
        since = Sources(objects).asset(parent).created_at + 1
    base = None
    if extended is not None:
        require_live(view, said.class_name, extended, remote.url)
        base = Sources(objects)
    near, asset, size = _made(files, said, who, _Before(parent, since, base))
    sources = Sources(near, far)
    job = Job(asset, said.aliases, free=said.free)
    push = Push(remote, sources, [job], here=files.here, root=Path(), progress=progress)

    def unmoved(latest: LogView) -> LogView:
        if _extended(latest, said) != extended:
            raise _MovedOn
        return latest

    def events(latest: LogView) -> list[Event]:
        if once:
            require_new(remote, unmoved(latest), sources, asset)
        return push.events(unmoved(latest))

    try:
        done = _append(remote, push, events, who, view)
    except Found as found:
        view = remote.view()
        there = Sources(near, [lambda: remote.current(view)])
        again = Push(
            remote,
            there,
            [replace(job, asset=found.asset, made=asset)] if said.aliases else [],
            here={},
            root=Path(),
            progress=progress,
        )
        done = _append(remote, again, lambda latest: again.events(unmoved(latest)), who, view)
        return found.asset, size, done
    except Conflict as error:
        if push.changed:
            raise Conflict(
                f"{shown(push.changed[0])} was changed while it was published",
                hint="run the same command again when it is written",
            ) from error
        raise
    remote.remember_indexes(push.own_indexes)
    remote.remember_asset(asset, encode_asset(sources.asset(asset)))
    return asset, size, replace(done, assets=(asset,))


def _parent(view: LogView, said: Description) -> bytes | None:
    state = view.class_state(said.class_name)
    targets = (state.target(alias) for alias in said.aliases)
    return next((target for target in targets if target is not None), None)


def _extended(view: LogView, said: Description) -> bytes | None:
    """Return the asset whose files the new one has too."""
    if said.extend is None or said.extend.asset is not None:
        return None if said.extend is None else said.extend.asset
    return view.class_state(said.class_name).target(said.aliases[0])


def _objects_of(remote: Remote, view: LogView, class_name: str, asset: bytes) -> ObjectStore:
    """Return the objects of an asset, with its metadata read in one request if that is little."""
    record = view.class_state(class_name).find(asset)
    if record is None:
        return remote.current(view)
    objects = remote.objects_of(view, class_name, record, whole=False)
    objects.load_metadata(LOOK_UP_BATCH)
    return objects


class _Before(NamedTuple):
    """What is there before an asset is made: its parent, and the time from which it may be."""

    parent: bytes | None
    since: int
    base: Sources | None
    """The objects of the parent, if the asset has its files too."""


def _made(
    files: GivenFiles, said: Description, who: Who, before: _Before
) -> tuple[ObjectStore, bytes, int]:
    """Make the asset in memory, with its trees and the content that is in no file.

    Returns:
        The objects, the asset's id, and the bytes of its files.
    """
    memory = MemoryStorage("given")
    with PackWriter(memory, features=(BYTE_PLANES,)) as writer:
        for content, data in files.held.items():
            hold(writer, content, data)
        tree, size = _tree(files, said, before, partial(writer.add, Kind.TREE))
        data = encoded(
            Asset(
                said.class_name,
                tree,
                (before.parent,) if before.parent else (),
                said.refs,
                who.author,
                min(max(who.now(), before.since), MAX_TIME),
                said.message,
                {**who.code(), **said.metadata},
                who.extra(),
            )
        )
        asset = asset_id(data)
        writer.add(Kind.ASSET, asset, data)
        return ObjectStore(memory, writer.finish(), fresh=True), asset, size


def _tree(
    files: GivenFiles, said: Description, before: _Before, write: Callable[[bytes, bytes], None]
) -> tuple[bytes, int]:
    """Return the id and the size of an asset's tree, and write all trees that it needs."""
    made: dict[bytes, tuple[TreeEntry, ...]] = {}

    def keep(tree: bytes, data: bytes) -> None:
        if tree not in made:
            made[tree] = decode_tree(data)
            write(tree, data)

    if said.extend is None or before.base is None or before.parent is None:
        _without_base(said.extend)
        entries = build_trees(files.entries, lambda tree: False, write)
        assert entries.tree is not None
        return entries.tree, files.entries.size
    base = before.base

    def read(tree: bytes) -> tuple[TreeEntry, ...]:
        if tree not in made:
            # With its trees at hand, the push rests on the parent, and looks up what differs.
            made[tree] = base.tree(tree)
            write(tree, encode_tree([*made[tree]]))
        return made[tree]

    added = build_trees(files.entries, lambda tree: False, keep).tree
    assert added is not None
    joining = Joining(read, keep, said.extend.portable)
    root = top_of(base.asset(before.parent).tree)
    for path in said.extend.without:
        with suppress(*([NotFound] if said.extend.lenient else [])):
            root = joining.without(root.id, path.split("/"))
    root = joining.joined(root.id, added)
    if not read(root.id):
        raise InvalidInput("no file would be left")
    return root.id, root.size


def _without_base(extend: Extend | None) -> None:
    if extend is not None and extend.without and not extend.lenient:
        raise NotFound(f"there is no asset yet, so no {shown(extend.without[0])} in it")


def hold(writer: PackWriter, content: bytes, data: bytes) -> None:
    """Write content that is in memory, in chunks if it is large."""
    if len(data) < THRESHOLD:
        writer.add(Kind.DATA, content, data)
        return
    recipe = cut_source(BytesIO(data), partial(writer.add, Kind.DATA))
    writer.add(Kind.RECIPE, content, encode_recipe(recipe))


def _append(
    remote: Remote,
    push: Push,
    events: Callable[[LogView], list[Event]],
    who: Who,
    view: LogView,
) -> Published:
    appended = remote.log.append(events, author=who.author, now=who.now, view=view)
    after = appended.view if appended is not None else remote.view()
    return Published((), tuple(push.aliases), after, push.bytes_sent, push.bytes_reused)
