"""What the `extra` of an asset says of how it was made: the run, and the packages it had.

A store is hostile until checked: what has another form than ama writes is as if it were not there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ama.format.objects import MAX_TEXT

SOURCE, SIZE, MARK, HASH = "import.source", "import.size", "import.mark", "import.hash"
"""What is noted of an asset that was imported: its source's URL, its bytes, what changes when they
do, and their BLAKE3."""

RUN: Final = "run"
ENVIRONMENT: Final = "environment"

RUN_FACTS: Final = ("command", "notebook", "directory", "host", "python", "platform")
"""The facts of a run, in the order in which people read them."""

MAX_ENVIRONMENT: Final = 256 * 1024
"""The most bytes of a list of packages."""

_NAME = re.compile(r"([^\s=@;#]+)(==| @ )(.+)").fullmatch


def run_of(extra: Mapping[str, Any]) -> dict[str, str]:
    """Return the facts of the run that made an asset; empty if it has none.

    Example:
        >>> run_of({"run": {"host": "gpu-7", "colour": "red", "python": 3}})
        {'host': 'gpu-7'}
    """
    said = extra.get(RUN)
    if not isinstance(said, Mapping):
        return {}
    return {
        name: value
        for name in RUN_FACTS
        if type(value := said.get(name)) is str and 0 < len(value) <= MAX_TEXT
    }


def environment_of(extra: Mapping[str, Any]) -> str | None:
    r"""Return the packages that an asset was made with, as lines; None if it has no list.

    Example:
        >>> environment_of({"environment": "numpy==2.1.3\n"})
        'numpy==2.1.3\n'
    """
    said = extra.get(ENVIRONMENT)
    return said if type(said) is str and len(said) <= MAX_ENVIRONMENT else None


def packages_in(environment: str) -> dict[str, str]:
    r"""Return the version of each package in a list, or the place that it comes from.

    Example:
        >>> packages_in("numpy==2.1.3\nours @ git+https://example.org/ours@3f9a2c4\n")
        {'numpy': '2.1.3', 'ours': 'git+https://example.org/ours@3f9a2c4'}
    """
    matches = (_NAME(line.strip()) for line in environment.split("\n"))
    return {match[1]: match[3] for match in matches if match}
