"""Codecs of a record: what is worth compressing, and that nothing expands beyond its bound."""

from __future__ import annotations

import argparse
import json
import random
import struct
import tracemalloc
import typing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zstandard
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from ama.errors import UPGRADE, FormatError, IntegrityError
from ama.format.compression import (
    PLANES,
    PROBE_SIZE,
    RAW,
    SMALL,
    STRIDES,
    WORTH_IT,
    ZSTD,
    compress,
    decompress,
)
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
    for planes in (False, True):
        codec, stored = compress(data, planes=planes)
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
        (text(SMALL), ZSTD),
        (noise(SMALL), RAW),
        (text(SMALL + 1), ZSTD),
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


def test_what_repeats_itself_is_searched_harder() -> None:
    data = b"".join(Path(module.__file__ or "").read_bytes() for module in (argparse, typing))
    codec, stored = compress(data)
    assert codec == ZSTD
    assert len(stored) < 0.97 * len(zstandard.ZstdCompressor(level=3).compress(data))
    # A search would find nothing in these, and take ten times as long.
    little = bytes(byte & 127 for byte in noise(400_000))
    fast = zstandard.ZstdCompressor(level=1).compress(little)
    assert compress(little) == (ZSTD, fast)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_any_buffer_will_do(kind: type) -> None:
    for data in (text(10_000), noise(10_000)):
        codec, stored = compress(kind(data))
        assert decompress(codec, memoryview(stored), len(data), "example") == data


# Byte planes


def weights(count: int, form: str = "bf16", seed: int = 1) -> bytes:
    """Weights of layers, normal in each, of a form; as trained ones are."""
    source = random.Random(seed)
    drawn = [source.gauss(0, 0.02 * 2 ** (at * 8 // count % 3)) for at in range(count)]
    if form == "fp16":
        return struct.pack(f"<{count}e", *drawn)
    if form == "fp64":
        return struct.pack(f"<{count}d", *drawn)
    singles = struct.pack(f"<{count}f", *drawn)
    if form == "fp32":
        return singles
    shorter = bytearray(2 * count)
    shorter[0::2], shorter[1::2] = singles[2::4], singles[3::4]
    return bytes(shorter)


@pytest.mark.parametrize(
    ("form", "most", "against_zstandard"),
    [("bf16", 0.69, 0.88), ("fp16", 0.87, 0.94), ("fp32", 0.85, 0.92), ("fp64", 0.89, 0.94)],
)
@pytest.mark.parametrize("phase", [0, 1, 3])
def test_weights_are_stored_as_byte_planes(
    form: str, most: float, against_zstandard: float, phase: int
) -> None:
    data = weights(40_000, form)[phase:]  # chunks are cut anywhere
    codec, stored = compress(data, planes=True)
    assert codec == PLANES
    assert len(stored) <= most * len(data)
    plain = zstandard.ZstdCompressor(level=3).compress(data)
    assert len(stored) <= against_zstandard * len(plain)
    assert decompress(PLANES, stored, len(data), "example") == data


def test_a_plane_that_does_not_compress_is_kept_as_it_is() -> None:
    data = weights(40_000, "bf16")
    _, stored = compress(data, planes=True)
    assert stored[0] == 2
    low, high = struct.unpack("<2I", stored[1:9])
    assert low == 40_000
    assert bytes(stored[9 : 9 + low]) == data[0::2]
    assert high < 0.4 * 40_000


@pytest.mark.parametrize(
    "data",
    [
        noise(300_000),
        text(300_000),
        bytes(300_000),
        weights(SMALL // 2, "bf16"),  # as small as a probe
        weights(20_000, "fp32")[:32_000] + text(200_000) + weights(20_000, "fp32"),
        # A table in the middle of something else, which repeats itself from afar.
        noise(90_000) + weights(10_000, "fp32") + noise(90_000),
    ],
    ids=["noise", "text", "zeros", "small", "around", "within"],
)
def test_what_is_no_array_of_numbers_is_not_split(data: bytes) -> None:
    assert compress(data, planes=True) == compress(data)
    assert compress(data)[0] != PLANES


def test_planes_are_chosen_only_where_readers_know_them() -> None:
    codec, stored = compress(weights(40_000))
    assert codec == ZSTD
    assert len(stored) > 0.75 * 80_000


@given(st.binary(min_size=1, max_size=400), st.sampled_from(STRIDES), st.integers(0, 40))
def test_planes_of_any_length_come_back(data: bytes, stride: int, times: int) -> None:
    whole = data * times
    stored = planes_of(whole, stride)
    assert decompress(PLANES, stored, len(whole), "example") == whole


@given(st.integers(0, 17), st.integers(SMALL + 1, SMALL + 20))
def test_any_length_of_weights_comes_back(start: int, size: int) -> None:
    data = WEIGHTS[start : start + size]
    codec, stored = compress(data, planes=True)
    assert codec == PLANES
    assert decompress(codec, stored, size, "example") == data


WEIGHTS = weights(SMALL)


def planes_of(data: bytes, stride: int, level: int = 1) -> bytes:
    """Byte planes as the specification says, each compressed where that is shorter."""
    packed = zstandard.ZstdCompressor(level=level)
    planes = [data[first::stride] for first in range(stride)]
    stored = [min(plane, packed.compress(plane), key=len) for plane in planes]
    sizes = struct.pack(f"<{stride}I", *map(len, stored))
    return bytes([stride]) + sizes + b"".join(stored)


HONEST = planes_of(bytes(500) + noise(500), 2)


@pytest.mark.parametrize(
    ("stored", "size"),
    [
        (b"", 1000),
        (HONEST[:1], 1000),
        (HONEST[:8], 1000),
        (b"\0", 1000),  # no stride at all
        (b"\0" + HONEST[1:], 1000),
        (b"\1" + HONEST[1:], 1000),
        (b"\3" + HONEST[1:], 1000),
        (b"\4" + HONEST[1:], 1000),
        (b"\xff" + HONEST[1:], 1000),
        (HONEST, 999),
        (HONEST, 1001),
        (HONEST, 0),
        (HONEST[:-1], 1000),
        (HONEST + b"\0", 1000),
        (struct.pack("<B2I", 2, 500, 500) + bytes(999), 1000),
        (struct.pack("<B2I", 2, 501, 499) + bytes(1000), 1000),
        (struct.pack("<B2I", 2, 0, 1000) + bytes(1000), 1000),
        (struct.pack("<B2I", 2, 2**32 - 1, 2**32 - 1) + bytes(1000), 1000),
        (struct.pack("<B2I", 2, 0, 0), 1000),
        (struct.pack("<B2I", 2, 0, 0), 2**28),
        (struct.pack("<B2I", 2, 1, 0) + b"a", 2),
    ],
)
def test_planes_that_lie_are_refused(stored: bytes, size: int) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(IntegrityError, match="example is damaged"):
            decompress(PLANES, stored, size, "example")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1024 * 1024


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


@pytest.mark.parametrize("honest", [True, False])
def test_a_bomb_in_a_plane_is_refused_before_it_expands(honest: bool) -> None:
    bomb = BOMB if honest else lying(BOMB, 50_000)
    stored = struct.pack("<B2I", 2, len(bomb), 50_000) + bomb + bytes(50_000)
    tracemalloc.start()
    try:
        with pytest.raises(IntegrityError):
            decompress(PLANES, stored, 100_000, "example")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 1024 * 1024


@given(st.data(), st.sampled_from(STRIDES))
def test_damaged_planes_are_refused_or_have_the_right_size(
    data: st.DataObject, stride: int
) -> None:
    good = planes_of(text(700) + noise(100), stride)
    at = data.draw(st.integers(0, len(good) - 1))
    flipped = bytearray(good)
    flipped[at] ^= data.draw(st.integers(1, 255))
    for bad in (bytes(flipped), good[:at], good + b"\0", good + good):
        try:
            found = decompress(PLANES, bad, 800, "example")
        except IntegrityError:
            continue
        assert len(found) == 800  # and its hash will tell


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


@pytest.mark.parametrize("codec", [2, 4, 255])
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
