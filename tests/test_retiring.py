"""Deprecated and deleted assets: who may make them so, and what every way to read one says then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import ama
import ama.operations.connections
import ama.store
from ama import Conflict, InvalidInput, NotFound, Repo, StorageError, Store
from ama.format.entries import Gc, Publish, SetStatus, decode_entry
from ama.storage.local import LocalStorage
from ama.storage.protocol import Range, Storage
from ama.wording.hints import words
from conftest import Ama
from counting_storage import CountingStorage


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """`data/1`, and `models/1` to `/3`, of which the first, @best, is made from it; the cwd is a
    worktree of the third.
    """
    monkeypatch.setenv("AMA_REMOTE", str(tmp_path / "store"))
    data = Repo.init(tmp_path / "data", "data")
    (data.root / "rows").write_text("rows")
    data.add(["rows"])
    data.upload()
    models = Repo.init(tmp_path / "models", "models")
    for number in (1, 2, 3):
        (models.root / "weights").write_text(f"weights {number}")
        models.add(["weights"])
        if number == 1:
            models.set(aliases=["best"])
            models.link("data/1")
        models.upload(message=f"number {number}")
    monkeypatch.chdir(models.root)
    return Store.default()


def again(store: Store) -> Store:
    return Store.open(store.url)


def statuses(store: Store) -> list[tuple[int | None, str]]:
    return [(info.number, info.status) for info in again(store).history("models")]


def test_a_deleted_asset_is_a_record(store: Store) -> None:
    """Listed and had no more; what it was is told by every name that it has."""
    change = store.delete("models/3", reason="wrong labels")
    assert (change.old, change.asset.status, change.asset.status_reason) == (
        "active",
        "deleted",
        "wrong labels",
    )
    assert statuses(store) == [(3, "deleted"), (2, "active"), (1, "active")]
    assert [info.number for info in store.assets("models")] == [2, 1]
    assert [(c.assets, c.newest and c.newest.number) for c in store.classes()] == [(1, 1), (2, 2)]
    assert store.resolve("models").info.number == 2
    for name in ("models/3", change.asset.id[:12]):
        asset = store.resolve(name)
        assert asset.info.message == "number 3"
        assert asset.info.status == "deleted"
        attempts: tuple[Callable[[], object], ...] = (
            asset.files,
            lambda asset=asset: asset.read("weights"),
            asset.download,
            lambda name=name: store.download(name, "copy", refs=True),
            lambda name=name: store.diff("models/2", name),
            lambda name=name: store.move_alias("models", "new", name),
            lambda name=name: store.copy(name, Store.open("../other", create=True)),
        )
        for attempt in attempts:
            with pytest.raises(NotFound, match=r"models/3 was deleted.*: wrong labels"):
                attempt()
    assert not Path("copy").exists()
    assert [info.number for info in store.log("models/3")] == [3, 2, 1]
    assert store.fsck().ok
    store.delete("models/3", undo=True)
    assert store.resolve("models").info.number == 3
    assert store.resolve("models/3").read("weights") == b"weights 3"


def test_a_deletion_says_that_nothing_was_freed(store: Store, run: Ama, tmp_path: Path) -> None:
    """Whoever has the id can bring the asset back, and the line to type is there."""

    def held() -> int:
        return sum(path.stat().st_size for path in Path(store.url).rglob("packs/*/*"))

    before = held()
    asset_id = store.resolve("models/3").info.id
    told = run.ok("delete", "models/3").stdout
    assert held() == before
    assert told.splitlines()[1:] == [
        "no space was freed: its content stays, and whoever has its id can bring it back",
        f"next: ama delete --undo {asset_id[:10]}",
    ]
    again_deleted = run.ok("delete", "models/3", "--json").json()
    assert (again_deleted["bytes_freed"], again_deleted["recoverable"]) == (0, True)
    elsewhere = run.ok("delete", "--remote", store.url, "models/2", cwd=tmp_path).stdout
    *_, line = elsewhere.splitlines()
    assert line.endswith(f" --remote {store.url}")
    run.ok(*line.removeprefix("next: ama ").split(), cwd=tmp_path)
    run.ok("delete", "--undo", asset_id[:10])
    assert [status for _, status in statuses(store)] == ["active"] * 3
    undone = store.delete("models/1", force=True), store.delete("models/1", undo=True)
    assert [change.recoverable for change in undone] == [True, False]
    assert not store.deprecate("models/1", "old").recoverable


def test_what_is_gone_is_not_called_recoverable(store: Store) -> None:
    """Deleted again, after a garbage collection has taken its content."""
    asset_id = store.delete("models/3").asset.id
    (published,) = [
        event
        for entry, _ in store.remote.view().tail
        for event in entry.events
        if isinstance(event, Publish) and event.asset == bytes.fromhex(asset_id)
    ]
    (index,) = published.indexes
    collected = [Gc((((index,), ()),))]
    store.remote.log.append(lambda view: collected, author="gc", now=lambda: 1)
    assert not store.delete("models/3").recoverable
    with pytest.raises(NotFound, match="the content of models/3 is gone"):
        store.delete("models/3", undo=True)


def test_a_parent_may_be_deleted_and_its_children_live_on(store: Store, tmp_path: Path) -> None:
    store.delete("models/2")
    assert store.download("models/3", tmp_path / "copy").files == 1
    assert [(i.number, i.status) for i in store.log("models/3")] == [
        (3, "active"),
        (2, "deleted"),
        (1, "active"),
    ]
    repo = Repo.open(".")
    store.delete("models/3")
    assert [i.status for i in repo.log()] == ["deleted", "deleted", "active"]
    assert repo.upload().published == ()
    (repo.root / "weights").write_text("weights 4")
    repo.add(["weights"])
    asset = repo.upload().asset
    assert asset is not None
    assert asset.number == 4
    assert [parent.info.status for parent in again(store).resolve("models/4").parents()] == [
        "deleted"
    ]
    assert again(store).fsck().ok


def test_what_is_used_is_kept_unless_forced(store: Store) -> None:
    with pytest.raises(Conflict, match="models/1 was made from data/1"):
        store.delete("data/1")
    with pytest.raises(Conflict, match="models@best points to models/1"):
        store.delete("models/1")
    assert store.delete("models/1", force=True).asset.aliases == ("best",)
    # Nothing live is made from it any more.
    store.delete("data/1")
    with pytest.raises(NotFound, match="models/1 was deleted"):
        store.download("models@best", "copy")
    (move,) = store.alias_history("models", "best")
    assert move.status == "deleted"
    store.delete("models/1", undo=True)
    (ref,) = store.resolve("models@best").info.refs
    assert ref.status == "deleted"
    with pytest.raises(NotFound, match="made from data/1") as refused:
        store.download("models@best", "../copy", refs=True)
    assert "ama delete --undo data/1" in (words(refused.value.hints) or "")
    partial = store.download("models@best", "../copy", refs=True, partial=True)
    assert [missing.number for missing in partial.missing_refs] == [1]


@pytest.mark.parametrize("name", ["models", "modles/1", "models/9", "HEAD"])
def test_only_an_asset_can_be_deleted(store: Store, name: str) -> None:
    with pytest.raises((InvalidInput, NotFound)):
        store.delete(name)
    with pytest.raises((InvalidInput, NotFound)):
        store.deprecate(name, "old")


def test_deprecate_warns_and_names_what_to_take(store: Store, tmp_path: Path) -> None:
    for number in (2, 3):
        store.deprecate(f"models/{number}", "overfitted")
    done = store.download("models", tmp_path / "copy")
    assert done.asset.status_reason == "overfitted"
    assert done.instead is not None
    assert done.instead.name == store.resolve("models/1").info.name
    repo = Repo.open(tmp_path / "copy")
    switched = repo.switch("models/2")
    assert switched.instead is not None
    assert switched.instead.number == 1
    other = Repo.init(tmp_path / "reports", "reports")
    assert other.link("models/3").status == "deprecated"
    store.deprecate("models/3", undo=True)
    assert store.download("models", tmp_path / "copy2").instead is None
    with pytest.raises(InvalidInput, match="no reason"):
        store.deprecate("models/3")


def test_what_can_follow_what(store: Store) -> None:
    before = len(entries(store))
    assert store.deprecate("models/3", undo=True).old == "active"
    assert store.delete("models/3", undo=True).old == "active"
    assert len(entries(store)) == before  # nothing was to be done
    store.deprecate("models/3", "old")
    with pytest.raises(InvalidInput, match="deprecated, and not deleted"):
        store.delete("models/3", undo=True)
    assert store.delete("models/3").old == "deprecated"
    assert store.delete("models/3").asset.status_reason == ""
    for undo in (True, False):
        with pytest.raises(Conflict, match="models/3 is deleted"):
            store.deprecate("models/3", "older", undo=undo)
    assert store.delete("models/3", undo=True).asset.status == "active"
    assert len(entries(store)) == before + 3


def entries(store: Store) -> list[Any]:
    paths = sorted(path for path in Path(store.url, "log").iterdir() if path.name.isdigit())
    return [decode_entry(path.read_bytes()) for path in paths]


def test_a_worktree_takes_nothing_from_what_was_deleted(store: Store, tmp_path: Path) -> None:
    repo = Repo.open(".")
    store.delete("models/2")
    for attempt in (
        lambda: repo.switch("models/2"),
        lambda: repo.files("models/2"),
        lambda: repo.restore(["weights"], source="HEAD~1"),
        lambda: repo.diff("models/2"),
        lambda: Repo.init(tmp_path / "reports", "reports").link("models/2"),
    ):
        with pytest.raises(NotFound, match="models/2 was deleted"):
            attempt()
    store.delete("models/1", force=True)
    follower = store.download("models/3", tmp_path / "follower")
    assert follower.files == 1
    with pytest.raises(NotFound, match="models/1 was deleted"):
        repo.switch("models@best")
    store.delete("models/3")
    assert [file.path for file in repo.files()] == ["weights"]  # what is here stays to be looked at
    repo.set(aliases=["new"])
    with pytest.raises(NotFound, match="models/3 was deleted"):
        repo.upload()


class Meanwhile(CountingStorage):
    """Does something once, right before an entry is created through it."""

    def __init__(self, root: Path, act: Callable[[], object]) -> None:
        super().__init__(LocalStorage(root))
        self._act: Callable[[], object] | None = act

    def create(self, name: str, data: Any) -> None:
        act, self._act = self._act, None
        if act is not None:
            act()
        super().create(name, data)


def raced(store: Store, act: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store as one sees it while another does something."""
    watched: Storage = Meanwhile(Path(store.url), act)
    with monkeypatch.context() as patch:
        patch.setattr(ama.store, "open_storage", lambda url, options=None: watched)
        return Store.open(store.url)


def test_who_deletes_sees_what_is_published_meanwhile(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = Repo.init(tmp_path / "reports", "reports")
    (report.root / "report").write_text("of models/3")
    report.add(["report"])
    report.link("models/3")
    with pytest.raises(Conflict, match="reports/1 was made from models/3"):
        raced(store, report.upload, monkeypatch).delete("models/3")
    assert statuses(store)[0] == (3, "active")

    def move() -> None:
        store.move_alias("models", "best", "models/2")

    with pytest.raises(Conflict, match="models@best points to models/2"):
        raced(store, move, monkeypatch).delete("models/2")
    with pytest.raises(NotFound, match="models/1 was deleted"):
        raced(store, lambda: again(store).delete("models/1"), monkeypatch).move_alias(
            "models", "best", "models/1"
        )
    other = raced(store, lambda: store.deprecate("models/2", "old"), monkeypatch)
    assert other.delete("models/2", force=True).old == "deprecated"


def test_what_a_gc_has_taken_is_not_brought_back(store: Store) -> None:
    store.delete("models/3")
    view = store.remote.view()
    record = view.class_state("models").record(3)
    assert record is not None
    needs = store.remote.publish_event(view, "models", record).needs
    (own,) = set(needs) - {
        index
        for number in (1, 2)
        for index in store.remote.publish_event(
            view, "models", view.class_state("models").assets[number - 1]
        ).needs
    }
    gone = Gc(indexes=(own,))
    store.remote.log.append(lambda latest: [gone], author="gc", now=lambda: 0)
    with pytest.raises(NotFound, match=r"content of models/3 is gone"):
        store.delete("models/3", undo=True)


def test_a_copy_has_the_history_and_not_what_was_deleted(store: Store, tmp_path: Path) -> None:
    store.delete("models/1", reason="too large", force=True)
    store.delete("data/1")
    target = Store.open(str(tmp_path / "archive"), create=True)
    result = store.copy("models/3", target)
    assert [(info.number, info.status) for info in result.published] == [
        (1, "deleted"),
        (2, "active"),
        (3, "active"),
    ]
    target = Store.open(target.url)
    assert target.resolve("models/1").info.status_reason == "too large"
    assert target.resolve("models/3").read("weights") == b"weights 3"
    assert target.fsck().ok
    with pytest.raises(NotFound, match="content of models/1 is gone"):
        target.delete("models/1", undo=True)
    assert [event for e in entries(target) for event in e.events if type(event) is SetStatus]
    target.delete("models/3")
    with pytest.raises(NotFound, match=r"models/3 was deleted from .*archive"):
        store.copy("models/3", target)


def test_the_command_line(store: Store, tmp_path: Path, run: Ama) -> None:
    run.ok("deprecate", "HEAD", "--reason", "over\x1b[31mfitted")
    shown = run.ok("log", "models", "--oneline").stdout
    assert "models/3" in shown.splitlines()[0]
    assert "[deprecated]" in shown.splitlines()[0]
    assert "models/1" in shown.splitlines()[2]
    done = run.ok("download", "models/3", "-o", tmp_path / "copy", "-q")
    assert done.stdout == ""
    assert "is deprecated: over\\x1b[31mfitted; the newest that is not: models/2" in done.stderr
    refused = run("delete", "@best")
    assert refused.code == 5
    assert "ama delete --force models/1" in refused.stderr
    assert "models@best still points to it" in run.ok("delete", "--force", "@best").stdout
    assert "[deleted]" in run.ok("alias", "history", "@best").stdout
    said = run.ok("show", "models/1").stdout
    assert "Status:      deleted" in said
    assert "weights" not in said
    assert run.ok("log", "models", "--json").json()[2]["status"] == "deleted"
    assert "models/1" not in run.ok("list", "models").stdout
    assert "[deleted] number 1" in run.ok("list", "models", "--all").stdout.splitlines()[3]
    assert len(run.ok("list", "models", "--all", "--json").json()) == 3
    assert run("list", "--all").code == 2
    assert run("delete", "weights").stderr.splitlines()[1] == "hint: of a file here: ama rm weights"
    assert run("delete", "models").code == 2
    assert "is there again" in run.ok("delete", "--undo", "models/1").stdout
    assert run("log", "modles").code == 3
    assert run("deprecate", "models/1").code == 2


def test_what_is_said_of_a_deleted_asset_depends_on_nobody_else(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a catalog has read its files before, or reads that it was deleted."""
    inputs = Repo.init(tmp_path / "inputs", "inputs")
    (inputs.root / "training.yml").write_text("learning_rate: 0.1")
    inputs.add(["training.yml"])
    inputs.upload()
    model = Repo.init(tmp_path / "model", "trained")
    (model.root / "weights").write_text("weights")
    model.add(["weights"])
    model.link("inputs/1")
    model.upload()
    assert len(again(store).find(params="learning_rate=0.1")) == 2
    store.delete("inputs/1", force=True)
    monkeypatch.setenv("AMA_CACHE_DIR", str(tmp_path / "another cache"))
    for each in (store, again(store)):
        summary = each.resolve("inputs/1").summary()
        assert (summary.files, summary.facts, summary.asset.size) == ((), (), None)
        assert each.resolve("trained/1").summary().facts == ()
        assert len(each.find(params="learning_rate=0.1")) == 0
        with pytest.raises(NotFound, match="was deleted"):
            each.compare("inputs/1", "trained/1")


class Sometimes(LocalStorage):
    """A store that can't be reached while `away`."""

    away = False

    def read(self, ranges: Sequence[Range]) -> list[bytes | None]:
        if self.away:
            raise StorageError("the network is down")
        return super().read(ranges)


def test_what_another_command_saw_counts_where_the_store_is_away(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that looked before a deletion reads nothing that its machine knows to be gone."""
    storage = Sometimes(Path(store.url))
    monkeypatch.setattr(ama.operations.connections, "open_storage", lambda url, options: storage)
    repo = Repo.open()
    assert repo.files("models/2")
    store.delete("models/2", reason="wrong labels")  # which this machine has seen
    storage.away = True
    with pytest.raises(NotFound, match=r"models/2 was deleted.*: wrong labels"):
        repo.files("models/2")
    assert repo.away is not None


@pytest.mark.parametrize("verb", ["delete", "deprecate"])
def test_a_class_that_is_not_there_is_not_called_a_class(store: Store, run: Ama, verb: str) -> None:
    refused = run(verb, "modells", "--reason", "old")
    assert (refused.code, refused.stderr.splitlines()[1]) == (3, "hint: did you mean models?")
    assert run(verb, "models", "--reason", "old").code == 2
