"""Tensors of HDF5 files, through h5py. It runs in a process of its own: see `hdf5_process`.

It follows only hard links, and reads no values from other files: a file must not decide which
others are opened.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ama.contents.hdf5_process import ANSWER, NEW, OLD
from ama.contents.tensors import MAX_NAME, MAX_TENSORS, paired
from ama.system import fs

_BLOCK = 16 * 1024 * 1024
_LARGEST_CHUNK = 1024 * 1024 * 1024
_DEFLATED = 1100  # no filter in use shrinks data more; a larger claim is false
_LONGEST_TEXT = 200

Row = tuple[str, str, list[int] | None]  # name, type, shape
Values = tuple[int, float | None]  # how many differ, by how much at most


def answer(directory: str) -> None:
    """List the tensors of the files in a directory, and compare the values of those in both.

    Args:
        directory: The directory with `OLD` or `NEW` or both. It gets `ANSWER`: an object with
            `error`, or with `old` and `new` (rows of name, type and shape) and `values`: by the new
            name of each tensor in both, how many values differ and by how much at most (null where
            that has no meaning). It is null if unknown, and absent if none differs.
    """
    place = Path(directory)
    said: dict[str, object]
    try:
        said = _answer(place / OLD, place / NEW)
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, MemoryError) as error:
        said = {"error": (str(error) or type(error).__name__)[:_LONGEST_TEXT]}
    fs.write_private(place / ANSWER, json.dumps(said).encode())


def _answer(old: Path, new: Path) -> dict[str, object]:
    opened = [h5py.File(path, "r") if path.exists() else None for path in (old, new)]
    before, now = [{} if file is None else dict(_datasets(file)) for file in opened]
    values = {}
    for was, name in paired(before, now):
        if was is not None and name is not None:
            found = _compared(before[was], now[name])
            if found != (0, None):
                values[name] = found
    return {
        "old": [_row(name, dataset) for name, dataset in sorted(before.items())],
        "new": [_row(name, dataset) for name, dataset in sorted(now.items())],
        "values": values,
    }


def _datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield the datasets behind hard links, each group once: links may form circles."""
    seen = {_address(file)}
    waiting = [("", file["/"])]
    links = 0
    while waiting:
        prefix, group = waiting.pop()
        for name in group:
            links += 1
            path = prefix + name
            if links > MAX_TENSORS or len(path) > MAX_NAME:
                raise ValueError(
                    f"it lists more than {MAX_TENSORS:,} tensors and groups, or one whose name is"
                    f" longer than {MAX_NAME:,} characters"
                )
            if not _is_hard(group, name):
                continue
            found = group[name]
            if isinstance(found, h5py.Dataset):
                yield path, found
            elif isinstance(found, h5py.Group) and _address(found) not in seen:
                seen.add(_address(found))
                waiting.append((f"{path}/", found))


def _is_hard(group: h5py.Group, name: str) -> bool:
    try:
        return isinstance(group.get(name, getlink=True), h5py.HardLink)
    except TypeError:  # a kind of link of its writer's own
        return False


def _address(thing: h5py.Group) -> int:
    return int(h5py.h5o.get_info(thing.id).addr)


def _row(name: str, dataset: h5py.Dataset) -> Row:
    try:
        dtype = "str" if _is_text(dataset.dtype) else str(dataset.dtype)
    except TypeError:  # a type that numpy doesn't have
        dtype = "unknown"
    shape = _shape(dataset)
    return name, dtype[:_LONGEST_TEXT], None if shape is None else list(shape)


def _shape(dataset: h5py.Dataset) -> tuple[int, ...] | None:
    """Return a shape; None if there is none, or only other files know it."""
    # Don't ask `is_virtual` or `shape`: that opens those files.
    if dataset.id.get_create_plist().get_layout() == h5py.h5d.VIRTUAL:
        return None
    shape: tuple[int, ...] | None = dataset.shape
    return shape


def _is_text(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "O" and h5py.check_string_dtype(dtype) is not None


def _compared(old: h5py.Dataset, new: h5py.Dataset) -> Values | None:
    """Return how many values differ and by how much; None if unknown."""
    try:
        shape, dtype = _shape(old), old.dtype
        if shape is None or shape != _shape(new) or dtype != new.dtype:
            return None
        if not (_has_values(old) and _has_values(new)):
            return None
        number, most = 0, None
        for block in _blocks(shape, max(1, _BLOCK // max(1, dtype.itemsize))):
            found, by = _differing(np.asarray(old[block]), np.asarray(new[block]))
            number += found
            most = by if most is None else most if by is None else max(most, by)
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, MemoryError):
        return None
    return number, most if number else None


def _has_values(dataset: h5py.Dataset) -> bool:
    """Whether this very file has the values, as many as it claims, so that they can be read."""
    plan = dataset.id.get_create_plist()
    if plan.get_external_count():
        return False
    size = prod(dataset.shape) * dataset.dtype.itemsize
    chunk = prod(dataset.chunks or ()) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    return bool(chunk <= _LARGEST_CHUNK and size <= _DEFLATED * stored + _BLOCK)


def _blocks(shape: tuple[int, ...], most: int) -> Iterator[tuple[slice, ...]]:
    """Cut a shape into blocks of at most `most` values."""
    if prod(shape) <= most:
        yield tuple(slice(0, size) for size in shape)
        return
    row = prod(shape[1:])
    step = max(1, most // row)
    for at in range(0, shape[0], step):
        rows = slice(at, min(at + step, shape[0]))
        for inner in _blocks(shape[1:], most) if row > most else [()]:
            yield (rows, *inner)


def _differing(old: np.ndarray[Any, Any], new: np.ndarray[Any, Any]) -> Values:
    kind = old.dtype.kind
    if old.dtype.hasobject and not _is_text(old.dtype):  # numpy has addresses then
        raise TypeError("values of such a type have no equality")
    if kind not in "biufcOSU":  # compare records and the like by their bytes
        width = old.dtype.itemsize
        old, new = (
            np.frombuffer(each.tobytes(), np.uint8).reshape(-1, width) for each in (old, new)
        )
        return int((old != new).any(axis=1).sum()), None
    differs = np.atleast_1d(old != new)
    if kind in "fc":
        differs &= ~np.atleast_1d(np.isnan(old) & np.isnan(new))
    number = int(differs.sum())
    if not number or kind in "bOSU":
        return number, None
    a, b = np.atleast_1d(old)[differs], np.atleast_1d(new)[differs]
    if kind in "iu":
        return number, float(_furthest(a, b))
    with np.errstate(all="ignore"):
        exact = np.complex128 if kind == "c" else np.float64
        distances = np.abs(a.astype(exact) - b.astype(exact))
    distances = distances[~np.isnan(distances)]
    return number, float(distances.max()) if len(distances) else None


def _furthest(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> int:
    """Return the largest distance between two integers."""
    # Modulo their range, as unsigned numbers, differences don't overflow.
    unsigned = np.dtype(f"u{a.dtype.itemsize}")
    larger, smaller = np.maximum(a, b), np.minimum(a, b)
    return int((larger.astype(unsigned) - smaller.astype(unsigned)).max())
