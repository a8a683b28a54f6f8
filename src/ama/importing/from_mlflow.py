"""Runs and registered models of MLflow: of a server, a directory `mlruns`, or an SQLite file.

MLflow's own client reads them. Of an SQLite file it reads a copy, which it may bring up to date.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from ama.errors import AmaError, InvalidInput, NotFound, StorageError, shown
from ama.format.hashing import blob_id
from ama.format.objects import EntryKind
from ama.importing.incoming import (
    Content,
    Contents,
    Incoming,
    Link,
    Origin,
    Source,
    beside,
)
from ama.importing.mlflow_files import (
    PLACE,
    Value,
    info_file,
    metrics_files,
    params_file,
    time_of,
)
from ama.importing.naming import as_alias, as_class
from ama.system import disk, fs
from ama.system.encoding import from_system, system_path
from ama.system.git import public_url
from ama.system.scratch import Scratch
from ama.values import Scalar
from ama.worktree.ignore import Ignore
from ama.worktree.reader import link_target
from ama.worktree.scan import Found, scan

_PAGE = 1000
_MOST_MESSAGE = 10_000
_ERRNO = re.compile(r"\[Errno -?\d+\] ([A-Za-z ]+)").search
_GIT = {
    "mlflow.source.git.commit": "git.commit",
    "mlflow.source.git.branch": "git.branch",
    "mlflow.source.git.repoURL": "git.repository",
}


def list_mlflow(places: Iterable[str]) -> list[Source]:
    """Return the runs and the versions of registered models at places.

    Args:
        places: URLs of servers, directories `mlruns`, and SQLite files.

    Raises:
        NotFound: There is nothing.
        InvalidInput: It is nothing of MLflow's, or MLflow is not installed.
        StorageError: It can't be read.
    """
    found: dict[str, Source] = {}
    for place in places:
        for source in _opened(place).sources():
            found.setdefault(source.origin.url, source)
    return list(found.values())


def _opened(place: str) -> _Tracking:
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise InvalidInput(
            "importing from MLflow needs its package", hint="install it: pip install mlflow"
        ) from error

    def client(uri: str) -> Any:
        with _explained(place), _directories_allowed():
            return MlflowClient(uri, uri)

    if place.startswith(("http://", "https://")):
        is_near = urlsplit(place).hostname in ("localhost", "127.0.0.1", "::1")
        return _Tracking(client(place), place, _public(place), None, is_near=is_near)
    if "://" in place and not place.startswith(("sqlite://", "file://")):
        raise _no_mlflow(place)
    text = place.removeprefix("sqlite:///").removeprefix("file://")
    path = Path(os.path.abspath(system_path(text)))
    if disk.is_directory(path) and not _has_experiments(path) and (path / "mlflow.db").is_file():
        path /= "mlflow.db"
    if disk.is_directory(path):
        if not _has_experiments(path):
            raise _no_mlflow(place)
        return _Tracking(client(path.as_uri()), path.as_uri(), from_system(str(path)), path)
    if not path.exists():
        raise NotFound(f"{shown(place)}: there is nothing")
    copy = Scratch("ama-mlflow-")
    uri = _copied(path, copy.path / "mlflow.db", place)
    return _Tracking(client(uri), uri, from_system(str(path)), path.parent / "mlruns", copy)


def _no_mlflow(place: str) -> InvalidInput:
    return InvalidInput(
        f"{shown(place)} is nothing of MLflow's",
        hint="give the URL of a server, a directory mlruns, or an SQLite file",
    )


def _has_experiments(path: Path) -> bool:
    return any((path / name / "meta.yaml").is_file() for name in disk.list_directory(path))


def _public(url: str) -> str:
    found = public_url(url)
    if found is None:
        raise InvalidInput(
            "the URL of the MLflow server has credentials in it",
            hint="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        )
    return found.rstrip("/")


def _copied(path: Path, copy: Path, place: str) -> str:
    """Copy a database, bring the copy up to date, and return its URI."""
    try:
        with (
            closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(copy)) as new,
        ):
            old.backup(new)
            tables = new.execute("SELECT count(*) FROM sqlite_master WHERE name = 'experiments'")
            if not tables.fetchone()[0]:
                raise _no_mlflow(place)
    except sqlite3.Error as error:
        raise _no_mlflow(place) from error
    uri = f"sqlite:///{copy}"
    with _explained(place):
        from mlflow.db import upgrade

        upgrade.callback(uri)
    return uri


@contextmanager
def _directories_allowed() -> Iterator[None]:
    """Let MLflow read a directory, which newer versions do only if they are told to."""
    from mlflow import environment_variables

    allowed = getattr(environment_variables, "MLFLOW_ALLOW_FILE_STORE", None)
    if allowed is None or allowed.is_set():
        yield
        return
    allowed.set(True)
    try:
        yield
    finally:
        allowed.unset()


@contextmanager
def _explained(place: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException, RestException

    try:
        yield
    except AmaError:
        raise
    except ImportError as error:
        raise InvalidInput(
            f"{shown(place)} needs all of MLflow", hint="install it: pip install mlflow"
        ) from error
    except RestException as error:
        raise StorageError(f"{shown(place)}: {_line(error)}") from error
    except (MlflowException, OSError) as error:
        if "API request to" in str(error):
            reason = _ERRNO(str(error))
            why = f": {reason[1].lower()}" if reason else ""
            raise StorageError(f"{shown(place)} can't be reached{why}", retryable=True) from error
        raise StorageError(f"{shown(place)}: {_line(error)}") from error


def _line(error: Exception) -> str:
    return shown(str(error).strip().partition("\n")[0][:500])


@dataclass(frozen=True, slots=True)
class _Tracking:
    """What MLflow has at a place.

    Attributes:
        client: MLflow's own client.
        uri: Its URI for MLflow.
        url: The place, as it is noted.
        root: The directory where the artifacts are, if they are on this machine.
        copy: Where the copy of a database is, which is there as long as this.
        is_near: Whether it is on this machine. A server elsewhere has no say in which of this
            machine's directories are read.
    """

    client: Any
    uri: str
    url: str
    root: Path | None
    copy: Scratch | None = None
    is_near: bool = True

    def sources(self) -> Iterator[Source]:
        with _explained(self.url), _directories_allowed():
            runs = {run.origin.url: run for run in self._runs()}
            yield from runs.values()
            yield from self._versions({run.id: run for run in runs.values()})

    def _runs(self) -> Iterator[_Run]:
        experiments = _pages(lambda token: self.client.search_experiments(page_token=token))
        for experiment in experiments:
            found = _pages(
                lambda token, wanted=experiment.experiment_id: self.client.search_runs(  # type: ignore[misc]
                    [wanted], max_results=_PAGE, page_token=token
                )
            )
            for run in found:
                yield self._run(experiment, run)

    def _run(self, experiment: Any, run: Any) -> _Run:
        info, data = run.info, run.data
        outputs = getattr(run, "outputs", None)
        models = [each.model_id for each in getattr(outputs, "model_outputs", None) or ()]
        facts = [info.run_name, info.status, info.start_time, info.end_time, data.params, data.tags]
        facts += [data.metrics, [each.dataset.digest for each in _datasets(run)], models]
        # Metrics may be logged again at a later step, with the same value.
        facts += [[m.key, m.step, m.timestamp] for m in getattr(data, "_metric_objs", ())]
        here = self.listed_here(info.artifact_uri)
        made = time_of(info.end_time) or time_of(info.start_time)
        url = f"{self.url}/#/experiments/{quote(experiment.experiment_id)}/runs/{info.run_id}"
        origin = Origin(url, _size(here), _mark([facts, here]), made)
        return _Run(self, origin, experiment.name, run, tuple(models))

    def _versions(self, runs: Mapping[str, _Run]) -> Iterator[_Version]:
        models = _pages(lambda token: self.client.search_registered_models(page_token=token))
        by_version: dict[tuple[str, str], list[str]] = {}
        for model in models:
            for alias, version in sorted((getattr(model, "aliases", None) or {}).items()):
                by_version.setdefault((model.name, str(version)), []).append(alias)
        for version in _pages(lambda token: self.client.search_model_versions(page_token=token)):
            names = by_version.get((version.name, str(version.version)), [])
            yield self._version(version, names, runs)

    def _version(self, version: Any, aliases: list[str], runs: Mapping[str, _Run]) -> _Version:
        run = runs.get(version.run_id or "")
        made = time_of(version.creation_timestamp)
        if run is not None and run.origin.modified is not None and made is not None:
            made = max(made, run.origin.modified)  # a run may end after its model was registered
        where = self.client.get_model_version_download_uri(version.name, str(version.version))
        facts = [version.description, version.tags, version.current_stage, version.run_id]
        facts += [version.source, version.creation_timestamp, aliases]
        here = self.listed_here(where)
        url = f"{self.url}/#/models/{quote(version.name, safe='')}/versions/{version.version}"
        origin = Origin(url, _size(here), _mark([facts, here]), made, says_aliases=True)
        return _Version(self, origin, version, where, tuple(aliases), run)

    # Artifacts

    def local(self, uri: str) -> Path | None:
        """Return the directory of artifacts, if it is one of the machine where MLflow ran."""
        parts = urlsplit(uri)
        if parts.scheme not in ("", "file"):
            return None
        place = Path(unquote(parts.path) if parts.scheme else uri)
        if self.root is not None and not place.exists():
            # It was moved together with all others: EXPERIMENT/RUN/artifacts.
            for depth in (3, 4):
                moved = self.root.joinpath(*place.parts[-depth:])
                if moved.exists():
                    return moved
        return place

    def listed_here(self, uri: str) -> list[tuple[str, int, int]]:
        """Return the artifacts that are on this machine: path, size and time of each."""
        place = self.local(uri)
        if place is None or not self.is_near or not place.is_dir():
            return []
        return [(item.path, item.size, item.mtime) for item in _below(place)]

    def artifacts(self, uri: str, scratch: Path) -> dict[str, Content]:
        """Return artifacts by their paths.

        Raises:
            InvalidInput: They are on another machine.
            StorageError: They can't be read.
        """
        place = self.local(uri)
        if place is None:
            place = self._downloaded(uri, scratch)
        elif not self.is_near or (self.root is None and not place.exists()):
            raise InvalidInput(
                f"its artifacts are in a directory of the server's machine: {shown(uri)}",
                hint="run the import there, or start the server with --serve-artifacts",
            )
        return {} if place is None or not place.is_dir() else dict(_contents(place))

    def _downloaded(self, uri: str, scratch: Path) -> Path | None:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with _explained(uri), _directories_allowed():
            repository = get_artifact_repository(uri, tracking_uri=self.uri, registry_uri=self.uri)
            if not repository.list_artifacts():
                return None
            fs.make_directories(scratch)
            repository.download_artifacts("", dst_path=str(scratch))
        return scratch

    def histories(self, run: Any) -> dict[str, list[Value]]:
        """Return all values of all metrics of a run."""
        with _explained(self.url), _directories_allowed():
            return {
                key: [
                    Value(each.step, each.timestamp, each.value)
                    for each in self.client.get_metric_history(run.info.run_id, key)
                ]
                for key in run.data.metrics
            }


@dataclass(frozen=True, slots=True)
class _Run:
    """A run."""

    tracking: _Tracking
    origin: Origin
    experiment: str
    run: Any
    models: tuple[str, ...]

    @property
    def id(self) -> str:
        return str(self.run.info.run_id)

    @property
    def link(self) -> Link:
        return Link(as_class(self.experiment), self.origin.url)

    def read(self, scratch: Path) -> Contents:
        """Read it; see `Source.read`."""
        info, tags = self.run.info, self.run.data.tags
        files = self.tracking.artifacts(info.artifact_uri, scratch / "run")
        for name, found in self._models(scratch):
            files |= {f"{name}/{path}": content for path, content in found.items()}
        known = {
            "run_id": self.id,
            "run_name": info.run_name,
            "experiment": self.experiment,
            "status": info.status,
            "user": tags.get("mlflow.user"),
            "start_time": _text(time_of(info.start_time)),
            "end_time": _text(time_of(info.end_time)),
        }
        said = {"info.json": info_file(known, tags, _datasets(self.run))}
        if self.run.data.params:
            said["params.json"] = params_file(self.run.data.params)
        said |= metrics_files(self.tracking.histories(self.run))
        metadata: dict[str, Scalar] = {
            "mlflow.run": self.id,
            "mlflow.experiment": self.experiment,
            "mlflow.status": info.status,
            **_code(tags),
        }
        alias = as_alias(info.run_name or "")
        asset = Incoming(
            as_class(self.experiment),
            files | beside(files, PLACE, said),
            () if alias is None else (alias,),
            tags.get("mlflow.user") or None,
            time_of(info.end_time) or time_of(info.start_time),
            (tags.get("mlflow.note.content") or info.run_name or "")[:_MOST_MESSAGE],
            metadata,
        )
        return Contents((asset,))

    def _models(self, scratch: Path) -> Iterator[tuple[str, dict[str, Content]]]:
        """Yield the models that the run has logged, by their names: MLflow 3 keeps them apart."""
        taken: set[str] = set()
        for model in self.models:
            with _explained(self.tracking.url):
                found = self.tracking.client.get_logged_model(model)
            name = found.name if found.name not in taken else f"{found.name}-{model}"
            taken.add(found.name)
            yield name, self.tracking.artifacts(found.artifact_location, scratch / model)


@dataclass(frozen=True, slots=True)
class _Version:
    """A version of a registered model."""

    tracking: _Tracking
    origin: Origin
    version: Any
    where: str
    aliases: tuple[str, ...]
    run: _Run | None

    def read(self, scratch: Path) -> Contents:
        """Read it; see `Source.read`."""
        version = self.version
        files = self.tracking.artifacts(self.where, scratch / "model")
        if not files:
            raise InvalidInput("its artifacts are gone")
        known = {
            "model": version.name,
            "version": int(version.version),
            "run_id": version.run_id or None,
            "stage": None if version.current_stage in (None, "None") else version.current_stage,
            "source": version.source,
            "created": _text(time_of(version.creation_timestamp)),
        }
        said = {"info.json": info_file(known, version.tags or {}, ())}
        metadata: dict[str, Scalar] = {
            "mlflow.model": version.name,
            "mlflow.version": int(version.version),
        }
        author = version.user_id
        links: dict[Link, str] = {}
        if self.run is not None:
            said |= metrics_files(self.tracking.histories(self.run.run))
            tags = self.run.run.data.tags
            metadata |= {"mlflow.run": self.run.id, **_code(tags)}
            author = author or tags.get("mlflow.user")
            links[self.run.link] = "run"
        names = [f"v{version.version}", *self.aliases]
        asset = Incoming(
            as_class(version.name),
            files | beside(files, PLACE, said),
            tuple(dict.fromkeys(alias for name in names if (alias := as_alias(name)))),
            author or None,
            time_of(version.creation_timestamp),
            (version.description or f"{version.name} version {version.version}")[:_MOST_MESSAGE],
            metadata,
            links=links,
        )
        return Contents((asset,))


def _pages(search: Callable[[Any], Any]) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = search(token)
        found += page
        token = page.token
        if not token:
            return found


def _datasets(run: Any) -> list[Any]:
    return list(getattr(getattr(run, "inputs", None), "dataset_inputs", None) or ())


def _code(tags: Mapping[str, str]) -> dict[str, Scalar]:
    found = {key: tags[tag] for tag, key in _GIT.items() if tags.get(tag)}
    if "git.repository" in found:
        found["git.repository"] = public_url(found["git.repository"]) or ""
    return {key: value for key, value in found.items() if value}


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _mark(facts: object) -> str:
    return blob_id(json.dumps(facts, sort_keys=True, default=str).encode("utf-8", "replace")).hex()


def _size(here: Iterable[tuple[str, int, int]]) -> int:
    return sum(size for _, size, _ in here)


def _below(place: Path) -> Iterator[Found]:
    for part in scan(place, Ignore.load(place)):
        yield from part.new


def _contents(place: Path) -> Iterator[tuple[str, Content]]:
    for item in _below(place):
        data: bytes | Path = place / item.path
        if item.kind is EntryKind.SYMLINK:
            data = link_target(place, item.path).encode()
        yield item.path, Content(item.kind, data)
