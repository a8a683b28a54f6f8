"""What an asset says of how it was made: the run and the packages."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

import ama
from ama import config
from ama.format.objects import MAX_ASSET, Asset, decode_asset, encode_asset
from ama.format.recorded import MAX_ENVIRONMENT, environment_of, packages_in, run_of
from ama.operations.recording import recorded
from ama.settings import Settings, user_config_path
from ama.system import packages, running
from ama.system.packages import list_packages
from ama.transfer.publish import encoded
from conftest import Ama

SECRET = "hunter2" + "Zx9Qw8"


@pytest.fixture
def store(tmp_path: Path) -> ama.Store:
    return ama.Store.open(tmp_path / "store", create=True)


def words(monkeypatch: pytest.MonkeyPatch, *given: Any) -> None:
    monkeypatch.setattr(sys, "orig_argv", list(given))
    monkeypatch.setattr(sys, "argv", list(given[1:]))


# The run


def test_the_run_is_told(store: ama.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    words(monkeypatch, "python", "train.py", "--lr", "0.1", "--password", SECRET)
    store.publish("models", {"x": b"x"})
    asset = store.resolve("models")
    assert asset.run == {
        "command": "python train.py --lr 0.1 --password ***",
        "directory": os.getcwd(),
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    assert asset.info.run == asset.run
    assert asset.environment is None
    assert asset.info.metadata == {}
    assert store.fsck().ok
    store.delete("models/1", force=True)
    assert store.resolve("models/1").run == store.resolve("models/1").info.run == asset.run


SCRIPT = """
import sys, ama
done = ama.publish("models", {"x": b"x"}, store=sys.argv[1], once=True)
print(done.asset.number, done.again)
"""


def git(directory: Path, *args: str) -> str:
    named = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
    command = ["git", *named, *args]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True).stdout


def run_script(*args: str | Path, cwd: Path) -> str:
    done = subprocess.run(args, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_the_code_is_that_of_the_calling_script(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    git(code, "init", "-q")
    (code / "train.py").write_text(SCRIPT)
    git(code, "add", ".")
    git(code, "commit", "-qm", "first")
    shelf = tmp_path / "shelf"
    assert run_script(sys.executable, code / "train.py", shelf, cwd=tmp_path) == "1 False"
    store = ama.Store.open(shelf)
    made = store.resolve("models/1")
    assert made.info.metadata["git.commit"] == git(code, "rev-parse", "HEAD").strip()
    assert made.run["command"].endswith(f"{code}/train.py {shelf}")
    # Again, from another directory: it is the same asset.
    (tmp_path / "other").mkdir()
    assert run_script(sys.executable, code / "train.py", shelf, cwd=tmp_path / "other") == "1 True"
    # By name, and from the command: around what is published.
    store.publish("models", {"y": b"y"}, code=code)
    assert store.resolve("models/2").info.metadata["git.repository"] == "code"
    store.publish("models", {"y": b"y"})
    assert store.resolve("models/3").info.metadata == {}
    Ama().ok("publish", "models", code / "train.py", "--remote", shelf)
    found = store.resolve("models/4")
    assert found.info.metadata["git.repository"] == "code"
    assert f"-m ama publish models {code}/train.py" in found.run["command"]


def test_where_it_ran_makes_no_other_asset(
    store: ama.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store.publish("models", {"x": b"x"}, once=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(socket, "gethostname", lambda: "another")
    words(monkeypatch, "python", "again.py")
    again = store.publish("models", {"x": b"x"}, once=True, environment=True)
    assert again.again
    assert first.asset is not None
    assert again.asset is not None
    assert again.asset.id == first.asset.id
    assert again.asset.run == first.asset.run


def test_it_can_be_turned_off_and_on(store: ama.Store, tmp_path: Path, run: Ama) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "x").write_text("x")
    repo = ama.Repo.init(tmp_path / "work", "models")
    repo.add("x")
    plain = repo.upload(remote=store.url).asset
    assert plain is not None
    assert plain.run == {}
    config.set_value(user_config_path(), "record.run", "true")
    repo = ama.Repo.open(tmp_path / "work")
    (tmp_path / "work" / "x").write_text("y")
    repo.add("x")
    assert repo.commit("told").asset.run["host"] == socket.gethostname()
    assert repo.summary().of("run")
    repo.push(remote=store.url)
    config.set_value(user_config_path(), "record.run", "false")
    off = ama.Store.open(store.url)
    off.publish("models", {"z": b"z"})
    assert off.resolve("models/3").run == {}
    assert off.resolve("models/2").run["python"] == platform.python_version()
    told = run("config", "set", "record.run", "perhaps")
    assert told.code == 2
    assert "true or false" in told.stderr


ODD: dict[str, tuple[list[Any], str | None]] = {
    "none": ([], None),
    "an empty word": (["python", "", "a b"], "python '' 'a b'"),
    "no text": (["python", Path("x"), 3], "python x 3"),
    "bytes": (["python", os.fsdecode(b"\xff.py")], "python '\\udcff.py'"),
    "a kernel": (["python", "-m", "ipykernel_launcher", "-f", "/run/kernel-1a-2b.json"], None),
    "a line end": (["sh", "-c", "a\nb"], "sh -c 'a\nb'"),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_words(store: ama.Store, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    given, expected = ODD[case]
    words(monkeypatch, *given)
    store.publish("models", {"x": b"x"})
    assert store.resolve("models").run.get("command") == expected


def test_without_any_words(store: ama.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys, "argv")
    monkeypatch.delattr(sys, "orig_argv")
    store.publish("models", {"x": b"x"})
    assert "command" not in store.resolve("models").run


def test_a_huge_program_is_cut(store: ama.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    words(monkeypatch, "python", "-c", "print(1)\n" * 120_000, "--last")
    store.publish("models", {"x": b"x"})
    command = store.resolve("models").run["command"]
    assert len(command) < 1100
    assert command.startswith("python -c 'print(1)")


def test_a_worker_has_the_words_of_who_started_it() -> None:
    original = [
        "/usr/bin/python",
        "-c",
        "from multiprocessing.spawn import x",
        "--multiprocessing-fork",
    ]
    found = running.look(["train.py", "--lr", "1"], original, "/", "")
    assert found.command == ("/usr/bin/python", "train.py", "--lr", "1")


def test_a_directory_that_is_gone(
    store: ama.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    store.publish("models", {"x": b"x"})
    assert "directory" not in store.resolve("models").run
    monkeypatch.chdir(tmp_path)


def test_a_system_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise OSError("no name")

    monkeypatch.setattr(socket, "gethostname", refuse)
    monkeypatch.setattr(platform, "platform", refuse)
    told = recorded(Settings.load(None), run=True)["run"]
    assert told.keys() == {"command", "directory", "python"}


class Shell:
    """What IPython has in a kernel."""

    kernel = object()
    user_ns: ClassVar[dict[str, object]] = {}


def test_a_notebook_is_named_if_it_is_known(
    store: ama.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    class IPython:
        get_ipython = staticmethod(lambda: Shell)

    monkeypatch.setitem(sys.modules, "IPython", IPython)  # type: ignore[arg-type]
    store.publish("models", {"x": b"x"})
    assert store.resolve("models").run.keys() == {"directory", "host", "python", "platform"}
    monkeypatch.setenv("JPY_SESSION_NAME", "/work/train.ipynb")
    store.publish("models", {"x": b"x"})
    assert store.resolve("models").run["notebook"] == "/work/train.ipynb"
    monkeypatch.setitem(Shell.user_ns, "__vsc_ipynb_file__", "/work/code.ipynb")
    store.publish("models", {"x": b"x"})
    assert store.resolve("models").run["notebook"] == "/work/code.ipynb"


def test_it_never_makes_an_asset_too_large(store: ama.Store) -> None:
    large = {f"k{n}": "x" * 65_000 for n in range(15)}
    record = Asset("models", bytes(32), (), (), "Ann", 0, "", large)
    rest = MAX_ASSET - len(encode_asset(record))
    metadata = large | {"rest": "y" * (rest - 150)}
    store.publish("models", {"x": b"x"}, metadata=metadata)
    assert store.resolve("models").run == {}
    with pytest.raises(ama.InvalidInput, match="larger than"):
        store.publish("models", {"x": b"x"}, metadata=metadata, environment=True)
    record = Asset("models", bytes(32), (), (), "Ann", 0, "", {}, {"run": {"host": "h"}})
    assert encoded(record) == encode_asset(record)


# The environment


def test_the_packages_are_told(store: ama.Store) -> None:
    store.publish("models", {"x": b"x"}, environment=True)
    text = store.resolve("models").environment
    assert text is not None
    lines = text.splitlines()
    assert f"pytest=={pytest.__version__}" in lines
    assert list(packages_in(text)) == sorted(packages_in(text))
    assert any(line.startswith("ama-assets @ file:///") for line in lines)
    assert len(packages_in(text)) == len(lines)
    assert text == text.lower() or not any(name != name.lower() for name in packages_in(text))


def package(root: Path, name: str, metadata: str, origin: object = None) -> None:
    place = root / f"{name}.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(metadata)
    if origin is not None:
        text = origin if isinstance(origin, str) else json.dumps(origin)
        (place / "direct_url.json").write_text(text)


def test_odd_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(name: str, version: str = "1.0") -> str:
        return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"

    commit = {"vcs": "git", "commit_id": "3f9a2c41d0"}
    one, two = tmp_path / "one", tmp_path / "two"
    package(one, "a", said("Some_Thing.Else", "1.0+cu121"))
    package(two, "a", said("some-thing-else", "0.9"))
    package(
        one, "b", said("vcs"), {"url": f"https://ann:{SECRET}@host/code.git", "vcs_info": commit}
    )
    package(
        one, "c", said("local"), {"url": "file:///home/ann/local", "dir_info": {"editable": True}}
    )
    package(one, "d", said("archive"), {"url": f"https://host/d.whl?token={SECRET}"})
    package(one, "e", said("unsaid"), {"url": f"https://host/@x/ghp_{'a1' * 18}"})
    package(one, "f", said("broken"), "{")
    package(one, "g", said("listed"), [])
    package(one, "h", "Metadata-Version: 2.1\n")
    package(one, "i", said("bad name; import os"))
    package(one, "j", said("version", "1.0 # x"))
    package(one, "k", said("odd"), {"url": "https://host/x y", "vcs_info": commit})
    (one / "l.dist-info").mkdir()
    paths = [str(one), str(two)]
    monkeypatch.setattr(
        importlib.metadata,
        "distributions",
        lambda: importlib.metadata.Distribution.discover(path=paths),
    )
    assert list_packages(10_000).splitlines() == [
        "archive @ https://host/d.whl",
        "broken==1.0",
        "listed==1.0",
        "local @ file:///home/ann/local",
        "odd==1.0",
        "some-thing-else==1.0+cu121",
        "unsaid==1.0",
        "vcs @ git+https://host/code.git@3f9a2c41d0",
    ]
    few = list_packages(120)
    assert few.splitlines()[-1] == "# and 5 more"
    assert len(few.encode()) <= 120
    assert packages.list_packages(MAX_ENVIRONMENT) == list_packages(10_000)


def test_what_a_store_says_may_be_anything() -> None:
    for extra in ({}, {"run": 3, "environment": 3}, {"run": [], "environment": b"x"}):
        assert run_of(extra) == {}
        assert environment_of(extra) is None
    odd = {"host": "", "python": 3, "command": "x" * 70_000, "platform": "p", "<b>": "c", "3": 3}
    assert run_of({"run": odd}) == {"platform": "p"}
    assert environment_of({"environment": "x" * (MAX_ENVIRONMENT + 1)}) is None
    assert packages_in("# a==1\n==2\na\n-e x\nb==\nc==3 \n d @ file:///x\n") == {
        "c": "3",
        "d": "file:///x",
    }


def test_what_is_recorded_has_the_form_that_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    words(monkeypatch, "python", "x.py")
    extra = recorded(Settings.load(None), run=True, environment=True)
    record = Asset("models", bytes(32), (), (), "Ann", 0, "", {}, extra)
    again = decode_asset(encode_asset(record)).extra
    assert run_of(again) == extra["run"]
    assert environment_of(again) == extra["environment"]
    assert extra.keys() == {"run", "environment"}
    assert recorded(Settings.load(None), run=False) == {}


# What shows it


@pytest.fixture
def two(store: ama.Store, monkeypatch: pytest.MonkeyPatch) -> ama.Store:
    """Two assets, made by two commands, with packages that differ."""
    for number, listed in enumerate(("a==1\nb==1\nc==1\n", "a==1\nb==2\nd @ file:///d\n"), 1):
        words(monkeypatch, "python", "train.py", "--lr", str(number))
        with monkeypatch.context() as patch:
            patch.setattr(packages, "list_packages", lambda most, listed=listed: listed)
            store.publish("models", {"x": b"x"}, environment=True)
    return store


def test_find(two: ama.Store, run: Ama) -> None:
    def numbers(*conditions: str, **more: Any) -> list[int | None]:
        return [each.asset.number for each in two.find(params=conditions, **more)]

    assert numbers(f"run.host={socket.gethostname()}") == [1, 2]
    assert numbers("run.command=python train.py --lr 2") == [2]
    assert numbers("run.host!=x", "run.python") == [1, 2]
    assert numbers("run.host=x") == []
    assert [each.asset.number for each in two.find(meta="run.command=python train.py --lr 1")] == [
        1
    ]
    # A key of files alone is never the run's.
    two.publish("models", {"c.yml": b"host: here\n"}, metadata={"run.host": "set"})
    assert numbers("host=here") == [3]
    assert numbers("host!=x") == [3]
    assert numbers("run.host=set") == [3]
    assert numbers("*.yml:run.host") == []
    found = two.find(params="run.hots=x")
    assert [each.key for each in found.unknown] == ["run.hots"]
    assert found.unknown[0].near[0] == "run.host"
    assert all(name.startswith("run.") for name in found.unknown[0].near)
    assert two.find(params="run.notebook=x").unknown[0].key == "run.notebook"
    said = run.ok("find", "--param", "run.command=python train.py --lr 2", "--remote", two.url)
    assert "models/2" in said.stdout
    assert "models/1" not in said.stdout


def test_show(two: ama.Store, run: Ama) -> None:
    said = run.ok("show", "models/2", "--remote", two.url).stdout
    assert "Run:         python train.py --lr 2\n" in said
    assert f" on {socket.gethostname()}\n" in said
    assert f"Python {platform.python_version()}, {platform.platform()}\n" in said
    assert "Environment: 3 packages: --environment\n" in said
    listed = run.ok("show", "models/2", "--environment", "--remote", two.url).stdout
    assert listed == "a==1\nb==2\nd @ file:///d\n"
    found = run.ok("show", "models/2", "--json", "--remote", two.url).json()
    assert found["run"]["command"] == "python train.py --lr 2"
    assert found["environment"] == listed
    two.publish("models", {"y": b"y"})
    for args, code, told in (
        (("models/3", "--environment"), 3, "ama publish"),
        (("models/2", "--environment", "--json"), 2, "stands alone"),
        (("models/2:x", "--environment"), 2, "stands alone"),
    ):
        failed = run("show", *args, "--remote", two.url)
        assert failed.code == code
        assert told in failed.output


def test_compare(two: ama.Store, run: Ama, monkeypatch: pytest.MonkeyPatch) -> None:
    found = two.compare("models/1", "models/2")
    assert [(row.role, row.key) for row in found.differences] == [("run", "run.command")]
    assert [(row.name, row.versions, row.kind) for row in found.changed_packages] == [
        ("b", ("1", "2"), "changed"),
        ("c", ("1", None), "removed"),
        ("d", (None, "file:///d"), "added"),
    ]
    assert (len(found.packages), found.environments) == (4, (3, 3))
    table = found.table()
    assert [row["key"] for row in table if row["role"] == "package"] == ["b", "c", "d"]
    assert len(found.to_frame()) == len(found.table(everything=True)) == len(table) + 8
    said = run.ok("compare", "models/1", "models/2", "--remote", two.url).stdout
    rows = [line.split() for line in said.splitlines()]
    assert ["Packages"] in rows
    assert ["number", "3", "3"] in rows
    assert ["b", "1", "2", "changed"] in rows
    assert ["c", "1", "-", "removed"] in rows
    assert ["Run"] in rows
    assert "--lr 2" in said
    same = run.ok("compare", "models/1", "models/1", "--remote", two.url)
    assert "no differences" in same.stderr
    assert (
        " same"
        not in run.ok("compare", "models/1", "models/2", "--all", "--remote", two.url).stdout
    )
    words(monkeypatch, "python", "other.py")
    two.publish("models", {"x": b"x"})
    told = run.ok("compare", "models/2", "models/3", "--remote", two.url).stdout
    assert ["number", "3", "not", "recorded"] in [line.split() for line in told.splitlines()]
    assert two.compare("models/2", "models/3").packages == ()
    assert two.compare("models/1", "models/3", "models/2").environments == (3, None, 3)


def test_a_copy_keeps_it(two: ama.Store, tmp_path: Path) -> None:
    other = ama.Store.open(tmp_path / "other", create=True)
    two.copy("models/2", other)
    copied = other.resolve("models/1")
    assert copied.environment == "a==1\nb==2\nd @ file:///d\n"
    assert copied.run == two.resolve("models/2").run


def test_the_dashboard(two: ama.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.testclient import TestClient

    from ama.dashboard.application import application

    words(monkeypatch, "python", "<script>alert(1)</script>", "--password", SECRET)
    two.publish("models", {"x": b"x"})
    with TestClient(application(two), base_url="http://127.0.0.1") as client:
        page = client.get("/assets/models/2").text
        assert "python train.py --lr 2" in page
        assert "3 packages" in page
        assert "file:///<wbr>d</td>" in page
        hostile = client.get("/assets/models/3").text
        assert "&lt;script&gt;alert(1)" in hostile
        assert "<script>alert" not in hostile
        assert SECRET not in hostile
        assert "Environment" not in hostile
        compared = client.get("/compare?a=models/1&a=models/2").text
        assert "Table of packages" in compared
        assert "--lr 1</td>" in compared
        assert "not recorded" in client.get("/compare?a=models/1&a=models/3").text
        assert "Table of packages" not in client.get("/compare?a=models/3&a=models/3").text


def test_the_command(run: Ama, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    run.ok(
        *("publish", "models", "x", "--environment", "--meta", f"token={SECRET}"),
        *("--remote", tmp_path / "shelf", "-m", f"password: {SECRET}"),
    )
    asset = ama.Store.open(tmp_path / "shelf").resolve("models")
    assert SECRET not in str(asset.run)
    assert "--meta token=*** " in asset.run["command"]
    assert f"ama-assets @ {Path(ama.__file__).parents[2].as_uri()}" in str(asset.environment)
