"""Codecs of a record's bytes: the choice of one, and decoding with a bound.

Model weights hardly compress, text does. A probe of a few KiB from the middle tells what to do, in
some microseconds, so incompressible data costs almost nothing.

Numbers of 2, 4 or 8 bytes, such as weights, compress better as *byte planes*: all first bytes, all
second bytes, and so on. The bytes with the exponents have few values; those with the low bits have
all of them, and are kept as they are. HDF5's shuffle filter and Blosc do the same.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Final

from ama.errors import UPGRADE, FormatError, IntegrityError
from ama.format.hashing import Buffer

if TYPE_CHECKING:
    import zstandard

RAW: Final = 0
ZSTD: Final = 1
PLANES: Final = 3

BYTE_PLANES: Final = "byte-planes"
"""The feature of stores whose records may have the codec PLANES."""

PROBE_SIZE = 4096

WORTH_IT = 0.95
"""The share that encoded data takes at most; what doesn't compress is stored as it is."""

MUCH = 0.5
"""The share of a probe up to which it surely repeats itself."""

BETTER = 0.97
"""The share of what zstandard alone takes that byte planes take at most."""

SMALL = 2 * PROBE_SIZE
"""The bytes up to which trying is as much work as doing."""

SAMPLE_SIZE = 2 * PROBE_SIZE
"""The bytes that two codecs are compared on: enough for planes to be longer than their tables."""

STRIDES = (2, 4, 8)
"""The sizes of numbers whose bytes may be split into planes."""

_LOOK_SIZE = 2048
_ALIKE = 16  # of 2,048 random bytes, 8 are
_MATCHES = 0.99  # of what their single bytes take alone, from which on matches are worth a search
_MISLED = 1.1  # of what a sample promises

_STRIDE = Struct("<B")
_SIZES = {stride: Struct(f"<{stride}I") for stride in STRIDES}

_FAST: Final = "fast"
_THOROUGH: Final = "thorough"
_SYMBOLS: Final = "symbols"
_SETTINGS: Final[Mapping[str, Mapping[str, int]]] = {
    _FAST: {"compression_level": 1},
    # Two steps deeper than level 5: programs and text take 4 % less than at level 3, and twice
    # its time.
    _THOROUGH: {"compression_level": 5, "search_log": 5, "min_match": 4},
    # Hardly a match is found, so it is all Huffman: on bytes of exponents, which match only by
    # chance, 3 % less than level 1 in a third of the time.
    _SYMBOLS: {"compression_level": 1, "min_match": 7, "hash_log": 6},
}

_local = threading.local()


def compress(data: Buffer, *, planes: bool = False) -> tuple[int, Buffer]:
    """Choose a codec for the data; return it and the encoded data.

    It is one that saves 5 % or more. Data that holds repetitions is searched for them thoroughly.

    Args:
        data: The data.
        planes: Whether byte planes may be chosen, where they save 3 % more.

    Example:
        >>> codec, stored = compress(b"a" * 5000)
        >>> codec == ZSTD and len(stored) < 100
        True
    """
    size = len(data)
    if size < 64:
        return RAW, data
    view = memoryview(data)
    if size <= SMALL:
        return _worthy(ZSTD, _zstd(_FAST, view), data)
    probe = _middle(view, PROBE_SIZE)
    tried = len(_zstd(_FAST, probe))
    stride, share = _stride(view) if planes else (0, 0.0)
    if tried > WORTH_IT * PROBE_SIZE and not stride:
        return RAW, data
    repeats = tried <= MUCH * PROBE_SIZE or tried <= _MATCHES * len(_zstd(_SYMBOLS, probe))
    if not stride:
        return _worthy(ZSTD, _zstd(_THOROUGH if repeats else _FAST, view), data)
    split = _encode_planes(view, stride)
    # The middle of a program may be a table of numbers, and the rest of it not.
    if repeats or len(split) > _MISLED * share * size:
        plain = _zstd(_THOROUGH, view)
        if len(split) > BETTER * len(plain):
            return _worthy(ZSTD, plain, data)
    return _worthy(PLANES, split, data)


def _worthy(codec: int, stored: bytes, data: Buffer) -> tuple[int, Buffer]:
    return (codec, stored) if len(stored) <= WORTH_IT * len(data) else (RAW, data)


def _middle(view: memoryview, size: int) -> memoryview:
    start = max(0, len(view) - size) // 2
    return view[start : start + size]


def _stride(view: memoryview) -> tuple[int, float]:
    """Return the stride at which byte planes save enough, or 0; and what share a sample takes."""
    look = bytes(_middle(view, _LOOK_SIZE))
    # In numbers of 2, 4 or 8 bytes, bytes 8 apart are alike more often than bytes 7 apart.
    alike = _alike(look, 8)
    if alike < _ALIKE or alike - _alike(look, 7) < _ALIKE // 2:
        return 0, 0.0
    sample = _middle(view, SAMPLE_SIZE)
    size, stride = min((len(_encode_planes(sample, stride)), stride) for stride in STRIDES)
    worth_it = size <= BETTER * len(_zstd(_FAST, sample))
    return (stride, size / len(sample)) if worth_it else (0, 0.0)


def _alike(data: bytes, apart: int) -> int:
    """Return how many bytes are equal to the one that lies `apart` bytes behind them."""
    bits = int.from_bytes(data, "little")
    return (bits ^ bits >> 8 * apart).to_bytes(len(data), "little").count(0)


def _encode_planes(view: memoryview, stride: int) -> bytes:
    whole = bytes(view)  # slicing bytes is ten times as fast as slicing a view
    stored = [_encode_plane(whole[first::stride]) for first in range(stride)]
    sizes = _SIZES[stride].pack(*map(len, stored))
    return b"".join([_STRIDE.pack(stride), sizes, *stored])


def _encode_plane(plane: bytes) -> bytes:
    stored = _zstd(_SYMBOLS, plane)
    return stored if len(stored) <= WORTH_IT * len(plane) else plane


def decompress(codec: int, stored: Buffer, full_size: int, what: str) -> bytes:
    """Return the decoded bytes, and never expand beyond `full_size` bytes.

    Raises:
        IntegrityError: The bytes are damaged, or don't decode to exactly `full_size` bytes.
        FormatError: A newer version of ama has written it: the codec is unknown.

    Example:
        >>> decompress(RAW, b"abc", 3, "example")
        b'abc'
    """
    if codec == RAW:
        data = bytes(stored)
    elif codec == ZSTD:
        data = _expand(stored, full_size, what)
    elif codec == PLANES:
        data = _join_planes(memoryview(stored), full_size, what)
    else:
        raise FormatError(
            f"{what} is stored with codec {codec}, which this version of ama does not know",
            hint=UPGRADE,
        )
    if len(data) != full_size:
        raise IntegrityError(f"{what} is damaged: {len(data)} bytes, not {full_size}")
    return data


def _expand(stored: Buffer, full_size: int, what: str) -> bytes:
    import zstandard

    try:
        # Zstandard would believe the size in the frame: check it before expanding. And where the
        # frame claims to be empty, zstandard would not look at the rest.
        if zstandard.frame_content_size(stored) != full_size or not full_size:
            raise IntegrityError(f"{what} is damaged: its size is not {full_size} bytes")
        expanded: bytes = _decompressor().decompress(stored, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise IntegrityError(f"{what} is damaged: {error}") from error
    return expanded


def _join_planes(stored: memoryview, full_size: int, what: str) -> bytes:
    """Return the bytes of which these are the planes.

    Each plane has a size that follows from `full_size`, and is expanded to no more.
    """
    kept = _planes(stored, what)
    stride = len(kept)
    # Each one before there is room for the whole: a lie about its size costs nothing.
    planes = [
        _plane(plane, len(range(first, full_size, stride)), what)
        for first, plane in enumerate(kept)
    ]
    joined = bytearray(full_size)
    for first, plane in enumerate(planes):
        joined[first::stride] = plane
    return bytes(joined)


def _plane(stored: memoryview, size: int, what: str) -> Buffer:
    if len(stored) > size:
        raise IntegrityError(f"{what} is damaged: a byte plane is stored larger than it is")
    return stored if len(stored) == size else _expand(stored, size, what)


def _planes(stored: memoryview, what: str) -> Sequence[memoryview]:
    """Return the stored planes: as many as the stride, which is the first byte."""
    layout = _SIZES.get(stored[0]) if stored else None
    at = _STRIDE.size + (layout.size if layout else 0)
    if layout is None or len(stored) < at:
        raise IntegrityError(f"{what} is damaged: its byte planes have an impossible form")
    sizes = layout.unpack(stored[_STRIDE.size : at])
    if at + sum(sizes) != len(stored):
        raise IntegrityError(f"{what} is damaged: its byte planes have other sizes than it says")
    planes = []
    for size in sizes:
        planes.append(stored[at : at + size])
        at += size
    return planes


def _zstd(setting: str, data: Buffer) -> bytes:
    compressed: bytes = _compressor(setting).compress(data)
    return compressed


def _compressor(setting: str) -> zstandard.ZstdCompressor:
    # A context is costly to make, and threads must not share one.
    contexts: dict[str, zstandard.ZstdCompressor] = _local.__dict__.setdefault("compressors", {})
    if setting not in contexts:
        import zstandard

        parameters = zstandard.ZstdCompressionParameters(**_SETTINGS[setting])
        contexts[setting] = zstandard.ZstdCompressor(compression_params=parameters)
    return contexts[setting]


def _decompressor() -> zstandard.ZstdDecompressor:
    context: zstandard.ZstdDecompressor | None = getattr(_local, "decompressor", None)
    if context is None:
        import zstandard

        context = _local.decompressor = zstandard.ZstdDecompressor()
    return context
