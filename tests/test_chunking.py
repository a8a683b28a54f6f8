"""Where large files are cut. Profile 1 is part of the format, so it is pinned byte for byte."""

from __future__ import annotations

import io
import multiprocessing
import warnings
from collections.abc import Callable

import pyfastcdc
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from pyfastcdc.py import FastCDC as PurePython

from ama.format.chunking import AVERAGE, LARGEST, SMALLEST, chunks
from ama.format.hashing import blob_id, hash_stream


def noise(size: int) -> bytes:
    return blake3(b"ama: chunking profile 1").digest(length=size)


def text(size: int) -> bytes:
    """Numbers in decimal, a line each."""
    lines = size // 5
    return b"".join(b"%d\n" % (n * n % 99_991) for n in range(lines))[:size].ljust(size, b"\n")


def sparse(size: int) -> bytes:
    """Noise with long runs of zeros, as in a model that was pruned."""
    part = 300_000
    data = bytearray(noise(size))
    for start in range(0, size, 2 * part):
        data[start : start + part] = bytes(len(data[start : start + part]))
    return bytes(data)


def cut(data: bytes) -> list[bytes]:
    return [bytes(chunk) for chunk in chunks(io.BytesIO(data))]


# What was cut is never cut otherwise: a change here means a new profile.
GOLDEN: dict[str, tuple[Callable[[int], bytes], list[int], str]] = {
    "noise": (
        noise,
        [
            *(44018, 33319, 262641, 134850, 190949, 54038, 52499, 151922, 153008, 102764, 148382),
            *(187334, 121892, 79467, 73134, 156726, 32878, 351974, 205164, 64942, 78099, 137476),
            *(153661, 273543, 87226, 195189, 34695, 138173, 288450, 205891),
        ],
        "8ecb2699fd9fc06ef7337e41747993e11bc3e59af3645e90710317f4e2757c89",
    ),
    "text": (
        text,
        [
            *(137622, 155290, 179835, 73686, 179873, 155290, 179835, 73686, 179873, 155290),
            *(179835, 73686, 179873, 96326),
        ],
        "667619691f8757ec36858a53c0f8b84eac2b17ee7b8113e32f9b162c8c021fad",
    ),
    "sparse": (
        sparse,
        [
            *(339978, 134850, 427136, 175280, 102764, 335716, 121892, 79467, 73134, 312545),
            *(229033, 485681, 153661, 28863),
        ],
        "4bc19c0a91a4815ca95600ab21787ef786a3934867e02dbfbf712f40a96c01de",
    ),
    "zeros": (
        bytes,
        [524288, 524288, 151424],
        "a195dd722cf82ac6b57c119abe6c0f6305e78d582b7e170fb4610068853a0b42",
    ),
}


def summary(pieces: list[bytes]) -> str:
    """One hash over the ids of all chunks, in order."""
    return blob_id(b"".join(blob_id(piece) for piece in pieces)).hex()


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_cut_points(name: str) -> None:
    make, sizes, ids = GOLDEN[name]
    data = make(sum(sizes))
    pieces = cut(data)
    assert [len(piece) for piece in pieces] == sizes
    assert b"".join(pieces) == data
    assert summary(pieces) == ids


def test_golden_ids() -> None:
    """The first chunk's and the last one's whole ids, for those who implement a reader."""
    pieces = cut(noise(4 * 1024 * 1024))
    assert blob_id(pieces[0]).hex() == (
        "562367abca8908124c55ffe4494c33d52faf860cb3e7f9b152dd5dae42136432"
    )
    assert blob_id(pieces[-1]).hex() == (
        "7344f59ed124eaf1608187f9e58ad5d3474c8b38ba9bf3405543595fa313ce40"
    )


@settings(max_examples=20)
@given(st.integers(0, 3_000_000), st.integers(0, 2**32), st.integers(1, 400_000))
def test_chunks_are_in_bounds_and_make_the_whole(size: int, seed: int, read: int) -> None:
    data = blake3(seed.to_bytes(8, "big")).digest(length=size)

    class Trickle(io.RawIOBase):
        """A file that gives what it likes, as a pipe or a network does."""

        def __init__(self) -> None:
            self.at = 0

        def readinto(self, buffer: memoryview) -> int:
            part = data[self.at : self.at + min(read, len(buffer))]
            buffer[: len(part)] = part
            self.at += len(part)
            return len(part)

    pieces = [bytes(chunk) for chunk in chunks(Trickle())]
    assert b"".join(pieces) == data
    assert pieces == cut(data)
    assert all(SMALLEST <= len(piece) <= LARGEST for piece in pieces[:-1])
    assert all(0 < len(piece) <= LARGEST for piece in pieces)


def test_the_average_is_about_as_large_as_it_should_be() -> None:
    pieces = cut(noise(32 * 1024 * 1024))
    assert 0.8 * AVERAGE < 32 * 1024 * 1024 / len(pieces) < 1.5 * AVERAGE


@pytest.mark.parametrize("at", [0, 1000, 1_500_000, 4_000_000])
@pytest.mark.parametrize("more", [b"x", bytes(1000), noise(70_000)])
def test_what_is_inserted_changes_the_chunks_around_it_only(at: int, more: bytes) -> None:
    data = noise(4 * 1024 * 1024)
    old = cut(data)
    new = cut(data[:at] + more + data[at:])
    fresh = sum(len(piece) for piece in set(new) - set(old))
    assert fresh < len(more) + 6 * AVERAGE


def pure_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this an installation without the compiled extension."""
    monkeypatch.setattr(pyfastcdc, "FastCDC", PurePython)


def test_without_the_extension_the_same_is_cut_and_a_warning_is_loud(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = sparse(1_500_000)
    fast = cut(data)
    pure_python(monkeypatch)
    with pytest.warns(RuntimeWarning, match="no compiled extension.*slower.*pip install"):
        slow = cut(data)
    assert slow == fast


def test_with_the_extension_nothing_is_said() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cut(bytes(10))


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork"
)
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_hashes_without_the_threads_that_it_has_not() -> None:
    """A data loader forks its workers, from a program that may have hashed a large file before."""
    data = noise(8_000_000)
    before = hash_stream(io.BytesIO(data))
    forking = multiprocessing.get_context("fork")
    answers = forking.SimpleQueue()
    worker = forking.Process(target=lambda: answers.put(hash_stream(io.BytesIO(data))))
    worker.start()
    worker.join(60)
    if worker.exitcode is None:
        worker.kill()
        worker.join()
        pytest.fail("the worker hangs")
    assert answers.get() == before == (blob_id(data), len(data))
