"""Operators: publish files as an asset, bring an asset here, note what is known later of one."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ama.errors import InvalidInput, shown
from ama.integrations.airflow.hook import AmaHook, explained
from ama.integrations.airflow.uris import class_uri, known_class
from ama.integrations.airflow.versions import Asset, BaseOperator
from ama.values import AssetInfo, Scalar

_WILD = re.compile(r"[*?\[]").search
_ASSET = re.compile(r".+(@.+|/[0-9]+(~[0-9]*)?)").fullmatch


class AmaOperator(BaseOperator):  # type: ignore[misc]
    """What the operators share: a store.

    Args:
        store: A store's URL, directory or remote's name, instead of a connection.
        ama_conn_id: The connection.
        kwargs: See Airflow's `BaseOperator`.
    """

    ui_color = "#e8eef7"

    def __init__(
        self,
        *,
        store: str | None = None,
        ama_conn_id: str = AmaHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.store = store
        self.ama_conn_id = ama_conn_id

    @property
    def hook(self) -> AmaHook:
        """Return the hook that opens the store."""
        return AmaHook(self.ama_conn_id, store=self.store)


class AmaPublishOperator(AmaOperator):
    """Publishes files as an asset; its result is the asset's name, such as "models/7".

    A retry publishes nothing twice: the class's asset that says the same is found, whatever
    interrupted the try before. The class is an outlet, `ama://CLASS`, and its event has the asset.

    Args:
        class_name: The asset's class.
        files: A file or a directory, several of them, also as globs; or such paths by the paths in
            the asset.
        aliases: The aliases that it gets.
        refs: What it was made from: names of assets, or these by their labels. Airflow renders the
            values of a mapping, and so a label is a key.
        metadata: Texts, numbers and truth values by their keys. What Jinja renders is a text.
        message: Why it was made.
        code: The directory of the code that made it, in a git repository.
        environment: Whether to record the packages of the worker's Python.
        record_run: Whether its metadata name the DAG, the task and the run, as `airflow.dag_id`,
            `airflow.task_id`, `airflow.run_id` and, of a mapped task, `airflow.map_index`. If not,
            runs that publish the same share an asset.
        force: Whether to take files that look like secrets.
        kwargs: `store`, `ama_conn_id`, and those of Airflow's `BaseOperator`.
    """

    template_fields: Sequence[str] = (
        *("class_name", "files", "aliases", "refs", "metadata", "message", "code"),
        *("store", "ama_conn_id"),
    )

    def __init__(
        self,
        *,
        class_name: str,
        files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | Mapping[str, Any],
        aliases: str | Iterable[str] = (),
        refs: str | Iterable[str] | Mapping[str, Any] = (),
        metadata: Mapping[str, Scalar] | None = None,
        message: str | None = None,
        code: str | None = None,
        environment: bool = False,
        record_run: bool = True,
        force: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**_with_uris(kwargs, "inlets", refs, class_name))
        self.class_name = class_name
        self.files = files
        self.aliases = aliases
        self.refs = refs
        self.metadata = metadata
        self.message = message
        self.code = code
        self.environment = environment
        self.record_run = record_run
        self.force = force

    def execute(self, context: Any) -> str:
        """Publish the files."""
        with explained(self.log):
            result = self.hook.get_conn(create=True).publish(
                self.class_name,
                found(self.files),
                aliases=tuple(each(self.aliases)),
                refs=by_name(self.refs),
                metadata={**(self._run(context)), **(self.metadata or {})},
                message=self.message,
                once=True,
                code=self.code,
                environment=self.environment,
                force=self.force,
            )
        asset = result.asset
        assert asset is not None
        done = "was published by an earlier try" if result.again else "is published"
        self.log.info("%s %s in %s", asset.name, done, result.remote)
        for change in result.aliases:
            self.log.info("%s@%s is now %s", change.class_name, change.alias, asset.name)
        _tell(context, self.outlets, asset, result.remote)
        return plain_name(asset)

    def _run(self, context: Any) -> dict[str, Scalar]:
        if not self.record_run:
            return {}
        task = context["ti"]
        # Not which try it is: a retry must be the same call.
        said: dict[str, Scalar] = {
            f"airflow.{name}": getattr(task, name) for name in ("dag_id", "task_id", "run_id")
        }
        if task.map_index >= 0:
            said["airflow.map_index"] = task.map_index
        return said


class AmaFetchOperator(AmaOperator):
    """Brings an asset to the machine where the task runs; its result is the directory.

    Args:
        asset: The asset's name, such as "models@best".
        directory: The directory to write it into. A retry completes it. By default one of the
            machine's content cache, to read: what is there isn't fetched again.
        include: Globs of the files to fetch; all by default.
        exclude: Globs of files to leave out.
        kwargs: `store`, `ama_conn_id`, and those of Airflow's `BaseOperator`.
    """

    template_fields: Sequence[str] = (
        *("asset", "directory", "include", "exclude", "store", "ama_conn_id"),
    )

    def __init__(
        self,
        *,
        asset: str,
        directory: str | None = None,
        include: str | Iterable[str] = (),
        exclude: str | Iterable[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**_with_uris(kwargs, "inlets", asset))
        self.asset = asset
        self.directory = directory
        self.include = include
        self.exclude = exclude

    def execute(self, context: Any) -> str:
        """Fetch the asset."""
        include, exclude = each(self.include), each(self.exclude)
        with explained(self.log):
            store = self.hook.get_conn()
            if self.directory is None:
                directory = store.fetch(self.asset, include=include, exclude=exclude)
                if store.away is not None:
                    self.log.warning("%s; what this machine has seen last counts", store.away)
            else:
                directory = store.download(
                    self.asset, self.directory, include=include, exclude=exclude
                ).directory
        self.log.info("%s is in %s", self.asset, directory)
        return str(directory)


class AmaNoteOperator(AmaOperator):
    """Notes what is known later of an asset; its result is the asset's name, such as "models/7".

    A retry notes nothing twice. The asset stays the same one.

    Args:
        asset: The asset's name; or a class, whose description the message is.
        metadata: Texts, numbers and truth values by their keys. What Jinja renders is a text.
        tags: Tags that it gets.
        message: Words.
        file: A file to keep with the note: its path; or by its name, its path.
        remove: Keys and tags that were noted, to take away.
        kwargs: `store`, `ama_conn_id`, and those of Airflow's `BaseOperator`.
    """

    template_fields: Sequence[str] = (
        *("asset", "metadata", "tags", "message", "file", "remove", "store", "ama_conn_id"),
    )

    def __init__(
        self,
        *,
        asset: str,
        metadata: Mapping[str, Scalar] | None = None,
        tags: str | Iterable[str] = (),
        message: str | None = None,
        file: str | Mapping[str, str] | None = None,
        remove: str | Iterable[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**_with_uris(kwargs, "inlets", asset))
        self.asset = asset
        self.metadata = metadata
        self.tags = tags
        self.message = message
        self.file = file
        self.remove = remove

    def execute(self, context: Any) -> str:
        """Note it."""
        with explained(self.log):
            result = self.hook.get_conn().note(
                self.asset,
                metadata=self.metadata,
                tags=each(self.tags),
                message=self.message,
                file=self.file,
                remove=each(self.remove),
                once=True,
            )
        done = "has this note by an earlier try" if result.again else "has a new note"
        self.log.info("%s %s in %s", result.name, done, result.remote)
        note = result.note
        return note.class_name if note.asset is None else f"{note.class_name}/{note.number}"


def plain_name(asset: AssetInfo) -> str:
    """Return an asset's name for other tasks: `class/number`."""
    return f"{asset.class_name}/{asset.number}"


def each(given: Any) -> list[Any]:
    """Return one or several values as a list; the results of a mapped task are several."""
    if given is None:
        return []
    if isinstance(given, (str, os.PathLike)) or not isinstance(given, Iterable):
        return [given]
    return list(given)


def found(files: Any) -> Any:
    """Return files with their globs replaced by what matches them, in the order of the paths.

    A glob that matches nothing stays: ama says that there is no such file.
    """
    if isinstance(files, Mapping):
        return files
    paths = []
    for path in each(files):
        text = os.fspath(path)
        matches = _WILD(text) and not os.path.lexists(text)
        paths += sorted(glob.glob(text, recursive=True)) or [text] if matches else [text]
    return paths


def by_name(refs: Any) -> dict[str, str]:
    """Return labels by the names of assets.

    Raises:
        InvalidInput: An asset is given with two labels, or the labels stand where names belong.
    """
    if not isinstance(refs, Mapping):
        return dict.fromkeys(each(refs), "")
    labels: dict[str, str] = {}
    for label, names in refs.items():
        if _ASSET(label):
            raise InvalidInput(
                f"{shown(label)} is given as a label", hint="refs are {label: name} in a DAG"
            )
        for name in each(names):
            if labels.setdefault(name, label) != label:
                raise InvalidInput(f"{shown(name)} is given with two labels")
    return labels


def _with_uris(
    kwargs: dict[str, Any], side: str, sources: Any, made: str | None = None
) -> dict[str, Any]:
    """Return arguments with Airflow's assets for the classes that a task reads and makes."""
    wanted = {side: _one_by_one(sources), "outlets": [made]}
    for name, sources in wanted.items():
        given = each(kwargs.get(name))
        uris = {getattr(one, "uri", None) for one in given}
        classes = dict.fromkeys(known for known in map(known_class, sources) if known)
        given += [Asset(uri=class_uri(known)) for known in classes if class_uri(known) not in uris]
        if given:
            kwargs[name] = given
    return kwargs


def _one_by_one(given: Any) -> Iterator[Any]:
    """Yield what stands in lists and mappings: the result of another task can't be iterated."""
    if isinstance(given, Mapping):
        given = list(given.values())
    if isinstance(given, (list, tuple)):
        for one in given:
            yield from _one_by_one(one)
    else:
        yield given


def _tell(context: Any, outlets: Iterable[Any], asset: AssetInfo, store: str) -> None:
    """Say in the event of the class's outlet which asset was published."""
    for outlet in outlets:
        if getattr(outlet, "uri", None) == class_uri(asset.class_name):
            context["outlet_events"][outlet].extra = {
                "asset": plain_name(asset),
                "number": asset.number,
                "id": asset.id,
                "aliases": list(asset.aliases),
                "store": store,
            }
