"""Cards of models and datasets as nodes: the YAML at the head of a README.md."""

from __future__ import annotations

import re

from ama.catalog.unread import Node, Reason
from ama.catalog.yaml_documents import read_yaml

_FRONT = re.compile(r"\ufeff?---[ \t]*\r?\n(.*?)^---[ \t\r]*$", re.DOTALL | re.MULTILINE).match


def read_card(text: str) -> tuple[list[Node], Reason | None]:
    r"""Return the values between lines of three dashes at the head of a text, if there are any.

    Example:
        >>> read_card("---\nlicense: mit\n---\n# Tiny\n")
        ([{'license': 'mit'}], None)
        >>> read_card("# Tiny\n")
        ([], None)
    """
    found = _FRONT(text)
    return read_yaml(found[1]) if found else ([], None)
