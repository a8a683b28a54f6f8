"""The packages of the Python that runs, as a list that pip reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ama.system.git import public_url

if TYPE_CHECKING:
    from importlib.metadata import Distribution

_SEPARATORS = re.compile(r"[-_.]+")
_VERSION = re.compile(r"[A-Za-z0-9.!+_*-]{1,200}").fullmatch
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}").fullmatch


def list_packages(most: int) -> str:
    """Return the installed packages, one a line: `name==version`, or `name @ URL` for one that
    comes from a repository, an archive or a directory. URLs have no credentials.

    Args:
        most: The most bytes; packages beyond are left out, and a last line says how many.

    Example:
        >>> "blake3==" in list_packages(100_000)
        True
    """
    from importlib.metadata import distributions

    found: dict[str, str] = {}
    for each in distributions():
        described = _described(each)
        if described is not None:
            # Of two with one name, Python imports the one that it finds first.
            found.setdefault(*described)
    lines: list[str] = []
    size = 0
    for _, line in sorted(found.items()):
        size += len(line.encode()) + 1
        if size > most - 40:
            lines.append(f"# and {len(found) - len(lines)} more")
            break
        lines.append(line)
    return "".join(f"{line}\n" for line in lines)


def _described(package: Distribution) -> tuple[str, str] | None:
    """Return a package's canonical name and its line; None if it doesn't say who it is."""
    try:
        name, version = _field(package, "Name"), _field(package, "Version")
        origin = package.read_text("direct_url.json")
    except Exception:  # noqa: BLE001 - whatever a broken package raises, the others are listed
        return None
    if not _PACKAGE(name):
        return None
    name = _SEPARATORS.sub("-", name).lower()
    if origin and (place := _place(origin)):
        return name, f"{name} @ {place}"
    if not _VERSION(version):
        return None
    return name, f"{name}=={version}"


def _field(package: Distribution, name: str) -> str:
    # Its `get` is known to no type checker.
    return package.metadata[name] if name in package.metadata else ""  # noqa: SIM401


def _place(origin: str) -> str | None:
    """Return where a package comes from; None if it can't be said without a credential."""
    import json

    try:
        said: Any = json.loads(origin)
    except ValueError:
        return None
    url = said.get("url") if isinstance(said, Mapping) else None
    public = public_url(url) if isinstance(url, str) and len(url) < 2000 else None
    if public is None or any(c.isspace() for c in public):
        return None
    vcs = said.get("vcs_info")
    if not isinstance(vcs, Mapping):
        return public
    kind, commit = vcs.get("vcs"), vcs.get("commit_id")
    if not all(isinstance(each, str) and _VERSION(each) for each in (kind, commit)):
        return None
    return f"{kind}+{public}@{commit}"
