"""Tensors as files list them, which are the same one, and those of safetensors files.

A safetensors file begins with a JSON header; all of it is checked before a tensor is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any, TypeGuard

from ama.contents.text import Pieces
from ama.errors import FormatError, shown
from ama.format.hashing import pieces_id

MAX_TENSORS = 100_000
"""The most tensors of a file; with more it counts as broken."""

MAX_NAME = 4096
"""The most characters of a tensor's name."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a file.

    `dtype` is numpy's name of the type, if it has one. `shape` is None if only other files know it,
    and () for a single value. `digest` is the BLAKE3 hash of its bytes in the file, if asked for
    and if the format has them in one place.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] | None
    digest: str | None = None


def paired(old: Iterable[str], new: Iterable[str]) -> tuple[tuple[str | None, str | None], ...]:
    """Pair the tensors of two files, in the order of their names.

    Equal names pair first. Of the others, those pair whose names differ only in counters, in the
    counters' order: Keras calls a layer `dense`, and the next one in the same process `dense_1`.

    Args:
        old: The names in one file.
        new: The names in the other.

    Returns:
        The name in each file; None if it has no such tensor.

    Example:
        >>> paired(["bias", "dense/kernel", "scale"], ["bias", "dense_4/kernel"])
        (('bias', 'bias'), ('dense/kernel', 'dense_4/kernel'), ('scale', None))
    """
    before, now = set(old), set(new)
    pairs: list[tuple[str | None, str | None]] = [(name, name) for name in before & now]
    others, others_now = _by_stem(before - now), _by_stem(now - before)
    for stem in others.keys() | others_now.keys():
        left, right = others.get(stem, []), others_now.get(stem, [])
        if len(left) == len(right):
            pairs += zip(left, right, strict=True)
        else:
            pairs += [(name, None) for name in left]
            pairs += [(None, name) for name in right]
    return tuple(sorted(pairs, key=lambda pair: (pair[0] or pair[1] or "", pair[1] is None)))


_COUNTER = re.compile(r"_([0-9]+)(?=[/_]|\Z)")


def _by_stem(names: Iterable[str]) -> dict[str, list[str]]:
    """Group names that differ only in counters, in the counters' order."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda name: (list(map(int, _COUNTER.findall(name))), name)):
        groups.setdefault(_COUNTER.sub("", name), []).append(name)
    return groups


MAX_HEADER = 16_000_000
"""A header of so many bytes is read at most; 100,000 tensors need no more."""

_MAX_DIMENSIONS = 64
_METADATA = "__metadata__"

# The names of its types -> numpy's (where there is one), and their bits.
_TYPES = {
    "BOOL": ("bool", 8),
    "U8": ("uint8", 8),
    "I8": ("int8", 8),
    "U16": ("uint16", 16),
    "I16": ("int16", 16),
    "U32": ("uint32", 32),
    "I32": ("int32", 32),
    "U64": ("uint64", 64),
    "I64": ("int64", 64),
    "F16": ("float16", 16),
    "BF16": ("bfloat16", 16),
    "F32": ("float32", 32),
    "F64": ("float64", 64),
    "C64": ("complex64", 64),
    "F8_E4M3": ("float8_e4m3", 8),
    "F8_E5M2": ("float8_e5m2", 8),
    "F8_E8M0": ("float8_e8m0", 8),
    "F4": ("float4", 4),
}


@dataclass(frozen=True, slots=True)
class _Place:
    """The place of a tensor's bytes, counted from the end of the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def looks_like(head: bytes) -> bool:
    r"""Whether a file that begins so is, or claims to be, a safetensors file.

    Example:
        >>> looks_like(b"\x02" + bytes(7) + b"{}"), looks_like(b"text, and no length")
        (True, False)
    """
    return head[8:9] == b"{" and head[5:8] == bytes(3)


def read_safetensors(file: Pieces, *, digests: bool = False) -> tuple[Tensor, ...]:
    """List the tensors of a safetensors file, in the order of their names.

    The file is read to its end: what is in it counts only once the whole is verified.

    Args:
        file: The file, at its beginning.
        digests: Whether the tensors' bytes are hashed.

    Raises:
        FormatError: It isn't one, or a broken one.

    Example:
        >>> header = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
        >>> file = Pieces([len(header).to_bytes(8, "little"), header, bytes(8)])
        >>> read_safetensors(file)
        (Tensor(name='w', dtype='float32', shape=(2,), digest=None),)
    """
    size = int.from_bytes(file.read(8), "little")
    if size > MAX_HEADER:
        raise _broken(f"its header is said to have {size:,} bytes, more than {MAX_HEADER:,}")
    header = file.read(size)
    if len(header) < size:
        raise _broken("it ends within its header")
    places = _places(_parse(header))
    start = file.position
    hashed: dict[str, str] = {}
    for place in places:
        for _ in file.upto(start + place.begin - file.position):
            pass
        length = place.end - place.begin
        if digests:
            hashed[place.name] = pieces_id(file.upto(length)).hex()
        if file.position - start < place.begin:
            break
    end = max((place.end for place in places), default=0)
    if file.drain() - start < end:
        raise _broken("it ends before its last tensor does")
    tensors = (Tensor(p.name, p.dtype, p.shape, hashed.get(p.name)) for p in places)
    return tuple(sorted(tensors, key=lambda tensor: tensor.name))


def _parse(header: bytes) -> dict[str, Any]:
    # A tensor takes one pair of braces and two of brackets: more would only take memory.
    if header.count(b"{") > 2 * MAX_TENSORS or header.count(b"[") > 4 * MAX_TENSORS:
        raise _broken(f"it lists more than {MAX_TENSORS:,} tensors")
    try:
        found = json.loads(header.decode(), object_pairs_hook=_without_twins)
    except (ValueError, RecursionError) as error:
        raise _broken("its header is not valid JSON") from error
    if not isinstance(found, dict) or len(found) > MAX_TENSORS:
        raise _broken(f"its header is no list of at most {MAX_TENSORS:,} tensors")
    return found


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _broken("its header repeats a name")
    return found


def _places(header: dict[str, Any]) -> list[_Place]:
    """Return the tensors in the order in which they lie in the file."""
    tensors = [_place(name, said) for name, said in header.items() if name != _METADATA]
    tensors.sort(key=lambda place: (place.begin, place.end))
    for before, after in pairwise(tensors):
        if after.begin < before.end:
            raise _broken(f"{shown(before.name)} and {shown(after.name)} overlap in it")
    return tensors


def _place(name: str, said: Any) -> _Place:
    if len(name) > MAX_NAME:
        raise _broken(f"a tensor's name is longer than {MAX_NAME:,} characters")
    dtype, shape, offsets = (
        (said.get("dtype"), said.get("shape"), said.get("data_offsets"))
        if isinstance(said, dict)
        else (None, None, None)
    )
    if (
        not isinstance(dtype, str)
        or len(dtype) > _MAX_DIMENSIONS
        or not _are_counts(shape)
        or not _are_counts(offsets)
        or len(offsets) != 2
        or offsets[0] > offsets[1]
    ):
        raise _broken(f"what it says of {shown(name)} is not a type, a shape and a place")
    known, bits = _TYPES.get(dtype, (dtype.lower(), None))
    begin, end = offsets
    if bits is not None and (prod(shape) * bits + 7) // 8 != end - begin:
        raise _broken(
            f"{shown(name)} has {end - begin:,} bytes in it, which is not its shape's size"
        )
    return _Place(name, known, tuple(shape), begin, end)


def _are_counts(value: object) -> TypeGuard[list[int]]:
    return (
        isinstance(value, list)
        and len(value) <= _MAX_DIMENSIONS
        and all(type(item) is int and 0 <= item < 2**63 for item in value)
    )


def _broken(why: str) -> FormatError:
    return FormatError(f"a broken safetensors file: {why}")
