"""What the refs of an asset are called as sources of values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol


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
