"""Repositories of DVC: what each commit changed becomes assets, and stages become refs.

An output's version is an asset of the commit that brought it, with that commit's author and time.
It follows the version before it, and is made from what its stage read. The history comes from git,
the content from DVC's cache.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from ama.errors import InvalidInput, NotFound, StorageError, shown
from ama.format.hashing import blob_id
from ama.format.objects import EntryKind
from ama.importing.dvc_cache import Cache, content, open_cache
from ama.importing.dvc_files import Output, Stage, is_added, is_lock, read_added, read_lock
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
from ama.importing.naming import as_alias, as_class
from ama.settings import Settings
from ama.system import disk
from ama.system.encoding import system_path
from ama.system.git_history import Commit, GitHistory
from ama.values import Scalar

_PATTERNS = ("**/*.dvc", "**/dvc.lock", "**/dvc.yaml")
_PLACE = "dvc"
_MOST_MESSAGE = 10_000


@dataclass(frozen=True, slots=True)
class _Product:
    """What a stage has made, as one asset: an output, and the metrics and plots beside it.

    Attributes:
        key: What it is called in the repository: its path, or the stage if it is metrics alone.
        stage: The stage.
        outputs: Its outputs.
    """

    key: str
    stage: Stage
    outputs: tuple[Output, ...]

    @property
    def version(self) -> tuple[str, ...]:
        """Return what tells versions of it apart."""
        return tuple(sorted(f"{out.path}\0{out.digest}" for out in self.outputs))


@dataclass(frozen=True, slots=True)
class _At:
    """A commit, the files in it, and what they say."""

    commit: Commit
    files: Mapping[str, str]
    state: _State


_Version = tuple[str, tuple[str, ...]]
_State = Mapping[str, _Product]
"""The products in a commit, by their keys."""


def list_dvc(places: Iterable[str], settings: Settings) -> list[Source]:
    """Return what the commits of repositories have changed.

    Args:
        places: The directories of repositories.
        settings: The settings.

    Raises:
        NotFound: There is no such directory.
        InvalidInput: It is no repository of DVC and git.
        StorageError: It can't be read.
    """
    found: dict[str, Source] = {}
    for text in places:
        place = Path(os.path.abspath(system_path(text)))
        if not disk.is_directory(place):
            raise NotFound(f"{shown(text)}: there is no such directory")
        root = next((p for p in (place, *place.parents) if (p / ".dvc").is_dir()), None)
        if root is None:
            raise InvalidInput(
                f"{shown(text)} is no repository of DVC", hint="give the directory that has .dvc"
            )
        for source in _Repository(GitHistory(root, settings.environ()), root).sources():
            found.setdefault(source.origin.url, source)
    return list(found.values())


class _Repository:
    def __init__(self, git: GitHistory, root: Path) -> None:
        self.git = git
        self.cache: Cache = open_cache(root)
        self._url = git.url()
        inner = Path(os.path.realpath(root)).relative_to(os.path.realpath(git.root))
        self._above = "" if inner == Path() else f"{inner.as_posix()}/"
        self._stages: dict[tuple[str, ...], tuple[Stage, ...]] = {}
        self._states: dict[str, _State] = {}
        self._made: dict[_Version, _Revision] = {}
        self._last: dict[_Version, _Revision] = {}
        """The same; of a version whose content is gone, the one before it."""
        self._by_output: dict[tuple[str, str], _Revision] = {}

    def sources(self) -> list[Source]:
        found: list[Source] = []
        for name, parents in self.git.commits(*_PATTERNS):
            before = [self._states[parent] for parent in parents if parent in self._states]
            try:
                files = self.git.files(name)
                state = self._states[name] = self._state(files)
            except InvalidInput as error:
                found.append(Refused(Origin(f"{self._url}@{name}", 0, ""), error))
                self._states[name] = before[0] if before else {}
                continue
            for product in _in_order(state.values()):
                versions = [old[product.key].version for old in before if product.key in old]
                if product.version not in versions:
                    first = before[0].get(product.key) if before else None
                    at = _At(self.git.commit(name), files, state)
                    found.append(self._revision(at, product, first))
        aliases: dict[str, list[str]] = {}
        for name, head in self.git.heads().items():
            if (alias := as_alias(name)) is None:
                continue
            for product in self._at_head(head).values():
                revision = self._made.get((product.key, product.version))
                if revision is not None:
                    aliases.setdefault(revision.origin.url, []).append(alias)
        return [
            each.named(aliases.get(each.origin.url, ())) if isinstance(each, _Revision) else each
            for each in found
        ]

    def _at_head(self, head: str) -> _State:
        try:
            return self._states.get(head) or self._state(self.git.files(head))
        except (InvalidInput, StorageError):  # a tag may be on anything
            return {}

    def _state(self, files: Mapping[str, str]) -> _State:
        products: dict[str, _Product] = {}
        for path, blob in files.items():
            if not path.startswith(self._above) or not (is_added(path) or is_lock(path)):
                continue
            told = files.get(path.removesuffix("dvc.lock") + "dvc.yaml", "")
            key = (path, blob, told if is_lock(path) else "")
            if key not in self._stages:
                data = self.git.read(blob)
                if is_added(path):
                    self._stages[key] = read_added(path, data)
                else:
                    described = self.git.read(told) if told else None
                    self._stages[key] = read_lock(path, data, described)
            for stage in self._stages[key]:
                products |= {product.key: product for product in _products(stage)}
        return products

    def _revision(self, at: _At, product: _Product, first: _Product | None) -> Source:
        commit, files = at.commit, at.files
        url = f"{self._url}@{commit.id}:{product.key}"
        before = None if first is None else self._last.get((first.key, first.version))
        try:
            size = self._require(product, files)
        except InvalidInput as error:
            if before is not None:
                self._last[product.key, product.version] = before
            return Refused(Origin(url, 0, ""), error)
        inputs = list(self._inputs(product, at.state))
        earlier = [*(made for made, _ in inputs), *([before] if before else [])]
        times = [each.origin.modified for each in earlier]
        # Clocks differ, and what it is made from comes first.
        after = [each + timedelta(microseconds=1) for each in times if each is not None]
        modified = max([commit.committed, *after])
        revision = _Revision(
            self,
            Origin(url, size, "", modified, says_aliases=True),
            commit,
            product,
            {path: files[path] for path in self._wanted(product, files)},
            {made.link: label for made, label in inputs},
            None if before is None else before.link,
        )
        self._made[product.key, product.version] = revision
        self._last[product.key, product.version] = revision
        for output in product.outputs:
            self._by_output[output.path, output.digest] = revision
        return revision

    def _wanted(self, product: _Product, files: Mapping[str, str]) -> Iterator[str]:
        """Yield the files that are in git itself: parameters, and outputs that aren't cached."""
        yield from (path for path in product.stage.params if path in files)
        for output in product.outputs:
            if output.path in files:
                yield output.path

    def _require(self, product: _Product, files: Mapping[str, str]) -> int:
        """Check that all content is here; return its bytes.

        Raises:
            InvalidInput: Some is not.
        """
        for output in product.outputs:
            if output.problem:
                raise InvalidInput(output.problem)
            if output.path not in files:
                for _ in self.cache.parts(output):
                    pass
        return sum(output.size for output in product.outputs)

    def _inputs(self, product: _Product, state: _State) -> Iterator[tuple[_Revision, str]]:
        """Yield the versions that a stage read, and what they are to it."""
        outputs = {out.path: out for each in state.values() for out in each.outputs}
        for dep in product.stage.inputs:
            found = self._by_output.get((dep.path, dep.digest))
            if found is not None:
                yield found, dep.path
                continue
            for path, output in outputs.items():
                # A part of a directory, or a directory with outputs in it.
                if dep.path.startswith(f"{path}/") or path.startswith(f"{dep.path}/"):
                    part = self._by_output.get((path, output.digest))
                    if part is not None and part.product.key != product.key:
                        yield part, dep.path


def _in_order(products: Iterable[_Product]) -> list[_Product]:
    """Return products, each after what its stage read."""
    given = {product.key: product for product in products}
    makers = {out.path: key for key, product in given.items() for out in product.outputs}
    before = {
        key: {
            maker
            for dep in product.stage.inputs
            for path, maker in makers.items()
            if maker != key
            and (f"{dep.path}/".startswith(f"{path}/") or path.startswith(f"{dep.path}/"))
        }
        for key, product in given.items()
    }
    try:
        return [given[key] for key in TopologicalSorter(before).static_order()]
    except CycleError:  # no DVC wrote that
        return list(given.values())


def _products(stage: Stage) -> Iterator[_Product]:
    beside_them = tuple(out for out in stage.outputs if out.role != "output")
    outputs = [out for out in stage.outputs if out.role == "output"]
    for output in outputs:
        yield _Product(output.path, stage, (output, *beside_them))
    if beside_them and not outputs:
        yield _Product(stage.name, stage, beside_them)


@dataclass(frozen=True, slots=True)
class _Revision:
    """A version of a product, as a commit brought it.

    Attributes:
        repository: The repository.
        origin: Where it is.
        commit: The commit.
        product: What it is.
        in_git: Its files in git, with their ids.
        links: What it is made from.
        follows: The version before it.
        aliases: The branches and tags whose version it is.
    """

    repository: _Repository
    origin: Origin
    commit: Commit
    product: _Product
    in_git: Mapping[str, str]
    links: Mapping[Link, str] = field(default_factory=dict)
    follows: Link | None = None
    aliases: tuple[str, ...] = ()

    @property
    def link(self) -> Link:
        return Link(as_class(self.product.key), self.origin.url)

    def named(self, aliases: Iterable[str]) -> _Revision:
        """Return it with its aliases."""
        names = tuple(dict.fromkeys(aliases))
        lines = [*self.product.version, "", *names]
        mark = blob_id("\n".join(lines).encode("utf-8", "surrogateescape")).hex()
        return replace(self, aliases=names, origin=replace(self.origin, mark=mark))

    def read(self, scratch: Path) -> Contents:
        """Check each file by its MD5; see `Source.read`."""
        stage, commit = self.product.stage, self.commit
        files: dict[str, Content] = {}
        for path in stage.params:
            if path in self.in_git:
                files[path] = Content(EntryKind.FILE, self.repository.git.read(self.in_git[path]))
        for output in self.product.outputs:
            if output.path in self.in_git:
                files[output.path] = self._from_git(output)
                continue
            for part in self.repository.cache.parts(output):
                files[part.path] = content(part, output)
        if not files:
            raise InvalidInput(f"{shown(self.product.key)} is an empty directory")
        if stage.command:
            said = {"command": stage.command, "inputs": {d.path: d.digest for d in stage.inputs}}
            data = json.dumps(said, ensure_ascii=False, indent=1).encode("utf-8", "replace")
            files |= beside(files, _PLACE, {"stage.json": data})
        metadata: dict[str, Scalar] = {
            "dvc.path": self.product.key,
            "git.commit": commit.id,
            **({"dvc.stage": stage.name} if stage.command else {}),
            **stage.facts,
        }
        asset = Incoming(
            self.link.class_name,
            files,
            self.aliases,
            commit.author or None,
            commit.written,
            commit.message[:_MOST_MESSAGE],
            metadata,
            links=self.links,
            follows=self.follows,
        )
        return Contents((asset,))

    def _from_git(self, output: Output) -> Content:
        data = self.repository.git.read(self.in_git[output.path])
        for text in (data, data.replace(b"\r\n", b"\n")):
            if hashlib.md5(text, usedforsecurity=False).hexdigest() == output.digest:
                return Content(EntryKind.FILE, data)
        raise InvalidInput(
            f"{shown(output.path)} in the commit is not what DVC's file says",
            hint="the commit has another version of it than dvc.lock",
        )
