"""Publishing several assets by one entry, each with a note about it: all of them, or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ama.format.entries import MAX_TIME, AddNote, Event
from ama.format.hashing import asset_id
from ama.format.objects import Asset, Kind, RefLink, encode_asset, encode_recipe
from ama.results import AliasChange
from ama.storage.memory import MemoryStorage
from ama.stores.log_view import LogView
from ama.stores.object_reader import ObjectStore
from ama.stores.pack_writer import PackWriter
from ama.stores.remote import Remote
from ama.stores.sources import Sources
from ama.system.progress import NO_PROGRESS
from ama.transfer.ahead import Sent
from ama.transfer.aliases import Job, check_class_name
from ama.transfer.notes import require_notes
from ama.transfer.publish import encoded
from ama.transfer.push import Push
from ama.values import Scalar
from ama.worktree.entries import Entries
from ama.worktree.trees import build_trees

A_MOMENT = 1000
"""Microseconds in which an asset may be later than its source says."""


class Parent(NamedTuple):
    """An asset of the store, by its id."""

    id: bytes
    asset: Asset


@dataclass(frozen=True, slots=True)
class Item:
    """An asset to publish.

    Attributes:
        class_name: Its class.
        entries: Its files.
        author: Its author.
        created_at: When it was made, in UTC microseconds.
        dated: Whether another time makes another asset.
        message: Its message.
        metadata: Its metadata.
        aliases: The aliases that it gets.
        free: Whether the aliases move from wherever they are.
        refs: What it is made from: labels by the places of items before it.
        links: What else it is made from, in the store.
        parent: Its parent, an asset of the store. If that says the same, there is no new asset.
        follows: The place of an item before it that is its parent, if it has none in the store.
        noted: What is noted of it by the same entry.
    """

    class_name: str
    entries: Entries
    author: str
    created_at: int
    dated: bool = False
    message: str = ""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    free: bool = False
    refs: Mapping[int, str] = field(default_factory=dict)
    links: tuple[RefLink, ...] = ()
    parent: Parent | None = None
    follows: int | None = None
    noted: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Done:
    """What was published: the assets in the order of the items, and the log with them."""

    assets: tuple[bytes, ...]
    aliases: tuple[AliasChange, ...]
    view: LogView
    bytes_sent: int


def publish_many(
    remote: Remote,
    view: LogView,
    items: Sequence[Item],
    sent: Sent,
    *,
    author: str,
    now: Callable[[], int],
    check: Callable[[LogView], None] = lambda view: None,
) -> Done:
    """Publish assets by one entry.

    Args:
        remote: The store.
        view: Its log.
        items: The assets; each after those that it is made from.
        sent: The content of their files, as far as the store lacked it.
        author: The author of the entry.
        now: The time in UTC microseconds.
        check: A function that raises if, by the log as it is now, nothing is to be published.

    Raises:
        InvalidInput: A name or a value can't be in an asset, or the store takes no notes.
        Conflict: An alias was moved.
        IntegrityError: The store no longer has content that was counted on.
        StorageError: The store can't be reached.
    """
    view.require_whole()
    for name in {item.class_name for item in items}:
        check_class_name(view, name)
    near, assets = _made(items, sent)
    sources = Sources(near, [lambda: remote.current(view)])
    jobs = [
        Job(asset, item.aliases, free=item.free) for asset, item in zip(assets, items, strict=True)
    ]
    push = Push(remote, sources, jobs, here={}, root=Path(), progress=NO_PROGRESS)
    push.rest_on(sent)

    def events(latest: LogView) -> list[Event]:
        require_notes(latest, remote.url)
        check(latest)
        notes = [
            AddNote(item.class_name, asset, dict(sorted(item.noted.items())))
            for asset, item in zip(assets, items, strict=True)
            if item.noted
        ]
        return [*push.events(latest), *notes]

    appended = remote.log.append(events, author=author, now=now, view=view)
    remote.remember_indexes(push.own_indexes)
    for asset in assets:
        remote.remember_asset(asset, encode_asset(sources.asset(asset)))
    after = appended.view if appended is not None else remote.view()
    return Done(assets, tuple(push.aliases), after, push.bytes_sent)


def _made(items: Sequence[Item], sent: Sent) -> tuple[ObjectStore, tuple[bytes, ...]]:
    """Make the assets in memory, with their trees and the recipes of their large files."""
    memory = MemoryStorage("made")
    assets: list[bytes] = []
    with PackWriter(memory) as writer:
        for content, recipe in sent.recipes.items():
            writer.add(Kind.RECIPE, content, encode_recipe(recipe))
        for item in items:
            trees = build_trees(item.entries, lambda tree: False, partial(writer.add, Kind.TREE))
            assert trees.tree is not None
            data = _encoded(item, trees.tree, items, assets)
            assets.append(asset_id(data))
            writer.add(Kind.ASSET, assets[-1], data)
        return ObjectStore(memory, writer.finish(), fresh=True), tuple(assets)


def _encoded(item: Item, tree: bytes, items: Sequence[Item], assets: Sequence[bytes]) -> bytes:
    refs = {link.asset: link for link in item.links}
    refs |= {
        assets[at]: RefLink(assets[at], items[at].class_name, label)
        for at, label in item.refs.items()
    }
    before = item.parent
    parents = () if before or item.follows is None else (assets[item.follows],)
    asset = Asset(
        item.class_name,
        tree,
        parents,
        tuple(refs.values()),
        item.author,
        min(item.created_at, MAX_TIME),
        item.message,
        dict(item.metadata),
    )
    if before is None:
        return encoded(asset)
    same = replace(asset, parents=before.asset.parents, created_at=before.asset.created_at)
    # Of two of one time, the later one was moved on by a moment.
    as_old = not item.dated or 0 <= before.asset.created_at - asset.created_at < A_MOMENT
    if as_old and asset_id(data := encoded(same)) == before.id:
        return data
    created = min(max(item.created_at, before.asset.created_at + 1), MAX_TIME)
    return encoded(replace(asset, parents=(before.id,), created_at=created))
