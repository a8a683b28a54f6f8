"""Tensors in files: a name, a type, a shape; and which tensors of two files correspond."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

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
