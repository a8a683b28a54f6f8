"""URIs of Airflow's assets: `ama://CLASS` is a class; its events are publications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ama.errors import AmaError
from ama.format.names import check_class
from ama.stores.revisions import parse_revision

if TYPE_CHECKING:
    from urllib.parse import SplitResult


_OPERATORS = "ama.integrations.airflow.operators"


def normalised(parts: SplitResult) -> SplitResult:
    """Return a URI of scheme `ama` as Airflow is to compare it.

    Raises:
        ValueError: It names no class.

    Example:
        >>> from urllib.parse import urlsplit
        >>> normalised(urlsplit("ama://models/")).geturl()
        'ama://models'
    """
    if not parts.netloc:
        raise ValueError("an ama:// URI names a class, such as ama://models")
    return parts._replace(path=parts.path.rstrip("/"), query="", fragment="")


def class_uri(class_name: str) -> str:
    """Return the URI of a class.

    Example:
        >>> class_uri("models")
        'ama://models'
    """
    return f"ama://{class_name}"


def known_class(given: Any) -> str | None:
    """Return the class that a parameter of an operator names, if that is known before it runs.

    Args:
        given: A class, the name of an asset, a template, or a result of another task.

    Example:
        >>> known_class("models@best"), known_class("{{ params.model }}"), known_class("3f9a2c41d0")
        ('models', None, None)
    """
    if isinstance(given, str):
        if "{{" in given or "{%" in given:
            return None
        try:
            name = parse_revision(given).class_name
            return name and check_class(name)
        except AmaError:
            return None  # the task will say what is wrong with it
    task = getattr(given, "operator", None)  # of a result of another task
    kind = getattr(task, "operator_class", type(task))  # a mapped task has no attributes yet
    if kind.__module__ != _OPERATORS:
        return None
    fields = getattr(task, "partial_kwargs", None) or vars(task)
    made = fields.get("class_name", fields.get("asset"))
    return known_class(made) if isinstance(made, str) else None
