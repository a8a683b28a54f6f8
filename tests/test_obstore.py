"""S3 through obstore: only where it surely does what s3fs would, and so that nobody notices."""

from __future__ import annotations

import http.server
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import proxy
import servers
from ama.errors import AlreadyExists, InvalidInput, StorageError
from ama.storage.backends import BACKENDS
from ama.storage.network import NetworkStorage, Patience, with_obstore
from ama.storage.obstore import plain_access
from ama.storage.protocol import Range
from ama.wording.hints import words
from conftest import Ama

servers.needs("obstore")
servers.needs("s3fs")

KEYS = {"AWS_ACCESS_KEY_ID": "ours", "AWS_SECRET_ACCESS_KEY": "hunter2"}
LOCAL = {"endpoint_url": "http://localhost:9000"}
QUICK = Patience(timeout=20, retries=3, first_pause=0.01, longest_pause=0.05)


def chosen(options: Mapping[str, Any], url: str = "s3://models/ama") -> str:
    return NetworkStorage(url, BACKENDS["s3"], options).client


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with keys, and with nothing else that S3's clients would read."""
    for name in list(os.environ):
        if name.upper().endswith(("_PROXY", "_CA_BUNDLE")):
            monkeypatch.delenv(name)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def profiles(home: Path, config: str = "", credentials: str = "") -> None:
    (home / ".aws").mkdir(exist_ok=True)
    (home / ".aws" / "config").write_text(config)
    (home / ".aws" / "credentials").write_text(credentials)


# ------------------------------------------------------------------------------ which client


@pytest.mark.parametrize(
    "options",
    [
        LOCAL,
        {**LOCAL, "anon": True},
        {**LOCAL, "client_kwargs": {"region_name": "eu"}},
        {"endpoint_url": "https://minio.example.org"},
        {"client_kwargs": {"region_name": "eu-central-1"}},
    ],
)
def test_what_is_plain_goes_through_obstore(
    options: dict[str, Any], environ: pytest.MonkeyPatch
) -> None:
    assert chosen(options) == "obstore"


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "s3://models/ama"),  # AWS itself, and no region: s3fs finds it
        ({"client_kwargs": {"region_name": "cn-north-1"}}, "s3://models/ama"),
        ({"client_kwargs": {"region_name": "us-gov-west-1"}}, "s3://models/ama"),
        ({**LOCAL, "use_ssl": False}, "s3://models/ama"),
        ({**LOCAL, "requester_pays": True}, "s3://models/ama"),
        ({**LOCAL, "client_kwargs": {"verify": False}}, "s3://models/ama"),
        ({**LOCAL, "config_kwargs": {"signature_version": "s3"}}, "s3://models/ama"),
        ({**LOCAL, "profile": "absent"}, "s3://models/ama"),
        ({"endpoint_url": "http://localhost:9000/under"}, "s3://models/ama"),
        ({"endpoint_url": "https://s3.eu-west-1.amazonaws.com"}, "s3://models/ama"),
        (LOCAL, "s3://Models/ama"),
        (LOCAL, "s3://our.models/ama"),
        (LOCAL, "s3://models--use1-az4--x-s3/ama"),
        (LOCAL, "s3://models//ama"),
    ],
)
def test_what_is_not_plain_goes_through_s3fs(
    options: dict[str, Any], url: str, environ: pytest.MonkeyPatch
) -> None:
    assert _through_obstore(options, url) is False


def _through_obstore(options: Mapping[str, Any], url: str = "s3://models/ama") -> bool:
    """As `chosen`, where s3fs would fail already as it is opened."""
    return with_obstore(url, BACKENDS["s3"], options) is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://localhost"),
        ("AWS_SECURITY_TOKEN", "old"),
        ("AWS_CREDENTIAL_EXPIRATION", "2020-01-01T00:00:00Z"),
        ("AWS_MAX_ATTEMPTS", "1"),
        ("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required"),
        ("AWS_ENDPOINT", "http://elsewhere"),  # which obstore alone would follow
        ("AWS_SKIP_SIGNATURE", "true"),
        ("AWS_PROFILE", "absent"),
        ("AWS_ENDPOINT_URL_S3", ""),
        ("AWS_SESSION_TOKEN", ""),
        ("AWS_SECRET_ACCESS_KEY", ""),
        ("HTTPS_PROXY", "http://proxy:3128"),
        ("http_proxy", "http://proxy:3128"),
        ("FSSPEC_S3_ENDPOINT_URL", "http://elsewhere"),
    ],
)
def test_a_variable_that_may_mean_something_else_means_s3fs(
    name: str, value: str, environ: pytest.MonkeyPatch
) -> None:
    assert _through_obstore(LOCAL)
    environ.setenv(name, value)
    assert not _through_obstore(LOCAL)


def test_certificates_matter_where_a_connection_is_to_be_safe(environ: pytest.MonkeyPatch) -> None:
    safe = {"endpoint_url": "https://minio.example.org"}
    assert _through_obstore(safe)
    environ.setenv("AWS_CA_BUNDLE", "/certificates.pem")
    assert not _through_obstore(safe)
    assert _through_obstore(LOCAL)


def test_what_fsspec_is_told_in_its_own_files_means_s3fs(
    environ: pytest.MonkeyPatch, home: Path
) -> None:
    assert _through_obstore(LOCAL)
    (home / ".config" / "fsspec").mkdir(parents=True)
    assert not _through_obstore(LOCAL)


@pytest.mark.parametrize(
    ("config", "credentials", "through_obstore"),
    [
        ("", "[default]\naws_access_key_id = a\naws_secret_access_key = b\n", True),
        ("[default]\naws_access_key_id = a\naws_secret_access_key = b\nregion = eu\n", "", True),
        ("", "", False),  # the machine's role, perhaps
        ("", "[default]\naws_access_key_id = a\n", False),
        ("", "[other]\naws_access_key_id = a\naws_secret_access_key = b\n", False),
        ("", "[default]\naws_access_key_id = a\naws_secret_access_key = b\nrole_arn = c\n", False),
        (
            "[default]\ns3 =\n  addressing_style = virtual\n",
            "[default]\naws_access_key_id = a\naws_secret_access_key = b\n",
            False,
        ),
        ("[default]\ncredential_process = /bin/true\n", "", False),
        ("[default]\nsso_session = ours\n", "", False),
        ("[default]\nendpoint_url = http://elsewhere\n", "", False),
        ("no section", "[default]\naws_access_key_id = a\naws_secret_access_key = b\n", False),
    ],
)
def test_a_profile_is_taken_if_it_has_plain_keys(
    config: str, credentials: str, through_obstore: bool, home: Path, environ: pytest.MonkeyPatch
) -> None:
    for name in KEYS:
        environ.delenv(name)
    profiles(home, config, credentials)
    assert _through_obstore(LOCAL) == through_obstore


VALUES = {
    "AWS_SECURITY_TOKEN": ["old token"],
    "AWS_PROFILE": ["team", "other", "default", "absent", ""],
    "AWS_DEFAULT_PROFILE": ["team", "other"],
    "AWS_DEFAULT_REGION": ["eu-west-1", ""],
    "AWS_REGION": ["us-west-2"],
}
ID, SECRET, TOKEN = "aws_access_key_id", "aws_secret_access_key", "aws_session_token"
PARTS = [(ID, SECRET)] * 4 + [(), (ID,), (SECRET,), (TOKEN,), (ID, SECRET, TOKEN)]
OTHERS = [()] * 4 + [("region",)] * 4 + [("output",), ("role_arn",), ("aws_security_token",)]


def _files(prefix: str) -> st.SearchStrategy[str]:
    """A file of AWS's: each value says in which section of which file it is."""
    names = ["default", f"{prefix}team", f"{prefix}other", f'{prefix}"team"', f"{prefix}default"]
    section = st.tuples(st.sampled_from(names), st.sampled_from(PARTS), st.sampled_from(OTHERS))

    def text(sections: list[tuple[str, tuple[str, ...], tuple[str, ...]]]) -> str:
        return "".join(
            f"[{name}]\n" + "".join(f"{key} = {key} of {prefix}{at}\n" for key in keys + others)
            for at, (name, keys, others) in enumerate(sections)
        )

    return st.lists(section, max_size=3, unique_by=lambda one: one[0]).map(text)


def _variables() -> st.SearchStrategy[dict[str, str]]:
    others = st.fixed_dictionaries({}, optional={n: st.sampled_from(VALUES[n]) for n in VALUES})
    keys = st.sampled_from([(), (), *PARTS]).map(
        lambda names: {name.upper(): f"{name} of the environment" for name in names}
    )
    return st.builds(lambda keys, others: {**keys, **others}, keys, others)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=500)
@given(
    environ=_variables(),
    config=_files("profile "),
    credentials=_files(""),
    profile=st.sampled_from([None, None, None, "team", "absent"]),
)
def test_the_keys_are_those_that_boto_finds(
    environ: dict[str, str], config: str, credentials: str, profile: str | None, home: Path
) -> None:
    """Whatever is configured: if obstore is used, it has what s3fs would have."""
    from botocore.session import Session

    profiles(home, config, credentials)
    options = {**LOCAL, **({} if profile is None else {"profile": profile})}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        access = plain_access("models", options)
        if access is None:
            return
        session = Session(profile=profile)
        found = session.get_credentials()
        region = session.get_config_variable("region")
    assert access.keys is not None
    assert access.keys[ID] == found.access_key
    assert access.keys[SECRET] == found.secret_key
    assert access.keys.get(TOKEN) == found.token
    assert access.region == (region or "us-east-1")
    assert "secret" not in repr(access)


def test_an_option_that_nobody_has_is_told_as_ever(environ: pytest.MonkeyPatch) -> None:
    storage = NetworkStorage("s3://models/ama", BACKENDS["s3"], {**LOCAL, "anom": True})
    with pytest.raises(InvalidInput, match="s3fs has no option anom; did you mean anon"):
        storage.read([Range("format.json")])


def test_without_obstore_all_is_as_ever(environ: pytest.MonkeyPatch) -> None:
    environ.setitem(sys.modules, "obstore.store", None)
    assert chosen(LOCAL) == "s3fs"


def test_without_s3fs_all_is_as_ever(environ: pytest.MonkeyPatch) -> None:
    """It is what goes on where obstore can't."""
    environ.setattr("ama.storage.obstore.find_spec", lambda name: None)
    environ.setitem(sys.modules, "s3fs.core", None)
    with pytest.raises(StorageError, match="needs a package") as caught:
        chosen(LOCAL)
    assert words(caught.value.hints) == "install it: pip install s3fs"


def test_a_command_uses_it_and_imports_no_fsspec(tmp_path: Path, run: Ama) -> None:
    server = servers.start("s3_obstore")
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, os, sys\n"
        "clients = {'obstore', 'fsspec', 's3fs'}\n"
        "def tell():\n"
        "    print('loaded', *sorted(clients & {*sys.modules}), flush=True)\n"
        "atexit.register(tell)\n"
        "leave = os._exit\n"
        "os._exit = lambda code: (tell(), leave(code))\n"
    )
    paths = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    url = f"s3://bucket/{os.urandom(8).hex()}?endpoint_url={server.options['endpoint_url']}"
    env = {**server.environ, "AMA_REMOTE": url, "PYTHONPATH": paths}
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "a").write_text("a")
    run.ok("init", "models", cwd=tmp_path / "w", env=env)
    run.ok("add", ".", cwd=tmp_path / "w", env=env)
    told = run.ok("upload", cwd=tmp_path / "w", env=env)
    assert told.stdout.splitlines()[-1] == "loaded obstore"
    told = run.ok("list", env={**env, "AWS_MAX_ATTEMPTS": "1"})
    assert told.stdout.splitlines()[-1] == "loaded fsspec s3fs"


# ------------------------------------------------------------------------------ what it leaves


@pytest.fixture
def bad_network() -> Iterator[proxy.Proxy]:
    with proxy.before(servers.start("s3").options["endpoint_url"]) as between:
        yield between


def behind(between: proxy.Proxy, **options: Any) -> NetworkStorage:
    return NetworkStorage(
        f"s3://bucket/{os.urandom(8).hex()}",
        BACKENDS["s3"],
        {"endpoint_url": between.url, **servers.start("s3").secrets},
        **{"patience": QUICK, **options},
    )


@pytest.mark.parametrize("action", ["denied", "moved", "refused"])
def test_what_obstore_is_refused_s3fs_tries(bad_network: proxy.Proxy, action: proxy.Action) -> None:
    """Another region, keys that one of them reads otherwise, a request that a server hasn't got."""
    storage = behind(bad_network)
    storage.put("a", b"content")
    assert storage.client == "obstore"
    refused: list[str] = []

    def refuse(asked: proxy.Request) -> proxy.Action:
        if asked.agent.startswith("object_store"):
            refused.append(asked.method)
            return action
        return "pass"

    bad_network.rule = refuse
    assert storage.read([Range("a"), Range("a", 1, 2), Range("b")]) == [b"content", b"on", None]
    assert refused
    assert storage.client == "s3fs"
    del refused[:]
    storage.create("c", b"new")
    with pytest.raises(AlreadyExists):
        storage.create("c", b"other")
    assert not refused


@pytest.mark.parametrize("action", ["denied", "moved", "refused"])
def test_a_create_that_obstore_is_refused_is_made_by_s3fs(
    bad_network: proxy.Proxy, action: proxy.Action
) -> None:
    storage = behind(bad_network)
    bad_network.rule = lambda asked: action if asked.number == 1 else "pass"
    storage.create("c", b"new")
    assert storage.client == "s3fs"
    assert storage.read([Range("c")]) == [b"new"]
    assert [asked.method for asked in bad_network.requests] == ["PUT", "PUT", "GET"]


@pytest.mark.parametrize("action", ["lose", "drop", "error"])
def test_a_create_whose_answer_is_lost_is_not_made_again(
    bad_network: proxy.Proxy, action: proxy.Action
) -> None:
    """Also not below: a second try would take the success of the first for somebody else's."""
    storage = behind(bad_network)
    bad_network.rule = lambda asked: action
    with pytest.raises(StorageError, match="could not be reached") as caught:
        storage.create("c", b"new")
    assert caught.value.retryable
    assert storage.client == "obstore"
    assert len(bad_network.requests) == 1


def test_a_create_that_obstore_does_not_understand_is_not_made_again() -> None:
    """The server did it, and says nothing of an ETag."""
    made: list[str] = []

    class Terse(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            made.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Terse) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = {"endpoint_url": f"http://127.0.0.1:{server.server_port}"}
        secrets = servers.start("s3").secrets
        options = {**options, **secrets}
        storage = NetworkStorage("s3://bucket/x", BACKENDS["s3"], options, patience=QUICK)
        with pytest.raises(StorageError, match="could not be reached") as caught:
            storage.create("c", b"new")
        assert caught.value.retryable
        assert made == ["/bucket/x/c"]
        server.shutdown()


def test_a_name_that_obstore_cannot_have_is_written(bad_network: proxy.Proxy) -> None:
    storage = behind(bad_network)
    storage.put("a\tb", b"x")
    assert storage.read([Range("a\tb")]) == [b"x"]


def test_a_name_that_obstore_cannot_have_is_listed(bad_network: proxy.Proxy) -> None:
    storage = behind(bad_network)
    storage.put("a", b"1")
    other = NetworkStorage(
        f"{storage.url}/x//y",
        BACKENDS["s3"],
        {"endpoint_url": bad_network.url, **servers.start("s3").secrets},
    )
    other.put("b", b"22")
    assert dict(storage.list("")) == {"a": 1, "x//y/b": 2}


def test_no_text_of_obstore_gets_into_an_error(environ: pytest.MonkeyPatch) -> None:
    """Not even where its exception names a key: only what kind of failure it was."""
    server = f"127.0.0.1:{servers.free_port()}"
    for url, said in (
        (f"http://{server}", f"no server answers at {server}"),
        ("http://no-such-host.invalid", "there is no host no-such-host.invalid:80"),
    ):
        storage = NetworkStorage(
            "s3://bucket/x",
            BACKENDS["s3"],
            {"endpoint_url": url},
            patience=Patience(timeout=5, retries=0),
        )
        with pytest.raises(StorageError) as caught:
            storage.read([Range("a")])
        assert caught.value.message == f"s3://bucket/x/a: {said}"


# ------------------------------------------------------------------------------ threads


def test_who_waits_is_let_go_at_once(bad_network: proxy.Proxy) -> None:
    storage = behind(bad_network, patience=Patience(timeout=60))
    bad_network.rule = lambda asked: "stall"
    failed: list[BaseException] = []

    def work() -> None:
        try:
            storage.put("a", bytes(8 << 20))
        except StorageError as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while not bad_network.requests:
        time.sleep(0.01)
    start = time.monotonic()
    storage.cancel()
    thread.join()
    assert time.monotonic() - start < 2
    assert "was given up" in str(failed[0])
    bad_network.rule = lambda asked: "pass"
    storage.put("a", b"x")
    assert storage.client == "obstore"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_does_without_the_threads_that_it_has_not(bad_network: proxy.Proxy) -> None:
    """Obstore's threads and ours are gone there: the same storage works, and so does a new one."""
    storage = behind(bad_network)
    storage.put("a", b"content")
    assert storage.client == "obstore"
    child = os.fork()
    if child == 0:
        ended = 1
        try:
            again = storage.read([Range("a")]) == [b"content"] and storage.client == "s3fs"
            new = behind(bad_network)
            new.put("b", b"x")
            ended = 0 if again and new.client == "s3fs" else 2
        finally:
            os._exit(ended)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            assert os.waitstatus_to_exitcode(status) == 0
            break
        time.sleep(0.05)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        pytest.fail("the child hangs")
    assert storage.read([Range("a")]) == [b"content"]
