"""Stores and a worktree to damage, ways to damage them, and every way to read them."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ama import Repo, Store
from ama.errors import AmaError, FormatError, IntegrityError
from ama.format.hashing import short
from ama.format.objects import Kind
from ama.format.packindex import PackIndex
from ama.settings import Settings
from ama.stores.object_reader import index_name, pack_name
from ama.values import AssetInfo

Command = Callable[[], object]

SHARED = "shared by all versions\n" * 40
LATER = random.Random(8).randbytes(1000).hex()
ASSETS = ("inputs/1", "models/1", "models/2", "other/1")


class World:
    """What is built once and copied for each case, always to the same place.

    `store` has seven entries, `long` is the same with 70, of which the last publishes an asset,
    so that its checkpoint is in use. `work` is a worktree at models/2 of `store`, with a file
    staged, and `warm` this machine's cache of all of it.
    """

    def __init__(self, directory: Path) -> None:
        self.now = directory / "now"
        self._pristine = directory / "pristine"
        self.now.mkdir()
        _build(self.store, self.now, self.settings("warm"))
        shutil.copytree(self.store, self.long)
        _lengthen(self.long, self.now, self.settings("warm"))
        for url in (self.store, self.long):
            store = Store.open(str(url), settings=self.settings("warm"))
            store.classes()
            for name in ASSETS:
                store.assets(name.partition("/")[0])
                store.resolve(name).files()
        shutil.copytree(self.now, self._pristine, symlinks=True)

    @property
    def store(self) -> Path:
        return self.now / "store"

    @property
    def long(self) -> Path:
        return self.now / "long"

    @property
    def work(self) -> Path:
        return self.now / "models"

    def settings(self, cache: str = "cold") -> Settings:
        return Settings(
            data_dir=self.now / "data",
            cache_dir=self.now / cache,
            user_config_path=self.now / "config.toml",
            user_name="Ann",
            user_email="ann@example.org",
        )

    def renew(self, *parts: str) -> None:
        """Put everything back as it was; only `parts` of it, if any are given."""
        shutil.rmtree(self.now)
        self.now.mkdir()
        for part in parts or ("store", "long", "models", "warm"):
            shutil.copytree(self._pristine / part, self.now / part, symlinks=True)

    def forget(self) -> None:
        """Make the cold cache cold again."""
        shutil.rmtree(self.now / "cold", ignore_errors=True)


def _build(url: Path, root: Path, settings: Settings) -> None:
    numbers = random.Random(7)

    def upload(class_name: str, files: Mapping[str, bytes | str], alias: str) -> Repo:
        directory = root / class_name
        if directory.is_dir():
            repo = Repo.open(directory, settings=settings)
        else:
            repo = Repo.init(directory, class_name, settings=settings)
        for name, content in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        repo.add(list(files))
        repo.set(aliases=[alias], message=f"{class_name}, as {alias}")
        if class_name == "models" and repo.head is None:
            repo.link("inputs/1")
        repo.upload(remote=str(url))
        return repo

    settings = replace(settings, default_remote=str(url))
    upload("inputs", {"data.csv": "a,b\n1,2\n" * 200, "shared.txt": SHARED}, "latest")
    first = {
        "model.bin": numbers.randbytes(1_400_000),
        "weights/a.bin": numbers.randbytes(9_000),
        "weights/b.bin": numbers.randbytes(5_000),
        "config/train.yml": "rate: 0.1\n" * 30,
        "shared.txt": SHARED,
    }
    upload("models", first, "best")
    upload("models", {"weights/a.bin": numbers.randbytes(9_000)}, "best")
    upload("other", {"notes.txt": "nothing of the others\n" * 30}, "latest")
    store = Store.open(str(url), settings=settings)
    for number in ("1", "2"):
        store.move_alias("models", "stable", number)
    store.move_alias("other", "stable", "1")
    # What is staged and not uploaded.
    work = Repo.open(root / "models", settings=settings)
    (work.root / "later.txt").write_text(LATER)
    work.add(["later.txt"])


def _lengthen(url: Path, root: Path, settings: Settings) -> None:
    store = Store.open(str(url), settings=settings)
    moves = 0
    while len(list((url / "log").glob("0*"))) < 69:
        store.move_alias("models", "tested", str(moves % 2 + 1))
        moves += 1
    repo = Repo.init(root / "last", "last", settings=settings)
    (repo.root / "last.txt").write_text("published after the checkpoint\n")
    repo.add(["last.txt"])
    repo.upload(remote=str(url))
    shutil.rmtree(root / "last")


# What may be damaged


def files_of(store: Path, asset: str, settings: Settings) -> dict[str, Path]:
    """The packs and the index that an asset's upload wrote, by what is in them."""
    opened = Store.open(str(store), settings=settings)
    view = opened.remote.view()
    class_name, _, number = asset.partition("/")
    record = view.class_state(class_name).record(int(number))
    assert record is not None
    (index,) = opened.remote.publish_event(view, class_name, record).indexes
    (found,) = opened.remote.indexes([index])
    files = {"index": store / index_name(index)}
    for file in opened.resolve(asset).files():
        for at in found.find(bytes.fromhex(file.id)):
            role = "recipe" if at.record.kind is Kind.RECIPE else "content"
            files[role] = store / pack_name(at.pack)
    (at,) = found.find(record.id)
    files["metadata"] = store / pack_name(at.pack)
    return files


def names_of(store: Path, path: Path) -> set[str]:
    """What a message may call a file of a store: by its name, or an object's that is in it."""
    name = path.relative_to(store).as_posix()
    if name.startswith("log/0"):
        number = int(path.name)
        return {f"log entry {number} ", f"entry {number} is missing", f"entry {number}:"}
    names = {name}
    for index in (store / "index").iterdir():
        try:
            found = PackIndex(index.read_bytes())
        except AmaError:
            continue
        if name.startswith("packs/"):
            names |= {short(at.record.id) for at in found if pack_name(at.pack) == name}
    return names


# Ways to damage it


def flip(at: float) -> Callable[[Path], None]:
    """Flip a bit of a byte: of the byte at an offset, from the end, or at a fraction of it all."""

    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        place = int(at * len(data)) if isinstance(at, float) else int(at)
        data[min(place, len(data) - 1)] ^= 1
        _write(path, data)

    return damage


def truncate(keep: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        data = path.read_bytes()
        _write(path, data[: int(keep * len(data))] if keep >= 0 else data[:-1])

    return damage


def _write(path: Path, data: bytes | bytearray) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    _write(one, second)
    _write(other, first)


DAMAGES: Mapping[str, Callable[[Path], None]] = {
    "empty": truncate(0),
    "half": truncate(0.5),
    "delete": Path.unlink,
    "flip-first": flip(0),
    "flip-version": flip(9),
    "flip-middle": flip(0.5),
    "flip-end": flip(-1),
}


# Ways to read it


def store_commands(url: Path, settings: Settings) -> dict[str, Command]:
    """What says something of a store as a whole, or of a class."""

    def opened() -> Store:
        return Store.open(str(url), settings=settings)

    return {
        "classes": lambda: opened().classes(),
        "aliases": lambda: opened().aliases(),
        "history": lambda: opened().alias_history("models", "stable"),
        "log": lambda: opened().log("models"),
        "list inputs": lambda: opened().assets("inputs"),
        "list models": lambda: opened().assets("models"),
        "list other": lambda: opened().assets("other"),
        "models@best": lambda: opened().resolve("models@best").info.id,
        "refs": lambda: [ref.info.id for ref in opened().resolve("models/1").refs()],
    }


def asset_commands(
    url: Path, asset: str, settings: Settings, to: Path | None = None
) -> dict[str, Command]:
    """What reads one asset: show, ls, cat, download (into `to`)."""

    def opened() -> Store:
        return Store.open(str(url), settings=settings)

    def cat() -> dict[str, bytes]:
        found = opened().resolve(asset)
        return {file.path: found.read(file.path) for file in found.files()}

    def download() -> dict[str, bytes]:
        assert to is not None
        shutil.rmtree(to, ignore_errors=True)
        opened().download(asset, to)
        return content(to)

    commands: dict[str, Command] = {
        f"show {asset}": lambda: opened().resolve(asset).info,
        f"ls {asset}": lambda: opened().resolve(asset).files(),
        f"cat {asset}": cat,
    }
    return commands if to is None else {**commands, f"download {asset}": download}


def work_commands(world: World, cache: str) -> dict[str, Command]:
    """What reads a worktree."""
    settings = replace(world.settings(cache), default_remote=str(world.store))

    def opened() -> Repo:
        return Repo.open(world.work, settings=settings)

    return {
        "status": lambda: replace(opened().status(), head=None),
        "log": lambda: [info.id for info in opened().log()],
        "files": lambda: opened().files(),
        "cat": lambda: {f.path: b"".join(opened().read("HEAD", f.path)) for f in opened().files()},
        "diff": lambda: opened().diff(staged=True),
        "diff HEAD~1": lambda: opened().diff("HEAD~1", "HEAD"),
        "head": lambda: opened().head and opened().head.id,
        "fetch": lambda: opened().fetch().remote,
    }


def content(directory: Path) -> dict[str, bytes]:
    """The files of a worktree, without what is ama's own."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and ".ama" not in path.relative_to(directory).parts
    }


@dataclass
class Outcome:
    """How commands ended: those that gave what they always give, and the errors of the others."""

    good: set[str]
    errors: dict[str, AmaError]


def attempt(commands: Mapping[str, Command], expected: Mapping[str, object]) -> Outcome:
    """Run commands. Each gives what is expected, or fails with one clear line."""
    outcome = Outcome(set(), {})
    for name, command in commands.items():
        try:
            found = command()
        except (IntegrityError, FormatError) as error:
            outcome.errors[name] = error
        else:
            wanted = expected[name]
            if isinstance(found, AssetInfo) and found != wanted and not found.aliases:
                # In a damaged log, aliases are not known, and none are shown.
                assert isinstance(wanted, AssetInfo)
                wanted = replace(wanted, aliases=(), refs=found.refs)
                assert all(not ref.aliases for ref in found.refs)
            assert found == wanted, f"{name} gave something wrong"
            outcome.good.add(name)
    return outcome


def named(outcome: Outcome, names: Iterable[str]) -> None:
    """Check that each error names what is damaged."""
    for command, error in outcome.errors.items():
        assert any(name in error.message for name in names), f"{command}: {error.message}"
        assert "\n" not in error.message, command


def each_flip(path: Path, step: int = 1) -> Iterator[int]:
    """Flip a bit of every byte in turn, and put it back."""
    data = path.read_bytes()
    for at in range(0, len(data), step):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        _write(path, changed)
        yield at
    _write(path, data)
