"""The catalog's answers beside those of a plain listing of every file of every asset."""

from __future__ import annotations

import json
import posixpath
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

import ama
from ama.catalog.conditions import Condition, parse_meta, parse_param
from ama.catalog.database import Catalog
from ama.catalog.documents import Value, read_document, syntax_of
from ama.catalog.find import Criteria, content_id, select
from ama.catalog.overview import contents, files_with_gaps, search_values
from ama.catalog.tables import column_values
from ama.catalog.values import Column, FileRow
from ama.errors import InvalidInput
from ama.format.entries import AddNote, HeldRef, MoveAlias, Publish, SetStatus
from ama.format.hashing import asset_id, blob_id, tree_id
from ama.format.objects import (
    Asset,
    EntryKind,
    Kind,
    RefLink,
    TreeEntry,
    encode_asset,
    encode_tree,
)
from ama.settings import Settings
from ama.storage.local import LocalStorage
from ama.stores.pack_writer import PackWriter
from ama.stores.remote import Remote
from ama.worktree.status import KIND_NAMES

CLASSES = ("models", "inputs", "others")
NAMES = (
    *("a", "a.txt", "b", "model.bin", "params.yml", "metrics.json", "x.toml", "data", "é.yml"),
    *("log.csv", "é.jsonl", "run.ini"),
)
DIRECTORIES = ("a", "sub", "data", "deep.yml")
CONTENTS = (
    *(b"lr: %d\nname: adam\n" % number for number in range(3)),
    *(b'{"loss": %d, "lr": "adam"}' % number for number in range(3)),
    b"lr = 1\n[best]\nloss = 2\n",
    b"epoch,loss\n0,1\n1,2\n",
    b"lr: [1,",
    b"",
    b"weights",
    b"other weights",
)


@dataclass(frozen=True)
class File:
    """A file of an asset."""

    kind: EntryKind
    content: bytes


Directory = Mapping[str, "File | Directory"]


@dataclass
class Made:
    """A published asset, as it was made."""

    id: bytes
    class_name: str
    number: int
    files: dict[str, File]
    author: str
    metadata: dict[str, int | str]
    refs: tuple[Made, ...]
    tree: bytes
    aliases: set[str] = field(default_factory=set)
    deleted: bool = False
    noted: dict[str, int | str] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)

    def told(self, as_published: bool) -> dict[str, int | str]:
        """Return its metadata, with what was noted later or without."""
        return self.metadata if as_published else {**self.metadata, **self.noted}

    def documents(self) -> Iterator[tuple[str, Mapping[str, Value], bool]]:
        """Yield the path of each document, its values, and whether it has gaps."""
        for path, file in sorted(self.files.items()):
            syntax = syntax_of(path)
            if syntax is not None and file.kind is not EntryKind.SYMLINK:
                found = read_document(file.content, syntax)
                yield path, found.values, bool(found.gaps)


class Shelf:
    """A store of random assets, and a list of them."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.storage = LocalStorage(directory / "store")
        self.cache_dir = directory / "cache"
        self.remote, _ = Remote.create(self.storage, self.cache_dir)
        self.made: list[Made] = []
        self.parts: list[Directory] = []

    @property
    def live(self) -> list[Made]:
        return [made for made in self.made if not made.deleted]

    def directory(self, depth: int = 0) -> Directory:
        """Return a random directory; often one that was made before, or with one change."""
        pick = self.random
        if self.parts and pick.random() < 0.5:
            again = dict(pick.choice(self.parts))
            if pick.random() < 0.5:
                again[pick.choice(NAMES)] = self.file()
            return again
        found: dict[str, File | Directory] = {
            name: self.file() for name in pick.sample(NAMES, pick.randrange(5))
        }
        if depth < 3:
            for name in pick.sample(DIRECTORIES, pick.randrange(3)):
                found[name] = self.directory(depth + 1)
        self.parts.append(found)
        return found

    def file(self) -> File:
        kinds = (EntryKind.FILE, EntryKind.FILE, EntryKind.EXECUTABLE, EntryKind.SYMLINK)
        kind = self.random.choice(kinds)
        content = self.random.choice(CONTENTS)
        return File(kind, content or b"to") if kind is EntryKind.SYMLINK else File(kind, content)

    def publish(self) -> None:
        pick = self.random
        class_name = pick.choice(CLASSES)
        refs = tuple(pick.sample(self.live, min(len(self.live), pick.randrange(3))))
        metadata: dict[str, int | str] = {"lr": pick.randrange(3)} if pick.random() < 0.5 else {}
        author = pick.choice(("Ann", "Ben", "JÖRG"))
        top = self.directory()
        links = tuple(RefLink(made.id, made.class_name, str(at)) for at, made in enumerate(refs))
        objects: dict[bytes, tuple[Kind, bytes]] = {}
        tree = written(top, objects).id
        data = encode_asset(
            Asset(class_name, tree, (), links, author, 1 + len(self.made), metadata=metadata)
        )
        with PackWriter(self.storage) as writer:
            for object_id, (kind, found) in objects.items():
                writer.add(kind, object_id, found)
            writer.add(Kind.ASSET, asset_id(data), data)
            (index,) = writer.finish()
        held = tuple(HeldRef(made.id, True) for made in refs)
        new = asset_id(data)
        self.append(Publish(new, class_name, (), (index.id,), (index.id,), held))
        number = 1 + sum(made.class_name == class_name for made in self.made)
        files = dict(paths(top))
        self.made.append(Made(new, class_name, number, files, author, metadata, refs, tree))

    def delete(self) -> None:
        used = {ref.id for made in self.live for ref in made.refs}
        free = [made for made in self.live if made.id not in used]
        if free:
            made = self.random.choice(free)
            made.deleted = True
            made.aliases.clear()
            for alias in ("best", "new"):
                self.point(made.class_name, alias, None)
            self.append(SetStatus(made.id, made.class_name, "deleted"))

    def point(self, class_name: str, alias: str, to: Made | None) -> None:
        for made in self.made:
            if made.class_name == class_name:
                made.aliases.discard(alias)
        self.append(MoveAlias(class_name, alias, to.id if to else None))
        if to:
            to.aliases.add(alias)

    def note(self, made: Made) -> None:
        pick = self.random
        values = {"lr": pick.choice((0, 1, "adam", None)), "best.loss": pick.choice((1, 3, None))}
        key = pick.choice(tuple(values))
        value = values[key]
        added, gone = pick.sample(("good", "bad", "eu"), 2)
        self.append(AddNote(made.class_name, made.id, {key: value}, (added,), (gone,)))
        made.noted.pop(key, None)
        if value is not None:
            made.noted[key] = value
        made.tags = (made.tags | {added}) - {gone}

    def append(self, event: Publish | SetStatus | MoveAlias | AddNote) -> None:
        self.remote.log.append(lambda _: [event], author="Ann", now=lambda: 0)

    def step(self) -> None:
        if self.made and self.random.random() < 0.1:
            self.delete()
        elif self.live and self.random.random() < 0.2:
            made = self.random.choice(self.live)
            self.point(made.class_name, self.random.choice(("best", "new")), made)
        elif self.live and self.random.random() < 0.3:
            self.note(self.random.choice(self.live))
        else:
            self.publish()


def written(directory: Directory, objects: dict[bytes, tuple[Kind, bytes]]) -> TreeEntry:
    entries = []
    for name, found in directory.items():
        if isinstance(found, File):
            objects[blob_id(found.content)] = (Kind.DATA, found.content)
            size = len(found.content)
            entries.append(TreeEntry(name, found.kind, blob_id(found.content), size))
        else:
            entries.append(written(found, objects)._replace(name=name))
    data = encode_tree(entries)
    objects[tree_id(data)] = (Kind.TREE, data)
    return TreeEntry("", EntryKind.TREE, tree_id(data), sum(entry.size for entry in entries))


def paths(directory: Directory, prefix: str = "") -> Iterator[tuple[str, File]]:
    for name, found in directory.items():
        if isinstance(found, File):
            yield prefix + name, found
        else:
            yield from paths(found, f"{prefix}{name}/")


# The reference: every file of every asset, one by one


def fits(path: str, glob: str | None) -> bool:
    if glob is None:
        return True
    return fnmatchcase(path if "/" in glob else posixpath.basename(path), glob)


def meets(condition: Condition, key: str, value: Value) -> bool:
    """Whether a value (an integer or a word) meets a condition."""
    if not (key == condition.key or key.endswith(f".{condition.key}")):
        return False
    numbers = isinstance(value, int) and condition.value.isdigit()
    if condition.operator == "<":
        return isinstance(value, int) and value < int(condition.value)
    equal = value == int(condition.value) if numbers else str(value) == condition.value
    return {"": True, "=": equal, "!=": not equal}[condition.operator]


def says(made: Made, condition: Condition, as_published: bool) -> bool:
    def itself(each: Made) -> bool:
        told = each.told(as_published) if condition.file is None else {}
        return any(meets(condition, *of) for of in told.items()) or any(
            fits(path, condition.file) and meets(condition, key, value)
            for path, values, _ in each.documents()
            for key, value in values.items()
        )

    inputs = [ref for ref in made.refs if ref.class_name != made.class_name and not ref.deleted]
    return itself(made) or any(map(itself, inputs))


def expected(made: list[Made], criteria: Criteria) -> dict[bytes, tuple[str, ...]]:
    found = {}
    for each in sorted(made, key=lambda it: (it.class_name, it.number)):
        held = tuple(
            sorted(
                path
                for path, file in each.files.items()
                if criteria.content in (None, blob_id(file.content)) and fits(path, criteria.name)
            )
        )
        wants_file = criteria.content is not None or criteria.name is not None
        told = each.told(criteria.as_published)
        if (
            criteria.class_name in (None, each.class_name)
            and (criteria.author or "").casefold() in each.author.casefold()
            and (
                criteria.alias is None
                or any(fnmatchcase(alias, criteria.alias) for alias in each.aliases)
            )
            and criteria.tree in (None, each.tree)
            and all(any(meets(c, *of) for of in told.items()) for c in criteria.meta)
            and all(says(each, condition, criteria.as_published) for condition in criteria.params)
            and all(any(fnmatchcase(tag, glob) for tag in each.tags) for glob in criteria.tags)
            and (held or not wants_file)
        ):
            found[each.id] = held if wants_file else ()
    return found


GLOBS = (
    "*",
    "a*",
    "*.yml",
    "sub/*",
    "*/a",
    "data/*.bin",
    "[am]*",
    "?.txt",
    "é*",
    "a/*/a*",
    "a/?/[a-m]*",
    "[a/b]*/a",
    "*/a",
    "none",
)
PARAMS = ("lr", "lr=1", "lr!=1", "loss<2", "best.loss", "name=adam", "lr=adam", "none")
FILES = ("", "params.yml:", "*.json:", "sub/*:", "a/*.yml:", "*.toml:")


def questions(pick: random.Random, made: list[Made]) -> Iterator[Criteria]:
    for glob in GLOBS:
        yield Criteria(name=glob)
    for content in CONTENTS:
        yield Criteria(content=blob_id(content))
        yield Criteria(content=blob_id(content), name=pick.choice(GLOBS))
    for param in PARAMS:
        for file in FILES:
            yield Criteria(params=(parse_param(file + param),))
    for param in PARAMS:
        for as_published in (False, True):
            yield Criteria(meta=(parse_meta(param),), as_published=as_published)
            yield Criteria(params=(parse_param(param),), as_published=as_published)
    for glob in ("good", "*d", "[be]*", "none"):
        yield Criteria(tags=(glob,))
        yield Criteria(tags=(glob, "eu"))
    for each in pick.sample(made, min(5, len(made))):
        yield Criteria(tree=each.tree)
    for _ in range(20):
        yield Criteria(
            content=pick.choice((None, None, blob_id(pick.choice(CONTENTS)))),
            class_name=pick.choice((None, *CLASSES)),
            name=pick.choice((None, *GLOBS)),
            alias=pick.choice((None, None, "b*")),
            author=pick.choice((None, None, "jörg", "n")),
            meta=pick.choice(((), (), (parse_meta("lr=1"),))),
            params=pick.choice(((), (), (parse_param(pick.choice(FILES) + pick.choice(PARAMS)),))),
            tags=pick.choice(((), (), ("good",))),
            as_published=pick.choice((False, True)),
        )


@pytest.mark.parametrize("seed", range(6))
def test_the_catalog_answers_as_a_listing_of_everything_does(seed: int, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, seed)
    catalog = Catalog(Remote.open(shelf.storage, shelf.cache_dir))
    for step in range(30):
        shelf.step()
        if seed % 2 and step % 5 == 0:  # filled in passing, or once
            catalog.ask(lambda db, view: None)
    for criteria in questions(shelf.random, shelf.live):
        found = catalog.ask(lambda db, view, c=criteria: select(db, c))  # type: ignore[misc]
        assert list(found.items()) == list(expected(shelf.live, criteria).items()), criteria
    assert_totals(catalog, shelf.live)
    assert_values(catalog, shelf.live)


def assert_totals(catalog: Catalog, live: list[Made]) -> None:
    held = {file.content for made in live for file in made.files.values()}
    size = sum(len(file.content) for made in live for file in made.files.values())
    total = catalog.ask(lambda db, view: contents(db))
    assert (total.assets, total.size) == (len(live), size)
    assert (total.files, total.distinct) == (len(held), sum(map(len, held)))
    with_gaps = {
        made.files[path].content for made in live for path, _, gaps in made.documents() if gaps
    }
    assert catalog.ask(lambda db, view: files_with_gaps(db)) == len(with_gaps)
    for content in CONTENTS:
        digits = blob_id(content).hex()[:12]
        found = catalog.ask(lambda db, view, d=digits: content_id(db, d))  # type: ignore[misc]
        assert found == blob_id(content) if content in held else found in (None, blob_id(content))
    with pytest.raises(InvalidInput, match="several files"):
        catalog.ask(lambda db, view: content_id(db, ""))


def assert_values(catalog: Catalog, live: list[Made]) -> None:
    said = {
        (made.id.hex(), path, key)
        for made in live
        for path, values, _ in made.documents()
        for key, value in values.items()
        if "lr" in f"{key}={value}" and "1" in f"{key}={value}"
    }
    found = catalog.ask(lambda db, view: search_values(db, ["LR", "1"], 10_000))
    assert {(each.asset.id, each.file, each.key) for each in found} == said
    for path in ("params.yml", "sub/metrics.json", "a/sub/x.toml", ""):
        for name in CLASSES:
            column = Column("parameter", "", path, "lr")
            of = {
                made.id: values["lr"]
                for made in live
                if made.class_name == name
                for at, values in (
                    *((at, values) for at, values, _ in made.documents()),
                    ("", made.told(as_published=False)),
                )
                if at == path and "lr" in values
            }

            def told(
                db: object, view: object, name: str = name, column: Column = column
            ) -> dict[bytes, Value]:
                rows = dict(db.execute("SELECT id, hash FROM assets"))  # type: ignore[attr-defined]
                values = column_values(db, name, column)  # type: ignore[arg-type]
                held = {made.id for made in live}  # metadata of deleted ones stay known
                return {rows[row]: v for row, v in values.items() if rows[row] in held}

            assert catalog.ask(told) == of


@pytest.mark.parametrize("seed", range(6, 9))
def test_summaries_and_comparisons_are_those_of_the_listings(seed: int, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, seed)
    for _ in range(20):
        shelf.step()
    settings = Settings(
        data_dir=tmp_path / "data",
        cache_dir=shelf.cache_dir,
        user_config_path=tmp_path / "config.toml",
    )
    store = ama.Store.open(str(tmp_path / "store"), settings=settings)
    for made in shelf.live:
        summary = store.summary(f"{made.class_name}/{made.number}")
        assert [(f.path, f.kind, f.id, f.size) for f in summary.files] == [
            (path, KIND_NAMES[file.kind], blob_id(file.content).hex(), len(file.content))
            for path, file in sorted(made.files.items())
        ]
        assert summary.file_count == len(made.files)
        first = store.summary(f"{made.class_name}/{made.number}", most_files=2)
        assert (first.files, first.file_count) == (summary.files[:2], summary.file_count)
        own = [(f.file, f.key, f.value) for f in summary.facts if f.file and not f.source]
        said = [(path, key, v) for path, of, _ in made.documents() for key, v in of.items()]
        assert json.dumps(own) == json.dumps(said)
        twins = {other.id.hex() for other in shelf.live if other.tree == made.tree}
        assert {ref.asset for ref in summary.same_files} == twins - {made.id.hex()}
    for _ in range(8):
        some = [shelf.random.choice(shelf.live) for _ in range(shelf.random.choice((2, 2, 3)))]
        found = store.compare(*(f"{made.class_name}/{made.number}" for made in some))
        assert_rows(found.files, some)
        names = [f"{made.class_name}/{made.number}" for made in some]
        assert store.compare(*names, same_files=False).files == found.changed_files


def assert_rows(rows: tuple[FileRow, ...], some: list[Made]) -> None:
    everything = {path for made in some for path in made.files}
    renamed = {row.old_path for row in rows if row.old_path is not None}
    assert [row.path for row in rows] == sorted(everything - renamed)
    for row in rows:
        held = [made.files.get(path) for made, path in zip(some, in_each(row, some), strict=True)]
        assert [file and file.id for file in row.files] == [
            file and blob_id(file.content).hex() for file in held
        ]
        assert (row.kind == "same") == (row.old_path is None and len(set(held)) == 1)
        if row.old_path is not None:
            assert (row.path in some[0].files, row.old_path in some[-1].files) == (False, False)
            assert held[0] is not None
            assert held[-1] is not None
            assert held[0].content == held[-1].content


def in_each(row: FileRow, some: list[Made]) -> list[str]:
    return [row.old_path or row.path, *(row.path for _ in some[1:])]
