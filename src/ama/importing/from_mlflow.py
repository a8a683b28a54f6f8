"""Runs and registered models of MLflow: of a server, a directory `mlruns`, or an SQLite file.

MLflow's own client reads them. Of an SQLite file it reads a copy, which it may bring up to date.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from ama.errors import InvalidInput, StorageError, shown
from ama.format.hashing import blob_id
from ama.format.objects import EntryKind
from ama.importing.incoming import (
    Content,
    Contents,
    Incoming,
    Link,
    Origin,
    Refused,
    Source,
    beside,
)
from ama.importing.mlflow_client import (
    Opened,
    complaints,
    directories_allowed,
    explained,
    open_client,
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
from ama.system import fs
from ama.system.git import public_url
from ama.values import Scalar
from ama.worktree.ignore import Ignore
from ama.worktree.reader import link_target
from ama.worktree.scan import Found, scan

_PAGE = 1000
_MOST_MESSAGE = 10_000
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
        for source in _Tracking(open_client(place)).sources():
            found.setdefault(source.origin.url, source)
    return list(found.values())


@dataclass(frozen=True, slots=True)
class _Tracking:
    """What MLflow has at a place."""

    opened: Opened

    def sources(self) -> list[Source]:
        """Return the runs and versions, and what MLflow itself can't read."""
        with explained(self.opened.url), directories_allowed(), complaints() as passed_over:
            found = list(self._runs())
            found += self._versions({run.id: run for run in found if isinstance(run, _Run)})
        for line in dict.fromkeys(passed_over):
            url = f"{self.opened.url}/#/{quote(line[:200])}"
            found.append(Refused(Origin(url, 0, ""), InvalidInput(line)))
        return found

    def _runs(self) -> Iterator[Source]:
        client = self.opened.client
        for experiment in _pages(lambda token: client.search_experiments(page_token=token)):
            url = f"{self.opened.url}/#/experiments/{quote(experiment.experiment_id)}"
            try:
                with explained(self.opened.url):
                    found = self._runs_of(experiment.experiment_id)
            except StorageError as error:
                if error.retryable:
                    raise
                yield Refused(Origin(url, 0, ""), error)  # MLflow can't read one of its runs
                continue
            for run in found:
                yield self._run(experiment, url, run)

    def _runs_of(self, experiment: str) -> list[Any]:
        search = self.opened.client.search_runs
        return _pages(lambda token: search([experiment], max_results=_PAGE, page_token=token))

    def _run(self, experiment: Any, above: str, run: Any) -> _Run:
        info, data = run.info, run.data
        outputs = getattr(run, "outputs", None)
        models = [each.model_id for each in getattr(outputs, "model_outputs", None) or ()]
        facts = [info.run_name, info.status, info.start_time, info.end_time, data.params, data.tags]
        facts += [data.metrics, [each.dataset.digest for each in _datasets(run)], models]
        # Metrics may be logged again at a later step, with the same value.
        facts += [[m.key, m.step, m.timestamp] for m in getattr(data, "_metric_objs", ())]
        here = self.listed_here(info.artifact_uri)
        made = time_of(info.end_time) or time_of(info.start_time)
        origin = Origin(f"{above}/runs/{info.run_id}", _size(here), _mark([facts, here]), made)
        return _Run(self, origin, experiment.name, run, tuple(models))

    def _versions(self, runs: Mapping[str, _Run]) -> Iterator[_Version]:
        client = self.opened.client
        models = _pages(lambda token: client.search_registered_models(page_token=token))
        by_version: dict[tuple[str, str], list[str]] = {}
        for model in models:
            for alias, version in sorted((getattr(model, "aliases", None) or {}).items()):
                by_version.setdefault((model.name, str(version)), []).append(alias)
        for version in _pages(lambda token: client.search_model_versions(page_token=token)):
            names = by_version.get((version.name, str(version.version)), [])
            yield self._version(version, names, runs)

    def _version(self, version: Any, aliases: list[str], runs: Mapping[str, _Run]) -> _Version:
        run = runs.get(version.run_id or "")
        made = time_of(version.creation_timestamp)
        if run is not None and run.origin.modified is not None and made is not None:
            # A run may end after its model was registered, and it comes first.
            made = max(made, run.origin.modified + timedelta(microseconds=1))
        facts = [version.description, version.tags, version.current_stage, version.run_id]
        facts += [version.source, version.creation_timestamp, aliases]
        # A server is not asked for each version.
        is_server = self.opened.root is None
        here = [] if is_server else self.listed_here(self.place_of(version))
        name = quote(version.name, safe="")
        url = f"{self.opened.url}/#/models/{name}/versions/{version.version}"
        origin = Origin(url, _size(here), _mark([facts, here]), made, says_aliases=True)
        return _Version(self, origin, version, tuple(aliases), run)

    def place_of(self, version: Any) -> str:
        """Return where the artifacts of a version are."""
        with explained(self.opened.url):
            found = self.opened.client.get_model_version_download_uri(
                version.name, str(version.version)
            )
        return str(found)

    # Artifacts

    def local(self, uri: str) -> Path | None:
        """Return the directory of artifacts, if it is one of the machine where MLflow ran."""
        parts = urlsplit(uri)
        if parts.scheme not in ("", "file"):
            return None
        place = Path(unquote(parts.path) if parts.scheme else uri)
        if self.opened.root is not None and not place.exists():
            # It was moved together with all others: EXPERIMENT/RUN/artifacts.
            for depth in (3, 4):
                moved = self.opened.root.joinpath(*place.parts[-depth:])
                if moved.exists():
                    return moved
        return place

    def listed_here(self, uri: str) -> list[tuple[str, int, int]]:
        """Return the artifacts that are on this machine: path, size and time of each."""
        place = self.local(uri)
        if place is None or not self.opened.is_near or not place.is_dir():
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
        elif not self.opened.is_near or (self.opened.root is None and not place.exists()):
            raise InvalidInput(
                f"its artifacts are in a directory of the server's machine: {shown(uri)}",
                hint="run the import there, or start the server with --serve-artifacts",
            )
        return {} if place is None or not place.is_dir() else dict(_contents(place))

    def _downloaded(self, uri: str, scratch: Path) -> Path | None:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with explained(uri):
            own = self.opened.uri
            repository = get_artifact_repository(uri, tracking_uri=own, registry_uri=own)
            if not repository.list_artifacts():
                return None
            fs.make_directories(scratch)
            repository.download_artifacts("", dst_path=str(scratch))
        return scratch

    def histories(self, run: Any) -> dict[str, list[Value]]:
        """Return all values of all metrics of a run."""
        with explained(self.opened.url):
            return {
                key: [
                    Value(each.step, each.timestamp, each.value)
                    for each in self.opened.client.get_metric_history(run.info.run_id, key)
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
        for name, model, found in self._models(scratch):
            if any(path == name or path.startswith(f"{name}/") for path in files):
                name = f"{name}-{model}"
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

    def _models(self, scratch: Path) -> Iterator[tuple[str, str, dict[str, Content]]]:
        """Yield the models that the run has logged, by name and id: MLflow 3 keeps them apart."""
        for model in self.models:
            with explained(self.tracking.opened.url):
                found = self.tracking.opened.client.get_logged_model(model)
            yield (
                found.name,
                model,
                self.tracking.artifacts(found.artifact_location, scratch / model),
            )


@dataclass(frozen=True, slots=True)
class _Version:
    """A version of a registered model."""

    tracking: _Tracking
    origin: Origin
    version: Any
    aliases: tuple[str, ...]
    run: _Run | None

    def read(self, scratch: Path) -> Contents:
        """Read it; see `Source.read`."""
        version = self.version
        files = self.tracking.artifacts(self.tracking.place_of(version), scratch / "model")
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
