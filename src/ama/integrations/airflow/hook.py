"""The hook: from a connection of type "ama" to a store."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from ama.errors import AmaError, InvalidInput, shown
from ama.integrations.airflow.progress import LogProgress
from ama.integrations.airflow.provider import HIDDEN_FIELDS, LABELS, PLACEHOLDERS
from ama.integrations.airflow.versions import (
    AirflowFailException,
    AirflowNotFoundException,
    BaseHook,
)
from ama.publication import prepared
from ama.settings import Settings
from ama.store import Store
from ama.wording.hints import words

_NO_LOGIN = (
    "let the client of the storage find its credentials on the worker, as without Airflow:"
    " in the environment, its own files, or the machine's role"
)


class AmaHook(BaseHook):  # type: ignore[misc]
    """Opens the store of a connection of type "ama".

    The connection's host is the store: a URL, a directory, or the name of a remote that is
    configured where the task runs. Its extra holds options of the storage's client, such as
    `endpoint_url`, and may hold the store as "store". It holds no credential. Without a connection
    of the default name, the store is the one that is configured where the task runs.

    Args:
        ama_conn_id: The connection.
        store: A store's URL, directory or remote's name, instead of a connection.
    """

    conn_name_attr = "ama_conn_id"
    default_conn_name = "ama_default"
    conn_type = "ama"
    hook_name = "ama"

    def __init__(
        self, ama_conn_id: str | None = default_conn_name, *, store: str | None = None
    ) -> None:
        super().__init__()
        self.ama_conn_id = ama_conn_id or self.default_conn_name
        self._store = store

    @staticmethod
    def get_ui_field_behaviour() -> dict[str, Any]:
        """Return how the form of a connection looks, for an Airflow before 3.2."""
        return {
            "hidden_fields": HIDDEN_FIELDS,
            "relabeling": LABELS,
            "placeholders": PLACEHOLDERS,
        }

    def url(self) -> str:
        """Return the store's URL.

        Raises:
            InvalidInput: The connection holds a login, or names no store.
            NotFound: It names a remote that isn't configured here.
        """
        return Settings.load(None).remote_url(self._place())

    def get_conn(self, *, create: bool = False) -> Store:
        """Open the store; its progress goes into the log.

        Args:
            create: Whether the first publication may make it.

        Raises:
            NotFound: There is no store.
            InvalidInput, StorageError: See `Store.open`.
        """
        settings, place = Settings.load(None), self._place()
        progress = LogProgress(self.log.info)
        if create:
            return prepared(settings.remote_url(place), settings, progress)
        return Store.default(settings, remote=place, progress=progress)

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the store can be read, and a sentence about it."""
        try:
            store = self.get_conn()
            return True, f"the store {store.url} has {len(store.classes())} classes"
        except AmaError as error:
            return False, sentence(error)

    def _place(self) -> str | None:
        """Return the store as the user names it; None: the configured one."""
        place = self._store
        if not place:
            try:
                place = place_of(self.get_connection(self.ama_conn_id))
            except AirflowNotFoundException:
                if self.ama_conn_id != self.default_conn_name:
                    raise
                return None
        if "://" not in place and os.path.dirname(place) and not os.path.isabs(place):
            raise InvalidInput(
                f"the store is {shown(place)}, and where that leads depends on the worker",
                hint="give a URL, the whole path of a directory, or the name of a remote",
            )
        return place


def place_of(connection: Any) -> str:
    """Return the store that a connection names, with the options of its client.

    Raises:
        InvalidInput: It holds a login or names no store.
    """
    named = f"connection '{shown(connection.conn_id)}'"
    extra: Mapping[str, Any] = dict(connection.extra_dejson)
    place = extra.get("store") or _joined(connection)
    if connection.password:
        raise InvalidInput(f"{named} holds a password, and ama takes none", hint=_NO_LOGIN)
    if not place:
        raise InvalidInput(f"{named} names no store", hint="enter its URL as the host")
    options = {key: value for key, value in extra.items() if key != "store"}
    if not options:
        return str(place)
    if "://" not in place:
        raise InvalidInput(
            f"{named} has options, and a store that is no URL",
            hint="give the store's URL, or configure the options with the remote",
        )
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in options.items()}
    return f"{place}{'&' if '?' in place else '?'}{urlencode(texts)}"


def _joined(connection: Any) -> str:
    """Return the URL that Airflow has taken apart: `ama://s3://bucket/ama`, or `ama:///srv/ama`."""
    host, path = connection.host or "", connection.schema or ""
    if connection.port:
        host = f"{host}:{connection.port}"
    if connection.login:
        scheme, separator, rest = host.rpartition("://")
        host = f"{scheme}{separator}{connection.login}@{rest}"
    return f"{host}/{path}" if path else str(host)


def sentence(error: AmaError) -> str:
    """Return an error and what would help, on one line."""
    return ": ".join(filter(None, (str(error), words(error.hints))))


@contextmanager
def explained(log: Any) -> Iterator[None]:
    """Say in a task's log what would help against an error.

    Raises:
        AirflowFailException: The task asks for something that no retry can bring.
    """
    try:
        yield
    except InvalidInput as error:
        log.error("%s", sentence(error))
        raise AirflowFailException(str(error)) from error
    except AmaError as error:
        log.error("%s", sentence(error))
        raise
