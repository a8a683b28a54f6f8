"""Where content comes from: what is damaged in one store comes from the next that has it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

import ama.stores.object_reader
from ama.errors import IntegrityError, NotFound
from ama.format.chunking import PROFILE
from ama.format.hashing import blob_id
from ama.format.objects import Kind, Recipe, encode_recipe
from ama.storage.local import LocalStorage
from ama.stores.object_reader import ObjectStore, pack_name
from ama.stores.pack_writer import PackWriter
from ama.stores.sources import Sources
from damage import flip

SIZE = 50_000
PARTS = [random.Random(number).randbytes(SIZE) for number in range(12)]
WHOLE = b"".join(PARTS)
RECIPE = Recipe(PROFILE, Kind.DATA, tuple((blob_id(part), SIZE) for part in PARTS))


class Place:
    """A store of its own, with a file in chunks and each chunk as a file."""

    def __init__(self, root: Path, parts: Sequence[bytes] = PARTS, recipe: Recipe = RECIPE) -> None:
        self._root = root
        storage = LocalStorage(root)
        with PackWriter(storage) as writer:
            for part in parts:
                writer.add(Kind.DATA, blob_id(part), part)
            writer.add(Kind.RECIPE, blob_id(WHOLE), encode_recipe(recipe))
            self.store = ObjectStore(storage, writer.finish())

    def damage(self, *wanted: bytes) -> None:
        for object_id in wanted:
            (at,) = self.store.find(object_id)
            flip(at.record.end - 1)(self._root / pack_name(at.pack))

    def lose_all(self) -> None:
        for pack in self._root.rglob("*.pack"):
            pack.unlink()


@pytest.fixture(autouse=True)
def few_chunks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ama.stores.object_reader, "BATCH_SIZE", 2 * SIZE)


def files(sources: Sources, parts: Sequence[bytes]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    wanted = [blob_id(part) for part in parts]
    done = [i for some in sources.each_file(wanted, found.__setitem__) for i in some]
    assert sorted(done) == sorted(found)
    return found


def ids(parts: Sequence[bytes]) -> list[bytes]:
    return [blob_id(part) for part in parts]


@pytest.mark.parametrize(
    ("near", "far"),
    [
        pytest.param(ids(PARTS[:1]), [], id="first"),
        pytest.param(ids(PARTS[7:8]), [], id="later"),
        pytest.param(ids(PARTS), [], id="all"),
        pytest.param(ids(PARTS[::2]), ids(PARTS[1::2]), id="in turn"),
        pytest.param([blob_id(WHOLE)], ids(PARTS[:1]), id="recipe"),
    ],
)
def test_what_is_damaged_in_one_store_comes_from_another(
    tmp_path: Path, near: list[bytes], far: list[bytes]
) -> None:
    one, two = Place(tmp_path / "near"), Place(tmp_path / "far")
    one.damage(*near)
    two.damage(*far)
    sources = Sources(one.store, [lambda: two.store])
    assert list(sources.stream(blob_id(WHOLE), Kind.DATA)) == PARTS
    assert sources.recipe(blob_id(WHOLE)) == RECIPE
    parts = [part for part in PARTS if blob_id(part) not in {*near} & {*far}]
    assert files(sources, parts) == {blob_id(part): part for part in parts}
    for part in parts:
        assert sources.read(blob_id(part), Kind.DATA) == part


def test_the_third_store_is_asked_too(tmp_path: Path) -> None:
    places = [Place(tmp_path / name) for name in ("one", "two", "three")]
    places[0].lose_all()
    places[1].lose_all()
    sources = Sources(places[0].store, [lambda: places[1].store, lambda: places[2].store])
    assert files(sources, PARTS) == {blob_id(part): part for part in PARTS}
    assert list(sources.stream(blob_id(WHOLE), Kind.DATA)) == PARTS


def test_a_store_that_has_some_chunks_only_is_completed(tmp_path: Path) -> None:
    one, two = Place(tmp_path / "near", PARTS[:5]), Place(tmp_path / "far", PARTS[5:])
    sources = Sources(one.store, [lambda: two.store])
    assert list(sources.stream(blob_id(WHOLE), Kind.DATA)) == PARTS


@pytest.mark.parametrize("bad", [0, 7, 11])
def test_what_is_damaged_everywhere_ends_before_it(tmp_path: Path, bad: int) -> None:
    """Nothing wrong is yielded, nothing twice, and never the last piece."""
    one, two = Place(tmp_path / "near"), Place(tmp_path / "far")
    one.damage(blob_id(PARTS[bad]))
    two.damage(blob_id(PARTS[bad]))
    sources = Sources(one.store, [lambda: two.store])
    taken: list[bytes] = []
    with pytest.raises(IntegrityError, match=str(one.store.storage.url)):
        taken.extend(sources.stream(blob_id(WHOLE), Kind.DATA))
    assert taken == PARTS[: len(taken)]
    assert len(taken) <= bad
    with pytest.raises(IntegrityError, match=str(one.store.storage.url)):
        files(sources, PARTS)


def test_the_last_piece_comes_only_if_the_whole_is_right(tmp_path: Path) -> None:
    """A recipe of other chunks, each of which is sound; what is yielded can't be taken back."""
    other = Recipe(PROFILE, Kind.DATA, tuple(reversed(RECIPE.chunks)))
    one, two = Place(tmp_path / "near", recipe=other), Place(tmp_path / "far")
    one.damage(blob_id(PARTS[3]))
    sources = Sources(one.store, [lambda: two.store])
    taken: list[bytes] = []
    with pytest.raises(IntegrityError, match="make another"):
        taken.extend(sources.stream(blob_id(WHOLE), Kind.DATA))
    assert taken == PARTS[:0:-1]


def test_far_stores_are_opened_only_where_something_is_damaged(tmp_path: Path) -> None:
    one, two = Place(tmp_path / "near"), Place(tmp_path / "far")
    opened = []

    def far() -> ObjectStore:
        opened.append(True)
        return two.store

    sources = Sources(one.store, [far])
    assert list(sources.stream(blob_id(WHOLE), Kind.DATA)) == PARTS
    assert files(sources, PARTS)
    assert not opened
    one.damage(blob_id(PARTS[3]))
    assert list(sources.stream(blob_id(WHOLE), Kind.DATA)) == PARTS
    assert opened == [True]


def test_an_error_of_the_work_is_no_damage(tmp_path: Path) -> None:
    one, two = Place(tmp_path / "near"), Place(tmp_path / "far")
    calls = []

    def work(object_id: bytes, data: bytes) -> None:
        calls.append(object_id)
        raise IntegrityError("of the work itself")

    with pytest.raises(IntegrityError, match="of the work"):
        list(Sources(one.store, [lambda: two.store]).each_file(ids(PARTS[:1]), work))
    assert len(calls) == 1


def test_what_no_store_has(tmp_path: Path) -> None:
    sources = Sources(Place(tmp_path / "near").store, [lambda: Place(tmp_path / "far").store])
    for ask in (
        lambda: sources.stream(bytes(32), Kind.DATA),
        lambda: sources.recipe(bytes(32)),
        lambda: sources.read(bytes(32), Kind.TREE),
    ):
        with pytest.raises(NotFound):
            ask()
