"""Anything that users do, in any order, beside a plain model of what must come of it.

Real worktrees, two real stores, the public classes. What a published asset holds is what the
model says; numbers are dense, aliases are where they were moved to; and no command but a forced
one ever takes content from a worktree that can't be had again from somewhere.

`HYPOTHESIS_PROFILE=thorough` looks for longer and elsewhere at each run.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import ama
from ama.errors import AmaError, Conflict, InvalidInput, NotFound
from ama.format.hashing import blob_id
from ama.settings import Settings, add_remote
from ama.system import fs
from model import (
    LARGE,
    Asset,
    Item,
    Notes,
    Store,
    Tree,
    collapsed,
    delete,
    differing,
    is_below,
    read_disk,
    under,
    write_item,
)

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
NOISE = blake3(b"a large file").digest(length=LARGE + 300_000)
UNSEEN = b"unlike anything before"
SMALL = [b"", UNSEEN, UNSEEN, b"one", b"two", b"ten", b"a longer text\n" * 300, bytes(5000)]
EDGES = [NOISE[:70_000], NOISE[: LARGE - 1], NOISE[:LARGE]]
BIG = [NOISE, NOISE[:50_000] + b"inserted" + NOISE[50_000:]]
TARGETS = [b"a", b"d", b"e", b"nowhere", b"d/e", b"./x.txt"]
ITEMS = [
    *(Item("file", data) for data in 3 * SMALL + EDGES + BIG),
    *(Item("executable", data) for data in (b"one", b"two", NOISE)),
    *(Item("symlink", target) for target in TARGETS),
]
PATHS = ["a", "b", "d", "d/a", "d/b", "d/e/a", "d/e/f", "x.txt", "e", "e/a", "grün/ß.txt"]
CLASSES = ["models", "data"]
ALIASES = ["best", "latest"]

PARTS: dict[str, tuple[dict[str, Any], Callable[[str], bool]]] = {
    "without a": ({"exclude": ["a"]}, lambda path: "a" not in path.split("/")),
    "without d": ({"exclude": ["d/"]}, lambda path: "d" not in path.split("/")[:-1]),
    "only d": ({"include": ["d"]}, lambda path: "d" in path.split("/")),
    "only text": ({"include": ["*.txt"]}, lambda path: path.endswith(".txt")),
    "nothing": ({"metadata_only": True}, lambda path: False),
}
"""Partial downloads: the options, and which paths they stand for."""

ANY = st.integers(0, 10**6)
"""Picks one of whatever there is."""
PATH = st.sampled_from(PATHS)
GIVEN = st.sampled_from(["", *PATHS, "d/e", "grün"])
ITEM = st.sampled_from(ITEMS)
THEN = st.sampled_from([None, "add", "copy", "commit", "near", "far"])
RARELY = st.sampled_from([False, False, False, True])


def stays_inside(path: str, target: bytes) -> bool:
    """Whether a symlink leads to somewhere in the worktree: it isn't added otherwise."""
    return not os.path.normpath(os.path.join(os.path.dirname(path), target.decode())).startswith(
        ".."
    )


class Machine(RuleBasedStateMachine):
    """Commands in any order, and the model that says what they must do."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(prefix="ama-machine-"))
        self.sync = fs._os.fsync
        # Each step would wait for the disk some twenty times; tests/test_crash.py needs that.
        fs._os.fsync = lambda fd: None  # type: ignore[method-assign]
        environ = {f"AMA_{kind}_DIR": str(self.place / kind.lower()) for kind in ("DATA", "CACHE")}
        self.environ = {**environ, "AMA_CONFIG_DIR": str(self.place / "config")}
        config = self.place / "config" / "config.toml"
        config.parent.mkdir()
        config.write_text('[user]\nname = "Ann"\nemail = "ann@example.org"\n')
        for name in ("near", "far"):
            add_remote(config, name, str(self.place / name))
        self.settings = Settings.load(environ=self.environ)
        self.assets: dict[str, Asset] = {}
        self.stores = {"near": Store(), "far": Store()}
        self.trees: list[Tree] = []
        self.repos: dict[Path, ama.Repo] = {}
        self.downloads = 0
        self.written = 0

    def teardown(self) -> None:
        try:
            if self.trees:
                self.check_everything()
        finally:
            fs._os.fsync = self.sync  # type: ignore[method-assign]
            shutil.rmtree(self.place, ignore_errors=True)

    # Helpers

    def tree(self, pick: int) -> tuple[Tree, ama.Repo]:
        tree = self.trees[pick % len(self.trees)]
        return tree, self.repos[tree.root]

    def reopen(self, tree: Tree) -> ama.Repo:
        self.repos[tree.root] = ama.Repo.open(tree.root, settings=self.settings)
        return self.repos[tree.root]

    def real(self, store: str) -> ama.Store:
        return ama.Store.open(str(self.place / store), settings=self.settings)

    def files(self, asset: str | None) -> dict[str, Item]:
        return {} if asset is None else self.assets[asset].files

    def state(self, tree: Tree) -> tuple[Any, ...]:
        """What a command that fails must leave as it was."""
        status = self.repos[tree.root].status()
        return tree.work(), replace(status, unpublished=()), len(status.unpublished)

    def refused(
        self,
        tree: Tree,
        error: type[AmaError] | tuple[type[AmaError], ...],
        work: Callable[[], Any],
    ) -> None:
        """The command fails so, and changes nothing."""
        before = self.state(tree)
        with pytest.raises(error) as raised:
            work()
        note(f"refused: {raised.value.message}")
        assert self.state(tree) == before

    def may_refuse(self, tree: Tree, work: Callable[[], Any]) -> bool:
        """Run what may end in a Conflict; whether it did. Then nothing is changed."""
        before = self.state(tree)
        try:
            work()
        except Conflict as error:
            note(f"conflict: {error.message}")
        else:
            return False
        assert self.state(tree) == before
        return True

    def check_kept(self, tree: Tree, gone: Iterable[Item]) -> None:
        """What was taken from a worktree can be had again."""
        objects = ama.Repo.open(tree.root, settings=self.settings)._tree.objects
        published = {
            item.data
            for store in self.stores.values()
            for _, _, asset in store.all()
            for item in self.assets[asset].files.values()
        }
        for item in gone:
            assert item.data in published or blob_id(item.data) in objects, item

    def beyond_symlink(self, tree: Tree, path: str) -> bool:
        parts = path.split("/")
        return any((tree.root / "/".join(parts[:n])).is_symlink() for n in range(1, len(parts)))

    def base(self, store: Store, asset: str | None) -> str | None:
        """The nearest ancestor, or the asset itself, that is in a store."""
        while asset is not None and not store.has(self.assets[asset].class_name, asset):
            asset = self.assets[asset].parent
        return asset

    def chain(self, store: Store, asset: str | None) -> list[str]:
        """The asset and its ancestors that a store lacks, oldest first."""
        found: list[str] = []
        while asset is not None and not store.has(self.assets[asset].class_name, asset):
            found.append(asset)
            asset = self.assets[asset].parent
        return found[::-1]

    def comes_from(self, asset: str | None, ancestor: str) -> bool:
        while asset is not None and asset != ancestor:
            asset = self.assets[asset].parent
        return asset is not None

    # A beginning

    @initialize(class_name=st.sampled_from(CLASSES), first=st.sampled_from(["near", "far", None]))
    def begin(self, class_name: str, first: str | None) -> None:
        """Hypothesis leaves some rules out of each run, so there is something to begin with."""
        root = self.place / "work"
        self.repos[root] = ama.Repo.init(root, class_name, settings=self.settings)
        self.trees.append(Tree(root, class_name))
        for path, item in {"a": ITEMS[3], "d/a": ITEMS[4], "d/e/f": ITEMS[6]}.items():
            write_item(root, path, item)
        if first is not None:
            self.add(0, "", False)
            self.upload(0, first)

    # What users do to files

    @rule(pick=ANY, path=PATH, item=ITEM, then=THEN)
    def write(self, pick: int, path: str, item: Item, then: str | None) -> None:
        tree, _ = self.tree(pick)
        self.put(tree, path, item)
        self.go_on(pick, path, then)

    @rule(pick=ANY, which=ANY, item=ITEM, then=THEN)
    def edit(self, pick: int, which: int, item: Item, then: str | None) -> None:
        tree, _ = self.tree(pick)
        here = sorted(tree.work())
        if here:
            path = here[which % len(here)]
            self.put(tree, path, item)
            self.go_on(pick, path, then)

    def put(self, tree: Tree, path: str, item: Item) -> None:
        if item.data == UNSEEN:
            self.written += 1
            item = Item(item.kind, b"%d: %b" % (self.written, UNSEEN))
        write_item(tree.root, path, item)

    def go_on(self, pick: int, path: str, then: str | None) -> None:
        """What mostly follows an edit."""
        if then is not None:
            self.add(pick, path, then == "copy")
        if then == "commit":
            self.commit(pick, None)
        elif then in ("near", "far"):
            self.upload(pick, then)

    @rule(pick=ANY, which=ANY, same=st.booleans())
    def change_unseen(self, pick: int, which: int, same: bool) -> None:
        """Other bytes of the same size with the old time, as a careless tool writes them."""
        tree, _ = self.tree(pick)
        files = sorted(p for p, item in tree.work().items() if item.kind != "symlink")
        if not files:
            return
        full = tree.root / files[which % len(files)]
        before = full.stat()
        data = full.read_bytes()
        full.write_bytes(data if same else data[::-1])
        os.utime(full, ns=(before.st_atime_ns, before.st_mtime_ns))

    @rule(pick=ANY, path=GIVEN)
    def delete(self, pick: int, path: str) -> None:
        tree, _ = self.tree(pick)
        if path and not self.beyond_symlink(tree, path):
            delete(tree.root, path)

    # Staging

    @rule(pick=ANY, path=GIVEN, copy=RARELY)
    def add(self, pick: int, path: str, copy: bool) -> None:
        tree, repo = self.tree(pick)
        work = tree.work()

        def added() -> None:
            repo.add([path or "."], copy=copy)

        if self.beyond_symlink(tree, path):
            self.refused(tree, InvalidInput, added)
            return
        here = {p: work[p] for p in under(work, path)}
        if any(i.kind == "symlink" and not stays_inside(p, i.data) for p, i in here.items()):
            self.refused(tree, InvalidInput, added)
            return
        gone = [p for p in under(tree.index, path) if p not in work]
        if not here and not gone and not (tree.root / path).is_dir():
            self.refused(tree, NotFound, added)
            return
        added()
        if path in tree.index and (tree.root / path).is_dir() and not here:
            gone = [p for p in gone if p != path]
        tree.stage(here, [p for p in gone if p not in tree.skipped])

    @rule(pick=ANY, path=GIVEN, keep=st.booleans(), force=RARELY)
    def remove(self, pick: int, path: str, keep: bool, force: bool) -> None:
        tree, repo = self.tree(pick)
        chosen = under(tree.index, path)

        def removed() -> None:
            repo.remove([path or "."], keep_files=keep, force=force)

        if self.beyond_symlink(tree, path):
            self.refused(tree, InvalidInput, removed)
            return
        if not chosen:
            self.refused(tree, NotFound, removed)
            return
        work = tree.work()
        if self.may_refuse(tree, removed):
            assert not force
            assert not keep
            return
        for p in chosen:
            tree.unstage(p)
        expected = work if keep else {p: item for p, item in work.items() if p not in chosen}
        assert tree.work() == expected
        if not force:
            self.check_kept(tree, (work[p] for p in work if p not in expected))

    @rule(pick=ANY, path=GIVEN, force=RARELY)
    def restore(self, pick: int, path: str, force: bool) -> None:
        tree, repo = self.tree(pick)
        chosen = under(tree.index, path)

        def restored() -> None:
            repo.restore([path or "."], force=force)

        if self.beyond_symlink(tree, path):
            self.refused(tree, InvalidInput, restored)
            return
        if not chosen and path:
            self.refused(tree, NotFound, restored)
            return
        work = tree.work()
        left_out = tree.left_out(chosen, path, work)
        chosen = [p for p in chosen if p not in left_out]
        if self.lacking(tree, [tree.index[p] for p in chosen]):
            return
        if self.may_refuse(tree, restored):
            return
        expected = {**work, **{p: tree.index[p] for p in chosen}}
        tree.skipped -= set(chosen)
        assert tree.work() == expected
        if not force:
            self.check_kept(tree, (work[p] for p in work if work[p] != expected[p]))

    @precondition(lambda self: self.stores["near"].all())
    @rule(pick=ANY, which=ANY, path=GIVEN, staged=st.booleans(), force=RARELY)
    def restore_from(self, pick: int, which: int, path: str, staged: bool, force: bool) -> None:
        """Bring files of another asset here, or only stage them."""
        tree, repo = self.tree(pick)
        published = self.stores["near"].all()
        class_name, number, asset = published[which % len(published)]
        source = self.files(asset)
        chosen = under(tree.index.keys() | source.keys(), path)

        def restored() -> None:
            repo.restore([path or "."], staged=staged, source=f"{class_name}/{number}", force=force)

        if self.beyond_symlink(tree, path):
            self.refused(tree, InvalidInput, restored)
            return
        if not chosen and path:
            self.refused(tree, NotFound, restored)
            return
        if staged:
            self.restored_staged(tree, chosen, source, restored, force=force)
            return
        work = tree.work()
        if self.may_refuse(tree, restored):
            return
        left_out = tree.left_out([p for p in chosen if p in source], path, work)
        expected = {p: item for p, item in work.items() if p not in chosen or p not in tree.index}
        back = {p: source[p] for p in chosen if p in source}
        expected.update((p, item) for p, item in back.items() if p not in left_out)
        assert tree.work() == expected
        if not force:
            self.check_kept(tree, (i for p, i in work.items() if expected.get(p) != i))
        tree.stage(back, [p for p in chosen if p not in source])
        tree.skipped |= left_out

    def lacking(self, tree: Tree, items: Iterable[Item]) -> bool:
        """Whether large content was staged by reference, and so may be nowhere by now."""
        return any(len(item.data) >= LARGE for item in items)

    @rule(pick=ANY, path=GIVEN, force=RARELY)
    def restore_staged(self, pick: int, path: str, force: bool) -> None:
        tree, repo = self.tree(pick)
        head = self.files(tree.head)
        chosen = under(tree.index.keys() | head.keys(), path)

        def restored() -> None:
            repo.restore([path or "."], staged=True, force=force)

        if self.beyond_symlink(tree, path):
            self.refused(tree, InvalidInput, restored)
            return
        if not chosen and path:
            self.refused(tree, NotFound, restored)
            return
        self.restored_staged(tree, chosen, head, restored, force=force)

    def restored_staged(
        self,
        tree: Tree,
        chosen: list[str],
        head: dict[str, Item],
        restored: Callable[[], None],
        *,
        force: bool,
    ) -> None:
        work = tree.work()
        back_below = {p for c in chosen if c in head for p in tree.index if is_below(c, p)}
        deleted = [p for p in (*chosen, *back_below) if p in tree.index and p not in work]
        unstaged = [tree.index[p] for p in deleted if tree.index[p] != head.get(p)]
        if self.may_refuse(tree, restored):
            assert not force
            assert unstaged
            return
        assert tree.work() == work
        if not force:
            # Large content was only noted by `add`: that of a deleted file is nowhere anyway.
            known = {i.data for asset in self.assets.values() for i in asset.files.values()}
            assert all(len(item.data) >= LARGE or item.data in known for item in unstaged)
        back = {p: head[p] for p in chosen if p in head and tree.index.get(p) != head[p]}
        skipped = {
            p
            for p in back
            if p not in work and (p in tree.skipped if p in tree.index else not tree.wanted(p))
        }
        tree.stage(back, [p for p in chosen if p not in head])
        tree.skipped |= skipped

    @rule(
        pick=ANY,
        alias=st.none() | st.sampled_from(ALIASES),
        message=st.sampled_from([None, None, "", "why"]),
        metadata=st.dictionaries(
            st.sampled_from(["loss", "n"]), st.sampled_from([1, 1.0, True, "x"])
        ),
    )
    def set(
        self, pick: int, alias: str | None, message: str | None, metadata: dict[str, Any]
    ) -> None:
        tree, repo = self.tree(pick)
        repo.set(aliases=[alias] if alias else [], message=message, metadata=metadata)
        if alias and alias not in tree.notes.aliases:
            tree.notes.aliases += (alias,)
        if message is not None:
            tree.notes.message = message or None
        tree.notes.metadata.update(metadata)

    @precondition(lambda self: any(tree.notes for tree in self.trees))
    @rule(pick=ANY, which=ANY)
    def unset(self, pick: int, which: int) -> None:
        tree, repo = self.tree(pick)
        known = [*tree.notes.metadata, *(f"alias:{alias}" for alias in tree.notes.aliases)]
        if tree.notes.message is not None:
            known.append("message")
        if not known:
            return
        gone = known[which % len(known)]
        repo.set(unset=[gone])
        tree.notes.metadata.pop(gone, None)
        tree.notes.aliases = tuple(a for a in tree.notes.aliases if f"alias:{a}" != gone)
        # Also from what waits for a push; what is published waits for nothing then.
        published = {asset for store in self.stores.values() for _, _, asset in store.all()}
        waiting = [
            (asset, tuple(a for a in names if f"alias:{a}" != gone))
            for asset, names in tree.unpublished
        ]
        tree.unpublished = [(a, names) for a, names in waiting if names or a not in published]
        if gone == "message":
            tree.notes.message = None

    @precondition(lambda self: self.stores["near"].all())
    @rule(pick=ANY, which=ANY, unlink=RARELY)
    def link(self, pick: int, which: int, unlink: bool) -> None:
        tree, repo = self.tree(pick)
        if unlink and tree.notes.refs:
            gone = sorted(tree.notes.refs)[which % len(tree.notes.refs)]
            repo.unlink(gone)
            tree.notes.refs -= {gone}
            return
        published = self.stores["near"].all()
        class_name, number, asset = published[which % len(published)]
        if asset == tree.head:
            self.refused(tree, InvalidInput, lambda: repo.link(f"{class_name}/{number}"))
            return
        assert repo.link(f"{class_name}/{number}").asset == asset
        tree.notes.refs |= {asset}

    # Making assets

    def would_make(self, tree: Tree) -> Asset | None:
        """The asset that commit or upload makes; None where it would say nothing new."""
        notes = tree.notes
        base = self.assets[tree.head] if tree.head else None
        made = Asset(
            tree.class_name,
            dict(tree.index),
            tree.head,
            notes.message or "",
            dict(notes.metadata),
            notes.refs,
        )
        if base is None or base.files != made.files:
            return made
        says = (
            notes.message in (None, "", base.message)
            and notes.refs <= base.refs
            and all(
                key in base.metadata
                and (type(base.metadata[key]), base.metadata[key]) == (type(value), value)
                for key, value in notes.metadata.items()
            )
        )
        return None if says else made

    def nothing_staged(self, tree: Tree) -> bool:
        return tree.head is None and not tree.index and not tree.notes.refs

    def changed_since_added(self, tree: Tree) -> bool:
        """Whether the content of a large file may be nowhere but in the worktree, and isn't."""
        work = tree.work()
        return any(
            len(item.data) >= LARGE and work.get(path) != item and path not in tree.skipped
            for path, item in tree.index.items()
        )

    def add_was_forgotten(self, tree: Tree) -> bool:
        """Whether files differ from what was added, and nothing is staged."""
        work = tree.work()
        changed = any(
            work.get(path) != item and path not in tree.skipped for path, item in tree.index.items()
        )
        return changed and not differing(self.files(tree.head), tree.index)

    @rule(pick=ANY, message=st.sampled_from([None, None, "said at the commit"]))
    def commit(self, pick: int, message: str | None) -> None:
        tree, repo = self.tree(pick)
        if self.nothing_staged(tree):
            self.refused(tree, InvalidInput, lambda: repo.commit(message))
            return
        before, noted = self.state(tree), tree.notes.message
        if message is not None:
            tree.notes.message = message
        try:
            result = repo.commit(message)
        except Conflict:
            tree.notes.message = noted
            assert self.changed_since_added(tree) or (
                message is not None and self.add_was_forgotten(tree)
            )
            assert self.state(tree) == before
            return
        made = self.would_make(tree)
        assert result.created == (made is not None)
        if made is not None:
            assert result.asset.id not in self.assets
            self.assets[result.asset.id] = made
            tree.head = result.asset.id
            tree.unpublished.append((result.asset.id, tree.notes.aliases))
        elif tree.notes.aliases:
            self.name_head(tree, tree.notes.aliases)
        tree.notes = Notes()
        assert result.asset.id == tree.head
        self.check_info(result.asset)

    def name_head(self, tree: Tree, aliases: tuple[str, ...]) -> None:
        """Aliases set on what is committed already wait with it for a push."""
        assert tree.head
        for at, (asset, names) in enumerate(tree.unpublished):
            if asset == tree.head:
                tree.unpublished[at] = (asset, tuple(dict.fromkeys((*names, *aliases))))
                return
        tree.unpublished.append((tree.head, aliases))

    def check_info(self, info: ama.AssetInfo) -> None:
        asset = self.assets[info.id]
        assert info.class_name == asset.class_name
        assert info.message == asset.message
        assert dict(info.metadata) == dict(asset.metadata)
        assert info.parents == ((asset.parent,) if asset.parent else ())
        assert {ref.asset for ref in info.refs} == asset.refs
        assert info.size in (None, sum(len(item.data) for item in asset.files.values()))

    # Publishing

    @rule(pick=ANY, store=st.sampled_from([None, None, "near", "far"]))
    def upload(self, pick: int, store: str | None) -> None:
        tree, repo = self.tree(pick)
        if self.nothing_staged(tree):
            self.refused(tree, InvalidInput, lambda: repo.upload(remote=store))
            return
        made = self.would_make(tree)
        waiting = [*tree.unpublished]
        if tree.notes.aliases and made is None:
            assert tree.head
            waiting.append((tree.head, tree.notes.aliases))
        extra = tree.notes.aliases if made is not None else ()
        self.publish(tree, store or "near", made, waiting, extra, lambda: repo.upload(remote=store))

    @rule(pick=ANY, store=st.sampled_from([None, "near", "far"]))
    def push(self, pick: int, store: str | None) -> None:
        tree, repo = self.tree(pick)
        if tree.head is None:
            self.refused(tree, InvalidInput, lambda: repo.push(remote=store))
            return
        notes = tree.notes
        self.publish(
            tree, store or "near", None, tree.unpublished, (), lambda: repo.push(remote=store)
        )
        # They are bound to HEAD's asset, which a push does not change.
        tree.notes = notes

    def publish(
        self,
        tree: Tree,
        name: str,
        made: Asset | None,
        waiting: list[tuple[str, tuple[str, ...]]],
        aliases: tuple[str, ...],
        work: Callable[[], Any],
    ) -> None:
        store = self.stores[name]
        moved_on = self.moved_on(tree, store, made, waiting, aliases)
        before = self.state(tree)
        large_changed = made is not None and self.changed_since_added(tree)
        try:
            result = work()
        except Conflict as error:
            note(f"conflict: {error.message}")
            assert moved_on or large_changed
            assert self.state(tree) == before
            return
        assert not moved_on
        chain = self.chain(store, tree.head)
        tip = tree.head
        named = dict.fromkeys([asset for asset, _ in waiting], ())
        for asset, names in waiting:
            named[asset] += names
        if made is not None:
            tip = result.asset.id
            assert tip not in self.assets
            self.assets[tip] = made
            chain.append(tip)
            if aliases:
                named[tip] = aliases
        assert result.asset.id == tip
        assert tip
        assert [info.id for info in result.published] == chain
        for asset in chain:
            store.classes.setdefault(self.assets[asset].class_name, []).append(asset)
        for info in result.published:
            self.check_info(info)
            assert store.classes[info.class_name][(info.number or 0) - 1] == info.id
        for asset in self.oldest_first(tip):
            for alias in named.get(asset, ()):
                moves = store.moves.setdefault((self.assets[asset].class_name, alias), [])
                if not moves or moves[-1] != asset:
                    moves.append(asset)
        tree.head = tip
        tree.unpublished = []
        tree.notes = Notes()
        if named.get(tip):
            tree.alias = named[tip][-1]

    def oldest_first(self, tip: str) -> list[str]:
        found = [tip]
        while parent := self.assets[found[-1]].parent:
            found.append(parent)
        return found[::-1]

    def moved_on(
        self,
        tree: Tree,
        store: Store,
        made: Asset | None,
        waiting: list[tuple[str, tuple[str, ...]]],
        aliases: tuple[str, ...],
    ) -> bool:
        """Whether an alias was on what an asset comes from, and is elsewhere by now."""
        jobs = [(asset, self.base(store, asset), names) for asset, names in waiting]
        if made is not None:
            jobs.append(("new", self.base(store, tree.head), aliases))
        order = self.oldest_first(tree.head) if tree.head else []
        jobs.sort(key=lambda job: order.index(job[0]) if job[0] in order else len(order))
        seen = set()
        for asset, base, names in jobs:
            for alias in names:
                moves = store.moves.get((tree.class_name, alias), [])
                if alias in seen or (moves and moves[-1] == asset):
                    continue
                seen.add(alias)
                while base is not None and base not in moves:
                    base = self.assets[base].parent
                if base is not None and moves and moves[-1] != base and base in moves:
                    return True
        return False

    # Elsewhere

    @precondition(lambda self: any(store.all() for store in self.stores.values()))
    @rule(
        store=st.sampled_from(["near", "far"]),
        which=ANY,
        keep=RARELY,
        part=st.sampled_from([None, None, *PARTS]),
        by=st.sampled_from(["number", "alias", "id", "class"]),
    )
    def download(self, store: str, which: int, keep: bool, part: str | None, by: str) -> None:
        model = self.stores[store]
        published = model.all()
        if not published:
            with pytest.raises(NotFound):
                self.real(store)
            return
        class_name, number, asset = published[which % len(published)]
        alias = None
        name = f"{class_name}/{number}"
        if by == "id":
            name = asset[:16]
        elif by == "class":
            asset = model.classes[class_name][-1]
            name = class_name
        elif by == "alias":
            named = sorted(a for c, a in model.moves if c == class_name and model.target(c, a))
            if named:
                alias = named[which % len(named)]
                asset = model.target(class_name, alias) or ""
                name = f"{class_name}@{alias}"
        self.downloads += 1
        root = self.place / f"download-{self.downloads}"

        options, wanted = PARTS[part] if part else ({}, lambda path: True)
        files = self.files(asset)
        if part not in (None, "nothing") and files and not any(map(wanted, files)):
            with pytest.raises(NotFound, match="no file of"):
                self.real(store).download(name, root, **options)
            assert not root.exists()
            return
        result = self.real(store).download(name, root, **options)
        assert read_disk(root) == {p: item for p, item in files.items() if wanted(p)}
        assert result.asset.id == asset
        assert result.skipped == sum(not wanted(p) for p in files)
        self.check_info(result.asset)
        tree = Tree(root, class_name, asset, alias, wanted=wanted)
        tree.index = dict(files)
        tree.skipped = {p for p in files if not wanted(p)}
        self.reopen(tree)
        self.check_tree(tree)
        if keep and len(self.trees) < 3:
            self.trees.append(tree)
        else:
            del self.repos[root]
            shutil.rmtree(root)

    @precondition(lambda self: any(store.all() for store in self.stores.values()))
    @rule(store=st.sampled_from(["near", "far"]), which=ANY)
    def download_with_refs(self, store: str, which: int) -> None:
        model = self.stores[store]
        published = model.all()
        if not published:
            return
        class_name, number, asset = published[which % len(published)]
        closure: dict[str, None] = {}
        waiting = [asset]
        while waiting:
            for ref in self.assets[waiting.pop()].refs:
                if ref not in closure and ref != asset:
                    closure[ref] = None
                    waiting.append(ref)
        held = {a: f"{c}-{n}" for c, n, a in published}
        missing = [ref for ref in closure if ref not in held]
        self.downloads += 1
        place = self.place / f"closure-{self.downloads}"
        place.mkdir()
        name = f"{class_name}/{number}"
        if missing:
            with pytest.raises(NotFound, match="not in"):
                self.real(store).download(name, place / "it", refs=True)
            assert list(place.iterdir()) == []
        result = self.real(store).download(name, place / "it", refs=True, partial=True)
        assert {ref.asset for ref in result.missing_refs} == set(missing)
        assert read_disk(place / "it") == self.files(asset)
        for ref in closure:
            if ref in held:
                assert read_disk(place / held[ref]) == self.files(ref)
        assert {path.name for path in place.iterdir()} == {
            "it",
            *(held[ref] for ref in closure if ref in held),
        }
        shutil.rmtree(place)

    # Going elsewhere

    @precondition(lambda self: self.assets)
    @rule(pick=ANY, which=ANY, by=st.sampled_from(["id", "number", "alias"]), force=RARELY)
    def switch(self, pick: int, which: int, by: str, force: bool) -> None:
        tree, repo = self.tree(pick)
        near = self.stores["near"]
        alias = None
        if by == "number" and near.all():
            published = near.all()
            class_name, number, asset = published[which % len(published)]
            name = f"{class_name}/{number}"
        elif by == "alias" and any(near.target(*key) for key in near.moves):
            keys = sorted(key for key in near.moves if near.target(*key))
            class_name, alias = keys[which % len(keys)]
            asset = near.target(class_name, alias) or ""
            name = f"{class_name}@{alias}"
        else:
            # Those made here, and those that the default store has.
            known = [a for a in self.assets if self.comes_from(tree.head, a)]
            known += [a for _, _, a in near.all()]
            if not known:
                return
            asset = known[which % len(known)]
            name = asset
        self.move(tree, asset, alias, force, lambda: repo.switch(name, force=force))

    def move(
        self, tree: Tree, asset: str, alias: str | None, force: bool, work: Callable[[], Any]
    ) -> None:
        """Run what brings another asset into a worktree, and say what it must do."""
        old_work, old_index, base = tree.work(), dict(tree.index), self.files(tree.head)
        staged = differing(base, tree.index) or tree.notes
        left = [a for a, _ in tree.unpublished if not self.comes_from(asset, a)]
        if (staged or left) and not force:
            self.refused(tree, Conflict, work)
            return
        if self.may_refuse(tree, work):
            return
        target = self.assets[asset]
        # Those that were added although they are outside a partial worktree's patterns stay here.
        added = {path for path in old_index if path not in tree.skipped}
        here = {path for path in target.files if tree.wanted(path) or path in added}
        expected = dict(old_work)
        for path in old_index:
            if path not in target.files and path not in tree.skipped:
                expected.pop(path, None)
        for path, item in target.files.items():
            if path not in here:
                continue
            kept = base.get(path) == item and not force and path in old_index
            if path not in old_work or not kept:
                expected[path] = item
        assert tree.work() == expected
        if not force:
            self.check_kept(tree, (item for p, item in old_work.items() if expected.get(p) != item))
        tree.class_name = target.class_name
        tree.head = asset
        tree.alias = alias
        tree.index = dict(target.files)
        tree.skipped = target.files.keys() - here
        tree.notes = Notes()
        tree.unpublished = [c for c in tree.unpublished if self.comes_from(asset, c[0])]

    @rule(pick=ANY, store=st.sampled_from([None, "near", "far"]), force=RARELY)
    def pull(self, pick: int, store: str | None, force: bool) -> None:
        tree, repo = self.tree(pick)
        model = self.stores[store or "near"]

        def pulled() -> None:
            repo.pull(remote=store, force=force)

        if not model.classes.get(tree.class_name):
            self.refused(tree, NotFound, pulled)
            return
        target = model.target(tree.class_name, tree.alias) if tree.alias else None
        if tree.alias and target is None:  # the newest may never have had it
            self.refused(tree, NotFound, pulled)
            return
        target = target or model.classes[tree.class_name][-1]
        if tree.unpublished and target != tree.head:
            ours = target in {a for a, _ in tree.unpublished} or self.comes_from(tree.head, target)
            if not ours:
                self.refused(tree, Conflict, pulled)
            else:
                before = self.state(tree)
                pulled()
                assert self.state(tree) == before
            return
        known, moves = (
            model.classes[tree.class_name],
            model.moves.get((tree.class_name, tree.alias or "")),
        )
        made_from_it = target != tree.head and self.comes_from(tree.head, target)
        if (
            moves
            and moves[-1] == target
            and tree.head not in moves
            and tree.head in known
            and made_from_it
        ):
            before = self.state(tree)
            pulled()
            assert self.state(tree) == before
            return
        self.move(tree, target, tree.alias, force, pulled)

    @rule(pick=ANY, class_name=st.sampled_from(CLASSES))
    def init(self, pick: int, class_name: str) -> None:
        """Another asset in the same directory, of another class or anew of this one."""
        tree, _ = self.tree(pick)

        def begun() -> None:
            self.repos[tree.root] = ama.Repo.init(tree.root, class_name, settings=self.settings)

        staged = tree.index and differing(self.files(tree.head), tree.index)
        if tree.unpublished or staged or tree.notes:
            self.refused(tree, Conflict, begun)
            return
        work = tree.work()
        begun()
        assert tree.work() == work
        fresh = Tree(tree.root, class_name)
        self.trees[self.trees.index(tree)] = fresh

    @rule(pick=ANY)
    def open_again(self, pick: int) -> None:
        self.reopen(self.tree(pick)[0])

    # Stores without a worktree

    @precondition(lambda self: any(store.all() for store in self.stores.values()))
    @rule(
        store=st.sampled_from(["near", "far"]),
        which=ANY,
        alias=st.sampled_from(ALIASES),
        remove=RARELY,
    )
    def move_alias(self, store: str, which: int, alias: str, remove: bool) -> None:
        model = self.stores[store]
        published = model.all()
        if not published:
            return
        class_name, number, asset = published[which % len(published)]
        moves = model.moves.setdefault((class_name, alias), [])
        old = moves[-1] if moves else None
        if remove:
            if old is None:
                with pytest.raises(NotFound):
                    self.real(store).remove_alias(class_name, alias)
                return
            change = self.real(store).remove_alias(class_name, alias)
            moves.append(None)
        else:
            change = self.real(store).move_alias(class_name, alias, str(number))
            if old != asset:
                moves.append(asset)
        assert (change.old, change.new) == (old, moves[-1])

    # What always holds

    @invariant()
    def trees_are_as_they_should_be(self) -> None:
        for tree in self.trees:
            self.check_tree(tree)

    def check_tree(self, tree: Tree) -> None:
        status = self.repos[tree.root].status()
        work = tree.work()
        here = {p: item for p, item in tree.index.items() if p not in tree.skipped or p in work}
        tracked = {p: item for p, item in work.items() if p in tree.index}
        assert status.class_name == tree.class_name
        assert (status.head.id if status.head else None) == tree.head
        assert {change.path for change in status.staged} == differing(
            self.files(tree.head), tree.index
        )
        assert {change.path for change in status.changed} == differing(here, tracked)
        assert set(status.untracked) == collapsed(work.keys() - tree.index.keys(), tree.index)
        assert status.follows == tree.alias
        assert set(status.aliases) == set(tree.notes.aliases)
        assert status.message == tree.notes.message
        assert dict(status.metadata) == tree.notes.metadata
        assert {ref.asset for ref in status.refs} == tree.notes.refs
        assert [info.id for info in status.unpublished] == [a for a, _ in tree.unpublished]
        assert status.skipped == len(tree.skipped)
        assert status.files == len(tree.index)

    # At the end

    def check_everything(self) -> None:
        for tree in self.trees:
            report = self.reopen(tree).fsck()
            assert report.ok, report.problems
            self.check_tree(tree)
        for name, model in self.stores.items():
            if not model.all():
                continue
            store = self.real(name)
            report = store.fsck()
            assert report.ok, report.problems
            assert report.assets == len(model.all())
            assert {found.name: found.assets for found in store.classes()} == {
                class_name: len(assets) for class_name, assets in model.classes.items()
            }
            for class_name, assets in model.classes.items():
                infos = store.assets(class_name)
                assert [info.id for info in infos] == assets[::-1]
                assert [info.number for info in infos] == list(range(len(assets), 0, -1))
                for info in infos:
                    self.check_info(info)
                    assert set(info.aliases) == {
                        a
                        for c, a in model.moves
                        if c == class_name and model.target(c, a) == info.id
                    }
            for (class_name, alias), moves in model.moves.items():
                if moves:
                    history = store.alias_history(class_name, alias)
                    assert [move.asset for move in history] == moves[::-1]
            for class_name, number, asset in model.all():
                found = store.resolve(f"{class_name}/{number}")
                files = self.files(asset)
                assert {f.path: (f.kind, f.id, f.size) for f in found.files()} == {
                    p: (i.kind, blob_id(i.data).hex(), len(i.data)) for p, i in files.items()
                }
                for path, item in files.items():
                    assert found.read(path) == item.data


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=int(os.environ.get("MACHINE_EXAMPLES", "300" if THOROUGH else "50")),
    stateful_step_count=80 if THOROUGH else 40,
    derandomize=not THOROUGH,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
