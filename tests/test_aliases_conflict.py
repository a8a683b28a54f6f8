"""Who moves an alias sees where it was, and never takes back what somebody else moved meanwhile."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import ama.operations.connections
import ama.store
import ama.system.fs
from ama import Repo, Settings, Store
from ama.errors import AmaError, Conflict, InvalidInput, NotFound
from ama.format.entries import MoveAlias, Publish, decode_entry
from ama.results import AliasChange
from ama.storage.local import LocalStorage
from ama.storage.protocol import Storage
from ama.storage.urls import open_storage
from ama.system.syscalls import System
from ama.wording.hints import words
from counting_storage import CountingStorage

LOG = re.compile(r"log/[0-9]{12}").fullmatch


class Unsynced(System):
    """The real calls, but nothing is synced: tests lose no power."""

    def fsync(self, fd: int) -> None:
        pass


class Watched(CountingStorage):
    """Runs something once, right before the first entry is created through it."""

    def __init__(self, root: Path, meanwhile: Callable[[], object] | None) -> None:
        super().__init__(LocalStorage(root))
        self._meanwhile = meanwhile

    def create(self, name: str, data: Any) -> None:
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None and LOG(name):
            meanwhile()
        super().create(name, data)


class Team:
    """Ann and Bob, each with worktrees and a machine of their own, and one store."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.url = str(root / "store")
        self._patch = monkeypatch

    def settings(self, who: str) -> Settings:
        return replace(
            Settings.load(None),
            user_name=who,
            user_email=f"{who.lower()}@example.org",
            cache_dir=self.root / f"cache-{who}",
        )

    def store(self, who: str = "Ann") -> Store:
        return Store.open(self.url, settings=self.settings(who))

    def begin(self, who: str, class_name: str = "models", name: str = "") -> Repo:
        directory = self.root / (name or f"{who}-{class_name}")
        directory.mkdir()
        return Repo.init(directory, class_name, settings=self.settings(who))

    def downloaded(self, who: str, asset: str, name: str = "") -> Repo:
        directory = self.root / (name or f"{who}-copy")
        self.store(who).download(asset, directory)
        return Repo.open(directory, settings=self.settings(who))

    def watched(self, meanwhile: Callable[[], object] | None = None) -> Watched:
        """From now on, all use the store through this; `meanwhile` uses it directly."""
        storage = Watched(
            Path(self.url), None if meanwhile is None else lambda: self._unwatched(meanwhile)
        )

        def opened(url: str, options: object = None) -> Storage:
            return storage if url == self.url else open_storage(url)

        self._patch.setattr(ama.operations.connections, "open_storage", opened)
        self._patch.setattr(ama.store, "open_storage", opened)
        return storage

    def _unwatched(self, act: Callable[[], object]) -> None:
        self._patch.setattr(ama.operations.connections, "open_storage", open_storage)
        self._patch.setattr(ama.store, "open_storage", open_storage)
        act()

    def entries(self) -> int:
        return sum(1 for path in Path(self.url, "log").iterdir() if path.name.isdigit())

    def numbers(self, alias: str, class_name: str = "models") -> list[int | None]:
        """Where an alias has been, newest first."""
        return [move.number for move in self.store().alias_history(class_name, alias)]


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    monkeypatch.setenv("AMA_REMOTE", str(tmp_path / "store"))
    monkeypatch.setattr(ama.system.fs, "_os", Unsynced())
    return Team(tmp_path, monkeypatch)


def stage(repo: Repo, content: str, *aliases: str) -> Repo:
    (repo.root / "model.txt").write_text(content)
    repo.add(["model.txt"])
    if aliases:
        repo.set(aliases=aliases)
    return repo


@pytest.fixture
def moved_on(team: Team) -> tuple[Repo, Repo]:
    """Ann and Bob both have `models@best`, which was /1; Bob has made /2 of it, and moved it."""
    stage(team.begin("Ann"), "one", "best").upload()
    ann = team.downloaded("Ann", "models@best")
    bob = team.downloaded("Bob", "models@best")
    stage(bob, "two", "best").upload()
    return ann, bob


# Moving an alias


def test_an_upload_reports_from_where_to_where(team: Team) -> None:
    repo = team.begin("Ann")
    first = stage(repo, "one", "best", "first").upload()
    one = first.published[0].id
    assert first.aliases == (
        AliasChange("models", "best", None, one, None, 1),
        AliasChange("models", "first", None, one, None, 1),
    )
    second = stage(repo, "two", "best").upload()
    two = second.published[0].id
    assert second.aliases == (AliasChange("models", "best", one, two, 1, 2),)
    assert team.numbers("best") == [2, 1]
    assert team.numbers("first") == [1]


def test_an_alias_only_upload_publishes_no_asset(team: Team) -> None:
    repo = team.begin("Ann")
    one = stage(repo, "one").upload().published[0].id
    repo.set(aliases=["best"])
    result = repo.upload()
    assert result.published == ()
    assert result.aliases == (AliasChange("models", "best", None, one, None, 1),)
    repo.set(aliases=["best"])
    again = repo.upload()
    assert (again.published, again.aliases) == ((), ())
    assert repo.status().aliases == ()
    assert team.entries() == 2


def test_an_asset_without_a_parent_takes_an_alias_over(team: Team) -> None:
    """A new training run, not made from what the alias was on: that is no conflict."""
    one = stage(team.begin("Ann"), "one", "best").upload().published[0].id
    done = stage(team.begin("Bob", name="other"), "other", "best").upload()
    assert done.aliases == (AliasChange("models", "best", one, done.published[0].id, 1, 2),)
    moves = team.store().alias_history("models", "best")
    assert [move.moved_by for move in moves] == ["Bob <bob@example.org>", "Ann <ann@example.org>"]
    assert moves[0].moved_at >= moves[1].moved_at


def test_one_push_of_several_commits_moves_an_alias_step_by_step(team: Team) -> None:
    repo = team.begin("Ann")
    for content in ("one", "two", "three"):
        stage(repo, content, "best", f"is-{content}").commit(content)
    done = repo.push()
    assert [asset.number for asset in done.published] == [1, 2, 3]
    best = [change for change in done.aliases if change.alias == "best"]
    assert [(c.old_number, c.new_number) for c in best] == [(None, 1), (1, 2), (2, 3)]
    assert team.numbers("best") == [3, 2, 1]
    assert team.numbers("is-two") == [2]
    assert team.entries() == 1


def test_aliases_of_a_commit_and_of_its_upload_are_all_set(team: Team) -> None:
    repo = stage(team.begin("Ann"), "one", "committed")
    repo.commit()
    repo.set(aliases=["later"])
    repo.upload()
    assert team.numbers("committed") == [1]
    assert team.numbers("later") == [1]


def test_an_alias_is_not_set_again_when_one_comes_back_to_where_it_was_set(team: Team) -> None:
    repo = team.begin("Ann")
    stage(repo, "one").upload()
    stage(repo, "two", "best").upload()
    repo.switch("models/1")
    assert repo.status().aliases == ()
    stage(repo, "three").upload()
    assert team.numbers("best") == [2]


def test_aliases_wait_for_a_push_of_what_is_published_already(team: Team) -> None:
    """Only the alias waits: the files of the asset are stored all the same."""
    repo = team.begin("Ann")
    stage(repo, "one").upload()
    copy = team.downloaded("Ann", "models/1")
    copy.set(aliases=["best"])
    assert not copy.commit().created
    copy.remove(["model.txt"])
    copy.restore(["."], source="HEAD")
    assert (copy.root / "model.txt").read_text() == "one"
    assert copy.fsck().ok
    assert copy.push().published == ()
    assert team.numbers("best") == [1]


# Somebody has moved it meanwhile


def refused(team: Team, act: Callable[[], object], *said: str) -> Conflict:
    """Check that nothing at all was sent; return the error."""
    storage = team.watched()
    before = team.entries()
    with pytest.raises(Conflict) as caught:
        act()
    assert storage.writes == []
    assert team.entries() == before
    for text in said:
        assert text in caught.value.message
    assert words(caught.value.hints)
    return caught.value


def test_an_upload_whose_alias_has_moved_on_is_refused_before_anything_is_sent(
    team: Team, moved_on: tuple[Repo, Repo]
) -> None:
    ann, _ = moved_on
    stage(ann, "mine", "best")
    error = refused(team, ann.upload, "models@best is now models/2", "Bob", "/1")
    assert re.search(r"ago|UTC|just now", error.message), "it says when"
    status = ann.status()
    assert status.aliases == ("best",)
    assert [change.path for change in status.staged] == ["model.txt"]
    assert (ann.root / "model.txt").read_text() == "mine"
    assert ann.fsck().ok


def test_a_push_of_commits_whose_alias_has_moved_on_is_refused(
    team: Team, moved_on: tuple[Repo, Repo]
) -> None:
    ann, _ = moved_on
    stage(ann, "mine").commit()
    stage(ann, "mine again", "best").commit()
    refused(team, ann.push, "models@best is now models/2", "Bob")
    assert len(ann.status().unpublished) == 2


def test_publishing_without_the_alias_first_is_no_way_around(
    team: Team, moved_on: tuple[Repo, Repo]
) -> None:
    ann, _ = moved_on
    stage(ann, "mine").upload()
    ann.set(aliases=["best"])
    refused(team, ann.upload, "models@best is now models/2", "Bob", "/1")
    stage(ann, "mine again", "best")
    refused(team, ann.upload, "models@best is now models/2", "Bob", "/1")
    assert team.numbers("best") == [2, 1]


def test_another_alias_is_a_way_out(team: Team, moved_on: tuple[Repo, Repo]) -> None:
    ann, _ = moved_on
    stage(ann, "mine", "best")
    with pytest.raises(Conflict):
        ann.upload()
    ann.set(unset=["alias:best"], aliases=["mine"])
    done = ann.upload()
    assert [asset.number for asset in done.published] == [3]
    assert team.numbers("mine") == [3]
    assert team.numbers("best") == [2, 1]
    assert [p.info.number for p in team.store().resolve("models/3").parents()] == [1]


def test_after_a_pull_the_alias_can_be_moved(team: Team, moved_on: tuple[Repo, Repo]) -> None:
    ann, _ = moved_on
    ann.pull()
    assert ann.head is not None
    assert ann.head.number == 2
    done = stage(ann, "three", "best").upload()
    assert [(c.old_number, c.new_number) for c in done.aliases] == [(2, 3)]


def test_an_alias_that_was_removed_meanwhile_is_not_made_again(
    team: Team, moved_on: tuple[Repo, Repo]
) -> None:
    _, bob = moved_on
    team.store("Ann").remove_alias("models", "best")
    stage(bob, "three", "best")
    refused(team, bob.upload, "models@best was removed", "Ann")


def test_an_alias_that_came_back_is_no_conflict(team: Team, moved_on: tuple[Repo, Repo]) -> None:
    ann, _ = moved_on
    team.store("Bob").move_alias("models", "best", "1")
    done = stage(ann, "mine", "best").upload()
    assert [(c.old_number, c.new_number) for c in done.aliases] == [(1, 3)]


def test_an_alias_of_another_asset_is_moved_and_reported(
    team: Team, moved_on: tuple[Repo, Repo]
) -> None:
    """It never was on what this one was made from, so it wasn't moved away under the user."""
    ann, bob = moved_on
    bob.set(aliases=["stable"])
    bob.upload()
    done = stage(ann, "mine", "stable").upload()
    assert [(c.alias, c.old_number, c.new_number) for c in done.aliases] == [("stable", 2, 3)]


def test_an_alias_that_moves_during_the_upload_is_a_conflict(team: Team) -> None:
    """Ann has sent everything when Bob is faster: she publishes nothing, and he loses nothing."""
    stage(team.begin("Ann"), "one", "best").upload()
    ann = team.downloaded("Ann", "models@best")
    bob = team.downloaded("Bob", "models@best")
    team.watched(lambda: stage(bob, "two", "best").upload())
    stage(ann, "mine", "best")
    with pytest.raises(Conflict, match="models@best is now models/2"):
        ann.upload()
    assert team.numbers("best") == [2, 1]
    assert len(team.store().assets("models")) == 2
    assert team.store().fsck().ok
    assert ann.status().aliases == ("best",)


def test_a_publication_without_that_alias_is_not_held_up(team: Team) -> None:
    stage(team.begin("Ann"), "one", "best").upload()
    ann = team.downloaded("Ann", "models@best")
    bob = team.downloaded("Bob", "models@best")
    team.watched(lambda: stage(bob, "two", "best").upload())
    done = stage(ann, "mine", "mine").upload()
    assert [asset.number for asset in done.published] == [3]
    assert [(c.old_number, c.new_number) for c in done.aliases] == [(None, 3)]
    assert team.numbers("best") == [2, 1]


# Moves without a worktree


@pytest.fixture
def three(team: Team) -> Team:
    """A class of three assets, with `best` on the first."""
    repo = team.begin("Ann")
    stage(repo, "one", "best").upload()
    stage(repo, "two").upload()
    stage(repo, "three").upload()
    return team


def test_a_move_reports_from_where_to_where(three: Team) -> None:
    change = three.store("Bob").move_alias("models", "best", "3")
    assert (change.old_number, change.new_number) == (1, 3)
    change = three.store("Ann").remove_alias("models", "best")
    assert (change.old_number, change.new_number) == (3, None)
    change = three.store("Bob").move_alias("models", "best", "models/2")
    assert (change.old_number, change.new_number) == (None, 2)
    assert three.numbers("best") == [2, None, 3, 1]
    by = [move.moved_by.split()[0] for move in three.store().alias_history("models", "best")]
    assert by == ["Bob", "Ann", "Bob", "Ann"]


def test_a_move_to_where_it_is_writes_nothing(three: Team) -> None:
    before = three.entries()
    three.store().move_alias("models", "best", "1")
    assert three.entries() == before


def test_a_move_that_somebody_else_made_at_the_same_time_is_a_conflict(three: Team) -> None:
    three.watched(lambda: three.store("Bob").move_alias("models", "best", "2"))
    with pytest.raises(Conflict, match="Bob"):
        three.store("Ann").move_alias("models", "best", "3")
    assert three.numbers("best") == [2, 1]


def test_a_removal_of_what_moved_at_the_same_time_is_a_conflict(three: Team) -> None:
    three.watched(lambda: three.store("Bob").move_alias("models", "best", "2"))
    with pytest.raises(Conflict, match="Bob"):
        three.store("Ann").remove_alias("models", "best")
    assert three.numbers("best") == [2, 1]


def test_a_new_alias_that_somebody_else_made_at_the_same_time_is_a_conflict(three: Team) -> None:
    three.watched(lambda: three.store("Bob").move_alias("models", "new", "2"))
    with pytest.raises(Conflict, match="Bob"):
        three.store("Ann").move_alias("models", "new", "3")
    assert three.numbers("new") == [2]


def test_moves_of_other_aliases_are_no_conflict(three: Team) -> None:
    three.watched(lambda: three.store("Bob").move_alias("models", "other", "2"))
    three.store("Ann").move_alias("models", "best", "3")
    assert three.numbers("best") == [3, 1]
    assert three.numbers("other") == [2]


MOVES = """
import json, sys
from ama import Store
from ama.errors import Conflict
url, name = sys.argv[1], sys.argv[2]
Store.open(url)
print("ready", flush=True)
sys.stdin.readline()
done = []
for at in range(12):
    try:
        change = Store.open(url).move_alias("models", "best", str((at + len(name)) % 3 + 1))
        done.append([change.old_number, change.new_number])
    except Conflict:
        done.append(None)
print(json.dumps(done))
"""


def test_two_processes_move_one_alias_at_once(three: Team) -> None:
    """Each move that was reported was made, from where it was reported; no other was."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MOVES, three.url, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "bb")
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=100)[0] for process in processes]
    reported = [tuple(move) for output in outputs for move in json.loads(output) if move]
    numbers = list(reversed(three.numbers("best")))
    steps = list(pairwise(numbers))
    assert sorted(steps) == sorted(move for move in reported if move[0] != move[1])
    assert three.store().fsck().ok


# Names that differ only in case


def test_an_alias_that_differs_only_in_case_is_refused(three: Team) -> None:
    copy = three.downloaded("Bob", "models@best")
    before = three.entries()
    with pytest.raises(InvalidInput, match="best already"):
        three.store().move_alias("models", "Best", "2")
    stage(copy, "mine", "BEST")
    storage = three.watched()
    with pytest.raises(InvalidInput, match="best already"):
        copy.upload()
    assert storage.writes == []
    assert three.entries() == before


def test_an_alias_that_was_removed_keeps_its_name(three: Team) -> None:
    three.store().remove_alias("models", "best")
    with pytest.raises(InvalidInput, match="best"):
        three.store().move_alias("models", "Best", "2")
    assert three.store().move_alias("models", "best", "2").new_number == 2


def test_two_new_aliases_that_differ_only_in_case_are_refused(team: Team) -> None:
    repo = stage(team.begin("Ann"), "one")
    repo.set(aliases=["best", "Best"])
    with pytest.raises(InvalidInput, match="case"):
        repo.upload()
    assert not list(Path(team.url).glob("log/0*"))
    with pytest.raises(NotFound):
        team.store().assets("models")


def test_two_commits_with_aliases_that_differ_only_in_case_are_refused(team: Team) -> None:
    repo = team.begin("Ann")
    stage(repo, "one", "best").commit()
    stage(repo, "two", "Best").commit()
    with pytest.raises(InvalidInput, match="case"):
        repo.push()
    assert not list(Path(team.url).glob("log/0*"))


def test_a_class_that_differs_only_in_case_is_refused(three: Team) -> None:
    repo = stage(three.begin("Bob", "Models"), "one")
    storage = three.watched()
    with pytest.raises(InvalidInput, match="models already"):
        repo.upload()
    assert storage.writes == []


def test_the_same_alias_in_two_classes_is_two_aliases(team: Team) -> None:
    stage(team.begin("Ann", "models"), "one", "best").upload()
    stage(team.begin("Ann", "datasets"), "one", "Best").upload()
    assert team.numbers("best", "models") == [1]
    assert team.numbers("Best", "datasets") == [1]


def test_names_that_no_alias_can_have(three: Team) -> None:
    repo = three.downloaded("Bob", "models@best")
    for name in ("", "HEAD", "7", "12345", "deadbeef0", "a b", "a/b", "a@b", "-x", "x" * 101):
        with pytest.raises(InvalidInput):
            repo.set(aliases=[name])
        with pytest.raises(AmaError):
            three.store().move_alias("models", name, "1")
    assert repo.status().aliases == ()


def test_what_an_alias_event_expected_stands_in_the_log(three: Team) -> None:
    """So that a reader can tell afterwards what its writer had seen."""
    three.store().move_alias("models", "best", "2")
    three.store().move_alias("models", "new", "3")
    one, two, three_ = (bytes.fromhex(info.id) for info in reversed(three.store().assets("models")))
    assert list(moves(three)) == [
        MoveAlias("models", "best", one, b""),
        MoveAlias("models", "best", two, one),
        MoveAlias("models", "new", three_, b""),
    ]


def moves(team: Team) -> Iterator[MoveAlias]:
    for path in sorted(Path(team.url, "log").iterdir()):
        if path.name.isdigit():
            for event in decode_entry(path.read_bytes()).events:
                assert type(event) in (MoveAlias, Publish)
                if type(event) is MoveAlias:
                    yield event
