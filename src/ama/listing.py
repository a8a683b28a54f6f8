"""Files of an asset as people see them, and finding one by its path."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

from ama.errors import InvalidInput, NotFound, shown
from ama.given import path_text
from ama.names import nearest
from ama.values import File
from ama.worktree.snapshot import Listed
from ama.worktree.status import KIND_NAMES


def as_file(item: Listed) -> File:
    """Return a listed file as a value."""
    return File(item.path, KIND_NAMES[item.kind], item.id.hex(), item.size)


T = TypeVar("T")


def find_file(files: Mapping[str, T], path: str, asset: str) -> T:
    """Return the file at a path of an asset.

    Raises:
        NotFound: there is none; the hint has the nearest.
        InvalidInput: it is a directory, or no path.
    """
    path = path_text("a file's name", path).strip("/")
    if not path:
        raise no_file_named(asset)
    item = files.get(path)
    if item is not None:
        return item
    if any(known.startswith(f"{path}/") for known in files):
        raise InvalidInput(
            f"{shown(path)} is a directory in {asset}", hint=f"list it: ama ls {asset} {path}"
        )
    near = nearest(path, files)
    hint = f"did you mean {' or '.join(near)}?" if near else f"see what is: ama ls {asset}"
    raise NotFound(f"{asset} has no file {shown(path)}", hint=hint)


def require_named(paths: Iterable[str], known: Collection[str]) -> None:
    """Check that paths name files, or directories with some in them.

    Raises:
        NotFound: one names nothing; the hint has the nearest.
    """
    for path in paths:
        if path and path not in known and not any(k.startswith(f"{path}/") for k in known):
            near = nearest(path, known)
            hint = f"did you mean {' or '.join(near)}?" if near else "paths are relative to the top"
            raise NotFound(f"no asset that is compared has {shown(path)}", hint=hint)


def no_file_named(asset: str) -> InvalidInput:
    """Return the error where a file must be named, and only its asset is."""
    name = shown(asset)
    return InvalidInput(
        f"{name} is an asset, and none of its files is named",
        hint=f"name one: {name}:PATH; see what there is: ama ls {name}",
    )
