"""Roles of values (code, parameter, metric or data), by their names and content.

The defaults fit what training pipelines write; where they don't, a class has rules of its own.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import islice
from typing import Literal, Protocol

from ama.catalog.documents import Value, join_key, split_key
from ama.catalog.words import HIGHER, LOWER, STEPS, words_of
from ama.errors import InvalidInput
from ama.format.names import nearest
from ama.format.recorded import RUN_FACTS

Role = Literal["code", "parameter", "metric", "data", "run", "other"]

Direction = Literal["higher", "lower"]
"""The better values of a metric."""

MANY = 200
"""The most values of a document of unknown purpose that count as parameters."""

_COMMIT = frozenset("commit revision sha git_commit commit_hash commit_sha git_sha".split())
_HASH = re.compile(r"[0-9a-f]{7,64}").fullmatch
_CODE_FILES = frozenset("git commit code vcs".split())
_DATA = frozenset("data dataset datasets corpus".split())
_METRIC_FILES = frozenset(
    "metric metrics summary result results eval evaluation score scores history report".split()
)
_PARAMETER_FILES = frozenset(
    "param params parameter parameters config configuration conf cfg training train hparams"
    " hyperparameters settings args arguments options model run".split()
)
_TABLES = frozenset((".csv", ".tsv", ".jsonl", ".ndjson"))
_ARRAYS = frozenset((".npy", ".npz", ".parquet"))
_DATA_KEY = re.compile(r"rows|columns\..*", re.DOTALL).fullmatch
_OTHER_FILES = frozenset("meta metadata info about description readme".split())


RUN = "run."
RUN_KEYS = tuple(RUN + name for name in RUN_FACTS)
"""The keys of what is recorded of runs."""


def run_values(run: Mapping[str, str]) -> dict[str, str]:
    """Return what is recorded of a run as values beside an asset's metadata, by their keys.

    Example:
        >>> run_values({"host": "gpu-7"})
        {'run.host': 'gpu-7'}
    """
    return {RUN + name: value for name, value in run.items()}


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a class: globs `FILE` or `FILE:KEY`, and for metrics `KEY`.

    Example:
        >>> rules = Rules(roles={"metric": ("notes.yml:eval.*",)})
        >>> roles_of("notes.yml", {"eval.speed": 3}, rules)
        {'eval.speed': 'metric'}
    """

    roles: Mapping[Role, Sequence[str]] = field(default_factory=dict)
    better: Mapping[Direction, Sequence[str]] = field(default_factory=dict)


def roles_of(path: str, document: Mapping[str, Value], rules: Rules) -> dict[str, Role]:
    """Return the role of each value in a document, by its key.

    Args:
        path: The file; empty for an asset's metadata.
        document: All of its values, by dotted keys.
        rules: The rules of the class, which take precedence.

    Example:
        >>> roles_of("summary.json", {"best.val_loss": 0.3, "model": "large"}, Rules())
        {'best.val_loss': 'metric', 'model': 'other'}
        >>> roles_of("training.yml", {"batch_size": 32, "datasets.0.name": "digits"}, Rules())
        {'batch_size': 'parameter', 'datasets.0.name': 'data'}
    """
    stem, ending = posixpath.splitext(posixpath.basename(path))
    words, ending = words_of(stem), ending.lower()
    is_data = ending in _ARRAYS or all(map(_DATA_KEY, document))
    parts = {key: split_key(key) for key in document}
    commits = {parts[key][:-1] for key, value in document.items() if _is_commit(parts[key], value)}

    def role(key: str, value: Value) -> Role:
        *table, last = parts[key]
        for configured, globs in rules.roles.items():
            if any(_matches(glob, path, key) for glob in globs):
                return configured
        if words & _CODE_FILES or tuple(table) in commits or (not path and parts[key][0] == "git"):
            return "code"
        if not path and key in RUN_KEYS:
            return "run"
        if words & _DATA or not _DATA.isdisjoint(part.lower() for part in parts[key]):
            return "data"
        is_number = _is_number(value)
        if ending in _TABLES | _ARRAYS:
            return _role_in_table(last, is_number=is_number, is_data=is_data)
        if is_number and words & _METRIC_FILES:
            return "metric"
        if words & _PARAMETER_FILES:
            return "parameter"
        if is_number and words_of(last) & (LOWER | HIGHER):
            return "metric"
        if not path or words & (_OTHER_FILES | _METRIC_FILES) or len(document) > MANY:
            return "other"
        return "parameter"

    return {key: role(key, value) for key, value in document.items()}


def _role_in_table(name: str, *, is_number: bool, is_data: bool) -> Role:
    if is_data:
        return "data"
    return "metric" if is_number and not words_of(name) & STEPS else "other"


def direction_of(key: str, rules: Rules) -> Direction | None:
    """Return which values of a metric are better; None if that isn't known.

    Example:
        >>> direction_of("best.val_loss", Rules()), direction_of("val_accuracy", Rules())
        ('lower', 'higher')
    """
    last = split_key(key)[-1]
    for direction, globs in rules.better.items():
        if any(fnmatchcase(key, glob) or fnmatchcase(last, glob) for glob in globs):
            return direction
    words = words_of(last)
    if words & LOWER:
        return "lower"
    return "higher" if words & HIGHER else None


def _matches(glob: str, path: str, key: str) -> bool:
    file, colon, wanted = glob.partition(":")
    name = path if "/" in file else posixpath.basename(path)
    return fnmatchcase(name, file) and (not colon or fnmatchcase(key, wanted))


def _is_commit(parts: Sequence[str], value: Value) -> bool:
    return parts[-1].lower() in _COMMIT and isinstance(value, str) and bool(_HASH(value.lower()))


def _is_number(value: Value) -> bool:
    if isinstance(value, tuple):
        return bool(value) and all(map(_is_number, value))
    return isinstance(value, int | float) and not isinstance(value, bool)


_PART_OF_NAME = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])").findall
_MOST_KEYS = 20_000


@dataclass(frozen=True, slots=True)
class UnknownKey:
    """A key in a condition that nothing in a store has, with suggestions."""

    key: str
    near: tuple[str, ...]


class _Link(Protocol):
    @property
    def class_name(self) -> str: ...
    @property
    def label(self) -> str: ...


def source_names(links: Sequence[_Link]) -> list[str]:
    """Return the name of each ref of an asset as a source of its facts.

    The only ref to a class has the class's name, whatever its label: so equal values of two
    assets stand side by side even if one colleague writes a label and another doesn't. Of several,
    each has the name of its label, or of the class if it has none. No two names are equal.

    Args:
        links: All refs of one asset, in its order.

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
    # Refs that are alone in their class come first, so that no label takes their names.
    for at in sorted(range(len(links)), key=lambda at: not single[at]):
        name = wanted[at]
        while not names[at] or names[at] in taken:
            times[name] += 1
            names[at] = name if times[name] == 1 else f"{name} {times[name]}"
        taken.add(names[at])
    return names


def quoted(place: str) -> str:
    """Return a ref's name or a path as a part of a column's name, with separators quoted.

    Example:
        >>> quoted("training.yml"), quoted("a, b")
        ('training.yml', '"a, b"')
    """
    parts = any(sign in place for sign in ',:"') or place != place.strip()
    return json.dumps(place, ensure_ascii=False) if parts else place


def near_keys(key: str, keys: Iterable[str]) -> list[str]:
    """Return suggestions for an unknown key: keys, or last parts of keys.

    Args:
        key: The unknown key.
        keys: The known keys.

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
    return "".join(word[0] for word in _PART_OF_NAME(name)).lower()
