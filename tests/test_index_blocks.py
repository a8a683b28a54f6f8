"""The index in blocks: a map of which a command reads and writes what it touches."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ama import Repo
from ama.errors import Conflict, IntegrityError
from ama.format.objects import EntryKind
from ama.system import disk
from ama.wording.hints import words
from ama.worktree import entries as entries_module
from ama.worktree import trees
from ama.worktree.blocks import DIRECTORY, NOTHING, BlockFiles
from ama.worktree.entries import Entries, IndexEntry
from ama.worktree.layout import CONTROL, Worktree
from ama.worktree.staging import READ_AT_LEAST_S, READ_S

OF_BEFORE = Path(__file__).parent / "data" / "worktree-1"

Model = dict[str, IndexEntry]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of at most 16 rows, changed by 10 at a time."""
    monkeypatch.setattr(entries_module, "MOST_ROWS", 16)
    monkeypatch.setattr(entries_module, "FEW_ROWS", 4)
    monkeypatch.setattr(entries_module, "WINDOW", 10)


def entry(path: str, chance: random.Random) -> IndexEntry:
    return IndexEntry(
        path,
        EntryKind.FILE,
        bytes([chance.randrange(256)]) * 32,
        chance.randrange(100),
        *(chance.randrange(100) for _ in range(3)),
        chance.random() < 0.5,
        chance.random() < 0.2,
    )


def expected(model: Model, changed: list[IndexEntry], removed: list[str]) -> Model:
    """The same change of a plain dictionary: a file replaces a directory, and the reverse."""
    found = {path: known for path, known in model.items() if path not in removed}
    for each in changed:
        parts = each.path.split("/")
        above = {"/".join(parts[:n]) for n in range(1, len(parts))}
        found = {
            path: known
            for path, known in found.items()
            if path not in above and not path.startswith(each.path + "/")
        }
        found[each.path] = each
    return found


def directories(model: Model) -> set[str]:
    return {"/".join(path.split("/")[:n]) for path in model for n in range(1, path.count("/") + 1)}


def in_tree_order(path: str) -> tuple[str, str]:
    directory, _, name = path.rpartition("/")
    return directory.replace("/", "\0"), name


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("seed", range(60))
def test_entries_are_a_map(seed: int) -> None:
    chance = random.Random(seed)
    names = ["a", "b", "a-b", "c", "d"][: chance.randint(2, 5)]

    def path() -> str:
        many = chance.choice([1, 3, 30])
        depth = chance.randint(1, 4)
        return "/".join(f"{chance.choice(names)}{chance.randrange(many)}" for _ in range(depth))

    model: Model = {}
    now = Entries()
    for _ in range(10):
        changed = [entry(path(), chance) for _ in range(chance.choice([0, 1, 5, 60]))]
        removed = chance.sample(sorted(model), min(len(model), chance.choice([0, 1, 3, 40])))
        before, old = now, model
        model, now = expected(model, changed, removed), now.changed(changed, removed)

        assert dict(now.items()) == model
        assert list(now) == sorted(model, key=in_tree_order)
        assert (len(now), now.size) == (len(model), sum(known.size for known in model.values()))
        assert now.text == sum(map(len, model))
        assert now.skipped == sum(known.skipped for known in model.values())
        unstored = [k for k in model.values() if not (k.stored or k.skipped)]
        assert sorted(now.unstored()) == sorted(unstored)
        assert all(now[each] == model[each] and each in now for each in model)
        assert (now == before) is (model == old)

        differing = {each: (one, other) for each, one, other in now.difference(before)}
        everything = model.keys() | old.keys()
        pairs = {each: (model.get(each), old.get(each)) for each in everything}
        assert differing == {each: pair for each, pair in pairs.items() if pair[0] != pair[1]}

        rows = [place for place, _ in now.placed()]
        assert rows == sorted(rows)
        for directory in directories(model):
            assert now.has_directory(directory)
            assert directory not in now
            below = {known.path for known in now.below(directory)}
            assert below == {each for each in model if each.startswith(directory + "/")}
        assert not any(now.has_directory(each) for each in directories(old) - directories(model))
        for block in now.blocks:
            assert 0 < sum(len(part.names) for part in now.reader.read(block).values()) <= 16


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("seed", range(20))
def test_a_change_clears_the_trees_above_it_and_no_others(seed: int) -> None:
    chance = random.Random(seed)
    paths = {f"{chance.choice('ab')}/{chance.choice('cde')}/{n}" for n in range(40)}
    plain = Entries.of(entry(path, chance) for path in paths)
    everywhere = sorted(directories(dict(plain.items())))
    known = plain.with_trees([(each, b"\7" * 32, 1) for each in everywhere], b"\1" * 32)
    assert known == plain
    assert known.tree == b"\1" * 32

    path = chance.choice(sorted(paths))
    retimed = known.changed([known[path]._replace(mtime=12345)])
    assert retimed.tree == known.tree
    for changed in (
        known.changed([known[path]._replace(size=1000)]),
        known.changed([], [path]),
        known.changed([entry(f"{path.rpartition('/')[0]}/new", chance)]),
    ):
        assert changed.tree is None
        for each in everywhere:
            row = changed.row(each)
            above = path.startswith(each + "/")
            assert row is None or row.id == (NOTHING if above else b"\7" * 32)


# Costs, as counts


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repo:
    """A worktree of 1,200 files in 40 directories, in blocks of at most 100 rows."""
    monkeypatch.setattr(entries_module, "MOST_ROWS", 100)
    monkeypatch.setattr(entries_module, "FEW_ROWS", 20)
    root = tmp_path / "many"
    for number in range(40):
        directory = root / f"d{number:02}"
        directory.mkdir(parents=True)
        for name in range(30):
            (directory / f"f{name:02}").write_bytes(b"%d %d" % (number, name))
    old = time.time_ns() - 10**10
    for path in root.rglob("f*"):
        os.utime(path, ns=(old, old))
    repo = Repo.init(root, "models")
    repo.add(["."])
    return repo


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each block's file is read."""
    found: Counter[str] = Counter()
    read = disk.read_file

    def counted(path: str | os.PathLike[str], most: int = -1) -> bytes | None:
        directory, name = os.path.split(os.fspath(path))
        if os.path.basename(directory) == DIRECTORY:
            found[name] += 1
        return read(path, most)

    monkeypatch.setattr(disk, "read_file", counted)
    return found


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many entries each tree had that was encoded."""
    found: list[int] = []
    encode = trees.encode_tree

    def counted(entries: list[trees.TreeEntry]) -> bytes:
        found.append(len(entries))
        return encode(entries)

    monkeypatch.setattr(trees, "encode_tree", counted)
    return found


def block_names(root: Path) -> set[str]:
    return {block.id.hex() for block in Worktree(root).index.read().entries.blocks}


def test_adding_one_file_reads_and_writes_two_blocks(many: Repo, reads: Counter[str]) -> None:
    before = block_names(many.root)
    assert len(before) > 10
    (many.root / "d20" / "f10").write_bytes(b"changed")
    reads.clear()
    result = Repo.open(many.root).add(["d20/f10"])
    assert [(change.path, change.kind) for change in result.changes] == [("d20/f10", "modified")]
    # That of the file, and that of the root, which has a row for the directory.
    assert len(reads.keys() & before) == 2
    assert sum(reads.values()) <= 4
    assert len(block_names(many.root) - before) <= 2


def test_a_scan_reads_each_block_once(many: Repo, reads: Counter[str]) -> None:
    reads.clear()
    status = Repo.open(many.root).status()
    assert (status.changed, status.untracked, status.files) == ((), (), 1200)
    assert set(reads.values()) <= {1, 2}  # once to scan, once to list what is staged
    many.upload()
    reads.clear()
    Repo.open(many.root).status()
    assert set(reads) == block_names(many.root)
    assert set(reads.values()) == {1}


def test_an_upload_encodes_the_trees_that_changed(
    many: Repo, encoded: list[int], reads: Counter[str]
) -> None:
    many.upload()
    assert sorted(encoded) == [30] * 40 + [40]
    encoded.clear()
    Repo.open(many.root).upload()
    assert encoded == []
    (many.root / "d20" / "f10").write_bytes(b"changed")
    (many.root / "d21" / "new").write_bytes(b"new")
    repo = Repo.open(many.root)
    repo.add(["d20/f10", "d21/new"])
    done = repo.upload()
    assert sorted(encoded) == [30, 31, 40]
    assert done.asset.number == 2
    # The next one knows all trees again.
    encoded.clear()
    (many.root / "d00" / "f00").unlink()
    repo.add(["d00"])
    repo.upload()
    assert sorted(encoded) == [29, 40]


def test_an_upload_of_one_of_very_many_looks_at_some(
    many: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    (many.root / "d39" / "new").write_bytes(b"new")
    assert many.upload().untracked == ("d39/new",)
    monkeypatch.setattr("ama.operations.upload.MOST_LOOKED_AT", 200)
    scanned: list[str] = []
    scandir = os.scandir

    def counted(path: str) -> object:
        if os.path.dirname(path) == os.fspath(many.root):
            scanned.append(path)
        return scandir(path)

    (many.root / "d20" / "f10").write_bytes(b"changed")
    many.add(["d20/f10"])
    monkeypatch.setattr("ama.worktree.scan.os.scandir", counted)
    done = many.upload()
    assert (done.untracked, done.looked_at_all) == ((), False)
    assert len(scanned) <= 10
    monkeypatch.setattr("ama.worktree.scan.os.scandir", scandir)
    assert many.upload().looked_at_all is False
    assert Repo.open(many.root).status().untracked == ("d39/new",)


def test_status_compares_with_head_only_where_it_differs(
    many: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    many.upload()
    (many.root / "d20" / "f10").write_bytes(b"changed")
    repo = Repo.open(many.root)
    repo.add(["d20/f10"])
    read: list[bytes] = []
    from ama.stores.sources import Sources

    tree = Sources.tree

    def counted(self: Sources, object_id: bytes) -> tuple[trees.TreeEntry, ...]:
        read.append(object_id)
        return tree(self, object_id)

    monkeypatch.setattr(Sources, "tree", counted)
    staged = Repo.open(many.root).status().staged
    assert [(change.path, change.kind) for change in staged] == [("d20/f10", "modified")]
    assert len(set(read)) == 2


# Names


def test_names_that_are_one_somewhere_are_found_in_their_directory(tmp_path: Path) -> None:
    for path in ("data/run/a", "data/RUN", "other/x"):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    repo = Repo.init(tmp_path, "models")
    for given in (["."], ["data"], ["data/RUN", "data/run/a"], ["data/run", "data/RUN"]):
        with pytest.raises(ValueError, match=r"'data/(RUN|run)' and 'data/(RUN|run)' are one name"):
            repo.add(given)
    assert repo.status().staged == ()
    repo.add(["data/run"])
    with pytest.raises(ValueError, match="are one name"):
        repo.add(["data/RUN"])
    # The new spelling of a name whose old one goes is no second name.
    shutil.rmtree(tmp_path / "data" / "run")
    repo.add(["data"])
    assert [change.path for change in repo.status().staged] == ["data/RUN"]


# Files


def listed_files(root: Path) -> set[str]:
    return set(os.listdir(root / CONTROL / DIRECTORY))


def test_old_blocks_stay_for_their_readers_and_go_later(
    many: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Worktree(many.root).index.read()
    for number in range(3):
        (many.root / "d20" / "f10").write_bytes(b"changed %d" % number)
        many.add(["d20/f10"])
    assert reader.entries["d20/f10"].size == len("20 10")
    assert block_names(many.root) < listed_files(many.root)

    now = time.time() + READ_S + 1
    litter = many.root / CONTROL / DIRECTORY / ("0" * 64)
    fresh = many.root / CONTROL / DIRECTORY / ("1" * 64)
    litter.write_bytes(b"of a command that was killed")
    fresh.write_bytes(b"of a command that is at work")
    os.utime(litter, (1, 1))
    monkeypatch.setattr("ama.worktree.staging.time.time", lambda: now)
    (many.root / "d20" / "f10").write_bytes(b"changed again")
    many.add(["d20/f10"])
    latest = {block.id for block in reader.entries.blocks} & {
        block.id for block in Worktree(many.root).index.read().entries.blocks
    }
    assert latest  # most blocks never changed
    left = listed_files(many.root) - block_names(many.root)
    assert fresh.name in left
    assert litter.name not in left
    assert len(left - {fresh.name}) <= 2  # those that this very change has replaced


def test_many_changes_in_a_row_leave_so_many_blocks(
    many: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ama.worktree.staging.MOST_DROPPED", 5)
    start = time.time()
    for number in range(40):
        now = start + 60 * number
        monkeypatch.setattr("ama.worktree.staging.time.time", lambda now=now: now)
        (many.root / "d20" / "f10").write_bytes(b"changed %d" % number)
        many.add(["d20/f10"])
    left = listed_files(many.root) - block_names(many.root)
    changes = READ_AT_LEAST_S // 60  # each replaces its block, and that of the directory's row
    assert 2 * (changes - 1) <= len(left) <= 2 * (changes + 1)


def during_the_first_keep(monkeypatch: pytest.MonkeyPatch, other: Callable[[], object]) -> None:
    """Something else happens as soon as the first blocks are kept, before a root names them."""
    keep = BlockFiles.keep
    others = iter([other])

    def raced(self: BlockFiles, blocks: object) -> object:
        kept = keep(self, blocks)  # type: ignore[arg-type]
        for each in others:
            each()
        return kept

    monkeypatch.setattr(BlockFiles, "keep", raced)


def test_a_lost_race_leaves_no_blocks(many: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    before = listed_files(many.root)
    (many.root / "d20" / "f10").write_bytes(b"mine")
    (many.root / "d21" / "f10").write_bytes(b"theirs")
    during_the_first_keep(monkeypatch, lambda: Repo.open(many.root).add(["d21/f10"]))
    Repo.open(many.root).add(["d20/f10"])
    index = Worktree(many.root).index.read()
    assert index.entries["d20/f10"].size == len("mine")
    assert index.entries["d21/f10"].size == len("theirs")
    # Those that the other one made and this one replaced, and those that its result is read from.
    assert len(listed_files(many.root) - before - block_names(many.root)) <= 4

    now = time.time() + READ_S + 1
    monkeypatch.setattr("ama.worktree.staging.time.time", lambda: now)
    many.set(message="anything")
    assert listed_files(many.root) == block_names(many.root)


def test_after_a_lost_race_add_says_what_it_staged(
    many: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = [f"d{number:02}/f10" for number in range(40)]
    for path in mine:
        (many.root / path).write_bytes(b"mine")
    (many.root / "theirs").write_bytes(b"theirs")
    during_the_first_keep(monkeypatch, lambda: Repo.open(many.root).add(["theirs"]))
    done = Repo.open(many.root).add(mine)
    assert [change.path for change in done.changes] == mine
    assert Worktree(many.root).index.read().entries["theirs"].size == len("theirs")


def test_a_command_that_slept_too_long_names_no_block_that_is_gone(
    many: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = block_names(many.root)
    (many.root / "d20" / "f10").write_bytes(b"changed")

    def swept() -> None:
        for name in listed_files(many.root) - before:
            (many.root / CONTROL / DIRECTORY / name).unlink()

    during_the_first_keep(monkeypatch, swept)
    with pytest.raises(Conflict, match="deleted meanwhile"):
        Repo.open(many.root).add(["d20/f10"])
    assert block_names(many.root) == before
    assert len(Repo.open(many.root).add(["d20/f10"]).changes) == 1


def test_threads_may_share_a_repo(many: Repo) -> None:
    """What one thread is about to name isn't deleted by another one that has finished."""

    def add(names: range) -> None:
        for name in names:
            (many.root / "d20" / f"new{name}").write_bytes(b"%d" % name)
            many.add([f"d20/new{name}"])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(add, (range(15), range(15, 30))))
    assert Repo.open(many.root).status().files == 1230


def test_a_clock_that_was_ahead_takes_no_block_from_a_reader(
    many: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Worktree(many.root).index.read()
    (many.root / "d20" / "f10").write_bytes(b"changed")
    ahead = time.time() + 10**6
    with monkeypatch.context() as patch:
        patch.setattr("ama.worktree.staging.time.time", lambda: ahead)
        many.add(["d20/f10"])
    many.set(message="anything")
    assert reader.entries["d20/f10"].size == len("20 10")

    now = time.time() + READ_S + 1
    monkeypatch.setattr("ama.worktree.staging.time.time", lambda: now)
    many.set(message="anything else")
    assert listed_files(many.root) == block_names(many.root)


@pytest.mark.parametrize("how", ["lost", "cut", "changed", "another"])
def test_a_damaged_block_is_named_with_the_way_back(many: Repo, how: str) -> None:
    many.upload()
    directory = many.root / CONTROL / DIRECTORY
    first, second = (directory / name for name in sorted(block_names(many.root))[:2])
    data = first.read_bytes()
    if how == "lost":
        first.unlink()
    elif how == "another":
        first.write_bytes(second.read_bytes())
    else:
        first.write_bytes(data[:-1] if how == "cut" else data[:50] + b"?" + data[51:])
    with pytest.raises(IntegrityError, match=first.name) as caught:
        Repo.open(many.root).status()
    again = "run the same command again" in (words(caught.value.hints) or "")
    assert again is (how == "lost")
    assert "ama restore --staged ." in (words(caught.value.hints) or "")
    report = Repo.open(many.root).fsck()
    assert [problem.where for problem in report.problems] == [f".ama/blocks/{first.name}"]
    with pytest.raises(IntegrityError, match=first.name):
        Repo.open(many.root).restore(["d20"], staged=True)

    many.set(message="stays")
    Repo.open(many.root).restore(["."], staged=True)
    status = Repo.open(many.root).status()
    assert (status.staged, status.changed, status.files) == ((), (), 1200)
    assert status.message == "stays"
    assert Repo.open(many.root).fsck().ok


@pytest.mark.parametrize("lost", ["a block", "the index"])
def test_what_a_partial_worktree_leaves_out_stays_in_the_asset(
    many: Repo, tmp_path: Path, lost: str
) -> None:
    """Also if its index begins anew, and all that is here is added then."""
    many.upload()
    copy = tmp_path / "copy"
    many.store().download("models/1", copy, include=["d0*/"])
    block = copy / CONTROL / DIRECTORY / min(block_names(copy))
    for path in (copy / CONTROL).glob("index.*") if lost == "the index" else [block]:
        path.unlink()
    repo = Repo.open(copy)
    repo.restore(["."], staged=True)
    status = repo.status()
    assert (status.staged, status.changed, status.skipped) == ((), (), 900)
    (copy / "d00" / "f00").write_bytes(b"changed")
    repo.add(["."])
    repo.upload()
    assert len(repo.files("HEAD")) == 1200


# A worktree of the version before


@pytest.fixture
def of_before(tmp_path: Path) -> Repo:
    """The worktree that a version with the whole index in one file has left, amid work."""
    root = tmp_path / "of-before"
    shutil.copytree(OF_BEFORE / "files", root)
    shutil.copytree(OF_BEFORE / "control", root / CONTROL)
    (root / "large.bin").write_bytes(bytes(1_100_000))
    (root / "run.sh").chmod(0o755)
    return Repo.open(root)


def test_a_worktree_of_the_version_before_opens(of_before: Repo) -> None:
    status = of_before.status()
    assert [(change.path, change.kind) for change in status.staged] == [
        ("data/raw/three.csv", "added"),
        ("data/two.csv", "removed"),
        ("latest.csv", "removed"),
        ("params.yml", "modified"),
    ]
    assert (status.changed, status.untracked, status.files) == ((), (), 5)
    assert (status.aliases, status.metadata) == (("second",), {"note": "kept"})
    assert not (of_before.root / CONTROL / DIRECTORY).exists()  # nothing has changed it

    (of_before.root / "data" / "raw" / "one.csv").write_bytes(b"1\n")
    of_before.add(["data"])
    assert (of_before.root / CONTROL / DIRECTORY).exists()
    done = of_before.upload()
    assert [asset.aliases for asset in done.published] == [("first",), ("second",)]
    assert {file.path: file.size for file in of_before.files("HEAD")} == {
        "data/raw/one.csv": 2,
        "data/raw/three.csv": 6,
        "large.bin": 1_100_000,
        "params.yml": 8,
        "run.sh": 10,
    }
    assert Repo.open(of_before.root).status().staged == ()
