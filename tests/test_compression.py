"""Codecs of a record: what is worth compressing, and that nothing expands beyond its bound."""

from __future__ import annotations

import json
import random
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
import zstandard
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from ama.errors import UPGRADE, FormatError, IntegrityError
from ama.format.compression import PROBE_SIZE, RAW, WORTH_IT, ZSTD, compress, decompress
from ama.wording.hints import words


def noise(size: int, seed: bytes = b"noise") -> bytes:
    """Bytes that nothing compresses, the same ones every time."""
    return blake3(seed).digest(length=size)


def text(size: int) -> bytes:
    return "\n".join(
        json.dumps({"step": n, "loss": 1 / (n + 1), "name": f"layer_{n % 7}"})
        for n in range(size // 40 + 1)
    ).encode()[:size]


@given(st.binary(max_size=5000) | st.integers(0, 200_000).map(bytes))
def test_decoding_undoes_encoding(data: bytes) -> None:
    codec, stored = compress(data)
    assert decompress(codec, stored, len(data), "example") == data
    assert len(stored) <= len(data)
    assert codec == RAW or len(stored) <= WORTH_IT * len(data)


@pytest.mark.parametrize(
    ("data", "codec"),
    [
        (b"", RAW),
        (bytes(63), RAW),  # too small to be worth a header
        (bytes(64), ZSTD),
        (noise(100), RAW),
        (noise(PROBE_SIZE), RAW),
        (noise(1_000_000), RAW),
        (text(1000), ZSTD),
        (text(PROBE_SIZE), ZSTD),
        (text(PROBE_SIZE + 1), ZSTD),
        (text(500_000), ZSTD),
        (bytes(500_000), ZSTD),
        # What lies in the middle decides.
        (text(200_000) + noise(200_000) + text(200_000), RAW),
        # It misled, so the result does.
        (noise(300_000) + text(10_000) + noise(300_000, b"other"), RAW),
        # Half of each byte is free: weights that were quantised to 4 bits.
        (bytes(byte & 15 for byte in noise(100_000)), ZSTD),
        # Only one byte in 32 could be left out.
        (b"".join(noise(31, bytes([n & 255])) + b"\0" for n in range(256)), RAW),
    ],
)
def test_what_is_worth_it_is_compressed(data: bytes, codec: int) -> None:
    found, stored = compress(data)
    assert found == codec
    assert decompress(found, stored, len(data), "example") == data


def test_what_compresses_well_is_compressed_harder() -> None:
    data = text(400_000)
    harder = zstandard.ZstdCompressor(level=3).compress(data)
    assert compress(data) == (ZSTD, harder)
    little = bytes(byte & 127 for byte in noise(400_000))
    fast = zstandard.ZstdCompressor(level=1).compress(little)
    assert compress(little) == (ZSTD, fast)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_any_buffer_will_do(kind: type) -> None:
    for data in (text(10_000), noise(10_000)):
        codec, stored = compress(kind(data))
        assert decompress(codec, memoryview(stored), len(data), "example") == data


BOMB = zstandard.ZstdCompressor(level=19).compress(bytes(256 * 1024 * 1024))


def lying(frame: bytes, size: int) -> bytes:
    """A frame whose header says that it holds `size` bytes."""
    assert frame[4] >> 6 == 2  # a content size of 4 bytes
    at = 5 if frame[4] & 0x20 else 6
    return frame[:at] + size.to_bytes(4, "little") + frame[at + 4 :]


@pytest.mark.parametrize("size", [0, 1000, 1024 * 1024])
@pytest.mark.parametrize("honest", [True, False])
def test_a_bomb_is_refused_before_it_expands(size: int, honest: bool) -> None:
    bomb = BOMB if honest else lying(BOMB, size)
    tracemalloc.start()
    try:
        with pytest.raises(IntegrityError):
            decompress(ZSTD, bomb, size, "example")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 1024 * 1024


def test_a_frame_that_does_not_say_its_size_is_refused() -> None:
    quiet = zstandard.ZstdCompressor(write_content_size=False).compress(b"a" * 1000)
    with pytest.raises(IntegrityError):
        decompress(ZSTD, quiet, 1000, "example")


@given(st.data(), st.integers(64, 3000))
def test_damaged_bytes_are_refused_or_have_the_right_size(data: st.DataObject, size: int) -> None:
    good = zstandard.ZstdCompressor().compress(text(size))
    at = data.draw(st.integers(0, len(good) - 1))
    flipped = bytearray(good)
    flipped[at] ^= data.draw(st.integers(1, 255))
    for bad in (bytes(flipped), good[:at], good + b"\0", good + good):
        try:
            found = decompress(ZSTD, bad, size, "example")
        except IntegrityError:
            continue
        assert len(found) == size  # and its hash will tell


@pytest.mark.parametrize("stored", [b"", b"abc", b"abcde"])
def test_raw_bytes_have_the_size_that_they_should(stored: bytes) -> None:
    with pytest.raises(IntegrityError, match="not 4"):
        decompress(RAW, stored, 4, "example")


@pytest.mark.parametrize("codec", [2, 3, 255])
def test_a_codec_of_a_later_version(codec: int) -> None:
    with pytest.raises(FormatError, match=f"codec {codec}") as raised:
        decompress(codec, b"abc", 3, "example")
    assert words(raised.value.hints) == UPGRADE


def test_many_threads_at_once() -> None:
    source = random.Random(1)
    whole = text(50_000)
    datas = [whole[: source.randrange(100, len(whole))] for _ in range(40)]
    with ThreadPoolExecutor(8) as pool:
        packed = list(pool.map(compress, datas))
        again = pool.map(
            lambda both: decompress(both[0][0], both[0][1], len(both[1]), "example"),
            zip(packed, datas, strict=True),
        )
        assert list(again) == datas
