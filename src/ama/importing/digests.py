"""Digests by which other tools name content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from ama.errors import StorageError, shown
from ama.system import disk, fs


def md5_of(path: Path) -> str:
    """Return the MD5 of a file.

    Raises:
        StorageError: It can't be read.
    """
    return _digest(path, "md5")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file; see `md5_of`."""
    return _digest(path, "sha256")


def git_blob_of(path: Path) -> str:
    """Return the id that git gives a file; see `md5_of`."""
    return _digest(path, "sha1", lambda size: b"blob %d\0" % size)


def _digest(path: Path, name: str, before: Callable[[int], bytes] = lambda size: b"") -> str:
    digest = hashlib.new(name, usedforsecurity=False)
    try:
        with disk.reading(path) as file:
            digest.update(before(os.fstat(file.fileno()).st_size))
            while piece := file.read(fs.PIECE):
                digest.update(piece)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StorageError(f"{shown(str(path))} is gone") from error
    return digest.hexdigest()
