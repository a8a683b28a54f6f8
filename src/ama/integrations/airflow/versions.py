"""The names that Airflow has moved between 2.10 and 3: the one module that imports Airflow."""

from __future__ import annotations

from airflow.triggers.base import BaseTrigger, TriggerEvent

try:
    from airflow.sdk import BaseOperator
except ImportError:
    from airflow.models.baseoperator import BaseOperator

try:
    from airflow.sdk import BaseHook
except ImportError:
    from airflow.hooks.base import BaseHook

try:
    from airflow.sdk import BaseSensorOperator, PokeReturnValue
except ImportError:
    from airflow.sensors.base import BaseSensorOperator, PokeReturnValue

try:
    from airflow.sdk import Asset
except ImportError:
    from airflow.datasets import Dataset as Asset

try:
    from airflow.sdk.configuration import conf
except ImportError:
    from airflow.configuration import conf

try:
    from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException
except ImportError:
    from airflow.exceptions import AirflowFailException, AirflowNotFoundException

__all__ = [
    "AirflowFailException",
    "AirflowNotFoundException",
    "Asset",
    "BaseHook",
    "BaseOperator",
    "BaseSensorOperator",
    "BaseTrigger",
    "PokeReturnValue",
    "TriggerEvent",
    "conf",
]
