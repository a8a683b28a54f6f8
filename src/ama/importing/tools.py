"""Other tools from whose repositories assets are imported."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from ama.errors import InvalidInput, shown
from ama.importing.incoming import Source
from ama.settings import Settings

Tool = Literal["dvc", "hf", "mlflow"]

TOOLS: tuple[str, ...] = get_args(Tool)


def list_from(tool: str, places: Iterable[str], settings: Settings, *, force: bool) -> list[Source]:
    """Return the sources in repositories of a tool.

    Args:
        tool: One of `TOOLS`.
        places: Where they are.
        settings: The settings.
        force: Whether to take files that look like secrets.

    Raises:
        InvalidInput: There is no such tool, or a package for it is missing.
        NotFound: There is nothing.
        StorageError: They can't be read.
    """
    match tool:
        case "dvc":
            from ama.importing.from_dvc import list_dvc

            return list_dvc(places, settings)
        case "hf":
            from ama.importing.from_hf import list_hf

            return list_hf(places, portable=settings.portable_names, force=force)
        case "mlflow":
            from ama.importing.from_mlflow import list_mlflow

            return list_mlflow(places)
    raise InvalidInput(
        f"nothing is imported from {shown(repr(tool))}", hint=f"from {', '.join(TOOLS)}"
    )
