"""Trees that stand for more than anybody can list, and symlinks that say what none can say."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import ama
from ama.errors import IntegrityError, InvalidInput, NotFound
from ama.format.hashing import blob_id
from ama.format.objects import EntryKind, Kind, Recipe, TreeEntry, decode_tree, encode_recipe
from ama.wording.hints import words as words_of
from ama.worktree import trees
from ama.worktree.trees import FREELY, MOST_FILES, SHARING, differing, look_up, top_of, walk
from conftest import Ama, Result
from forging import Forge, Objects, file_entry, listed, multiplied

MUCH = 20_000
"""No command prints as many characters about an asset that can't be listed."""

FILES = {"params.yml": b"rate: 1\n", "x": b"x"}


def many(form: str, objects: Objects) -> TreeEntry:
    if form == "endless":
        return multiplied(100, "abcd", FILES, objects)
    if form == "full":  # nearly as many files as there may be; sums are right
        return multiplied(20, "ab", {f"{at}.bin": b"x" for at in range(3)}, objects)
    return multiplied(100, "abcd", {}, objects)


def deep(form: str) -> str:
    return "/".join("a" * (20 if form == "full" else 100))


REFUSED = ("endless", "full")


@pytest.mark.parametrize("form", ["endless", "full", "empty"])
@pytest.mark.parametrize(
    ("words", "always"),
    [
        ("ls models/2", False),
        ("ls models/2 same/a", False),
        ("show models/2", True),
        ("show models/2 --json", True),
        ("cat models/2:same/{deep}/0.bin", None),
        ("diff models/1 models/2", False),
        ("diff models/2 models/3 -- file", True),
        ("compare models/1 models/2", False),
        ("find --class models --name weights", True),
        ("find --param rate=1", True),
        ("dashboard --export site", True),
        ("download models/2 -o new", False),
        ("fsck", None),
        ("copy models/2 --from {store} --to {copy}", True),
    ],
)
def test_each_command_ends_soon_with_little_output(
    form: str, words: str, always: bool | None, forge: Forge, run: Ama, tmp_path: Path
) -> None:
    forge.publish({"weights": b"1"})
    objects: Objects = {}
    same = many(form, objects)._replace(name="same")
    for content in (b"old", b"new"):
        entries = [file_entry("file", content, objects), same]
        forge.publish_trees(listed(entries, objects).id, objects)
    copy = tmp_path / "copy"
    command = words.format(deep=deep(form), store=forge.directory, copy=copy).split()
    done = run(*command)
    assert len(done.output) < (60_000 if command == ["fsck"] else MUCH)
    assert "Traceback" not in done.output
    if command[0] == "cat":
        assert (done.code, done.stdout) == ((0, "x") if form == "full" else (3, ""))
    elif command == ["fsck"]:
        # Sums of more than 64 bits can't be right.
        assert done.code == (IntegrityError.exit_code if form == "endless" else 0)
    elif command[-1] == "same/a" and form == "empty":
        assert done.code == NotFound.exit_code  # it holds no file
    elif form in REFUSED and not always:
        assert (done.code, done.stdout) == (InvalidInput.exit_code, "")
        assert_refused(done, form)
    else:
        assert done.code == 0, done.output
        if command == ["show", "models/2"] and form in REFUSED:
            assert_refused(done, form)


def assert_refused(done: Result, form: str) -> None:
    assert "more than can be listed" in done.stderr
    assert form != "full" or re.search(r"this stands for [13],\d{3},\d{3} files", done.stderr)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[int, int]]:
    """How many trees were decoded since, and how many files were listed."""
    import ama.worktree.status  # what one look-up makes is no listing: this keeps the unwatched one

    assert ama.worktree.status.Listed is trees.Listed
    counts = {"trees": 0, "files": 0}
    decode, make = decode_tree, trees.Listed

    def decoded(data: bytes, what: str = "tree") -> tuple[TreeEntry, ...]:
        counts["trees"] += 1
        return decode(data, what)

    def listing(*args: object) -> object:
        counts["files"] += 1
        return make(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("ama.stores.sources.decode_tree", decoded)
    monkeypatch.setattr("ama.worktree.trees.Listed", listing)
    return lambda: (counts["trees"], counts["files"])


def test_a_path_is_looked_up_and_what_is_the_same_is_not_looked_into(
    forge: Forge, made: Callable[[], tuple[int, int]], tmp_path: Path
) -> None:
    objects: Objects = {}
    top = multiplied(30, "abcd", FILES, objects)
    for name in ("old", "new"):
        entries = [file_entry("file", name.encode(), objects), top._replace(name="same")]
        forge.publish_trees(listed(entries, objects).id, objects)
    store = ama.Store.open(str(forge.directory))
    old, new = store.resolve("models/1"), store.resolve("models/2")
    assert new.read("file") == b"new"
    assert made()[0] == 1  # the top alone
    path = "same/" + "a/" * 30
    assert new.read(f"{path}x") == b"x"
    assert made() == (32, 0)
    assert [file.path for file in new.files(path)] == [f"{path}params.yml", f"{path}x"]
    assert new.file(f"{path}x").id == blob_id(b"x").hex()
    [change] = new.changes_from(old)
    assert (change.path, change.kind) == ("file", "modified")
    assert new.changes_from(old, paths="same/a") == ()
    assert made()[0] == 34  # the old one's top, and what is on the way to what was named
    assert made()[1] == 4  # two that were asked for, and the two sides of the change
    for refused in (
        new.files,
        lambda: new.files("same/a"),
        lambda: store.compare("models/1", "models/2"),
        lambda: new.download(tmp_path / "new"),
    ):
        before = made()[1]
        with pytest.raises(InvalidInput, match="more than can be listed"):
            refused()
        assert made()[1] - before <= SHARING * 4 * 32  # as many as its 32 directories allow
    with pytest.raises(NotFound, match="no file same/b/nothing"):
        new.read("same/b/nothing")
    with pytest.raises(InvalidInput, match="is a directory"):
        new.read("same/b")


def in_memory(objects: Objects) -> tuple[Callable[[bytes], tuple[TreeEntry, ...]], list[bytes]]:
    """What reads trees, and a list of what it has read."""
    read: list[bytes] = []

    def tree(tree_id: bytes) -> tuple[TreeEntry, ...]:
        read.append(tree_id)
        return decode_tree(objects[tree_id][1])

    return tree, read


def test_directories_that_hold_no_file_are_not_walked() -> None:
    objects: Objects = {}
    tree, read = in_memory(objects)
    top = multiplied(100, "abcd", {}, objects)
    entries = [top._replace(name="empty"), file_entry("file", b"x", objects)]
    root = listed(entries, objects).id
    assert [item.path for item in walk(root, tree)] == ["file"]
    assert len(read) == len(set(read)) == 102  # each once


def test_what_is_listed_is_in_proportion_to_what_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    objects: Objects = {}
    tree, _ = in_memory(objects)
    root = multiplied(4, "abcdefgh", {"x": b"x"}, objects).id  # 4,096 files of 33 entries
    assert len(list(walk(root, tree))) == 4096 <= FREELY <= MOST_FILES
    monkeypatch.setattr(trees, "FREELY", 4095)
    with pytest.raises(InvalidInput, match="4,096 files, out of 33 entries") as caught:
        list(walk(root, tree))
    assert "ama ls ASSET:DIR" in (words_of(caught.value.hints) or "")
    assert len(list(walk(root, tree, wanted=True))) == 4096
    plain = [file_entry(f"{at:05}", b"x", objects) for at in range(4096)]
    assert len(list(walk(listed(plain, objects).id, tree))) == 4096  # as many that are really held


def test_pairs_of_directories_that_multiply_end() -> None:
    objects: Objects = {}
    tree, read = in_memory(objects)
    old = multiplied(60, "abcd", {"x": b"old"}, objects)
    new = multiplied(60, "abcd", {"x": b"new"}, objects)
    with pytest.raises(InvalidInput, match="more than can be listed"):
        differing("", (top_of(old.id), top_of(new.id)), tree, tree)
    assert len(read) < 130
    assert differing("", (top_of(old.id), top_of(old.id)), tree, tree) == ({}, {})
    lower = "/".join("b" * 60)
    pair = look_up(old.id, lower, tree), look_up(new.id, lower, tree)
    before, after = differing(lower, pair, tree, tree)
    assert before.keys() == after.keys() == {f"{lower}/x"}
    assert look_up(old.id, f"{lower}/x/y", tree) is None
    assert look_up(old.id, "b//b", tree) is None


def test_an_honest_asset_with_the_same_directory_twice(
    run: Ama, tmp_path: Path, home: Path
) -> None:
    repo = ama.Repo.init(tmp_path / "work", "models")
    for name in ("one", "two"):
        for at in range(3):
            (repo.root / name / "sub").mkdir(parents=True, exist_ok=True)
            (repo.root / name / "sub" / f"{at}.txt").write_text(f"{at}\n", encoding="utf-8")
    paths = [f"{name}/sub/{at}.txt" for name in ("one", "two") for at in range(3)]
    repo.add(".")
    repo.upload()
    (repo.root / "two" / "sub" / "1.txt").write_text("changed\n", encoding="utf-8")
    (repo.root / "one" / "sub" / "0.txt").rename(repo.root / "top.txt")
    repo.remove("one/sub/0.txt")
    repo.add(".")
    repo.upload()
    store = repo.store()
    old, new = store.resolve("models/1"), store.resolve("models/2")
    assert [file.path for file in old.files()] == paths
    assert [file.path for file in old.files("two")] == paths[3:]
    assert [file.path for file in old.summary().files] == paths
    expected = [
        ("one/sub/0.txt", "removed"),
        ("top.txt", "added"),
        ("two/sub/1.txt", "modified"),
    ]
    changes = new.changes_from(old)
    assert [(change.path, change.kind) for change in changes] == expected
    assert repo.diff("models/1", "models/2") == changes
    named = new.changes_from(old, paths=["two", "top.txt", "two/sub/1.txt"])
    assert [(change.path, change.kind) for change in named] == expected[1:]
    [_, _, within] = new.compare_contents(old)
    assert within.content is not None
    assert run.ok("ls", "models/1:one/sub", cwd=repo.root).stdout.count("one/sub/") == 3
    with pytest.raises(NotFound) as caught:
        old.files("two/sub/4.txt")
    assert "did you mean" in (words_of(caught.value.hints) or "")
    with pytest.raises(NotFound, match="no asset that is compared has thre"):
        new.changes_from(old, paths="thre")
    got = old.download(tmp_path / "copy")
    assert got.files == 6
    assert (tmp_path / "copy" / "two" / "sub" / "1.txt").read_text(encoding="utf-8") == "1\n"


def test_many_files_of_few_are_fetched_where_they_are_asked_for(
    forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge.publish({"weights": b"1"})
    objects: Objects = {}
    forge.publish_trees(multiplied(3, "abcdefgh", {"x": b"x"}, objects).id, objects)
    monkeypatch.setattr(trees, "FREELY", 100)
    store = ama.Store.open(str(forge.directory))
    with pytest.raises(InvalidInput, match="512 files") as caught:
        store.download("models/2", tmp_path / "new")
    assert "--include '*'" in (words_of(caught.value.hints) or "")
    assert not (tmp_path / "new").exists()
    assert store.download("models/2", tmp_path / "part", include="a/b/*").files == 8
    assert store.download("models/2", tmp_path / "new", include="*").files == 512
    repo = ama.Repo.open(tmp_path / "new")
    assert repo.status().changed == ()
    assert len(repo.files()) == 512  # they are here already

    store.download("models/1", tmp_path / "old")
    with pytest.raises(InvalidInput, match="512 files") as refused:
        ama.Repo.open(tmp_path / "old").switch("models/2")
    assert "ama download models/2 -o DIR" in (words_of(refused.value.hints) or "")
    assert (tmp_path / "old" / "weights").read_bytes() == b"1"


# Symlinks

WRONG = [
    (b"caf\xe9", "isn't valid UTF-8"),
    (b"a\0b", "has a NUL"),
    (b"", "is empty"),
    (b"x" * 4097, "has 4,097 bytes, more than 4,096"),
    (b"x" * 900_000, "has 900,000 bytes, more than 4,096"),
    (b"", "has 1,200,000 bytes, more than 4,096"),
]
"""Targets, and what is said of them; the last one is in chunks."""


def link(target: bytes, why: str, objects: Objects) -> TreeEntry:
    if "1,200,000" in why:
        parts = [os.urandom(600_000) for _ in range(2)]
        chunks = tuple((file_entry("", part, objects).id, len(part)) for part in parts)
        whole = blob_id(b"".join(parts))
        objects[whole] = (Kind.RECIPE, encode_recipe(Recipe(1, Kind.DATA, chunks)))
        return TreeEntry("link", EntryKind.SYMLINK, whole, 5)
    entry = file_entry("link", target, objects, EntryKind.SYMLINK)
    return entry._replace(size=min(max(entry.size, 1), 4096))  # of others no tree can be made


@pytest.mark.parametrize(("target", "why"), WRONG, ids=[why for _, why in WRONG])
def test_a_symlink_that_says_what_none_can(
    target: bytes, why: str, forge: Forge, run: Ama, tmp_path: Path
) -> None:
    forge.publish({"weights": b"1"})
    objects: Objects = {}
    inner = listed([link(target, why, objects)], objects)._replace(name="sub")
    entries = [file_entry("weights", b"2", objects), inner]
    forge.publish_trees(listed(entries, objects).id, objects)

    for words in looking(forge):
        done = run(*words)
        assert "Traceback" not in done.output
        assert "internal" not in done.stderr
        if words[0] in ("ls", "show", "diff", "compare", "find", "dashboard", "copy"):
            assert done.code == 0, done.output
    if "1,200,000" not in why:  # its bytes are what they are
        store = ama.Store.open(str(forge.directory))
        assert store.resolve("models/2").read("sub/link") == target

    store = ama.Store.open(str(forge.directory))
    store.download("models/1", tmp_path / "old")
    repo = ama.Repo.open(tmp_path / "old")
    (repo.root / "sub").mkdir()
    (repo.root / "sub").rmdir()
    for fetch in (
        lambda: store.download("models/2", tmp_path / "new"),
        lambda: repo.switch("models/2"),
        repo.pull,
        lambda: repo.restore(["."], source="models/2"),
    ):
        with pytest.raises(IntegrityError) as caught:
            fetch()
        assert caught.value.message.startswith("sub/link is a symlink whose target ")
        assert why in caught.value.message
        assert words_of(caught.value.hints) == "leave it out: --exclude 'sub/link'"
        assert (repo.root / "weights").read_bytes() == b"1"
        assert not os.path.lexists(repo.root / "sub" / "link")

    refused = run("download", "models/2", "-o", "again")
    assert refused.code == IntegrityError.exit_code
    assert f"sub/link is a symlink whose target {why}" in refused.stderr
    run.ok("download", "models/2", "-o", "without", "--exclude", "sub/link")
    assert (tmp_path / "without" / "weights").read_bytes() == b"2"


def looking(forge: Forge) -> Sequence[Sequence[str]]:
    store = str(forge.directory)
    return (
        ["ls", "models/2"],
        ["show", "models/2"],
        ["show", "models/2:sub/link", "--json"],
        ["cat", "models/2:sub/link"],
        ["diff", "models/1", "models/2"],
        ["diff", "-p", "models/1", "models/2"],
        ["compare", "models/1", "models/2"],
        ["find", "--name", "link"],
        ["dashboard", "--export", "site"],
        ["fsck", store],
        ["copy", "models/2", "--from", store, "--to", f"{store}-copied"],
    )
