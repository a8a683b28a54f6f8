"""Whatever is damaged, nothing wrong is ever read: it is named, and all else stays readable."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import ama.system.fs
from ama import Repo, Store
from ama.errors import FormatError, IntegrityError
from ama.format.checkpoint import decode_checkpoint
from ama.results import FsckReport
from ama.stores.log_files import checkpoint_name, segment_name
from ama.wording.hints import words
from conftest import Ama
from damage import (
    ASSETS,
    DAMAGES,
    LATER,
    Command,
    Outcome,
    World,
    asset_commands,
    attempt,
    content,
    each_flip,
    files_of,
    flip,
    named,
    names_of,
    store_commands,
    swap,
    truncate,
    work_commands,
)

Expected = Mapping[str, object]

FEW = ("half", "delete", "flip-middle", "flip-end")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        # The machine goes on: nothing here needs to be on the disk, and it is faster.
        patch.setattr(ama.system.fs._os, "fsync", lambda fd: None)
        yield World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def expected(world: World) -> dict[str, Expected]:
    """What each command gives where nothing is damaged."""
    found: dict[str, Expected] = {}
    for name in ("store", "long"):
        commands = all_commands(world, name, "warm", (*ASSETS, "last/1"))
        found[name] = {command: run() for command, run in commands.items()}
    found["work"] = {command: run() for command, run in work_commands(world, "warm").items()}
    return found


def all_commands(
    world: World, name: str, cache: str, downloads: Sequence[str] = ()
) -> dict[str, Command]:
    """What reads a store, downloading only these assets, for that takes longest."""
    url, settings = world.now / name, world.settings(cache)
    commands = store_commands(url, settings)
    for asset in ASSETS if name == "store" else (*ASSETS, "last/1"):
        to = world.now / "downloaded" if asset in downloads else None
        commands |= asset_commands(url, asset, settings, to)
    return commands


def target(world: World, name: str, what: str) -> Path:
    """The file of a store that a case damages."""
    store = world.now / name
    kind, _, which = what.partition(" ")
    if kind in ("content", "metadata", "recipe", "index"):
        return files_of(store, which, world.settings("warm"))[kind]
    if kind == "entry":
        return store / "log" / f"{int(which):012}"
    if kind == "segment":
        tables = decode_checkpoint((store / checkpoint_name(64)).read_bytes()).classes[which]
        return store / segment_name(tables.assets.segments[0])
    return (
        store
        / {
            "checkpoint": checkpoint_name(64),
            "format": "format.json",
            "HINT": "log/HINT",
        }[kind]
    )


def check(
    world: World,
    name: str,
    paths: Sequence[Path],
    expected: Expected,
    names: set[str],
    *,
    downloads: Sequence[str] = (),
    unknown: Sequence[str] = (),
) -> tuple[Outcome, FsckReport | None]:
    """Read everything with a cold and with a warm cache, and see that fsck knows why some fails.

    Args:
        world: the world.
        name: which store in it.
        paths: what is damaged.
        expected: what each command gives where nothing is.
        names: what an error may call it.
        downloads: which assets are downloaded.
        unknown: assets of which nothing but what is damaged told that they are there.

    Returns:
        How the commands ended with a cold cache, and what fsck says (None: it can't even begin).
    """
    cold = attempt(all_commands(world, name, "cold", downloads), expected)
    named(cold, names)
    # What is remembered matters to what is read first; the rest is the same as with a cold cache.
    some = ("classes", "aliases", "list", "log", "show models/1", "cat models/2", "cat other/1")
    warm = {c: run for c, run in all_commands(world, name, "warm").items() if c.startswith(some)}
    named(attempt(warm, expected), names)
    world.forget()
    try:
        report = Store.open(str(world.now / name), settings=world.settings()).fsck()
    except (IntegrityError, FormatError) as error:
        named(Outcome(set(), {"fsck": error}), names)
        return cold, None
    touched = {name.partition(" ")[0] for problem in report.problems for name in problem.assets}
    for command in cold.errors:
        asset = re.search(r"\w+/\d", command)
        if asset is not None and asset.group() not in unknown:
            # Without its number where the log can't tell that.
            assert touched & {asset.group(), asset.group().partition("/")[0]}, command
    if not report.ok:
        wheres = " ".join(problem.where for problem in report.problems)
        assert any(path.name in wheres for path in paths), wheres
    return cold, report


def read_at_all(outcome: Outcome, *words: str) -> bool:
    """Whether no command with one of these words in it failed."""
    return not any(word in command for word in words for command in outcome.errors)


# A store


STORE = [
    "content models/1",
    "metadata models/1",
    "recipe models/1",
    "content models/2",
    "metadata models/2",
    "content other/1",
    "index models/1",
    "index models/2",
    "index other/1",
    "entry 1",
    "entry 3",
    "entry 7",
    "format",
    "HINT",
]
UNKNOWN = {"entry 1": ["inputs/1"], "entry 3": ["models/2"]}
"""Without a checkpoint, what an entry published is known from it alone."""


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("what", STORE)
def test_a_store(world: World, expected: dict[str, Expected], what: str, damage: str) -> None:
    world.renew("store", "warm")
    path = target(world, "store", what)
    names = names_of(world.store, path)
    DAMAGES[damage](path)
    asset = what.partition(" ")[2]
    outcome, report = check(
        world,
        "store",
        [path],
        expected["store"],
        names,
        downloads=[asset if asset in ASSETS else "models/1"],
        unknown=UNKNOWN.get(what, ()),
    )
    check_independent(what, outcome)
    if what == "format":
        assert report is None or not report.ok
    else:
        assert report is not None
        # A HINT that isn't there is no damage: it may never have been written.
        assert report.ok == (what == "HINT" and damage == "delete"), report


def check_independent(what: str, outcome: Outcome) -> None:
    """Check that what does not depend on the damaged thing can be read."""
    kind, _, asset = what.partition(" ")
    if kind == "HINT":
        assert not outcome.errors
    elif asset == "models/1":
        assert read_at_all(outcome, "inputs", "other")
    elif asset == "models/2":
        assert read_at_all(outcome, "inputs", "other", "models/1")
    elif asset == "other/1":
        assert read_at_all(outcome, "inputs", "models")
    elif what == "entry 3":
        assert read_at_all(outcome, "show inputs", "cat inputs/1", "models/1")
    elif what == "entry 7":
        assert read_at_all(outcome, *(f"cat {asset}" for asset in ASSETS), "show ", "ls ")
    if kind in ("content", "recipe"):
        assert all(command.startswith(("cat", "download")) for command in outcome.errors)


# One whose log has a checkpoint


LONG = [
    "checkpoint",
    "segment models",
    "entry 1",
    "entry 3",
    "entry 30",
    "entry 64",
    "entry 70",
    "HINT",
]


@pytest.mark.parametrize("damage", FEW)
@pytest.mark.parametrize("what", LONG)
def test_a_store_with_a_checkpoint(
    world: World, expected: dict[str, Expected], what: str, damage: str
) -> None:
    world.renew("long", "warm")
    path = target(world, "long", what)
    names = names_of(world.long, path)
    DAMAGES[damage](path)
    unknown = ["last/1"] if what == "entry 70" else []
    outcome, report = check(world, "long", [path], expected["long"], names, unknown=unknown)
    assert report is not None
    # Nor is a checkpoint that isn't there.
    assert report.ok == (what in ("HINT", "checkpoint") and damage == "delete"), report
    kind = what.partition(" ")[0]
    if kind in ("HINT", "checkpoint", "segment"):
        assert not outcome.errors, "what is derived is folded anew"
        assert not any(problem.assets for problem in report.problems)
    elif what in ("entry 1", "entry 3", "entry 30"):
        # The checkpoint knows what these said, and which indexes their assets need.
        assert not outcome.errors


# Two files in each other's place


SWAPS = [
    ("content models/1", "content models/2"),
    ("content models/1", "metadata models/1"),
    ("metadata models/1", "metadata other/1"),
    ("metadata models/2", "recipe models/1"),
    ("index models/1", "index other/1"),
    ("index models/2", "content models/2"),
    ("entry 2", "entry 3"),
    ("entry 1", "entry 7"),
    ("format", "HINT"),
]


@pytest.mark.parametrize(("one", "other"), SWAPS)
def test_swapped(world: World, expected: dict[str, Expected], one: str, other: str) -> None:
    world.renew("store", "warm")
    paths = [target(world, "store", one), target(world, "store", other)]
    names = names_of(world.store, paths[0]) | names_of(world.store, paths[1])
    swap(*paths)
    unknown = [asset for what in (one, other) for asset in UNKNOWN.get(what, ())]
    unknown += ["models/1"] if one == "entry 2" else []
    _, report = check(
        world, "store", paths, expected["store"], names, downloads=["models/2"], unknown=unknown
    )
    assert report is None or not report.ok


@pytest.mark.parametrize(
    ("one", "other"), [("checkpoint", "segment models"), ("segment models", "segment other")]
)
def test_swapped_checkpoints(
    world: World, expected: dict[str, Expected], one: str, other: str
) -> None:
    world.renew("long", "warm")
    paths = [target(world, "long", one), target(world, "long", other)]
    swap(*paths)
    outcome, report = check(world, "long", paths, expected["long"], set())
    assert not outcome.errors
    assert report is not None
    assert not report.ok


def test_swapped_entries_under_a_checkpoint(world: World, expected: dict[str, Expected]) -> None:
    """The checkpoint knows which assets there are, and what they need."""
    world.renew("long", "warm")
    paths = [target(world, "long", "entry 2"), target(world, "long", "entry 3")]
    names = names_of(world.long, paths[0]) | names_of(world.long, paths[1])
    swap(*paths)
    outcome, report = check(world, "long", paths, expected["long"], names)
    assert report is not None
    assert not report.ok
    assert read_at_all(outcome, "classes", "list", "aliases", "inputs/1", "other/1", "last/1")


# Every byte


@pytest.mark.parametrize(
    ("what", "step"),
    [
        ("format", 1),
        ("HINT", 5),
        ("entry 2", 5),
        ("index models/1", 37),
        ("metadata models/1", 13),
        ("recipe models/1", 13),
        ("content models/1", 10_007),
    ],
)
def test_every_byte(world: World, expected: dict[str, Expected], what: str, step: int) -> None:
    world.renew("store", "warm")
    path = target(world, "store", what)
    names = names_of(world.store, path)
    commands = asset_commands(world.store, "models/1", world.settings())
    cat = {"cat models/1": commands["cat models/1"]}
    failed = 0
    for _ in each_flip(path, step):
        world.forget()
        outcome = attempt(cat, expected["store"])
        named(outcome, names)
        failed += len(outcome.errors)
    assert bool(failed) == (what != "HINT")
    assert attempt(cat, expected["store"]).good


# What this machine remembers


@pytest.mark.parametrize("damage", [*DAMAGES, "swap"])
def test_a_damaged_cache_never_matters(
    world: World, expected: dict[str, Expected], damage: str
) -> None:
    world.renew("store", "long", "models", "warm")
    cache = sorted(path for path in (world.now / "warm").rglob("*") if path.is_file())
    assert len(cache) > 10
    if damage == "swap":
        for one, other in zip(cache[::2], cache[1::2], strict=False):
            swap(one, other)
    else:
        for path in cache:
            DAMAGES[damage](path)
    for name in ("store", "long"):
        assert not attempt(all_commands(world, name, "warm"), expected[name]).errors
    assert not attempt(work_commands(world, "warm"), expected["work"]).errors


def test_a_warm_cache_does_not_hide_damage_from_fsck(world: World) -> None:
    world.renew("store", "warm")
    for what in ("index models/1", "entry 2"):
        flip(0.5)(target(world, "store", what))
    report = Store.open(str(world.store), settings=world.settings("warm")).fsck()
    assert len(report.problems) == 2


# A worktree whose store is damaged


@pytest.mark.parametrize("damage", ["delete", "flip-middle"])
@pytest.mark.parametrize("what", STORE)
def test_the_store_of_a_worktree(
    world: World, expected: dict[str, Expected], what: str, damage: str
) -> None:
    """What the worktree has itself stays readable, and an upload is whole or not at all."""
    world.renew("store", "models", "warm")
    path = target(world, "store", what)
    names = names_of(world.store, path)
    before = path.read_bytes()
    log = entries(world.store)
    DAMAGES[damage](path)
    named(attempt(work_commands(world, "cold"), expected["work"]), names)
    try:
        open_work(world).upload()
    except (IntegrityError, FormatError) as error:
        named(Outcome(set(), {"upload": error}), names)
        path.write_bytes(before)
        assert entries(world.store) == log, "nothing was published"
        open_work(world).upload()
    path.write_bytes(before)
    world.forget()
    store = Store.open(str(world.store), settings=world.settings())
    assert store.resolve("models/3").read("later.txt") == LATER.encode()
    assert store.fsck().ok


def entries(store: Path) -> list[str]:
    return sorted(path.name for path in (store / "log").glob("0*"))


def open_work(world: World, cache: str = "cold") -> Repo:
    settings = replace(world.settings(cache), default_remote=str(world.store))
    return Repo.open(world.work, settings=settings)


# Bringing files, whole or not at all


@pytest.mark.parametrize("damage", ["half", "delete", "flip-middle"])
@pytest.mark.parametrize("what", ["content models/1", "metadata models/1", "index models/1"])
def test_a_download_is_finished_once_the_store_is_repaired(
    world: World, expected: dict[str, Expected], what: str, damage: str
) -> None:
    world.renew("store", "warm")
    path = target(world, "store", what)
    before = path.read_bytes()
    DAMAGES[damage](path)
    store = Store.open(str(world.store), settings=world.settings())
    with pytest.raises(IntegrityError):
        store.download("models/1", world.now / "downloaded")
    assert content(world.now / "downloaded") == {}
    path.write_bytes(before)
    store = Store.open(str(world.store), settings=world.settings())
    store.download("models/1", world.now / "downloaded")
    assert content(world.now / "downloaded") == expected["store"]["download models/1"]


@pytest.mark.parametrize("damage", ["half", "delete", "flip-middle"])
@pytest.mark.parametrize("what", ["content models/2", "metadata models/2", "index models/2"])
def test_a_pull_changes_nothing_until_all_is_there(
    world: World, expected: dict[str, Expected], what: str, damage: str
) -> None:
    world.renew("store", "warm")
    directory = world.now / "downloaded"
    settings = replace(world.settings(), default_remote=str(world.store))
    Store.open(str(world.store), settings=settings).download("models/1", directory)
    path = target(world, "store", what)
    before = path.read_bytes()
    DAMAGES[damage](path)
    world.forget()
    with pytest.raises(IntegrityError):
        Repo.open(directory, settings=settings).pull()
    assert content(directory) == expected["store"]["download models/1"]
    repo = Repo.open(directory, settings=settings)
    assert repo.status().clean
    assert repo.fsck().ok
    path.write_bytes(before)
    Repo.open(directory, settings=settings).pull()
    assert content(directory) == expected["store"]["download models/2"]


# What a worktree holds itself


def newest(world: World, name: str) -> Path:
    """The file that HEAD or the index is in now."""
    files = (world.work / ".ama").glob(f"{name}.*")
    return max(files, key=lambda path: int(path.suffix[1:]))


@pytest.mark.parametrize("damage", [*DAMAGES, "swap"])
@pytest.mark.parametrize("name", ["HEAD", "index"])
def test_head_and_index(
    world: World, expected: dict[str, Expected], name: str, damage: str
) -> None:
    world.renew("store", "models", "warm")
    path = newest(world, name)
    if damage == "delete":
        for old in path.parent.glob(f"{name}.*"):
            old.unlink()
    elif damage == "swap":
        swap(path, newest(world, "index" if name == "HEAD" else "HEAD"))
    else:
        DAMAGES[damage](path)
    names = {str(path), "HEAD is missing", "the index is missing"}
    if damage == "swap":
        names |= {str(path.parent / "HEAD"), str(path.parent / "index")}
    before = content_of(world.work)
    outcome = attempt(work_commands(world, "warm"), expected["work"])
    named(outcome, names)
    assert "status" in outcome.errors
    if name == "index" and damage != "swap":
        assert set(outcome.errors) <= {"status", "diff", "diff HEAD~1"}, "only what reads it"
    for command in (
        lambda repo: repo.commit("x"),
        lambda repo: repo.upload(),
        lambda repo: repo.switch("models/1"),
        lambda repo: repo.pull(),
    ):
        with pytest.raises((IntegrityError, FormatError)) as caught:
            command(open_work(world))
        named(Outcome(set(), {"it": caught.value}), names)
    assert content_of(world.work) == before, "no file was touched"
    report = open_work(world).fsck()
    wheres = {problem.where for problem in report.problems}
    assert f".ama/{name}" in wheres
    assert Store.open(str(world.store), settings=world.settings()).fsck().ok


def content_of(directory: Path) -> dict[str, bytes]:
    """Every file of a worktree, ama's own included."""
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["HEAD", "index"])
def test_every_byte_of_head_and_index(
    world: World, expected: dict[str, Expected], name: str
) -> None:
    world.renew("store", "models", "warm")
    path = newest(world, name)
    status = {"status": work_commands(world, "warm")["status"]}
    for _ in each_flip(path, 7):
        outcome = attempt(status, expected["work"])
        assert not outcome.good
        named(outcome, {str(path)})
    assert attempt(status, expected["work"]).good


@pytest.mark.parametrize("name", ["HEAD", "index"])
def test_the_one_before_is_still_there(world: World, name: str) -> None:
    """As the error's hint says: without the damaged file, all is as it was one change ago."""
    world.renew("store", "models", "warm")
    path = newest(world, name)
    flip(0.5)(path)
    with pytest.raises(IntegrityError) as caught:
        open_work(world).status()
    assert (
        words(caught.value.hints)
        == f"delete {path} to go back to how it was before the last change to it"
    )
    path.unlink()
    assert open_work(world).status().class_name == "models"
    assert open_work(world).fsck().ok


def test_a_lost_index_is_begun_anew(world: World) -> None:
    world.renew("store", "models", "warm")
    for path in (world.work / ".ama").glob("index.*"):
        path.unlink()
    with pytest.raises(IntegrityError, match="missing") as caught:
        open_work(world).upload()
    assert words(caught.value.hints) == "begin anew from HEAD: ama restore --staged ."
    open_work(world).restore(["."], staged=True)
    status = open_work(world).status()
    assert (status.staged, status.changed, status.untracked) == ((), (), ("later.txt",))


@pytest.mark.parametrize("damage", FEW)
@pytest.mark.parametrize("what", ["content", "metadata", "staged", "index"])
def test_local_packs(world: World, expected: dict[str, Expected], what: str, damage: str) -> None:
    """What the worktree has of HEAD, the store has as well; of what is staged there is no other."""
    world.renew("store", "models", "warm")
    path = local_file(world, what)
    local = world.work / ".ama" / "objects"
    names = {path.name, *names_of(local, path)}
    if what == "index":
        names |= names_of(local, local_file(world, "staged"))
    DAMAGES[damage](path)
    outcome = attempt(work_commands(world, "cold"), expected["work"])
    named(outcome, names)
    if what == "staged" and damage == "flip-end":
        # That is none of its content.
        assert open_work(world).upload().published
    elif what == "staged" or (what, damage) == ("index", "delete"):
        assert not outcome.errors
        with pytest.raises(IntegrityError) as caught:
            open_work(world).upload()
        named(Outcome(set(), {"upload": caught.value}), names)
    report = open_work(world).fsck()
    assert not report.ok
    wheres = {problem.where.rpartition("/")[2] for problem in report.problems}
    assert path.name in wheres or (what, damage) == ("index", "delete"), report
    lost = what == "index" or (what == "staged" and damage != "flip-end")
    assert ("later.txt" in wheres) == lost
    assert Store.open(str(world.store), settings=world.settings()).fsck().ok


def local_file(world: World, what: str) -> Path:
    """A pack of the worktree's own, or the index of the pack that has later.txt in it."""
    from ama.stores.object_reader import index_name, pack_name
    from ama.worktree.local_objects import LocalObjects

    directory = world.work / ".ama" / "objects"
    repo = open_work(world, "warm")
    ids = {file.path: bytes.fromhex(file.id) for file in repo.files()}
    ids["later.txt"] = bytes.fromhex(repo.diff(staged=True)[0].new_id or "")
    assert repo.head is not None
    wanted = {
        "content": ids["config/train.yml"],
        "metadata": bytes.fromhex(repo.head.id),
        "staged": ids["later.txt"],
        "index": ids["later.txt"],
    }[what]
    for index in LocalObjects(directory).store.indexes:
        for at in index.find(wanted):
            return directory / (index_name(index.id) if what == "index" else pack_name(at.pack))
    raise AssertionError(what)


@pytest.mark.parametrize("damage", ["delete", "flip"])
def test_what_is_damaged_here_comes_from_the_store(tmp_path: Path, run: Ama, damage: str) -> None:
    noise = random.Random(9)
    files = {"a": b"small", "sub/b": noise.randbytes(9000), "big": noise.randbytes(2_000_000)}
    work = tmp_path / "work"
    for name, data in files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(data)
    env = {"AMA_REMOTE": str(tmp_path / "store")}
    run.ok("init", "models", cwd=work)
    run.ok("add", "--copy", ".", cwd=work)
    run.ok("upload", cwd=work, env=env)
    packs = list((work / ".ama" / "objects").rglob("*.pack"))
    assert sum(pack.stat().st_size for pack in packs) > 2_000_000
    for pack in packs:
        if damage == "delete":
            pack.unlink()
        else:
            for at in (40, 200, 5000, 1_000_000):
                flip(at)(pack)
    for name in files:
        (work / name).unlink()
    for name in files:
        run.ok("restore", name, cwd=work, env=env)
    assert content(work) == files
    shown = run.ok("cat", "HEAD:a", cwd=work, env=env)
    assert shown.stdout == "small"
    assert run("fsck", cwd=work, env=env).code == 6, "it still says so"


# The real command


@pytest.mark.parametrize(
    ("what", "command", "says"),
    [
        ("content models/1", ["cat", "models/1:weights/b.bin"], r"object \w{10} is damaged"),
        ("content models/1", ["download", "models/1", "-o", "here"], r"object \w{10} is damaged"),
        ("metadata models/2", ["show", "models/2"], r"object \w{10} is damaged"),
        ("index models/2", ["ls", "models/2"], r"index/\w{64}\.idx of .* is damaged"),
        ("entry 7", ["list", "models"], r"log entry 7 of .* is damaged"),
        ("entry 7", ["alias", "list", "models"], r"log entry 7 of .* is damaged"),
        ("format", ["list"], r"format\.json of .* is damaged"),
    ],
)
def test_the_command_line_says_so_in_one_line(
    world: World, run: Ama, tmp_path: Path, what: str, command: list[str], says: str
) -> None:
    world.renew("store", "warm")
    path = target(world, "store", what)
    damage = {"content": truncate(0), "format": truncate(0.5)}.get(
        what.partition(" ")[0], flip(0.4)
    )
    damage(path)
    result = run(*command, env={"AMA_REMOTE": str(world.store)}, cwd=tmp_path)
    assert result.code == 6, result.output
    first, *rest = result.stderr.splitlines()
    assert re.search(says, first), first
    assert len(rest) <= 1
    assert "Traceback" not in result.output
    assert [file.name for file in tmp_path.iterdir() if file.name != ".ama"] in ([], ["here"])
    if "here" in command and (tmp_path / "here").is_dir():
        assert {file.name for file in (tmp_path / "here").iterdir()} <= {".ama"}, "no file of it"


@pytest.mark.parametrize("name", ["HEAD", "index"])
def test_the_command_line_in_a_damaged_worktree(world: World, run: Ama, name: str) -> None:
    world.renew("store", "models", "warm")
    path = newest(world, name)
    flip(0.5)(path)
    result = run("status", cwd=world.work)
    assert result.code == 6
    assert f"{path} is damaged" in result.stderr
    assert len(result.stderr.splitlines()) == 2
    result = run("fsck", cwd=world.work)
    assert result.code == 6
    assert f"{path} is damaged" in result.stdout


def test_the_command_line_names_interrupted_work(world: World, run: Ama) -> None:
    world.renew("store", "models")
    pending = world.work / ".ama" / "pending"
    pending.mkdir(exist_ok=True)
    (pending / "checkout").write_text("3f9a2c41d0\nswitch models/1")
    (world.work / ".ama" / "objects" / "packs" / "left.pack").write_bytes(b"")
    result = run.ok("fsck", cwd=world.work)
    interrupted, orphans, _ = result.stdout.splitlines()
    assert interrupted.endswith("finish it: ama switch models/1")
    assert orphans == (
        "passed over 1 file that nothing names: of uploads under way, or interrupted, which is no"
        " damage"
    )
