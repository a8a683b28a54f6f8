"""hash, fsck, config and completion by the real command."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from blake3 import blake3

from ama import Repo
from conftest import Ama


def b3(content: bytes) -> str:
    return blake3(content).hexdigest()


def test_hash_prints_what_b3sum_prints(tmp_path: Path, run: Ama) -> None:
    (tmp_path / "a.yml").write_bytes(b"a")
    (tmp_path / "b.yml").write_bytes(b"")
    expected = f"{b3(b'a')}  a.yml\n{b3(b'')}  b.yml\n"
    assert run.ok("hash", "a.yml,", "b.yml").stdout == expected
    assert run.ok("hash", "*.yml").stdout == expected
    assert run.ok("hash", "a.yml", "--json").json() == [{"path": "a.yml", "id": b3(b"a")}]
    b3sum = shutil.which("b3sum")
    if b3sum:
        assert subprocess.check_output([b3sum, "a.yml", "b.yml"], text=True) == expected


@pytest.mark.skipif(os.name == "nt", reason="no such names there")
def test_hash_escapes_names_as_b3sum_does(tmp_path: Path, run: Ama) -> None:
    (tmp_path / "a\nb").write_bytes(b"a")
    (tmp_path / "c\\d").write_bytes(b"c")
    assert run.ok("hash", "a\nb").stdout == f"\\{b3(b'a')}  a\\nb\n"
    assert run.ok("hash", "c\\d").stdout == f"\\{b3(b'c')}  c\\\\d\n"


def test_hash_of_what_is_no_file(tmp_path: Path, run: Ama) -> None:
    for name in ("missing", str(tmp_path)):
        result = run("hash", name)
        assert result.code in (2, 3)
        assert len(result.stderr.splitlines()) in (1, 2)
        assert "internal" not in result.stderr


def test_fsck_names_what_is_damaged(tmp_path: Path, run: Ama) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "a").write_bytes(random.Random(1).randbytes(20_000))
    run.ok("init", "models", cwd="w")
    run.ok("add", "a", cwd="w")
    run.ok("upload", "--remote", tmp_path / "store", cwd="w")
    said = run.ok("fsck", "--remote", tmp_path / "store").stdout
    assert said.startswith("verified ")
    assert said.endswith(": all is well\n")
    assert run.ok("fsck", cwd="w").stdout.endswith(": all is well\n")

    packs = (tmp_path / "store" / "packs").rglob("*.pack")
    pack = max(packs, key=lambda path: path.stat().st_size)
    pack.chmod(0o644)
    damaged = bytearray(pack.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    pack.write_bytes(damaged)
    result = run("fsck", "--remote", tmp_path / "store")
    assert result.code == 6
    assert "damaged: " in result.stdout
    assert pack.name[:10] in result.stdout
    assert "models/1" in result.stdout
    result = run("fsck", "--remote", tmp_path / "store", "--json")
    assert result.code == 6
    assert result.json()["problems"]


def test_config(tmp_path: Path, run: Ama) -> None:
    assert run.ok("config").stdout == ""
    run.ok("config", "set", "--user", "user.name", "Ann")
    run.ok("init", "models")
    said = run.ok("config", "set", "user.name", "Bob").stdout
    assert said == f"set user.name in {tmp_path / '.ama' / 'config.toml'}\n"
    assert run.ok("config", "get", "user.name").stdout == "Bob\n"
    assert run.ok("config", "user.name").stdout == "Bob\n"
    run.ok("config", "user.email", "bob@example.com")
    (email, name) = run.ok("config", "list", "--json").json()
    assert (email["key"], email["value"]) == ("user.email", "bob@example.com")
    assert (name["key"], name["value"]) == ("user.name", "Bob")
    run.ok("config", "unset", "user.name")
    assert run.ok("config", "get", "user.name").stdout == "Ann\n"
    run.ok("config", "set", "add.portable_names", "false")
    assert run.ok("config", "get", "add.portable_names").stdout == "false\n"

    result = run("config", "set", "user.nme", "x")
    assert result.code == 2
    assert "user.name" in result.stderr
    result = run("config", "get", "user.nme")
    assert result.code == 3
    assert "user.name" in result.stderr
    assert run("config", "unset", "remote.default").code == 3
    assert run("config", "add.portable_names", "maybe").code == 2


def test_config_repairs_what_keeps_the_worktree_from_opening(home: Path, run: Ama) -> None:
    run.ok("init", "models")
    config = Path(".ama", "config.toml")
    config.write_text('[remote]\ndefault = "gone"\n', encoding="utf-8")
    assert run("status").code == 2
    run.ok("config", "unset", "remote.default")
    run.ok("status")
    config.write_text('[remote]\ndefault = "gone"\n', encoding="utf-8")
    run.ok("remote", "add", "gone", home / "store")
    run.ok("status")


def test_no_url_is_set_that_cannot_be_opened(tmp_path: Path, run: Ama) -> None:
    run.ok("init", "models")
    run.ok("remote", "add", "r1", tmp_path.parent / "team")
    assert run("config", "set", "remotes.r1.url", "ftp://x").code == 2
    run.ok("status")
    run.ok("config", "unset", "remotes.r1.url")
    run.ok("status")
    assert run("list", env={"AMA_REMOTE": "nonexname"}).code == 3
    Path("letter").write_text("x", encoding="utf-8")
    assert run("remote", "add", "file", "letter").code == 2
    assert run("remote", "add", "inside", "store").code == 2


def test_config_outside_of_a_worktree_is_the_users(home: Path, run: Ama) -> None:
    run.ok("config", "user.name", "Ann")
    assert run.ok("config", "list", "--json").json()[0]["where"].startswith(str(home))


def complete(run: Ama, line: str) -> list[str]:
    """What bash would offer at the end of a line; it breaks words at `@` and `:` as well."""
    broken = [re.split("([@:])", part) for part in line.split(" ")]
    words = [word for parts in broken for word in parts]
    kept = [word for number, word in enumerate(words) if word or number == len(words) - 1]
    if line.endswith(("@", ":")):
        kept = kept[:-1]
    result = run.ok(
        env={
            "_AMA_COMPLETE": "complete_bash",
            "COMP_WORDS": "\n".join(kept),
            "COMP_CWORD": str(len(kept) - 1),
        }
    )
    assert result.stderr == ""
    return result.stdout.split()


@pytest.fixture
def published(tmp_path: Path) -> None:
    for class_name, alias in (("inputs", "latest"), ("models", "best"), ("models", "m2")):
        (tmp_path / "a").write_text(class_name + alias, encoding="utf-8")
        repo = Repo.init(tmp_path, class_name)
        repo.add(["a"])
        repo.set(aliases=[alias])
        repo.upload()


@pytest.mark.usefixtures("published")
def test_completion(run: Ama, tmp_path: Path) -> None:
    repo = Repo.open(tmp_path)
    repo.link("inputs@latest")
    repo.set(aliases=["new"], message="why", metadata={"lr": 1})
    for line, offered in (
        ("ama sta", {"status"}),
        ("ama alias m", {"move"}),
        ("ama status --js", {"--json"}),
        ("ama show ", {"inputs", "models"}),
        ("ama download mo", {"models"}),
        ("ama init mo", {"models"}),
        ("ama list i", {"inputs"}),
        ("ama link models/", {"models/1", "models/2"}),
        ("ama show models@", {"best", "m2"}),
        ("ama show models@m", {"m2"}),
        ("ama download models --alias ", {"best", "m2"}),
        ("ama add ref --alias la", {"latest"}),
        ("ama config get user.", {"user.name", "user.email"}),
        ("ama alias history ", {"inputs@latest", "models@best", "models@m2"}),
        ("ama alias move models@b", {"best"}),
        ("ama alias remove @", {"best", "m2"}),
        ("ama switch @b", {"best"}),
        ("ama switch -f @b", {"best"}),
        ("ama ref remove ", {"inputs/1"}),
        ("ama set --unset ", {"lr", "alias:new", "message"}),
        ("ama set --unset alias:", {"new"}),
        ("ama cat models/1:", {"a"}),
        ("ama cat models@best:a", {"a"}),
        ("ama show HEAD:", {"a"}),
        ("ama cat :", {"a"}),
        ("ama cat ", {"a", "inputs", "models"}),
        ("ama cat models/7:", set()),
        ("ama show nothing/", set()),
        ("ama show nothing@", set()),
    ):
        assert set(complete(run, line)) == offered, line


def test_completion_where_there_is_nothing(run: Ama) -> None:
    assert complete(run, "ama show ") == []
    assert complete(run, "ama upload --remote ") == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells(shell: str, run: Ama) -> None:
    result = run.ok(
        env={
            "_AMA_COMPLETE": f"complete_{shell}",
            "_TYPER_COMPLETE_ARGS": "ama sta",
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        }
    )
    assert "status" in result.stdout
    assert "published" in result.stdout, "with the whole summary"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.usefixtures("ama_on_path", "published")
def test_in_bash() -> None:
    script = """
        eval "$(ama --show-completion bash)"
        COMP_WORDS=(ama show models @ m) COMP_CWORD=4
        _ama_completion ama
        echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "m2\n"


def test_hash_of_a_name_that_is_almost_right(tmp_path: Path, run: Ama) -> None:
    (tmp_path / "model.h5").write_bytes(b"x")
    told = run("hash", "modle.h5")
    assert told.code == 3
    assert "did you mean model.h5?" in told.stderr


def test_a_name_with_an_email_in_it_is_not_half_kept(run: Ama) -> None:
    told = run("config", "set", "user.name", "Ann <ann@example.com>")
    assert told.code == 2
    assert "user.email" in told.stderr


@pytest.mark.usefixtures("published")
def test_fsck_says_what_to_do(tmp_path: Path, run: Ama) -> None:
    store = Path(Repo.open(tmp_path).remote_url)
    last = max(store.glob("packs/*/*.pack"), key=lambda pack: pack.stat().st_mtime_ns)
    whole = last.read_bytes()
    last.chmod(0o644)
    last.write_bytes(bytes(len(whole)))
    said = run("fsck", "--remote", str(store))
    assert said.code == 6
    *_, counted, advice = said.stdout.splitlines()
    assert counted.startswith("verified ")
    assert advice.startswith(f"next: ama push --repair --remote {store}, in a worktree ")
    assert f"; or put these files back from a backup of {store}, " in advice
    beside = run("fsck", "--remote", f"./{store.name}", cwd=store.parent).stdout
    assert f"next: ama push --repair --remote {store}, in a worktree " in beside
    last.write_bytes(whole)
    assert "next:" not in run.ok("fsck", "--remote", str(store)).stdout
