"""Lineage in a notebook: shown as its picture."""

from __future__ import annotations

from dataclasses import dataclass

from ama.lineage.graph import Lineage
from ama.lineage.svg import svg


@dataclass(frozen=True, slots=True)
class NotebookLineage(Lineage):
    """A lineage that a notebook shows as a picture.

    Example:
        >>> import ama
        >>> lineage = ama.Store.open("store").resolve("models").lineage()
        >>> lineage._repr_svg_()[:4]
        '<svg'
    """

    def _repr_svg_(self) -> str:
        return svg(self)
