"""The index of an exported site: what its search page looks through, in the browser.

It is a script that only holds data, since pages that are opened from a disk may load nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ama.catalog.overview import AssetLine
from ama.catalog.values import Fact
from ama.dashboard.views import ROLES
from ama.dashboard.wording import moment_text, plain_text, value_text

MOST_ASSET_BYTES = 4_000_000
MOST_SAID_BYTES = 4_000_000
"""A phone has to read it all: of more assets, and of more that they say, the newest are in it."""

MOST_FILES = 50_000
MOST_SAID = 60
"""So much of what one asset says is in it, metrics and parameters first."""

DIGITS = 20
"""Files are known by so many digits of their hashes."""


@dataclass(frozen=True, slots=True)
class Index:
    """A script that defines one constant, and what is in it.

    `unsaid` is how many of the assets say more than there was room for.
    """

    script: str
    assets: int
    assets_left_out: int
    unsaid: int
    files_left_out: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """An asset: what is told of it, and what it says."""

    line: AssetLine
    directory: str
    said: tuple[str, ...]
    whole: bool


class SearchIndex:
    """Collects what can be searched.

    Example:
        >>> index = SearchIndex()
        >>> index.add_file("af1349b9f5f9a1a6a0404dea36dcc949")
        >>> index.made().script.startswith("const INDEX = {")
        True
    """

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._known: dict[str, str] = {}
        self._files: list[str] = []

    def add(self, line: AssetLine, facts: Sequence[Fact], directory: str) -> None:
        """Add an asset.

        Args:
            line: what is told of it.
            facts: what it says.
            directory: where the site has the pages of its class.
        """
        chosen = sorted(facts, key=_place)[:MOST_SAID]
        # Most assets of a class say much the same: each text is kept once.
        said = tuple(self._known.setdefault(text, text) for text in map(_text, chosen))
        self._entries.append(_Entry(line, directory, said, len(chosen) == len(facts)))

    def add_file(self, digest: str) -> None:
        """Add a file that has a page, by its hash in hex digits."""
        self._files.append(digest[:DIGITS])

    def made(self) -> Index:
        """Return the index, the newest assets first, within its limits."""
        classes: dict[tuple[str, str], int] = {}
        authors: dict[str, int] = {}
        said: dict[str, int] = {}
        assets: list[list[Any]] = []
        asset_bytes = said_bytes = unsaid = 0
        for entry in sorted(self._entries, key=_age):
            line = entry.line
            told = [
                classes.setdefault((line.class_name, entry.directory), len(classes)),
                line.number,
                [plain_text(alias) for alias in line.aliases[:20]],
                authors.setdefault(plain_text(line.author)[:200], len(authors)),
                moment_text(line.created_at),
                plain_text(line.message)[:300],
                "" if line.status == "active" else line.status,
                line.id[:12],
            ]
            asset_bytes += _size(told)
            if asset_bytes > MOST_ASSET_BYTES:
                break
            new = [text for text in entry.said if text not in said]
            said_bytes += _size(new) + 7 * len(entry.said)
            fits = said_bytes <= MOST_SAID_BYTES
            numbers = [said.setdefault(text, len(said)) for text in entry.said] if fits else []
            assets.append([*told, numbers])
            unsaid += not (fits and entry.whole)
        index = {
            "classes": list(classes),
            "authors": list(authors),
            "said": list(said),
            "assets": assets,
            "digits": DIGITS,
            "files": "".join(self._files[:MOST_FILES]),
        }
        return Index(
            f"const INDEX = {_json(index)};\n",
            len(assets),
            len(self._entries) - len(assets),
            unsaid,
            max(0, len(self._files) - MOST_FILES),
        )


def _place(fact: Fact) -> tuple[bool, int, bool]:
    """Metadata comes first, which somebody has written by hand; histories come last of a role."""
    return bool(fact.file), list(ROLES).index(fact.role), isinstance(fact.value, tuple)


def _text(fact: Fact) -> str:
    file = fact.file or "metadata"
    file = f"{fact.source} › {file}" if fact.source else file
    return plain_text(f"{file}: {fact.key} = {value_text(fact.value, 120)}")


def _age(entry: _Entry) -> float:
    at = entry.line.created_at
    return -at.timestamp() if at else 0.0


def _size(value: object) -> int:
    return len(_json(value).encode())


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
