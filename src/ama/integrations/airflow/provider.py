"""What Airflow is told of this package: the entry point `apache_airflow_provider` leads here."""

from __future__ import annotations

from typing import Any

import ama

_NAME = "ama"
_HERE = "ama.integrations.airflow"

HIDDEN_FIELDS = ["login", "password", "port", "schema"]
LABELS = {"host": "Store", "extra": "Options of the store's client"}
PLACEHOLDERS = {
    "host": "s3://bucket/ama, a directory, or a remote's name",
    "extra": '{"endpoint_url": "https://s3.example.org"}',
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description, as Airflow's schema has it.

    Example:
        >>> get_provider_info()["connection-types"][0]["connection-type"]
        'ama'
    """
    uris = [{"schemes": ["ama"], "handler": f"{_HERE}.uris.normalised"}]
    return {
        "package-name": "ama-assets",
        "name": _NAME,
        "description": "Machine-learning assets: publish, fetch, wait for an alias.",
        "versions": [ama.__version__],
        "integrations": [{"integration-name": _NAME, "tags": ["service"]}],
        "operators": [{"integration-name": _NAME, "python-modules": [f"{_HERE}.operators"]}],
        "sensors": [{"integration-name": _NAME, "python-modules": [f"{_HERE}.sensor"]}],
        "hooks": [{"integration-name": _NAME, "python-modules": [f"{_HERE}.hook"]}],
        "triggers": [{"integration-name": _NAME, "python-modules": [f"{_HERE}.trigger"]}],
        "connection-types": [
            {
                "connection-type": "ama",
                "hook-class-name": f"{_HERE}.hook.AmaHook",
                "hook-name": _NAME,
                "ui-field-behaviour": {
                    "hidden-fields": HIDDEN_FIELDS,
                    "relabeling": LABELS,
                    "placeholders": PLACEHOLDERS,
                },
            }
        ],
        "asset-uris": uris,
        "dataset-uris": uris,  # their name before Airflow 3
    }
