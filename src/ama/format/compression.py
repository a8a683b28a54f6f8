"""Codecs of a record's bytes: the choice of one, and decoding with a bound.

Model weights hardly compress, text does. A probe of about 4 KiB from the middle tells the two
apart in some microseconds, so incompressible data costs almost nothing.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from ama.errors import UPGRADE, FormatError, IntegrityError
from ama.format.hashing import Buffer

if TYPE_CHECKING:
    import zstandard

RAW: Final = 0
ZSTD: Final = 1

PROBE_SIZE = 4096
WORTH_IT = 0.95
MUCH = 0.5

_local = threading.local()


def compress(data: Buffer) -> tuple[int, Buffer]:
    """Choose a codec for the data; return it and the encoded data.

    It is zstandard where that saves 5 % or more: level 3 if the probe saves half, else level 1.
    Data that the probe holds whole gets level 1 (level 3 makes small JSON files no smaller).

    Example:
        >>> codec, stored = compress(b"a" * 5000)
        >>> codec == ZSTD and len(stored) < 100
        True
    """
    size = len(data)
    if size < 64:
        return RAW, data
    view = memoryview(data)
    whole = size <= PROBE_SIZE
    start = 0 if whole else (size - PROBE_SIZE) // 2
    probe = _compressor(1).compress(view[start : start + PROBE_SIZE])
    ratio = len(probe) / min(size, PROBE_SIZE)
    if ratio > WORTH_IT:
        return RAW, data
    if whole:
        return ZSTD, probe
    stored = _compressor(3 if ratio <= MUCH else 1).compress(view)
    return (ZSTD, stored) if len(stored) <= WORTH_IT * size else (RAW, data)


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


def _compressor(level: int) -> zstandard.ZstdCompressor:
    # A context is costly to make, and threads must not share one.
    contexts: dict[int, zstandard.ZstdCompressor] = _local.__dict__.setdefault("compressors", {})
    if level not in contexts:
        import zstandard

        contexts[level] = zstandard.ZstdCompressor(level=level)
    return contexts[level]


def _decompressor() -> zstandard.ZstdDecompressor:
    context: zstandard.ZstdDecompressor | None = getattr(_local, "decompressor", None)
    if context is None:
        import zstandard

        context = _local.decompressor = zstandard.ZstdDecompressor()
    return context
