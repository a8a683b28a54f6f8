"""What DVC's files say: stages, and the outputs of each by their MD5s.

A file `NAME.dvc` is one stage; `dvc.lock` has those of the `dvc.yaml` beside it, which says what of
their outputs are metrics and plots.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ama.catalog.yaml_documents import read_yaml
from ama.errors import InvalidInput, shown
from ama.system.git import public_url
from ama.values import Scalar

Role = Literal["output", "metrics", "plots"]

_DIGEST = re.compile(r"[0-9a-f]{32}(\.dir)?").fullmatch
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://").match
_FIELD = re.compile(r"\$\{[^}]*\}")


@dataclass(frozen=True, slots=True)
class Dependency:
    """What a stage read: its path in the repository, and its MD5 if that is known."""

    path: str
    digest: str


@dataclass(frozen=True, slots=True)
class Output:
    """An output.

    Attributes:
        path: Its path in the repository.
        digest: Its MD5; of a directory that of its list, with `.dir` behind it.
        size: Its bytes.
        role: What it is.
        is_executable: Whether it is a program.
        is_old: Whether DVC before version 3 wrote it, whose MD5s of texts are without CR.
        problem: Why it can't be read.
    """

    path: str
    digest: str
    size: int = 0
    role: Role = "output"
    is_executable: bool = False
    is_old: bool = False
    problem: str = ""

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return self.digest.endswith(".dir")


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage, as it was run.

    Attributes:
        name: Its name, with the directory of its `dvc.yaml` before it.
        command: What was run; empty for data that was added.
        inputs: What it read.
        params: The files with its parameters.
        outputs: What it wrote.
        facts: Where its data was imported from, as metadata.
    """

    name: str
    command: str
    inputs: tuple[Dependency, ...]
    params: tuple[str, ...]
    outputs: tuple[Output, ...]
    facts: Mapping[str, Scalar] = field(default_factory=dict)


def is_added(path: str) -> bool:
    """Whether a path is that of a file `NAME.dvc`.

    Example:
        >>> is_added("data/raw.csv.dvc"), is_added(".dvc/config")
        (True, False)
    """
    name = path.rpartition("/")[2]
    return name.endswith(".dvc") and name != ".dvc"


def is_lock(path: str) -> bool:
    """Whether a path is that of a `dvc.lock`."""
    return path.rpartition("/")[2] == "dvc.lock"


def read_added(path: str, data: bytes) -> tuple[Stage, ...]:
    r"""Return the stage in a file `NAME.dvc`.

    Raises:
        InvalidInput: It is broken.

    Example:
        >>> (stage,) = read_added("data/a.dvc", b"outs:\n- md5: 0123456789abcdef0123456789abcdef\n"
        ...                                     b"  path: a\n")
        >>> stage.outputs[0].path
        'data/a'
    """
    table = _table(data, path)
    base = posixpath.join(posixpath.dirname(path), _text(table.get("wdir")))
    roles = {}
    for out in _tables(table.get("outs")):
        for role in ("metrics", "plots"):
            if out.get(role.removesuffix("s")):  # before DVC 1
                roles[_joined(base, _text(out.get("path")))[0]] = role
    stage = _stage(path.removesuffix(".dvc"), table, base, _roles_by(roles))
    return (stage,) if stage.outputs else ()


def read_lock(path: str, data: bytes, described: bytes | None) -> tuple[Stage, ...]:
    """Return the stages in a `dvc.lock`.

    Args:
        path: Its path in the repository.
        data: Its content.
        described: The content of the `dvc.yaml` beside it, if there is one.

    Raises:
        InvalidInput: One of them is broken.
    """
    table = _table(data, path)
    above = posixpath.dirname(path)
    stages = table.get("stages", table if "schema" not in table else {})
    told = _table(described, posixpath.join(above, "dvc.yaml")) if described is not None else {}
    top = _paths(told.get("metrics")), _paths(told.get("plots"))
    found = []
    for name, stage in _dict(stages).items():
        own = _dict(_dict(told.get("stages")).get(str(name).partition("@")[0]))
        own = _dict(own.get("do", own))  # of `foreach`
        base = posixpath.join(above, _text(own.get("wdir")))
        patterns: list[tuple[re.Pattern[str], Role]] = []
        for role, listed, also in (
            ("metrics", own.get("metrics"), top[0]),
            ("plots", own.get("plots"), top[1]),
        ):
            patterns += [(_pattern(base, each), role) for each in _paths(listed)]  # type: ignore[misc]
            patterns += [(_pattern(above, each), role) for each in also]  # type: ignore[misc]
        read = _stage(posixpath.join(above, str(name)), _dict(stage), base, tuple(patterns))
        if read.outputs:
            found.append(read)
    return tuple(found)


Roles = Sequence[tuple[re.Pattern[str], Role]]


def _roles_by(roles: Mapping[str, Any]) -> Roles:
    return [(re.compile(re.escape(path)), role) for path, role in roles.items()]


def _pattern(base: str, path: str) -> re.Pattern[str]:
    """Return the pattern of a path, in which `${...}` stands for anything."""
    parts = _FIELD.split(_joined(base, path)[0])
    return re.compile(".*".join(map(re.escape, parts)), re.DOTALL)


def _stage(name: str, table: Mapping[str, Any], base: str, roles: Roles) -> Stage:
    inputs: list[Dependency] = []
    params: list[str] = []
    facts: dict[str, Scalar] = {}
    for dep in _tables(table.get("deps")):
        path, problem = _joined(base, _text(dep.get("path")))
        repo = _dict(dep.get("repo"))
        if repo:
            facts["dvc.source"] = public_url(_text(repo.get("url"))) or ""
            facts["dvc.source_path"] = _text(dep.get("path"))
            facts["dvc.source_rev"] = _text(repo.get("rev_lock")) or _text(repo.get("rev"))
        elif problem:
            facts["dvc.source"] = public_url(_text(dep.get("path"))) or ""
        elif dep.get("params") is not None:  # before DVC 1 parameters were inputs
            params.append(path)
        else:
            inputs.append(Dependency(path, _text(dep.get("md5"))))
    for path in _dict(table.get("params")):
        found, problem = _joined(base, str(path))
        if not problem:
            params.append(found)
    outputs = tuple(_output(out, base, roles) for out in _tables(table.get("outs")))
    command = table.get("cmd")
    if isinstance(command, list):
        command = "\n".join(map(_text, command))
    return Stage(
        name,
        _text(command),
        tuple(inputs),
        tuple(params),
        outputs,
        {key: value for key, value in facts.items() if value},
    )


def _output(out: Mapping[str, Any], base: str, roles: Roles) -> Output:
    path, problem = _joined(base, _text(out.get("path")))
    digest = _text(out.get("md5"))
    if not problem and not _DIGEST(digest):
        problem = f"{shown(path)} has no MD5 in DVC's file"
    size = out.get("size")
    return Output(
        path,
        digest,
        size if isinstance(size, int) and 0 <= size < 1 << 62 else 0,
        next((role for pattern, role in roles if pattern.fullmatch(path)), "output"),
        out.get("isexec") is True,
        "hash" not in out,
        problem,
    )


def _joined(base: str, path: str) -> tuple[str, str]:
    """Return a path in the repository, and what is wrong with it."""
    found = posixpath.normpath(posixpath.join(base, path))
    if not path or _SCHEME(path) or found == ".." or found.startswith(("../", "/")):
        return path, f"{shown(path or 'an output')} is outside of the repository"
    return found, ""


def _table(data: bytes, path: str) -> dict[str, Any]:
    try:
        nodes, ended = read_yaml(data.decode())
    except (ValueError, RecursionError, TypeError, LookupError) as error:
        raise InvalidInput(f"{shown(path)} is broken") from error
    if ended is not None or len(nodes) > 1 or not all(isinstance(each, dict) for each in nodes):
        raise InvalidInput(f"{shown(path)} is broken")
    return nodes[0] if nodes else {}


def _dict(node: Any) -> dict[str, Any]:
    return node if isinstance(node, dict) else {}


def _tables(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, list):
        yield from (each for each in node if isinstance(each, dict))


def _paths(node: Any) -> list[str]:
    """Return the paths in a list of paths, or of tables with options by paths."""
    items = node if isinstance(node, list) else [node] if isinstance(node, dict) else []
    found: list[str] = []
    for each in items:
        found += [each] if isinstance(each, str) else map(str, _dict(each))
    return found


def _text(node: Any) -> str:
    return node if isinstance(node, str) else ""
