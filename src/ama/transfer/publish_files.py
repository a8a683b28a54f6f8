"""The way from files to an asset in a store's log, without a worktree: nothing is kept here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from pathlib import Path

from ama.errors import Conflict, shown
from ama.format.chunking import THRESHOLD
from ama.format.compression import BYTE_PLANES
from ama.format.entries import MAX_TIME, Event
from ama.format.hashing import asset_id
from ama.format.objects import Asset, Kind, RefLink, encode_asset, encode_recipe
from ama.storage.memory import MemoryStorage
from ama.stores.log_view import LogView
from ama.stores.object_reader import LOOK_UP_BATCH, ObjectStore
from ama.stores.pack_writer import PackWriter
from ama.stores.remote import Remote
from ama.stores.sources import Opener, Sources
from ama.system.progress import Progress
from ama.transfer.aliases import Job, check_class_name
from ama.transfer.publish import Found, Published, Who, encoded, require_new
from ama.transfer.push import Push
from ama.values import Scalar
from ama.worktree.given import GivenFiles
from ama.worktree.reader import cut_source
from ama.worktree.trees import build_trees


@dataclass(frozen=True, slots=True)
class Description:
    """What an asset says of itself, beside its files."""

    class_name: str
    aliases: tuple[str, ...] = ()
    refs: tuple[RefLink, ...] = ()
    message: str = ""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)


def publish_files(
    remote: Remote,
    files: GivenFiles,
    said: Description,
    who: Who,
    *,
    once: bool,
    progress: Progress,
) -> tuple[bytes, Published]:
    """Publish files as an asset; the one that its first alias was on is its parent.

    Args:
        remote: The store.
        files: The files.
        said: What the asset says of itself.
        who: The author, the time and the code.
        once: Whether to publish nothing if the store has an equal asset; that gets the aliases.
        progress: The progress of the bytes sent.

    Returns:
        The asset's id, and what was done.

    Raises:
        Conflict: An alias has moved on, or a file changed meanwhile.
    """
    view = remote.view()
    view.require_whole()
    check_class_name(view, said.class_name)
    parent = _parent(view, said)
    far: list[Opener] = [lambda: remote.current(view)]
    since = 0
    if parent is not None:
        objects = _objects_of(remote, view, said.class_name, parent)
        far.insert(0, lambda: objects)
        since = Sources(objects).asset(parent).created_at + 1
    near, asset = _made(files, said, who, parent, since)
    sources = Sources(near, far)
    push = Push(
        remote, sources, [Job(asset, said.aliases)], here=files.here, root=Path(), progress=progress
    )

    def events(latest: LogView) -> list[Event]:
        if once:
            require_new(remote, latest, sources, asset)
        return push.events(latest)

    try:
        done = _append(remote, push, events, who, view)
    except Found as found:
        view = remote.view()
        there = Sources(near, [lambda: remote.current(view)])
        again = Push(
            remote,
            there,
            [Job(found.asset, said.aliases, made=asset)] if said.aliases else [],
            here={},
            root=Path(),
            progress=progress,
        )
        return found.asset, _append(remote, again, again.events, who, view)
    except Conflict as error:
        if push.changed:
            raise Conflict(
                f"{shown(push.changed[0])} was changed while it was published",
                hint="run the same command again when it is written",
            ) from error
        raise
    remote.remember_indexes(push.own_indexes)
    remote.remember_asset(asset, encode_asset(sources.asset(asset)))
    return asset, replace(done, assets=(asset,))


def _parent(view: LogView, said: Description) -> bytes | None:
    state = view.class_state(said.class_name)
    targets = (state.target(alias) for alias in said.aliases)
    return next((target for target in targets if target is not None), None)


def _objects_of(remote: Remote, view: LogView, class_name: str, asset: bytes) -> ObjectStore:
    """Return the objects of an asset, with its metadata read in one request if that is little."""
    record = view.class_state(class_name).find(asset)
    if record is None:
        return remote.current(view)
    objects = remote.objects_of(view, class_name, record, whole=False)
    objects.load_metadata(LOOK_UP_BATCH)
    return objects


def _made(
    files: GivenFiles, said: Description, who: Who, parent: bytes | None, since: int
) -> tuple[ObjectStore, bytes]:
    """Make the asset in memory, with its trees and the content that is in no file."""
    memory = MemoryStorage("given")
    with PackWriter(memory, features=(BYTE_PLANES,)) as writer:
        for content, data in files.held.items():
            hold(writer, content, data)
        entries = build_trees(files.entries, lambda tree: False, partial(writer.add, Kind.TREE))
        assert entries.tree is not None
        data = encoded(
            Asset(
                said.class_name,
                entries.tree,
                (parent,) if parent else (),
                said.refs,
                who.author,
                min(max(who.now(), since), MAX_TIME),
                said.message,
                {**who.code(), **said.metadata},
                who.extra(),
            )
        )
        asset = asset_id(data)
        writer.add(Kind.ASSET, asset, data)
        return ObjectStore(memory, writer.finish(), fresh=True), asset


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
