"""Files of an asset as people see them, and finding one by its path."""

from __future__ import annotations

from collections.abc import Mapping

from ama.errors import InvalidInput, NotFound, shown
from ama.names import nearest
from ama.values import File
from ama.worktree.snapshot import Listed
from ama.worktree.status import KIND_NAMES


def as_file(item: Listed) -> File:
    """Return a listed file as a value."""
    return File(item.path, KIND_NAMES[item.kind], item.id.hex(), item.size)


def find_file(files: Mapping[str, Listed], path: str, asset: str) -> Listed:
    """Return the file at a path of an asset.

    Raises:
        NotFound: there is none; the hint has the nearest.
        InvalidInput: it is a directory.
    """
    path = path.strip("/")
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
