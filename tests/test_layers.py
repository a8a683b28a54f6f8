"""The house: a room imports only from rooms above it, and some things have one place.

A room is a folder of `src/ama`, or a module at its top. Inside a room the rule is "no circles".
Imports are read from the source, so those inside functions and under TYPE_CHECKING count as well.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"

# The rooms from the top of the house down: a folder, or a module of the public face. A room imports
# only from rooms above it.
ROOMS = (
    "errors",
    "values",
    "system",
    "format",
    "lineage",
    "contents",
    "config",
    "storage",
    "results",
    "settings",
    "stores",
    "worktree",
    "transfer",
    "exporting",
    "maintenance",
    "operations",
    "catalog",
    "notebook",
    "asset",
    "store",
    "publication",
    "checkpoints",
    "importing",
    "repo",
    "ama",
    "wording",
    "filesystem",
    "dashboard",
    "integrations",
    "cli",
    "__main__",
)

# The only modules that may import a package; every other third-party package is refused.
WRAPPED: dict[str, set[str]] = {
    "airflow": {"integrations.airflow.versions"},
    "blake3": {"format.hashing", "stores.object_reader"},
    "fsspec": {"storage.fsspec", "filesystem"},
    "jinja2": {"dashboard"},
    "markdown_it": {"dashboard.markdown"},
    "markupsafe": {"dashboard"},  # a part of jinja2
    "starlette": {"dashboard"},
    "uvicorn": {"dashboard"},
    "h5py": {"contents.hdf5"},
    "keras": {"integrations.keras"},
    "mlflow": {"integrations.mlflow", "importing.from_mlflow", "importing.mlflow_client"},
    "pandas": {"catalog.values"},
    "yaml": {"catalog.yaml_documents"},
    "msgpack": {"format.canonical", "worktree.blocks", "worktree.staging"},
    "numpy": {"contents.hdf5"},
    "obstore": {"storage.obstore"},
    "pathspec": {"worktree.ignore", "worktree.trees"},
    "platformdirs": {"settings"},
    "pyfastcdc": {"format.chunking"},
    "rich": {"cli"},
    "tomlkit": {"config"},
    "typer": {"cli"},
    "zstandard": {"exporting.tars", "format.compression", "importing.archives"},
}

BANNED_NAMES = {"utils", "util", "core", "common", "base", "helpers", "helper", "manager", "misc"}

LONGEST = 400  # lines of code; docstrings, comments and blank lines are free
LONGEST_OF_ALL = 700  # lines, with what is free above
MOST_PARAMETERS = 8
# A command's options, and the conditions that one may search by.
MANY_PARAMETERS = {
    *(
        "cli",
        "Store.find",
        "StoreChanges.publish",
        "publish",
        "Checkpoints.__init__",
        "import_assets",
    ),
    "AmaPublishOperator.__init__",  # all that `publish` takes
}
MOST_ROOMS, MOST_LOOSE, MOST_MODULES = 31, 14, 307

# What changes the disk: only `fs` calls it.
DISK_CALLS = {
    *("os." + name for name in "rename renames replace link symlink unlink remove rmdir".split()),
    *("os." + name for name in "removedirs mkdir makedirs fsync fdatasync truncate utime".split()),
    *("os." + name for name in "chmod write pwrite".split()),
    *("shutil." + name for name in "copy copy2 copyfile copytree move rmtree".split()),
}
DISK_METHODS = {
    *"unlink rmdir mkdir touch rename symlink_to hardlink_to write_bytes write_text".split(),
}
# What opens or lists what may be anything by now, a pipe or gone: `fs` does, with care and a clear
# error. Each name, and the modules that may use it all the same.
DISK_READS: dict[str, set[str]] = {
    "open": {"format.hashing", "cli"},  # with the care of `fs`; the null device
    "os.open": {
        "system.syscalls",
        "format.hashing",
        "cli.main",
        "cli",
    },  # the null device
    "io.open": set(),
    "os.fdopen": set(),
    "os.listdir": {"stores.creation"},  # where each error has a meaning of its own
    "os.readlink": set(),
    "os.scandir": {"storage.local", "storage.permissions", "worktree.scan", "cli.targets"},
    "mmap.mmap": set(),
}
DISK_READ_METHODS: dict[str, set[str]] = {
    "read_bytes": {"dashboard.rendering", "dashboard.export"},  # files of this package
    "read_text": {"system.packages"},  # what a package says of itself
    "iterdir": {"contents.hdf5_process"},  # a directory that it has just made
}
# What depends on the process that runs the library: only cli/ and `settings` may ask, and only in
# a notebook is there something to print besides.
SURROUNDINGS = {
    *("os." + name for name in "environ environb getenv getcwd getcwdb chdir".split()),
    *("sys." + name for name in "argv exit stdout stderr stdin".split()),
    "Path.cwd",
    "Path.home",
    "exit",
    "input",
    "print",
    "quit",
}


def code_lines(source: str) -> int:
    """How many lines of a module are code: not blank, not a comment, not a docstring."""
    prose: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            prose.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    code = [line.strip() for n, line in enumerate(source.splitlines(), 1) if n not in prose]
    return sum(bool(line) and line[0] != "#" for line in code)


def module_name(path: Path) -> str:
    """`errors`, `storage.local`; a package is its own name, and the whole package is `ama`."""
    parts = path.relative_to(SOURCE / "ama").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "ama"


MODULES = {module_name(path): path for path in sorted((SOURCE / "ama").rglob("*.py"))}

each_module = pytest.mark.parametrize("module", MODULES)


@cache
def parsed(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"), str(MODULES[module]))


def imported_names(module: str) -> Iterator[tuple[str, int]]:
    """Every absolute dotted name that is imported anywhere in a module, with its line."""
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{MODULES[module]}:{node.lineno}: a relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno
        elif isinstance(node, ast.Call) and dotted(node.func) in {
            "__import__",
            "import_module",
            "importlib.import_module",
        }:
            name = node.args[0]
            if isinstance(name, ast.Constant):
                yield str(name.value), node.lineno
            else:  # a computed name could be anything
                allowed = {"ama", "cli.commands", "storage.fsspec"}
                assert module in allowed, f"{MODULES[module]}:{node.lineno}"


def dotted(node: ast.AST) -> str:
    """`os.rename` for the expression os.rename; empty for what isn't a dotted name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def own_module(name: str) -> str | None:
    """The module of ama that an imported dotted name is, or lies in."""
    if name != "ama" and not name.startswith("ama."):
        return None
    inner = name.removeprefix("ama").removeprefix(".")
    while inner and inner not in MODULES:
        inner = inner.rpartition(".")[0]
    return inner or "ama"


def room(module: str) -> str:
    """The folder that a module lives in, or the module itself at the top."""
    return module.partition(".")[0]


def within(module: str, places: set[str]) -> bool:
    return module in places or module.partition(".")[0] in places


def opens_to_write(call: ast.Call) -> bool:
    """Whether this is `open(path, "wb")` or `path.open("w")`."""
    if isinstance(call.func, ast.Attribute) and call.func.attr == "open":
        position = 0
    elif isinstance(call.func, ast.Name) and call.func.id == "open":
        position = 1
    else:
        return False
    modes = [*call.args[position : position + 1]]
    modes += [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    return any(
        isinstance(mode, ast.Constant)
        and isinstance(mode.value, str)
        and set(mode.value) <= set("rwaxbt+")
        and set(mode.value) & set("wax+")
        for mode in modes
    )


def is_entry_point(module: str) -> bool:
    return within(module, {"cli", "__main__"})


@cache
def own_imports(module: str) -> Mapping[str, int]:
    """The other modules of ama that a module imports, and on which line."""
    found = ((own_module(name), line) for name, line in imported_names(module))
    return {other: line for other, line in found if other is not None and other != module}


@each_module
def test_a_room_imports_only_from_rooms_above(module: str) -> None:
    here = ROOMS.index(room(module))
    wrong = [
        f"line {line}: {module} imports {other}"
        for other, line in own_imports(module).items()
        if ROOMS.index(room(other)) > here
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_has_no_circles(name: str) -> None:
    modules = {module for module in MODULES if room(module) == name}
    below = {module: own_imports(module).keys() & modules for module in modules}
    TopologicalSorter(below).prepare()  # it raises CycleError, and names the circle


@each_module
def test_a_package_is_imported_only_where_it_is_wrapped(module: str) -> None:
    wrong = []
    for name, line in imported_names(module):
        package = name.partition(".")[0]
        if package == "ama" or package in sys.stdlib_module_names:
            continue
        if not within(module, WRAPPED.get(package, set())):
            wrong.append(f"line {line}: {module} imports {package}")
    assert not wrong, "\n".join(wrong)


@each_module
def test_only_fs_changes_the_disk(module: str) -> None:
    if module in {"system.fs", "system.syscalls", "system.scratch"}:  # it deletes what it has made
        return
    assert "syscalls" not in {own_module(name) for name, _ in imported_names(module)}
    wrong = []
    for node in ast.walk(parsed(module)):
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        # `fs.mkdir(...)` is that module's, `repo.rename(...)` no path's, and a channel leads to
        # another machine; `path.mkdir(...)` counts.
        method = isinstance(node.func, ast.Attribute) and node.func.attr in DISK_METHODS
        owner = ast.unparse(node.func).rpartition(".")[0]
        method = method and owner not in {"fs", "repo", "open_repo()", "channel"}
        if name in DISK_CALLS or method or opens_to_write(node):
            wrong.append(f"line {node.lineno}: {ast.unparse(node.func)}")
    assert not wrong, "\n".join(wrong)


@each_module
def test_only_fs_opens_files(module: str) -> None:
    if module in {"system.disk", "system.fs"}:
        return
    wrong = []
    for node in ast.walk(parsed(module)):
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        for table, found in ((DISK_READS, name), (DISK_READ_METHODS, method)):
            if found in table and module not in table[found]:
                wrong.append(f"line {node.lineno}: {ast.unparse(node.func)}")
    assert not wrong, "\n".join(wrong)


@each_module
def test_only_the_command_line_and_settings_look_around(module: str) -> None:
    # What AWS's own client reads is read as it does.
    if is_entry_point(module) or module in {"settings", "storage.obstore", "notebook"}:
        return
    wrong = [
        f"line {node.lineno}: {dotted(node)}"
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.Attribute | ast.Name) and dotted(node) in SURROUNDINGS
    ]
    assert not wrong, "\n".join(wrong)


@each_module
def test_a_module_has_one_subject(module: str) -> None:
    words = set(module.replace("_", ".").split("."))
    assert not words & BANNED_NAMES, f"{module} says nothing of what it is about"
    source = MODULES[module].read_text(encoding="utf-8")
    lines = code_lines(source)
    assert lines <= LONGEST, f"{module} has {lines} lines of code: split it by subject"
    assert source.count("\n") <= LONGEST_OF_ALL


@each_module
def test_a_function_has_few_parameters(module: str) -> None:
    if room(module) in MANY_PARAMETERS:
        return
    wrong = []
    for owner in ast.walk(parsed(module)):
        for node in ast.iter_child_nodes(owner):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            name = f"{owner.name}.{node.name}" if isinstance(owner, ast.ClassDef) else node.name
            arguments = node.args
            named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            count = sum(each.arg not in {"self", "cls"} for each in named)
            if count > MOST_PARAMETERS and name not in MANY_PARAMETERS:
                wrong.append(f"line {node.lineno}: {name} takes {count}")
    assert not wrong, "\n".join(wrong)


def test_the_house_stays_small() -> None:
    folders = {name for name in ROOMS if MODULES[name].name == "__init__.py" and name != "ama"}
    loose = {name for name in MODULES if "." not in name and name not in folders}
    assert len(ROOMS) <= MOST_ROOMS
    assert len(loose) <= MOST_LOOSE
    assert len(MODULES) <= MOST_MODULES


def test_the_tables_name_only_what_exists() -> None:
    assert {room(module) for module in MODULES} == set(ROOMS)
    named = {place for places in WRAPPED.values() for place in places}
    assert sorted(named - MODULES.keys() - set(ROOMS)) == []


def test_a_folder_says_what_lives_there() -> None:
    for name in ROOMS:
        if MODULES[name].name == "__init__.py":
            assert ast.get_docstring(parsed(name)), f"{name} has no line of its own"
