"""Content-defined chunking: cuts of large objects, so that only changed parts travel.

FastCDC (Xia et al., "The Design of Fast Content-Defined Chunking for Data Deduplication Based
Storage Systems", IEEE TPDS 2020), as the library pyfastcdc has it. Profile 1 is part of the
format: golden cut points in the tests pin it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pyfastcdc import FastCDC

PROFILE = 1
THRESHOLD = 1024 * 1024
"""The bytes from which on an object is cut."""

AVERAGE = 128 * 1024
SMALLEST = 32 * 1024
LARGEST = 512 * 1024


class Source(Protocol):
    """A source of bytes for `chunks`."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill `buffer`, and return the number of bytes read (0 at the end)."""
        ...


def chunks(source: Source) -> Iterator[memoryview]:
    """Yield the chunks of a source, in order. Each is valid until you take the next.

    Example:
        >>> import io
        >>> [len(chunk) for chunk in chunks(io.BytesIO(bytes(600_000)))]
        [524288, 75712]
    """
    for chunk in _cutter().cut_stream(source):
        yield chunk.data


def _cutter() -> FastCDC:
    import pyfastcdc

    if ".cy." not in f"{pyfastcdc.FastCDC.__module__}.":
        warnings.warn(
            "pyfastcdc has no compiled extension here: large files are cut about 50 times slower."
            " Reinstall it where its wheels fit: pip install --force-reinstall pyfastcdc",
            RuntimeWarning,
            stacklevel=3,
        )
    return pyfastcdc.FastCDC(
        avg_size=AVERAGE, min_size=SMALLEST, max_size=LARGEST, normalized_chunking=1, seed=0
    )
