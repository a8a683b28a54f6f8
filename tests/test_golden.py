"""The golden store: bytes of format version 1 that every later version must read.

Two readers look at it, ama's and one that was written from docs/format.md alone, and both at a
store that today's code has just made.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import ama
from ama.errors import AmaError, IntegrityError, NotFound
from ama.format.checkpoint import decode_checkpoint, encode_checkpoint
from ama.format.compression import PLANES
from ama.format.entries import decode_entry, encode_entry, entry_hash
from ama.format.hashing import blob_id, seal
from ama.format.objects import (
    Kind,
    decode_asset,
    decode_recipe,
    decode_tree,
    encode_asset,
    encode_recipe,
    encode_tree,
)
from ama.format.pack import open_record, read_trailer, scan_records
from ama.format.packindex import PackIndex
from ama.format.references import Method, decode_reference
from ama.format.state import (
    AliasRecord,
    Root,
    decode_class_state,
    decode_root,
    encode_class_state,
    encode_root,
    fold_root,
)
from ama.storage.local import LocalStorage
from ama.storage.outside import Outside, Part
from ama.storage.protocol import Range
from ama.stores.log_files import HINT
from ama.stores.object_reader import index_name, pack_name
from ama.stores.references import References
from ama.stores.remote import Remote, decode_format, encode_format
from ama.transfer.log_derived import checkpoints
from conftest import Ama
from readonly_storage import ReadOnlyStorage

GOLDEN = Path(__file__).parent / "golden"
V1 = GOLDEN / "v1"
READER = GOLDEN / "reader.py"
EXPECTED = json.loads((GOLDEN / "v1.json").read_text(encoding="utf-8"))


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def files_below(place: Path) -> dict[str, bytes]:
    return {
        path.relative_to(place).as_posix(): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file()
    }


STORED = files_below(V1)
ENTRIES = [name for name in STORED if name.startswith("log/0")]

# The checkpoint of the same log as it is written since it has segments.
SEGMENTED = files_below(GOLDEN / "v1_segments")


def independent_listing(
    store: Path, directory: Path | None = None, sources: Path | None = None
) -> Any:
    """What the independent reader says, in a process that can't import ama's source."""
    words = [str(store), str(directory or "-"), *([str(sources)] if sources else [])]
    done = subprocess.run(
        [sys.executable, "-I", READER, *words],
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Beside(Outside):
    """What references lead to, in a directory, with nothing but what they say of it."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory

    def read(self, parts: Sequence[Part]) -> list[bytes | AmaError]:
        found: list[bytes | AmaError] = []
        for part in parts:
            path = self.directory / part.url.partition("://")[2].removeprefix("/")
            gone = NotFound(f"{part.url} is gone")
            data = path.read_bytes() if path.is_file() else None
            found.append(gone if data is None else data[part.start : part.start + part.length])
        return found


def ama_listing(place: Path, sources: Path | None = None) -> Any:
    """The same by ama itself, without a cache and without a right to write."""
    remote = Remote.open(ReadOnlyStorage(LocalStorage(place)), None)
    if sources is not None:
        remote.references = References(Beside(sources))
    store = ama.Store(remote, ama.Settings.load(None))
    view = remote.view()
    view.require_whole()
    root = view.root
    classes = {}
    for name, state in view.class_states().items():
        assets = []
        for number, record in enumerate(state.assets, 1):
            found: dict[str, Any] = {
                "id": record.id.hex(),
                "entry": record.entry,
                "status": record.status,
                "reason": record.reason,
            }
            if record.status != "deleted":
                found |= ama_asset(store, f"{name}/{number}")
            assets.append(found)
        numbers = {record.id: number for number, record in enumerate(state.assets, 1)}
        targets = {alias: state.target(alias) for alias in state.aliases}
        classes[name] = {
            "assets": assets,
            "aliases": {alias: numbers[to] for alias, to in targets.items() if to is not None},
            "moves": {alias: [*map(move, moves)] for alias, moves in state.aliases.items()},
        }
    fold = {int(path.name) for path in place.glob("checkpoint/fold/0*")}
    first = {int(path.name) for path in place.glob("checkpoint/0*")}
    sound = {at for at in fold if remote.log.checkpoint_at(at)}
    sound |= {at for at in first if remote.log.of_first_form([at], {})}
    notes = {name: listed_notes(store, name) for name in remote.log.notes.at(view).classes}
    return {
        **({"notes": notes} if notes else {}),
        "id": remote.format.id,
        "entries": view.number,
        "last": view.entry_hash.hex(),
        "checkpoints": sorted(sound),
        "indexes": [index.hex() for index in root.indexes],
        "replaced": {old.hex(): [i.hex() for i in new] for old, new in root.replaced.items()},
        "condemned_packs": sorted(pack.hex() for pack in root.condemned_packs),
        "condemned_indexes": sorted(index.hex() for index in root.condemned_indexes),
        "classes": classes,
    }


def listed_notes(store: ama.Store, class_name: str) -> list[dict[str, Any]]:
    """The notes of a class as the face has them, asset by asset, in the order of the log."""
    assets = range(1, store.remote.view().class_state(class_name).count + 1)
    names = [class_name, *(f"{class_name}/{number}" for number in assets)]
    listed = []
    for note in (note for name in names for note in store.notes(name)):
        if note.file is not None:
            assert blob_id(b"".join(store.note_file(note))).hex() == note.file.id
        found = {
            "asset": note.asset,
            "entry": note.entry,
            "author": note.author,
            "at": round(note.at.timestamp() * 1_000_000),
            "metadata": {**note.metadata, **dict.fromkeys(note.removed)},
            "tags": [*note.tags],
            "untags": [*note.untagged],
            "message": note.message,
            "file": note.file and [note.file.path, note.file.id, note.file.size],
        }
        listed.append(found)
    # Two of one entry are in the order of the assets.
    return sorted(listed, key=lambda found: found["entry"])


def move(record: AliasRecord) -> list[object]:
    return [record.asset.hex() if record.asset else None, record.author, record.at, record.entry]


def ama_asset(store: ama.Store, name: str) -> dict[str, Any]:
    found = store.resolve(name)
    view = store.remote.view()
    asset_id = bytes.fromhex(found.info.id)
    asset = store.remote.assets(view, [(found.info.class_name, asset_id)])[asset_id]
    files = found.files()
    for file in files:
        assert blob_id(found.read(file.path)).hex() == file.id
    return {
        "tree": asset.tree.hex(),
        "parents": [parent.hex() for parent in asset.parents],
        "refs": [[ref.asset.hex(), ref.class_name, ref.label] for ref in asset.refs],
        "author": asset.author,
        "created_at": asset.created_at,
        "message": asset.message,
        "metadata": dict(asset.metadata),
        "extra": json.loads(json.dumps(asset.extra)),
        "files": [[file.path, file.kind, file.id, file.size] for file in files],
    }


def as_json(listing: Any) -> str:
    """JSON tells 1 from 1.0 and from true, which Python's == does not."""
    return json.dumps(listing, indent=1, sort_keys=True)


class TestV1:
    def test_it_is_small(self) -> None:
        assert sum(len(data) for data in STORED.values()) < 300_000

    def test_the_script_makes_the_same_bytes(self) -> None:
        made = load(GOLDEN / "make_v1.py").make()
        assert sorted(made) == sorted(STORED)
        assert [name for name in made if made[name] != STORED[name]] == []

    def test_ama_reads_what_it_holds(self) -> None:
        assert as_json(ama_listing(V1)) == as_json(EXPECTED)

    def test_the_independent_reader_reads_what_it_holds(self) -> None:
        assert as_json(independent_listing(V1)) == as_json(EXPECTED)

    def test_it_reads_on_without_what_is_derived(self, tmp_path: Path) -> None:
        place = tmp_path / "store"
        shutil.copytree(V1, place)
        shutil.rmtree(place / "checkpoint")
        (place / "log" / "HINT").unlink()
        expected = as_json({**EXPECTED, "checkpoints": []})
        assert as_json(ama_listing(place)) == expected
        assert as_json(independent_listing(place)) == expected

    def test_what_is_in_it(self) -> None:
        models = EXPECTED["classes"]["models"]
        datasets = EXPECTED["classes"]["datasets"]
        assert models["aliases"] == {"best": 3, "nightly": 3}
        assert datasets["aliases"] == {"digits": 2}
        assert models["moves"]["candidate"][-1][0] is None
        statuses = [asset["status"] for asset in datasets["assets"]]
        assert statuses == ["active", "active", "deleted"]
        first, second, third = models["assets"]
        assert (first["status"], first["reason"]) == ("deprecated", "superseded by models/2")
        types = {key: type(value) for key, value in first["metadata"].items()}
        assert {*types.values()} == {str, int, float, bool}
        assert types["steps"] is float
        assert second["parents"] == [first["id"]]
        assert [label for _, _, label in second["refs"]] == ["training data", "initial weights", ""]
        assert second["extra"] == {"later": [1, None, {"deep": True}], "x": 0.5}
        kinds = {path: kind for path, kind, *_ in datasets["assets"][0]["files"]}
        assert kinds["prepare.sh"] == "executable"
        assert kinds["latest.csv"] == "symlink"
        sizes = {path: size for path, _, _, size in third["files"]}
        assert sizes["model.bin"] > 1_200_000
        assert EXPECTED["checkpoints"] == [64]
        assert EXPECTED["entries"] == 70
        assert STORED[HINT].startswith(b"68 ")

    def test_the_public_face_reads_it(self, tmp_path: Path) -> None:
        place = tmp_path / "store"
        shutil.copytree(V1, place)
        store = ama.Store.open(str(place))
        assert [info.name for info in store.classes()] == ["datasets", "models"]
        best = store.resolve("models@best")
        assert best.info.number == 3
        assert best.read("config/model.yml") == b"layers: [512, 256]\n"
        assert store.resolve("models/2").parents()[0].info.number == 1
        assert [ref.number for ref in store.resolve("models/2").info.refs] == [2, 1, None]
        assert store.resolve("datasets").info.number == 2
        with pytest.raises(NotFound, match="deleted"):
            store.resolve("datasets/3").files()
        assert store.fsck().problems == ()

    def test_both_readers_write_the_same_files(self, tmp_path: Path, run: Ama) -> None:
        place, theirs, ours = tmp_path / "store", tmp_path / "theirs", tmp_path / "ours"
        shutil.copytree(V1, place)
        independent_listing(place, theirs)
        names = [f"{name}-{number}" for name in ("datasets", "models") for number in (1, 2)]
        for name in [*names, "models-3"]:
            asset = name.replace("-", "/")
            run.ok("download", asset, "-o", ours / name, "--remote", place, cwd=tmp_path)
            assert self.written(ours / name) == self.written(theirs / name)

    def written(self, directory: Path) -> dict[str, tuple[bool, bool, bytes]]:
        return {
            path.relative_to(directory).as_posix(): (
                path.is_symlink(),
                os.access(path, os.X_OK),
                path.read_bytes(),
            )
            for path in sorted(directory.rglob("*"))
            if path.is_file() and ".ama" not in path.parts
        }


class TestBytePlanes:
    """A store that got the feature after its first asset; and who may not read it."""

    place = GOLDEN / "byte-planes"
    stored = files_below(place)
    expected = json.loads((GOLDEN / "byte-planes.json").read_text(encoding="utf-8"))

    def test_the_script_makes_the_same_bytes(self) -> None:
        load(GOLDEN / "make_v1.py")
        made = load(GOLDEN / "make_byte_planes.py").make()
        assert sorted(made) == sorted(self.stored)
        assert [name for name in made if made[name] != self.stored[name]] == []
        assert sum(len(data) for data in made.values()) < 150_000

    def test_both_readers_read_what_it_holds(self) -> None:
        assert as_json(ama_listing(self.place)) == as_json(self.expected)
        assert as_json(independent_listing(self.place)) == as_json(self.expected)

    def test_what_is_in_it(self) -> None:
        packs = [data for name, data in self.stored.items() if name.startswith("packs/")]
        planes = [
            (data[record.offset + 64], record.full)
            for data in packs
            for record in read_trailer(data, "pack")
            if data[record.offset + 5] == PLANES
        ]
        assert {stride for stride, _ in planes} == {2, 4, 8}
        assert any(full % stride for stride, full in planes)
        files = self.expected["classes"]["models"]["assets"][1]["files"]
        assert max(size for *_, size in files) > 1_048_576

    def test_a_reader_of_the_version_before_refuses(self, tmp_path: Path) -> None:
        before = load(READER)
        before.FEATURES = set()
        with pytest.raises(before.Newer, match="byte-planes"):
            before.Store(self.place)
        assert before.Store(V1).listing()["entries"] == 70

    @pytest.mark.parametrize("damage", [64, 65, 70])
    def test_the_independent_reader_sees_planes_that_lie(self, damage: int, tmp_path: Path) -> None:
        shutil.copytree(self.place, tmp_path / "store")
        for name, data in self.stored.items():
            if name.startswith("packs/"):
                changed = bytearray(data)
                for record in read_trailer(data, name):
                    if changed[record.offset + 5] == PLANES:
                        changed[record.offset + damage] ^= 0x41
                (tmp_path / "store" / name).write_bytes(changed)
        reader = load(READER)
        with pytest.raises(reader.Damaged):
            reader.Store(tmp_path / "store").listing()


class TestReferences:
    """A store whose content lies elsewhere, since it got the feature in its life."""

    place = GOLDEN / "references"
    sources = GOLDEN / "sources"
    stored = files_below(place)
    expected = json.loads((GOLDEN / "references.json").read_text(encoding="utf-8"))

    def test_the_script_makes_the_same_bytes(self) -> None:
        load(GOLDEN / "make_v1.py")
        made = load(GOLDEN / "make_references.py").make()
        assert sorted(made) == sorted(self.stored)
        assert [name for name in made if made[name] != self.stored[name]] == []
        assert sum(len(data) for data in made.values()) < 50_000

    def test_both_readers_read_what_it_holds(self) -> None:
        assert as_json(ama_listing(self.place, self.sources)) == as_json(self.expected)
        found = independent_listing(self.place, sources=self.sources)
        assert as_json(found) == as_json(self.expected)

    def test_what_is_in_it(self) -> None:
        found = [
            decode_reference(data[at.offset + 64 : at.end], at.full, name)
            for name, data in self.stored.items()
            if name.startswith("packs/")
            for at in read_trailer(data, name)
            if at.kind is Kind.REFERENCE
        ]
        assert {each.method for each in found} == {*Method}
        assert max(each.start for each in found) > 1_000_000
        assert {each.url.partition(":")[0] for each in found} == {"s3", "file"}
        assert {bool(each.mark) for each in found} == {True, False}

    def test_a_reader_of_the_version_before_refuses(self) -> None:
        before = load(READER)
        before.FEATURES = {"byte-planes"}
        with pytest.raises(before.Newer, match="references"):
            before.Store(self.place)

    @pytest.mark.parametrize("source", ["models/runs/a 1.zip", "models/set.bin"])
    def test_both_readers_see_a_source_that_changed(self, source: str, tmp_path: Path) -> None:
        shutil.copytree(self.sources, tmp_path / "sources")
        changed = bytearray((tmp_path / "sources" / source).read_bytes())
        changed[len(changed) // 2] ^= 1
        (tmp_path / "sources" / source).write_bytes(bytes(changed))
        reader = load(READER)
        with pytest.raises(reader.Damaged):
            reader.Store(self.place, tmp_path / "sources").listing()
        with pytest.raises(IntegrityError, match="which has it"):
            ama_listing(self.place, tmp_path / "sources")


class TestNotes:
    """A store of which something is known later, since it got the feature in its life."""

    place = GOLDEN / "notes"
    stored = files_below(place)
    expected = json.loads((GOLDEN / "notes.json").read_text(encoding="utf-8"))

    def test_the_script_makes_the_same_bytes(self) -> None:
        load(GOLDEN / "make_v1.py")
        made = load(GOLDEN / "make_notes.py").make()
        assert sorted(made) == sorted(self.stored)
        assert [name for name in made if made[name] != self.stored[name]] == []
        assert sum(len(data) for data in made.values()) < 150_000

    def test_both_readers_read_what_it_holds(self) -> None:
        assert as_json(ama_listing(self.place)) == as_json(self.expected)
        assert as_json(independent_listing(self.place)) == as_json(self.expected)

    @pytest.mark.parametrize("lost", ["notes", "fold", "segment", "*"])
    def test_they_read_on_without_what_is_derived(self, lost: str, tmp_path: Path) -> None:
        shutil.copytree(self.place, tmp_path / "store")
        for path in [*tmp_path.glob(f"store/checkpoint/{lost}/*")]:
            path.unlink()
        there = [64] if lost == "notes" else []
        expected = as_json({**self.expected, "checkpoints": there})
        if lost != "segment":
            assert as_json(independent_listing(tmp_path / "store")) == expected
            assert as_json(ama_listing(tmp_path / "store")) == expected
        else:
            found = ama_listing(tmp_path / "store")
            assert as_json({**found, "checkpoints": []}) == expected

    def test_what_is_in_it(self) -> None:
        notes = self.expected["notes"]["models"]
        assert len(notes) == 25
        assert all(note["entry"] > 4 for note in notes)
        assert {note["asset"] is None for note in notes} == {True, False}
        values = [value for note in notes for value in note["metadata"].values()]
        assert {type(value) for value in values} == {str, int, float, bool, type(None)}
        assert [note["file"][2] > 2**20 for note in notes if note["file"]] == [False, True]
        assert max(len(note["message"]) for note in notes) > 4096
        store = ama.Store.open(self.place)
        assert store.noted("models").message == "Classify sentences."
        second = store.resolve("models/2").noted()
        assert second.metadata == {"stars": 5, "f1": 0.9}
        assert second.tags == ("approved",)
        assert store.noted("models/1").metadata["float"] == 1.0

    def test_ama_makes_the_same_checkpoint(self) -> None:
        (files,) = checkpoints(Remote.open(ReadOnlyStorage(LocalStorage(self.place)), None), 66)
        derived = {name for name in self.stored if name.startswith("checkpoint/")}
        assert files == {name: self.stored[name] for name in derived}
        assert ama.Store.open(self.place).fsck().problems == ()

    def test_a_reader_of_the_version_before_skips_them(self) -> None:
        before = load(READER)
        del before.EVENTS["note"]
        before.note_files = lambda fold: {}
        before.Store.compare_notes_from = lambda self, number: None
        listing = before.Store(self.place).listing()
        without = {key: value for key, value in self.expected.items() if key != "notes"}
        assert as_json(listing) == as_json(without)

    @pytest.mark.parametrize("where", [0.1, 0.5, 0.98])
    def test_the_independent_reader_sees_a_damaged_byte(self, where: float, tmp_path: Path) -> None:
        name = "checkpoint/notes/000000000064"
        shutil.copytree(self.place, tmp_path / "store")
        data = bytearray(self.stored[name])
        data[int(len(data) * where)] ^= 1
        (tmp_path / "store" / name).write_bytes(bytes(data))
        reader = load(READER)
        with pytest.raises((reader.Damaged, reader.Newer)):
            reader.Store(tmp_path / "store")


class TestEachFile:
    """Every file of the golden store, by today's codecs: decoded, and encoded again as it was."""

    def test_format_json(self) -> None:
        assert (
            encode_format(decode_format(STORED["format.json"], "golden")) == STORED["format.json"]
        )

    @pytest.mark.parametrize("name", [name for name in STORED if name.startswith("packs/")])
    def test_a_pack(self, name: str) -> None:
        data = STORED[name]
        assert pack_name(blob_id(data)) == name
        records = read_trailer(data, name)
        assert tuple(scan_records(data)) == records
        for record in records:
            content = open_record(data[record.offset :], record)
            if record.kind is Kind.TREE:
                assert encode_tree([*decode_tree(content)]) == content
            elif record.kind is Kind.ASSET:
                assert encode_asset(decode_asset(content)) == content
            elif record.kind is Kind.RECIPE:
                assert encode_recipe(decode_recipe(content)) == content

    @pytest.mark.parametrize("name", [name for name in STORED if name.startswith("index/")])
    def test_an_index(self, name: str) -> None:
        index = PackIndex(STORED[name])
        index.validate()
        assert index_name(index.id) == name
        for pack, size in index.pack_sizes.items():
            assert len(STORED[pack_name(pack)]) == size

    def test_the_entries(self) -> None:
        names = [name for name in STORED if name.startswith("log/0")]
        assert len(names) == 70
        for name in names:
            assert encode_entry(decode_entry(STORED[name])) == STORED[name]

    def test_the_checkpoint(self) -> None:
        data = STORED["checkpoint/000000000064"]
        root = decode_root(data)
        assert encode_root(root) == data
        for name, digest in root.classes.items():
            state = STORED[f"checkpoint/state/{digest.hex()}"]
            assert seal(state) == digest
            assert decode_class_state(state).name == name
            assert encode_class_state(decode_class_state(state)) == state
        storage = LocalStorage(V1)
        remote = Remote.open(ReadOnlyStorage(storage), None)
        log = [(decode_entry(STORED[name]), entry_hash(STORED[name])) for name in ENTRIES[:64]]
        folded = fold_root(Root(0, entry_hash(STORED["format.json"])), log)
        assert replace(folded, classes=root.classes) == root
        # It is of the first form: read where there is no other, and no longer written.
        assert remote.log.checkpoint_at(64) is None
        assert remote.view().base == remote.log.of_first_form([64], {})
        assert storage.read([Range("log/000000000071")]) == [None]

    def test_codecs_and_sizes(self) -> None:
        """What the golden store is to show: both codecs, an empty file, a chunk that is shared."""
        codecs = set()
        for name, data in STORED.items():
            if name.startswith("packs/"):
                codecs |= {data[record.offset + 5] for record in read_trailer(data, name)}
        assert codecs == {0, 1}
        recipes = [
            decode_recipe(open_record(data[record.offset :], record))
            for name, data in STORED.items()
            if name.startswith("packs/")
            for record in read_trailer(data, name)
            if record.kind is Kind.RECIPE
        ]
        first, second = recipes
        assert {*first.chunks} & {*second.chunks}
        assert len({*first.chunks}) < len(first.chunks)


class TestSegments:
    """The golden store with the checkpoint that is written today beside that of the first form."""

    @pytest.fixture
    def both(self, tmp_path: Path) -> Path:
        place = tmp_path / "store"
        shutil.copytree(V1, place)
        shutil.copytree(GOLDEN / "v1_segments", place, dirs_exist_ok=True)
        return place

    def test_ama_makes_the_same_bytes(self) -> None:
        (files,) = checkpoints(Remote.open(ReadOnlyStorage(LocalStorage(V1)), None), 70)
        assert files == SEGMENTED

    def test_both_readers_read_it(self, both: Path) -> None:
        assert as_json(ama_listing(both)) == as_json(EXPECTED)
        assert as_json(independent_listing(both)) == as_json(EXPECTED)

    def test_it_is_preferred_and_enough(self, both: Path) -> None:
        for path in [*(both / "checkpoint").glob("0*"), *(both / "checkpoint" / "state").iterdir()]:
            path.unlink()
        assert as_json(ama_listing(both)) == as_json(EXPECTED)
        assert as_json(independent_listing(both)) == as_json(EXPECTED)
        remote = Remote.open(ReadOnlyStorage(LocalStorage(both)), None)
        data = SEGMENTED["checkpoint/fold/000000000064"]
        base = remote.view().base
        assert decode_checkpoint(data) == base
        assert encode_checkpoint(base) == data
        assert remote.log.checkpoint_holds(base)

    @pytest.mark.parametrize("name", SEGMENTED)
    @pytest.mark.parametrize("where", [0.1, 0.5, 0.98])
    def test_the_independent_reader_sees_a_damaged_byte(
        self, name: str, where: float, both: Path
    ) -> None:
        data = bytearray(SEGMENTED[name])
        data[int(len(data) * where)] ^= 1
        (both / name).write_bytes(bytes(data))
        reader = load(READER)
        with pytest.raises((reader.Damaged, reader.Newer)):
            reader.Store(both)

    def test_a_writer_of_the_first_form_is_followed_by_one_of_today(
        self, both: Path, tmp_path: Path
    ) -> None:
        """An old store gets a checkpoint of today, of all its history, at the next turn."""
        for path in (both / "checkpoint").iterdir():
            if path.name in ("fold", "segment"):
                shutil.rmtree(path)
        settings = replace(ama.Settings.load(None), cache_dir=tmp_path / "cache")
        store = ama.Store.open(str(both), settings=settings)
        for number in range(128 - 70):
            store.move_alias("models", "moving", str(1 + number % 3))
        names = {
            path.relative_to(both).as_posix() for path in both.glob(f"checkpoint/*/{'[0-9]' * 12}")
        }
        assert names == {"checkpoint/fold/000000000128", "checkpoint/sketch/000000000128"}
        assert not (both / "checkpoint" / "000000000128").exists()
        assert independent_listing(both)["checkpoints"] == [64, 128]
        assert store.fsck().ok
        remote = ama.Store.open(str(both)).remote
        assert remote.view().base.number == 128
        (record,) = remote.view().class_state("datasets").assets[:1]
        assert record.needs


class TestTheIndependentReader:
    reader = load(READER)

    def test_it_knows_nothing_of_ama(self) -> None:
        tree = ast.parse(READER.read_text(encoding="utf-8"))
        imported = {
            name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in [getattr(node, "module", None) or node.names[0].name]
        }
        others = {name for name in imported if name not in sys.stdlib_module_names}
        assert others == {"msgpack", "blake3", "zstandard"}

    @pytest.mark.parametrize(
        "name",
        [
            "format.json",
            "log/000000000001",
            "log/000000000064",
            "log/000000000070",
            "checkpoint/000000000064",
            next(name for name in STORED if name.startswith("checkpoint/state/")),
            *[name for name in STORED if name.startswith(("packs/", "index/"))],
        ],
    )
    @pytest.mark.parametrize("where", [0.1, 0.5, 0.98])
    def test_it_sees_a_damaged_byte(self, name: str, where: float, tmp_path: Path) -> None:
        place = tmp_path / "store"
        shutil.copytree(V1, place)
        data = bytearray(STORED[name])
        data[int(len(data) * where)] ^= 0x20
        (place / name).write_bytes(data)
        with pytest.raises((self.reader.Damaged, self.reader.Newer, KeyError, ValueError)):
            self.reader.Store(place).listing()

    def test_it_sees_a_lost_and_a_hidden_entry(self, tmp_path: Path) -> None:
        place = tmp_path / "store"
        shutil.copytree(V1, place)
        for number in (70, 69, 68):
            (place / f"log/{number:012d}").unlink()
        with pytest.raises(self.reader.Damaged, match="lost"):
            self.reader.Store(place)
        (place / HINT).unlink()
        assert self.reader.Store(place).fold.number == 67
        (place / "log/000000000060").unlink()
        with pytest.raises(self.reader.Damaged, match="hole"):
            self.reader.Store(place)


def test_the_independent_reader_reads_a_store_of_today(training_runs: Path, tmp_path: Path) -> None:
    """Several classes and versions, a large file, aliases past a checkpoint, refs, a directory."""
    url = str(tmp_path / "store")
    store = ama.Store.open(url, create=True)
    large = bytearray(blob_id(b"large") * 80_000)  # 2.5 MB that compress
    for number, name in enumerate(("base", "finetuned", "wide")):
        training = training_runs / name
        ama.settings.add_remote(training / ".ama" / "config.toml", "origin", url)
        repo = ama.Repo.init(training, "inputs")
        repo.add(["training.yml", "run_config_ckpt0.yml"])
        repo.set(aliases=["latest"], metadata={"run": name, "number": number, "rate": 1e-3})
        repo.upload(message=f"run {name}")
        (training / "state").mkdir()
        large[1_000_000 * number : 1_000_000 * number + 10] = os.urandom(10)
        (training / "state" / "large.bin").write_bytes(bytes(large))
        (training / "run.sh").write_text("#!/bin/sh\n", encoding="utf-8")
        (training / "run.sh").chmod(0o755)
        (training / "current").symlink_to("model.h5")
        repo = ama.Repo.init(training, "models")
        repo.add(["model.h5", "model.yml", "state", "run.sh", "current"])
        repo.set(aliases=["best"])
        repo.link("inputs@latest", label="inputs")
        repo.upload()
        repo.add(["meta.yml"])
        repo.commit("with a description")
        repo.push()
    for number in range(60):
        store.move_alias("models", "moving", str(1 + number % 6))
    store.remove_alias("models", "moving")

    listing = independent_listing(Path(url), tmp_path / "out")
    assert as_json(listing) == as_json(ama_listing(Path(url)))
    assert listing["entries"] > 64
    assert listing["checkpoints"] == [64]
    assert len(listing["classes"]["models"]["assets"]) == 6
    newest = tmp_path / "out" / "models-6"
    assert (newest / "state" / "large.bin").read_bytes() == bytes(large)
    assert os.readlink(newest / "current") == "model.h5"
    assert os.access(newest / "run.sh", os.X_OK)
