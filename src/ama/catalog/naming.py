"""What values are called: where they are said, and what is near to a name that there is not."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from ama.catalog.documents import join_key, split_key
from ama.errors import InvalidInput
from ama.format.names import nearest

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])").findall
_MOST_KEYS = 20_000


@dataclass(frozen=True, slots=True)
class UnknownKey:
    """A key that a condition names and nothing in a store has, and the nearest that there are."""

    key: str
    near: tuple[str, ...]


class _Link(Protocol):
    @property
    def class_name(self) -> str: ...
    @property
    def label(self) -> str: ...


def source_names(links: Sequence[_Link]) -> list[str]:
    """Return what each ref of an asset is called where it says something for the asset.

    The only one of its class is called by that, whatever its label: so the same values of two
    assets stand side by side where one colleague writes a label and another doesn't. Of several,
    each is called by its label, or the class where it has none. No two names are the same.

    Args:
        links: all refs of one asset, in its order.

    Example:
        >>> from ama.values import Ref
        >>> source_names([Ref("", "models", "old"), Ref("", "inputs", "a"), Ref("", "inputs", "")])
        ['models', 'a', 'inputs']
    """
    of_class = Counter(link.class_name for link in links)
    single = [of_class[link.class_name] == 1 for link in links]
    wanted = [
        link.class_name if only else link.label or link.class_name
        for link, only in zip(links, single, strict=True)
    ]
    names = [""] * len(links)
    times: Counter[str] = Counter()
    taken: set[str] = set()
    # The only ones of a class come first, so that nobody's label takes their name from them.
    for at in sorted(range(len(links)), key=lambda at: not single[at]):
        name = wanted[at]
        while not names[at] or names[at] in taken:
            times[name] += 1
            names[at] = name if times[name] == 1 else f"{name} {times[name]}"
        taken.add(names[at])
    return names


def quoted(place: str) -> str:
    """Return a ref's name or a path as a part of a column's name, in which some signs part.

    Example:
        >>> quoted("training.yml"), quoted("a, b")
        ('training.yml', '"a, b"')
    """
    parts = any(sign in place for sign in ',:"') or place != place.strip()
    return json.dumps(place, ensure_ascii=False) if parts else place


def near_keys(key: str, keys: Iterable[str]) -> list[str]:
    """Return what a key that there is not may have been meant to be: keys, or last parts of some.

    Args:
        key: what the user typed.
        keys: what there is.

    Example:
        >>> near_keys("lr", ["parameters.learning_rate", "parameters.units"])
        ['learning_rate']
        >>> near_keys("val_los", ["best.val_loss"])
        ['val_loss', 'best.val_loss']
    """
    whole = list(islice(keys, _MOST_KEYS))
    lasts = dict.fromkeys(split_key(each)[-1] for each in whole)
    names = [join_key((last,)) for last in lasts if not last.isdigit()]
    wanted = key.strip()
    with suppress(InvalidInput):
        wanted = join_key(split_key(wanted))
    short_for = [name for name in names if len(wanted) > 1 and _initials(name) == wanted.lower()]
    return list(dict.fromkeys([*short_for, *nearest(wanted, [*names, *whole])]))[:3]


def _initials(name: str) -> str:
    return "".join(word[0] for word in _WORD(name)).lower()
