"""ama: a git-like, content-addressed repository for machine-learning assets.

A directory of files becomes an asset: immutable, numbered, named by aliases, linked to the assets
that it was made from. Start with `Repo` for a worktree and `Store` for a store at a URL.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ama.asset import Asset, compare
    from ama.checkpoints import Checkpoints
    from ama.errors import (
        AlreadyExists,
        AmaError,
        Conflict,
        FormatError,
        Hint,
        IntegrityError,
        InvalidInput,
        NotFound,
        StorageError,
    )
    from ama.format.hashing import hash_file
    from ama.importing import import_assets
    from ama.publication import fetch, publish
    from ama.repo import Repo
    from ama.settings import Settings
    from ama.store import Store
    from ama.system.progress import Progress
    from ama.transfer.log_repair import repair_log
    from ama.values import AssetInfo

__version__ = "0.1.0"

_HOMES = {
    "AlreadyExists": "errors",
    "AmaError": "errors",
    "Asset": "asset",
    "AssetInfo": "values",
    "Checkpoints": "checkpoints",
    "Conflict": "errors",
    "FormatError": "errors",
    "Hint": "errors",
    "IntegrityError": "errors",
    "InvalidInput": "errors",
    "NotFound": "errors",
    "Progress": "system.progress",
    "Repo": "repo",
    "Settings": "settings",
    "StorageError": "errors",
    "Store": "store",
    "compare": "asset",
    "fetch": "publication",
    "hash_file": "format.hashing",
    "import_assets": "importing",
    "publish": "publication",
    "repair_log": "transfer.log_repair",
}

__all__ = [
    "AlreadyExists",
    "AmaError",
    "Asset",
    "AssetInfo",
    "Checkpoints",
    "Conflict",
    "FormatError",
    "Hint",
    "IntegrityError",
    "InvalidInput",
    "NotFound",
    "Progress",
    "Repo",
    "Settings",
    "StorageError",
    "Store",
    "__version__",
    "compare",
    "fetch",
    "hash_file",
    "import_assets",
    "publish",
    "repair_log",
]


def __getattr__(name: str) -> Any:
    # Importing ama costs next to nothing; what is used is imported when it is.
    if name in _HOMES:
        return getattr(import_module(f"ama.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'ama' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
