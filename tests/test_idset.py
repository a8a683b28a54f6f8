"""A set of ids in few bytes each."""

from __future__ import annotations

import random
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from ama.format.hashing import ID_SIZE, blob_id
from ama.format.idset import IdSet

# Few values of each byte, so that ids share their beginnings and repeat across each other's ends.
ids = st.lists(
    st.binary(min_size=ID_SIZE, max_size=ID_SIZE)
    | st.sampled_from([0, 1]).map(lambda byte: bytes([byte]) * ID_SIZE),
    max_size=60,
)


@given(ids)
def test_it_is_a_set(given_ids: list[bytes]) -> None:
    found, plain = IdSet(), set()
    for one in given_ids:
        assert found.add(one) == (one not in plain)
        plain.add(one)
    assert len(found) == len(plain)
    assert all(one in found for one in plain)
    assert all(bytes(reversed(one)) in found for one in given_ids if bytes(reversed(one)) in plain)


def test_an_id_across_two_others_is_not_there() -> None:
    found = IdSet()
    one, other = bytes([7, 7, *range(30)]), bytes([7, 7, *range(30, 60)])
    for each in (one, other):
        found.add(each)
    across = bytes([7, 7, *range(15, 45)])
    assert across not in found
    assert found.add(across)
    assert across in found


def test_it_takes_less_than_objects() -> None:
    rng = random.Random(5)
    made = [blob_id(rng.randbytes(8)) for _ in range(200_000)]
    tracemalloc.start()
    try:
        found = IdSet()
        for one in made:
            found.add(bytes(bytearray(one)))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == len(made)
    assert taken < 110 * len(made)
