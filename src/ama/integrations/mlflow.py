"""MLflow: the artifacts of runs and models as assets, at `ama://CLASS`.

Each run has an alias. What is logged makes a new version of its asset, with everything so far.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import copy
from posixpath import join
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    RESOURCE_DOES_NOT_EXIST,
)
from mlflow.store.artifact.artifact_repo import ArtifactRepository

# MLflow imports this module whenever it is imported itself: what it needs of ama comes when used.
from ama.errors import AmaError, Conflict, InvalidInput, NotFound, shown

if TYPE_CHECKING:
    from ama.asset import Asset
    from ama.store import Store

ID, PATH = "mlflow.id", "mlflow.path"
"""The metadata of each version."""

# A run, a logged model (m-) or a trace (tr-), as MLflow lays them out below an artifact root.
_OWN = re.compile(
    r"(?P<root>(?:.*?/)?(?P<id>(?:[a-z]{1,9}-)?[0-9a-f]{32})/artifacts)(?:/(?P<inner>.*))?",
    re.DOTALL,
).fullmatch


_Files = Iterator[tuple[str, str]]


class _Place(NamedTuple):
    """What a path means: an alias, and a path in its asset."""

    alias: str
    inner: str
    id: str = ""
    root: str = ""


class AmaArtifactRepository(ArtifactRepository):  # type: ignore[misc]
    """The artifacts of runs at `ama://CLASS`, in the configured store; see MLflow's documentation.

    `ama://CLASS@ALIAS/PATH` is an asset, to read. The store is the one that this machine's
    configuration names, and never the URI: whoever may create an experiment would choose what an
    MLflow server connects to.

    Args:
        artifact_uri: The URI, with the path of a run or of what is above it.
        tracking_uri: See MLflow.
        registry_uri: See MLflow.

    Raises:
        MlflowException: The URI has another form.
    """

    def __init__(
        self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
    ) -> None:
        super().__init__(artifact_uri, tracking_uri, registry_uri)
        found = urlsplit(artifact_uri)
        with _as_mlflow_has_it():
            from ama.format.names import check_alias, check_class

            if found.query or found.fragment:
                raise InvalidInput(
                    f"{shown(artifact_uri)}: the store is not a part of it",
                    hint="set AMA_REMOTE, or the default remote",
                )
            self._class, at, alias = found.netloc.partition("@")
            check_class(self._class)
            self._alias = check_alias(alias) if at else None
        self._path = unquote(found.path).strip("/")
        self._opened: Store | None = None
        self._pinned: dict[str, str] = {}
        self._by_thread = threading.local()

    # In

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Publish a version that has a file, too."""
        name = os.path.basename(local_file)
        self._publish(artifact_path, {name: local_file})

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Publish a version that has the files of a directory, too."""
        with _as_mlflow_has_it():
            found = dict(_files_below(os.fspath(local_dir)))
        if found:
            self._publish(artifact_path, found)

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Publish a version without a file or directory; or delete all versions.

        What is in the store stays there as of any deletion: see `ama.Store.delete`.
        """
        with _as_mlflow_has_it():
            place = self._place_to_write(artifact_path)
            while not self._deleted(place):
                pass  # others have logged something since

    def _deleted(self, place: _Place) -> bool:
        """Delete what is at a place, unless others log to the run at the same time."""
        now = self._store().snapshot()
        inner = f"{place.inner}/" if place.inner else ""
        try:
            asset = now.resolve(f"{self._class}@{place.alias}")
        except NotFound:
            asset = None
        if asset is not None and not all(f"{f.path}/".startswith(inner) for f in asset.files()):
            self._extend(place, {}, without=place.inner)
            return True
        try:
            history = now.alias_history(self._class, place.alias)
            if asset is not None:  # else a deletion that was interrupted has removed it
                now.remove_alias(self._class, place.alias)
        except NotFound:
            return True  # nothing was ever logged
        except Conflict:
            return False
        self._delete_versions(place, dict.fromkeys(move.number for move in history))
        return True

    def _publish(self, path: str | None, files: Mapping[str, str]) -> None:
        with _as_mlflow_has_it():
            place = self._place_to_write(path)
            self._extend(place, {join(place.inner, name): file for name, file in files.items()})

    def _extend(self, place: _Place, files: Mapping[str, str], *, without: str = "") -> None:
        self._store().publish(
            self._class,
            dict(files),
            aliases=place.alias,
            metadata={ID: place.id, PATH: place.root},
            once=True,
            extend=True,
            without=[without] if without else (),
        )

    def _delete_versions(self, place: _Place, numbers: Iterable[int | None]) -> None:
        store = self._store()
        for number in numbers:
            if number is None:
                continue
            info = store.resolve(f"{self._class}/{number}").info
            if info.metadata.get(ID) == place.id and info.status != "deleted":
                # Unless something was made from it, or it has another alias.
                with suppress(Conflict):
                    store.delete(f"{self._class}/{number}", reason="deleted in MLflow")

    # Out

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        """Return what stands in a directory; nothing for a file, and for what is not there."""
        from ama.values import File

        with _as_mlflow_has_it():
            place = self._place(path)
            asset = None if place is None else self._asset(place)
            if place is None or asset is None:
                return []
            try:
                entries = asset.entries(place.inner)
            except (NotFound, InvalidInput):
                return []
            above = (path or "").strip("/")
            return [
                FileInfo(
                    join(above, entry.path.rpartition("/")[2]),
                    not isinstance(entry, File),
                    entry.size if isinstance(entry, File) else None,
                )
                for entry in entries
            ]

    def download_artifacts(self, artifact_path: str | None, dst_path: str | None = None) -> str:
        """Write a file, or all files of a directory, into a directory; all are of one version."""
        pinned = copy(self)
        pinned._pinned, pinned._by_thread = {}, threading.local()
        with _as_mlflow_has_it():
            place = self._place(artifact_path)
            asset = None if place is None else self._asset(place)
            if place is not None and asset is not None:
                pinned._pinned[place.alias] = asset.info.id
        path: str = ArtifactRepository.download_artifacts(pinned, artifact_path, dst_path)
        return path

    def _download_file(self, remote_file_path: str, local_path: str | os.PathLike[str]) -> None:
        from ama.system import fs

        with _as_mlflow_has_it():
            place = self._place(remote_file_path)
            asset = None if place is None else self._asset(place)
            if place is None or asset is None:
                raise NotFound(f"there is no {shown(remote_file_path)} in {self.artifact_uri}")
            fs.write_replace(local_path, asset.stream(place.inner))

    # What a path means

    def _place(self, path: str | None) -> _Place | None:
        """Return what a path means; None for one above the runs."""
        whole = "/".join(part for part in (self._path, (path or "").strip("/")) if part)
        if self._alias is not None:
            return _Place(self._alias, whole)
        found = _OWN(whole)
        if found is None:
            return None
        own = found["id"]
        return _Place(own if "-" in own else f"run-{own}", found["inner"] or "", own, found["root"])

    def _place_to_write(self, path: str | None) -> _Place:
        place = self._place(path)
        if place is None or not place.id:
            raise InvalidInput(
                f"{shown(path or self.artifact_uri)} is not below a run's artifacts in"
                f" {shown(self.artifact_uri)}"
            )
        return place

    def _store(self) -> Store:
        """Return the configured store, opened once; if there is none, the first write makes it."""
        from ama.publication import prepared
        from ama.settings import Settings
        from ama.stores.creation import Unmade

        if self._opened is None or isinstance(self._opened.remote.storage, Unmade):
            settings = Settings.load(None)
            self._opened = prepared(settings.remote_url(), settings)
        return self._opened

    def _asset(self, place: _Place) -> Asset | None:
        """Return an alias's asset as it is now, or as it was when a download began, or None."""
        pinned = self._pinned.get(place.alias)
        if pinned is None:
            try:
                return self._store().resolve(f"{self._class}@{place.alias}")
            except NotFound:
                return None
        # What is opened of an asset is for one thread.
        known: dict[str, Asset] | None = getattr(self._by_thread, "assets", None)
        if known is None:
            known = self._by_thread.assets = {}
        if pinned not in known:
            known[pinned] = self._store().resolve(pinned)
        return known[pinned]


def _files_below(directory: str, inner: str = "", above: tuple[str, ...] = ()) -> _Files:
    """Yield the files below a directory, and behind links in it, by their paths there.

    Raises:
        InvalidInput: A link leads to a directory that it is in.
        StorageError: A directory can't be read.
    """
    from ama.system import disk

    real = os.path.realpath(directory)
    if real in above:
        raise InvalidInput(f"{shown(directory)} is a link to a directory that it is in")
    for name in sorted(disk.list_directory(directory)):
        path = os.path.join(directory, name)
        if disk.is_directory(path):
            yield from _files_below(path, join(inner, name), (*above, real))
        else:
            yield join(inner, name), path


@contextmanager
def _as_mlflow_has_it() -> Iterator[None]:
    try:
        yield
    except AmaError as error:
        code = INTERNAL_ERROR
        if isinstance(error, NotFound):
            code = RESOURCE_DOES_NOT_EXIST
        elif isinstance(error, InvalidInput):
            code = INVALID_PARAMETER_VALUE
        advice = "".join(f"; {hint}" for hint in error.hints if isinstance(hint, str))
        raise MlflowException(f"{error}{advice}", error_code=code) from error
