"""The sensor: waits until an alias exists, or has moved on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from ama.integrations.airflow.awaited import Awaited, fixed_id, moment
from ama.integrations.airflow.hook import AmaHook, explained
from ama.integrations.airflow.trigger import AmaAliasTrigger
from ama.integrations.airflow.versions import (
    AirflowFailException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)


class AmaAliasSensor(BaseSensorOperator):  # type: ignore[misc]
    """Waits for an alias; its result is the name of the asset that it is on then.

    Without `from_asset` and `moved_since` it waits until there is the alias. There may be no store
    yet.

    Args:
        class_name: The alias's class.
        alias: The alias.
        from_asset: The asset that the alias is to leave, by its number or id: "models/7".
        moved_since: The time since when the alias is to have moved, in ISO 8601, such as
            "{{ dag_run.start_date }}". The clock is that of whoever moves it.
        deferrable: Whether to wait in Airflow's triggerer, without a worker.
        store: A store's URL, directory or remote's name, instead of a connection.
        ama_conn_id: The connection.
        kwargs: `poke_interval`, `timeout`, `mode`; see Airflow's `BaseSensorOperator`.
    """

    template_fields: Sequence[str] = (
        *("class_name", "alias", "from_asset", "moved_since", "store", "ama_conn_id"),
    )
    ui_color = "#e8eef7"

    def __init__(
        self,
        *,
        class_name: str,
        alias: str,
        from_asset: str | None = None,
        moved_since: str | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        store: str | None = None,
        ama_conn_id: str = AmaHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.class_name = class_name
        self.alias = alias
        self.from_asset = from_asset
        self.moved_since = moved_since
        self.deferrable = deferrable
        self.store = store
        self.ama_conn_id = ama_conn_id

    def poke(self, context: Any) -> PokeReturnValue:
        """Look once; a deferrable sensor then waits in the triggerer."""
        with explained(self.log):
            url, awaited = self._hook.url(), self._awaited()
            asset = awaited.met(self._hook.get_conn)
        if asset is not None:
            self._log_done(asset)
        elif self.deferrable:
            self.log.info("waiting for %s@%s in %s", self.class_name, self.alias, url)
            self.defer(
                # The store as configured here: the triggerer may have another configuration.
                trigger=AmaAliasTrigger(url, **asdict(awaited), poke_interval=self.poke_interval),
                method_name="execute_complete",
                timeout=timedelta(seconds=self.timeout),
            )
        return PokeReturnValue(is_done=asset is not None, xcom_value=asset)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> str:
        """Go on when the trigger has fired."""
        if "error" in event:
            self.log.error("%s", event["error"])
            raise AirflowFailException(event["error"])
        asset: str = event["asset"]
        self._log_done(asset)
        return asset

    @property
    def _hook(self) -> AmaHook:
        return AmaHook(self.ama_conn_id, store=self.store)

    def _awaited(self) -> Awaited:
        if self.moved_since is not None:
            moment(self.moved_since)
        asset = (
            None if self.from_asset is None else fixed_id(self._hook.get_conn(), self.from_asset)
        )
        return Awaited(self.class_name, self.alias, asset, self.moved_since)

    def _log_done(self, asset: str) -> None:
        self.log.info("%s@%s is %s", self.class_name, self.alias, asset)
