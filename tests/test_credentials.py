"""No credential is written down or printed, and none is needed for what is public."""

from __future__ import annotations

import base64
import http.server
import os
import re
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import ama
import servers
from ama.errors import InvalidInput
from ama.settings import user_config_path
from ama.storage.backends import BACKENDS
from ama.storage.credentials import ALLOWED
from ama.storage.urls import parse_url
from ama.wording.hints import words as words_of
from conftest import Ama

SECRET = "hunter2"


@pytest.mark.parametrize(
    "name",
    [
        "key",
        "secret",
        "token",
        "password",
        "passphrase",
        "sas_token",
        "sas",
        "account_key",
        "connection_string",
        "credential",
        "client_secret",
        "aws_secret_access_key",
        "client_kwargs.aws_access_key_id",
        "client_kwargs.aws_secret_access_key",
        "client_kwargs.aws_session_token",
        "client_kwargs.headers.Authorization",
        "client_kwargs.headers.X_Api_Key",
        "client_kwargs.auth",
        "s3_additional_kwargs.SSECustomerKey",
        "secrets.x",
        "pkcs11_pin",
        "sig",
    ],
)
def test_an_option_is_a_credential_by_its_name(
    name: str, tmp_path: Path, home: Path, run: Ama
) -> None:
    for words in (
        ["remote", "add", "x", "s3://b/ama", "--option", f"{name}={SECRET}"],
        ["remote", "add", "x", f"s3://b/ama?{name}={SECRET}"],
        ["remote", "check", f"s3://b/ama?{name}={SECRET}"],
    )[: 3 if name == "key" else 1]:
        told = run(*words, cwd=tmp_path)
        assert told.code == 2
        assert "is a credential" in told.stderr
        assert "AWS_PROFILE" in told.stderr
        assert SECRET not in told.output
    assert not list(home.rglob("config.toml"))


@pytest.mark.parametrize(
    "value",
    [
        f"http://ann:{SECRET}@proxy:3128",
        f"ann:{SECRET}@proxy",
        f"BlobEndpoint=x;AccountKey={SECRET}",
        f"https://h/x?sv=1&sig={SECRET}",
        f"Bearer {SECRET}",
        "AKIA" + "ABCDEFGH" * 2,
    ],
)
def test_an_option_is_a_credential_by_its_value(value: str) -> None:
    for options in ({"config_kwargs.proxies": value}, {"a.b.c": value}):
        with pytest.raises(InvalidInput, match="has a credential in its value") as caught:
            parse_url("s3://b/ama", options)
        assert value not in f"{caught.value.message}{words_of(caught.value.hints)}"


@pytest.mark.parametrize("scheme", ["https", "sftp", "s3", "gs", "az", "ftp", "memory"])
def test_a_url_with_a_password_is_refused_and_not_printed(scheme: str) -> None:
    for rest in ("/x", "", "?anon=true", "/x#y"):
        with pytest.raises(InvalidInput, match="has a password in it") as caught:
            parse_url(f"{scheme}://ann:{SECRET}@host{rest}")
        assert SECRET not in f"{caught.value.message}{words_of(caught.value.hints)}"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"https://{SECRET}@host/x", "has a login, which may be a token"),
        (f"sftp://ann%3A{SECRET}@host/x", "has a password in it"),
        (f" https://ann:{SECRET}@host/x", "neither a directory's path nor a URL"),
        (f"https:/ann:{SECRET}@host/x", "neither a directory's path nor a URL"),
        (f"https//ann:{SECRET}@host/x", "neither a directory's path nor a URL"),
        (f"ann:{SECRET}@host:/x", "neither a directory's path nor a URL"),
    ],
)
def test_a_slip_in_a_url_gives_no_password_away(url: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        parse_url(url)
    assert SECRET not in f"{caught.value.message}{words_of(caught.value.hints)}"
    assert parse_url("./ann:x@y").base == "./ann:x@y"


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("gs://b/x", {"token": "anon"}),
        ("gs://b/x", {"token": "google_default"}),
        ("s3://b/x", {"anon": True}),
        ("s3://b/x", {"config_kwargs.signature_version": "s3v4"}),
        ("sftp://ann@host/x", {"client_keys": "~/.ssh/id_ed25519"}),
        ("s3://b/x", {"s3_additional_kwargs.SSEKMSKeyId": "alias/models"}),
        ("s3://b/x", {"profile": "team", "endpoint_url": "http://localhost:9000"}),
        ("az://b/x", {"account_name": "ours", "anon": True}),
        ("sftp://ann@host/x", {"client_keys": "/home/ann/.ssh/id", "password_auth": False}),
        ("abfss://models@ours.dfs.core.windows.net/x", {}),
        ("https://h/x", {"client_kwargs.trust_env": True}),
    ],
)
def test_what_is_no_credential_is_taken(url: str, options: dict[str, Any]) -> None:
    assert parse_url(url, options).options == options


@pytest.mark.parametrize("scheme", ["gs", "s3", "az", "sftp", "https"])
def test_only_what_is_known_to_hold_no_credential_is_taken(scheme: str) -> None:
    package = BACKENDS[scheme].package
    for name in (
        *("ssh_key_data", "storage_key", "pw", "pass", "bearer", "jwt", "session", "cert", "x"),
        *("client_kwargs.headers.X", "client_kwargs.cookies.id", "config_kwargs.proxies.http"),
    ):
        assert name not in ALLOWED[package]
        with pytest.raises(InvalidInput) as caught:
            parse_url(f"{scheme}://host/x", {name: SECRET})
        assert SECRET not in f"{caught.value.message}{words_of(caught.value.hints)}"
        assert BACKENDS[scheme].credentials in f"{words_of(caught.value.hints)}"


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("sftp://h/x", {"client_keys": "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUhunter2"}),
        ("sftp://h/x", {"client_keys": "/-----BEGIN OPENSSH PRIVATE KEY-----hunter2"}),
        ("sftp://h/x", {"client_keys": "~/a\nhunter2"}),
        ("s3://b/x", {"endpoint_url": "http://ann;x=hunter2@h"}),
        ("s3://b/x", {"endpoint_url": "http://h/?x=hunter2"}),
        ("s3://b/x", {"anon": "hunter2"}),
        ("gs://b/x", {"token": "hunter2"}),
        ("gs://b/x", {"token": '{"private_key": "hunter2"}'}),
        ("az://b/x", {"account_name": "DefaultEndpointsProtocol=https;hunter2"}),
        ("sftp://ann;x=hunter2@host/x", {}),
        ("sftp://ann%3Bx=hunter2@host/x", {}),
        ("sftp://ann:hun/hunter2@host/x", {}),
        ("ftp://ann;x=hunter2@host/x", {}),
    ],
)
def test_a_value_that_may_be_a_secret_is_refused_and_not_printed(
    url: str, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_url(url, options)
    assert SECRET not in f"{caught.value.message}{words_of(caught.value.hints)}"


def test_the_docs_have_the_options_that_are_taken() -> None:
    text = (Path(__file__).parent.parent / "docs" / "remotes.md").read_text(encoding="utf-8")
    for package, allowed in ALLOWED.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{package}` |"))
        assert set(re.findall("`([^`]+)`", row.split("|")[2])) == set(allowed)


def test_what_is_configured_with_a_credential_is_listed_without_and_can_be_removed(
    tmp_path: Path, home: Path, run: Ama
) -> None:
    path = user_config_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        '[remotes.bad]\nurl = "sftp://ann@host/x"\n[remotes.bad.options]\n'
        'ssh_key_data = "hunter2"\n'
        '[remotes.worse]\nurl = "sftp://ann;x=hunter2@host/x"\n'
        '[remotes.good]\nurl = "memory://good"\n[remote]\ndefault = "good"\n'
    )
    for words in (["remote", "list"], ["remote", "list", "--json"]):
        told = run.ok(*words, cwd=tmp_path)
        assert "memory://good" in told.output
        assert SECRET not in told.output
    for name in ("bad", "worse"):
        told = run("list", "--remote", name, cwd=tmp_path)
        assert told.code == 2
        assert f"ama remote remove {name}" in told.stderr
        assert SECRET not in told.output
        run.ok("remote", "remove", "--user", name, cwd=tmp_path)


def test_a_public_bucket_is_read_without_an_account(tmp_path: Path, run: Ama) -> None:
    server = servers.start("gcs")
    work = tmp_path / "w"
    work.mkdir()
    (work / "a").write_text("a")
    options = f"endpoint_url={server.options['endpoint_url']}&token=anon"
    url = f"gs://bucket/{os.urandom(8).hex()}?{options}"
    repo = ama.Repo.init(work, "models")
    repo.add(["."])
    repo.upload(remote=url)
    run.ok("remote", "add", "zoo", url.partition("?")[0], "--option", "token=anon", cwd=tmp_path)
    run.ok("download", "models", "--remote", url, cwd=tmp_path)


def test_a_web_server_that_wants_a_login_finds_it_in_netrc(
    tmp_path: Path, home: Path, run: Ama
) -> None:
    servers.needs("aiohttp")
    wanted = "Basic " + base64.b64encode(f"ann:{SECRET}".encode()).decode()

    class Private(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def send_head(self) -> Any:
            if self.headers.get("Authorization") == wanted:
                return super().send_head()
            return self.send_error(401)

    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "a").write_text("a")
    repo = ama.Repo.init(tmp_path / "w", "models")
    repo.add(["."])
    repo.upload(remote=str(tmp_path / "files"))
    handler = partial(Private, directory=str(tmp_path / "files"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        refused = run("download", "models", "--remote", url, cwd=tmp_path)
        assert (refused.code, "no permission" in refused.stderr) == (8, True)
        (home / ".netrc").write_text(f"machine 127.0.0.1 login ann password {SECRET}\n")
        run.ok(
            "download", "models", "--remote", f"{url}?client_kwargs.trust_env=true", cwd=tmp_path
        )
        server.shutdown()


def test_who_has_no_credentials_is_told_how_to_log_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Ama
) -> None:
    servers.needs("adlfs")
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    told = run("list", "--remote", "az://models/ama", cwd=tmp_path)
    assert told.code == 8
    error, hint = told.stderr.splitlines()
    assert error == "error: can't open az://models/ama: adlfs failed with ValueError"
    assert hint.startswith("hint: log in: az login, with AZURE_STORAGE_ACCOUNT_NAME set; ")


def test_what_the_packages_below_a_client_log_is_not_for_the_terminal() -> None:
    """azure.identity logs ten lines a request about each way in which it is not logged in."""
    servers.needs("adlfs")
    lines = [
        "import logging",
        "from ama.storage.backends import AZURE",
        "from ama.storage.fsspec import open_client",
        "options = {'account_name': 'ours', 'anon': True}",
        "open_client('az://models/ama', AZURE, options)",
        "logging.getLogger('azure.identity').warning('no token')",
        "logging.getLogger('mine').warning('this is shown')",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    assert done.stderr == "this is shown\n"
