"""Makes tests/golden/byte-planes: a store that got the feature `byte-planes` in its life.

    python tests/golden/make_byte_planes.py DIRECTORY

As make_v1.py does, it puts ama's encoders together by hand, so that the bytes depend on the format
alone. The store in the repository is never made again.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

from make_v1 import (
    ANN,
    BEN,
    SECOND,
    START,
    Packing,
    Store,
    cut,
    file,
    frame,
    random_bytes,
    recipe,
    weights,
    whole,
)

from ama.format.compression import PLANES, decompress
from ama.format.entries import ABSENT, Feature, Publish, entry_hash
from ama.format.hashing import blob_id
from ama.format.objects import Asset, Kind
from ama.format.state import Root
from ama.stores.remote import FORMAT, StoreFormat, encode_format

STORE_ID = "b2" * 16


def planes(data: bytes, stride: int) -> bytes:
    """Byte planes, each a frame where that is shorter."""
    kept = [
        min(data[first::stride], frame(data[first::stride]), key=len) for first in range(stride)
    ]
    return bytes([stride]) + struct.pack(f"<{stride}I", *map(len, kept)) + b"".join(kept)


def numbers(name: str, stride: int, count: int) -> bytes:
    """Numbers of `stride` bytes, of which the upper half is the same; and a part of one more."""
    half = stride // 2
    low = random_bytes(name, half * count)
    whole = b"".join(low[at : at + half] + b"\x3f" * half for at in range(0, len(low), half))
    return whole + b"\x01"


def add_planes(pack: Packing, data: bytes, stride: int) -> None:
    stored = planes(data, stride)
    assert decompress(PLANES, stored, len(data), "planes") == data
    assert len(stored) < len(data)
    pack.add_encoded(Kind.DATA, blob_id(data), PLANES, stored, len(data))


def make() -> dict[str, bytes]:
    """Return the files of the store by name."""
    store = Store()
    store.files[FORMAT] = encode_format(StoreFormat(STORE_ID))
    store.root = Root(0, entry_hash(store.files[FORMAT]))

    halves, singles, doubles = (numbers(f"of {n}", n, 700) for n in (2, 4, 8))
    content_1 = Packing(store, "planes content 1")
    content_1.blob(halves)
    metadata_1 = Packing(store, "planes metadata 1")
    first = Asset("models", metadata_1.tree(file("halves.bin", halves)), (), (), ANN, START)
    first_id = metadata_1.asset(first)
    index_1 = store.index(whole(content_1.seal(), metadata_1.seal()))
    needs = (index_1,)
    store.append(ANN, Publish(first_id, "models", (("best", ABSENT),), (index_1,), needs, ()))

    store.append(BEN, Feature(("byte-planes",), ()))

    large = weights(1)
    content_2 = Packing(store, "planes content 2")
    add_planes(content_2, singles, 4)
    add_planes(content_2, doubles, 8)
    for stride, chunk in zip((2, 4, 8, 2, 4, 8), dict.fromkeys(cut(large)), strict=False):
        add_planes(content_2, chunk, stride)
    # One object, stored in both ways.
    add_planes(content_2, halves, 2)
    metadata_2 = Packing(store, "planes metadata 2")
    metadata_2.add(Kind.RECIPE, blob_id(large), recipe(large))
    tree = metadata_2.tree(
        file("halves.bin", halves),
        file("singles.bin", singles),
        file("doubles.bin", doubles),
        file("large.bin", large),
    )
    second = Asset("models", tree, (first_id,), (), BEN, START + 3 * SECOND, "all of it")
    second_id = metadata_2.asset(second)
    index_2 = store.index(whole(content_2.seal(), metadata_2.seal()))
    needs = (index_2,)
    store.append(BEN, Publish(second_id, "models", (("best", first_id),), (index_2,), needs, ()))
    store.hint(3)
    return store.files


def main(place: Path) -> None:
    for name, data in make().items():
        path = place.joinpath(*name.split("/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
