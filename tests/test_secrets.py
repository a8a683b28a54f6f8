"""What `add` leaves alone of itself, and what it refuses: litter and secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

import ama
from ama.errors import InvalidInput
from ama.wording.hints import words
from ama.worktree.ignore import secret_within

KEY = "-----BEGIN {}PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQ\n" * 3
# Put together here, so that no scanner takes this file for a leak.
AWS = "AK" + "IA" + "QWERTYUIOPASDFGH"
AWS_SECRET = ("Zx9" + "Qw8Er7Ty6Ui5Op4As3Df2Gh1Jk0Lz9Xc8Vb7Nmq")[:40]


@pytest.fixture
def repo(tmp_path: Path) -> ama.Repo:
    return ama.Repo.init(tmp_path / "work", "models")


def write(repo: ama.Repo, path: str, text: str = "x") -> None:
    full = repo.root / path
    full.parent.mkdir(parents=True, exist_ok=True)
    full.write_text(text)


def added(repo: ama.Repo, *paths: str, force: bool = False) -> list[str]:
    return [change.path for change in repo.add(paths, force=force).changes]


LITTER = [
    ".DS_Store",
    "run/Thumbs.db",
    "desktop.ini",
    "__pycache__/a.txt",
    "a.pyc",
    ".ipynb_checkpoints/a.ipynb",
    "notes.md~",
    ".notes.md.swp",
]


def test_litter_is_left_alone(repo: ama.Repo) -> None:
    for path in (*LITTER, "model.h5", "pycache", ".hidden"):
        write(repo, path)
    assert repo.status().untracked == (".hidden", "model.h5", "pycache")
    assert added(repo, ".") == [".hidden", "model.h5", "pycache"]


def test_litter_comes_back_by_a_rule_or_by_force_and_stays_once_tracked(repo: ama.Repo) -> None:
    write(repo, ".amaignore", "!*.pyc\n!__pycache__/\n")
    for path in LITTER:
        write(repo, path)
    assert added(repo, ".") == [".amaignore", "a.pyc", "__pycache__/a.txt"]
    with pytest.raises(InvalidInput, match="nobody's result") as error:
        repo.add("notes.md~")
    assert "ama add --force 'notes.md~'" in str(words(error.value.hints))
    assert added(repo, "notes.md~", force=True) == ["notes.md~"]
    write(repo, "notes.md~", "changed")
    assert added(repo, ".") == ["notes.md~"]


def test_what_is_named_and_ignored_is_never_passed_over_silently(repo: ama.Repo) -> None:
    write(repo, ".amaignore", "data/\n")
    for path in ("data/x.csv", "data/deep/y.csv", "__pycache__/a.txt", "model.h5"):
        write(repo, path)
    for path in ("data", "data/deep", "data/x.csv"):
        with pytest.raises(InvalidInput, match=f"{path} is ignored by .amaignore"):
            repo.add(["model.h5", path])
    assert repo.status().staged == ()
    # No rule of .amaignore names this one, so none can be changed.
    with pytest.raises(InvalidInput, match="nobody's result") as error:
        repo.add("__pycache__/a.txt")
    assert "the line !__pycache__/ in" in (words(error.value.hints) or "")
    assert added(repo, "__pycache__", "model.h5") == ["model.h5"]
    assert added(repo, "data/x.csv", force=True) == ["data/x.csv"]
    assert added(repo, "data") == []
    write(repo, "data/x.csv", "changed")
    assert added(repo, "data") == ["data/x.csv"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (".env", "A=1"),
        ("run/.env.local", "A=1"),
        ("id_rsa", "x"),
        ("keys/ID_ED25519", "x"),
        ("server.pem", "x"),
        ("server.pem", KEY.format("RSA ")),
        ("server.key", KEY.format("")),
        ("credentials.json", "{}"),
        ("service-account.json", '{"private_key": "' + KEY.format("").replace("\n", "\\n") + '"}'),
        (".netrc", "x"),
        (".aws/credentials", "x"),
        (".kube/config", "x"),
        ("params.yml", f"id: {AWS}\nsecret: {AWS_SECRET}\n"),
        ("a.json", '{"k": "AI' + "za" + "b" * 35 + '"}'),
        ("a.txt", "gh" + "p_" + "a1" * 18),
        ("a.txt", "h" + "f_" + "aB" * 17),
        ("a.txt", "xo" + "xb-123456789012-123456789012-abcdefghijkl"),
        ("a.txt", "Account" + "Key=" + "a" * 86 + "=="),
    ],
)
def test_a_secret_is_refused_and_nothing_staged(repo: ama.Repo, path: str, text: str) -> None:
    write(repo, "model.h5")
    write(repo, "z.bin", "y" * 2_000_000)
    write(repo, path, text)
    with pytest.raises(InvalidInput, match="looks like a secret") as error:
        repo.add(".")
    assert path in str(error.value)
    assert "ama add --force" in str(words(error.value.hints))
    assert repo.status().staged == ()
    assert path in added(repo, ".", force=True)


def test_all_secrets_are_named(repo: ama.Repo) -> None:
    write(repo, ".env")
    write(repo, "a.key", KEY.format(""))
    with pytest.raises(InvalidInput) as error:
        repo.add(".")
    assert ".env (an environment file), a.key (a private key) look like" in str(error.value)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (".env.example", "A="),
        ("ca.pem", "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----\n"),
        ("id_rsa.pub", "ssh-rsa AAAA"),
        ("a.json", '{"sha1": "' + "0a" * 20 + f'", "id": "{AWS}"}}'),
        ("a.json", '{"b64": "' + AWS_SECRET + '"}'),
        ("a.py", 'MARK = "-----BEGIN PRIVATE KEY-----"\n'),
        ("weights.key", "x"),
        ("a.txt", "half_hf_" + "a" * 50),
    ],
)
def test_what_only_resembles_one_is_added(repo: ama.Repo, path: str, text: str) -> None:
    write(repo, path, text)
    assert added(repo, ".") == [path]


def test_a_name_that_was_allowed_stays_so_but_a_new_key_is_refused(repo: ama.Repo) -> None:
    write(repo, ".env", "A=1")
    added(repo, ".env", force=True)
    write(repo, ".env", "A=2 more")
    assert added(repo, ".") == [".env"]
    write(repo, ".env", f"{AWS} {AWS_SECRET}")
    with pytest.raises(InvalidInput, match="a key of AWS's"):
        repo.add(".")


def test_a_long_text_is_not_searched() -> None:
    assert secret_within("a.txt", b" " * 70_000 + KEY.format("").encode()) is None
