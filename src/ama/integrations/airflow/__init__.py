"""Airflow: operators, a sensor, a hook and a connection type; for Airflow 3, and 2 from 2.10 on.

Example:
    from ama.integrations.airflow import AmaPublishOperator
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ama.integrations.airflow.hook import AmaHook
    from ama.integrations.airflow.operators import (
        AmaFetchOperator,
        AmaNoteOperator,
        AmaPublishOperator,
    )
    from ama.integrations.airflow.sensor import AmaAliasSensor
    from ama.integrations.airflow.trigger import AmaAliasTrigger

__all__ = [
    "AmaAliasSensor",
    "AmaAliasTrigger",
    "AmaFetchOperator",
    "AmaHook",
    "AmaNoteOperator",
    "AmaPublishOperator",
]


def __getattr__(name: str) -> Any:
    # Airflow asks each provider for its description at every start: that imports no operator.
    if name in {"AmaFetchOperator", "AmaNoteOperator", "AmaPublishOperator"}:
        return getattr(import_module("ama.integrations.airflow.operators"), name)
    if name == "AmaHook":
        return import_module("ama.integrations.airflow.hook").AmaHook
    if name == "AmaAliasSensor":
        return import_module("ama.integrations.airflow.sensor").AmaAliasSensor
    if name == "AmaAliasTrigger":
        return import_module("ama.integrations.airflow.trigger").AmaAliasTrigger
    raise AttributeError(f"module 'ama.integrations.airflow' has no attribute {name!r}")
