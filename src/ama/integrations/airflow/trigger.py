"""The trigger: waits for an alias in Airflow's triggerer, beside thousands of others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

from ama.errors import AmaError, StorageError
from ama.integrations.airflow.awaited import Awaited
from ama.integrations.airflow.hook import AmaHook, sentence
from ama.integrations.airflow.versions import BaseTrigger, TriggerEvent


class AmaAliasTrigger(BaseTrigger):  # type: ignore[misc]
    """Fires when an alias is where it is awaited. Its event has the "asset", or an "error".

    Args:
        store: The store's URL.
        class_name: The alias's class.
        alias: The alias.
        from_asset: The id of the asset that it moves away from.
        moved_since: The earliest time of its last move, in ISO 8601.
        poke_interval: The seconds between two looks.
    """

    def __init__(
        self,
        store: str,
        class_name: str,
        alias: str,
        from_asset: str | None = None,
        moved_since: str | None = None,
        poke_interval: float = 60.0,
    ) -> None:
        super().__init__()
        self.store = store
        self.awaited = Awaited(class_name, alias, from_asset, moved_since)
        self.poke_interval = poke_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments, for another process."""
        return "ama.integrations.airflow.trigger.AmaAliasTrigger", {
            "store": self.store,
            "class_name": self.awaited.class_name,
            "alias": self.awaited.alias,
            "from_asset": self.awaited.from_asset,
            "moved_since": self.awaited.moved_since,
            "poke_interval": self.poke_interval,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look at the alias until it is where it is awaited."""
        # Open the store once; each look reads what is new in its log. The looks take a thread: they
        # wait for the network, and the triggerer has one loop for all.
        opened = cache(AmaHook(store=self.store).get_conn)
        while True:
            try:
                asset = await asyncio.to_thread(self.awaited.met, opened)
            except StorageError as error:
                if not error.retryable:
                    yield TriggerEvent({"error": sentence(error)})
                    return
                self.log.warning("%s; looking again in %s s", error, self.poke_interval)
            except AmaError as error:
                yield TriggerEvent({"error": sentence(error)})
                return
            else:
                if asset is not None:
                    yield TriggerEvent({"asset": asset})
                    return
            await asyncio.sleep(self.poke_interval)
