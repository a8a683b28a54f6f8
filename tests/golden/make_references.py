"""Makes tests/golden/references: a store that got the feature `references` in its life.

    python tests/golden/make_references.py DIRECTORY

What its references lead to is in tests/golden/sources, which nobody makes again: other versions of
zlib would deflate it otherwise. As make_v1.py does, it puts ama's encoders together by hand, so
that the bytes depend on the format alone. The store in the repository is never made again.
"""

from __future__ import annotations

import sys
import zipfile
from dataclasses import replace
from pathlib import Path

from make_v1 import ANN, BEN, SECOND, START, Packing, Store, cut, file, random_bytes, recipe, whole

from ama.format.entries import ABSENT, Feature, Publish, entry_hash
from ama.format.hashing import blob_id
from ama.format.objects import Asset, Kind
from ama.format.references import REFERENCE, Method, Reference, encode_reference
from ama.format.state import Root
from ama.stores.remote import FORMAT, StoreFormat, encode_format

STORE_ID = "c3" * 16
SOURCES = Path(__file__).parent / "sources"


def add_reference(pack: Packing, data: bytes, where: Reference) -> None:
    pack.add_encoded(Kind.REFERENCE, blob_id(data), REFERENCE, encode_reference(where), len(data))


def source(name: str, mark: str) -> Reference:
    size = (SOURCES / name).stat().st_size
    return Reference(f"s3://{name}", mark, size, 0, size)


def members(name: str, mark: str) -> dict[str, tuple[bytes, Reference]]:
    """The members of a zip, and where each is."""
    found = {}
    with zipfile.ZipFile(SOURCES / name) as archive:
        for info in archive.infolist():
            where = replace(
                source(name, mark),
                offset=info.header_offset + 30 + len(info.orig_filename),
                length=info.compress_size,
                method=Method.DEFLATE if info.compress_type else Method.STORED,
            )
            found[info.filename] = archive.read(info), where
    return found


def make() -> dict[str, bytes]:
    """Return the files of the store by name."""
    store = Store()
    store.files[FORMAT] = encode_format(StoreFormat(STORE_ID))
    store.root = Root(0, entry_hash(store.files[FORMAT]))

    kept = random_bytes("kept", 900)
    content_1 = Packing(store, "references content 1")
    content_1.blob(kept)
    metadata_1 = Packing(store, "references metadata 1")
    first = Asset("models", metadata_1.tree(file("kept.bin", kept)), (), (), ANN, START)
    first_id = metadata_1.asset(first)
    index_1 = store.index(whole(content_1.seal(), metadata_1.seal()))
    store.append(ANN, Publish(first_id, "models", (("best", ABSENT),), (index_1,), (index_1,), ()))

    store.append(BEN, Feature(("references",), ()))

    zipped = members("models/runs/a 1.zip", "5d41402abc4b2a76b9719d911017c592")
    (large, in_large), (small, in_small), (stored, in_stored) = (
        zipped[name] for name in ("large.bin", "small.csv", "stored.bin")
    )
    plain = (SOURCES / "models/set.bin").read_bytes()
    content_2 = Packing(store, "references content 2")
    start = 0
    for chunk in cut(large):
        add_reference(content_2, chunk, replace(in_large, start=start))
        start += len(chunk)
    add_reference(content_2, small, in_small)
    add_reference(content_2, stored, in_stored)
    add_reference(content_2, plain, source("models/set.bin", ""))
    content_2.blob(b"a: 1\n")
    # One that is kept too, and whose source is gone; the reference comes first.
    gone = Reference("file:///no/such%20place/kept.bin", "1", 2000, 100, len(kept))
    add_reference(content_2, kept, gone)
    content_2.blob(kept)
    metadata_2 = Packing(store, "references metadata 2")
    metadata_2.add(Kind.RECIPE, blob_id(large), recipe(large))
    tree = metadata_2.tree(
        file("kept.bin", kept),
        file("large.bin", large),
        file("model.yml", b"a: 1\n"),
        file("set.bin", plain),
        file("small.csv", small),
        file("stored.bin", stored),
    )
    second = Asset("models", tree, (first_id,), (), BEN, START + 3 * SECOND, "all of it")
    second_id = metadata_2.asset(second)
    index_2 = store.index(whole(content_2.seal(), metadata_2.seal()))
    store.append(
        BEN, Publish(second_id, "models", (("best", first_id),), (index_2,), (index_2,), ())
    )
    store.hint(3)
    return store.files


def main(place: Path) -> None:
    for name, data in make().items():
        path = place.joinpath(*name.split("/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
