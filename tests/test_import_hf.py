"""`ama import --from hf`: a cache that Hugging Face's own client fills, and folders."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import huggingface_hub
import pytest

import ama
from ama.errors import InvalidInput, NotFound
from conftest import Ama
from test_import import settings, storage, store  # noqa: F401

OLD, NEW = "1" * 40, "2" * 40
LARGE = os.urandom(3_000_000)
CARD = b"""---
license: mit
base_model: lab/base
tags: [tiny, test]
model-index:
- name: tiny
  results:
  - metrics: [{type: accuracy, value: 0.91}]
---
# Tiny
"""
FILES = {
    OLD: {"README.md": CARD, "config.json": b'{"layers": 2}'},
    NEW: {"README.md": CARD, "config.json": b'{"layers": 3}', "onnx/model.bin": LARGE},
}


class Hub(NamedTuple):
    """A server that answers as the hub does, as far as its client asks; and a cache."""

    url: str
    cache: Path

    def get(self, repo: str, revision: str, *files: str, **options: str) -> None:
        for name in files:
            huggingface_hub.hf_hub_download(
                repo,
                name,
                revision=revision,
                endpoint=self.url,
                token=False,
                **(options or {"cache_dir": str(self.cache)}),
            )


class Answer(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.wfile.write(self.answer())

    def answer(self) -> bytes:
        revision, _, name = self.path.partition("/resolve/")[2].partition("/")
        commit = {"main": NEW, "v1.0": OLD}.get(revision, revision)
        data = FILES[commit][name]
        is_large = len(data) > 1_000_000
        digest = hashlib.sha256(data) if is_large else hashlib.sha1(b"blob %d\0" % len(data) + data)
        self.send_response(200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{digest.hexdigest()}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        return data

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Hub(f"http://127.0.0.1:{server.server_port}", tmp_path / "hf" / "hub")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        huggingface_hub.close_session()


def test_a_cache_becomes_assets(store: ama.Store, hub: Hub) -> None:  # noqa: F811
    hub.get("lab/tiny", "v1.0", "README.md", "config.json")
    hub.get("lab/tiny", "main", *FILES[NEW])
    hub.get("words", "main", "config.json", repo_type="dataset", cache_dir=str(hub.cache))
    result = ama.import_assets(hub.cache.parent, tool="hf", store=store)
    assert not result.failed
    assert sorted(asset.name for asset in result.assets) == [
        "datasets--words/1",
        "lab--tiny/1",
        "lab--tiny/2",
    ]
    model = store.resolve("lab--tiny@main")
    assert {file.path: file.kind for file in model.files()} == dict.fromkeys(FILES[NEW], "file")
    assert model.read("onnx/model.bin") == LARGE
    assert model.info.author == "lab"
    assert model.info.metadata == {"hf.repo": "lab/tiny", "hf.type": "model", "hf.commit": NEW}
    assert store.noted("lab--tiny/2").metadata["import.source"] == (
        f"https://huggingface.co/lab/tiny/tree/{NEW}"
    )
    assert store.resolve("lab--tiny@v1.0").read("config.json") == b'{"layers": 2}'
    found = store.find(params=["license=mit", "value=0.91"], class_name="lab--tiny")
    assert {each.asset.number for each in found} == {1, 2}
    assert not store.fsck().problems


def test_again_only_what_is_new(store: ama.Store, hub: Hub) -> None:  # noqa: F811
    hub.get("lab/tiny", "main", "config.json")
    ama.import_assets(hub.cache, tool="hf", store=store)
    first = store.resolve("lab--tiny@main").info
    hub.get("lab/tiny", "v1.0", "config.json")
    again = ama.import_assets(hub.cache, tool="hf", store=store)
    assert [asset.alias for asset in again.assets] == ["v1.0"]
    assert len(again.unchanged) == 1
    hub.get("lab/tiny", "main", "README.md")  # more of the same commit
    more = ama.import_assets(hub.cache / "models--lab--tiny", tool="hf", store=store)
    (asset,) = more.assets
    assert store.resolve(asset.name).info.parents == (first.id,)
    assert not ama.import_assets(hub.cache, tool="hf", store=store).assets


def test_a_branch_that_went_back_takes_its_alias_along(
    store: ama.Store,  # noqa: F811
    hub: Hub,
) -> None:
    main = hub.cache / "models--lab--tiny" / "refs" / "main"
    hub.get("lab/tiny", "v1.0", "config.json")
    hub.get("lab/tiny", "main", "config.json")
    ama.import_assets(hub.cache, tool="hf", store=store)
    for commit in (OLD, NEW, OLD):
        main.write_text(commit)
        result = ama.import_assets(hub.cache, tool="hf", store=store)
        assert (result.failed, store.resolve("lab--tiny@main").info.metadata["hf.commit"]) == (
            (),
            commit,
        )
    assert len(store.assets("lab--tiny")) == 2


def test_what_is_damaged_or_leads_elsewhere_is_passed_over(
    store: ama.Store,  # noqa: F811
    hub: Hub,
    tmp_path: Path,
) -> None:
    hub.get("lab/tiny", "v1.0", *FILES[OLD])
    hub.get("lab/tiny", "main", *FILES[NEW])
    secret = tmp_path / "secret"
    secret.write_text("token")
    snapshots = hub.cache / "models--lab--tiny" / "snapshots"
    (snapshots / OLD / "other").symlink_to(secret)
    Path(os.path.realpath(snapshots / NEW / "onnx" / "model.bin")).write_bytes(LARGE[:-1] + b"x")
    result = ama.import_assets(hub.cache, tool="hf", store=store)
    assert not result.assets
    assert {(each.source[-1], each.reason) for each in result.failed} == {
        ("1", "other leads out of the cache's blobs"),
        ("2", "onnx/model.bin is damaged in the cache: download it again"),
    }
    (snapshots / OLD / "other").unlink()
    Path(os.path.realpath(snapshots / OLD / "config.json")).unlink()
    (failed,) = ama.import_assets(snapshots / OLD, tool="hf", store=store).failed
    assert "has no content" in failed.reason


def test_a_link_to_a_directory_is_not_followed(
    store: ama.Store,  # noqa: F811
    hub: Hub,
    tmp_path: Path,
) -> None:
    hub.get("lab/tiny", "v1.0", "config.json")
    snapshot = hub.cache / "models--lab--tiny" / "snapshots" / OLD
    for name, target in {"up": hub.cache.parent, "self": snapshot, "blobs": "../../blobs"}.items():
        (snapshot / name).symlink_to(target)
        (failed,) = ama.import_assets(hub.cache, tool="hf", store=store).failed
        assert name in failed.reason
        (snapshot / name).unlink()


def test_a_folder(store: ama.Store, hub: Hub, tmp_path: Path) -> None:  # noqa: F811
    place = tmp_path / "my model"
    hub.get("lab/tiny", "v1.0", *FILES[OLD], local_dir=str(place))
    result = ama.import_assets(place, tool="hf", store=store)
    assert [asset.name for asset in result.assets] == ["my-model/1"]
    asset = store.resolve("my-model/1")
    assert asset.info.metadata == {"hf.commit": OLD}
    assert [file.path for file in asset.files()] == sorted(FILES[OLD])
    assert not ama.import_assets(place, tool="hf", store=store).assets
    (place / "config.json").write_bytes(b"{}")
    assert len(ama.import_assets(place, tool="hf", store=store).assets) == 1


def test_wrong_input(store: ama.Store, tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(NotFound, match="no such directory"):
        ama.import_assets(tmp_path / "none", tool="hf", store=store)
    with pytest.raises(InvalidInput, match="nothing is imported from 'svn'"):
        ama.import_assets(tmp_path, tool="svn", store=store)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="the tool says classes"):
        ama.import_assets(tmp_path, "models", tool="hf", store=store)
    (tmp_path / "empty").mkdir()
    (failed,) = ama.import_assets(tmp_path / "empty", tool="hf", store=store).failed
    assert "no cache, and has no model card" in failed.reason
    (tmp_path / "empty" / "config.json").write_text("{}")
    assert ama.import_assets(tmp_path / "empty", tool="hf", store=store).failed
    (tmp_path / "empty" / "README.md").write_text("# Tiny")
    assert not ama.import_assets(tmp_path / "empty", tool="hf", store=store).failed


def test_the_command(hub: Hub, run: Ama, tmp_path: Path) -> None:
    hub.get("lab/tiny", "main", *FILES[NEW])
    done = run.ok("import", "--from", "hf", str(hub.cache), cwd=tmp_path)
    assert "1 source became 1 asset" in done.stdout
    found = run.ok("find", "--param", "license=mit", cwd=tmp_path).stdout
    assert "lab--tiny/1" in found
    wrong = run("import", "--from", "svn", str(hub.cache), cwd=tmp_path)
    assert wrong.code == 2
    assert "hf, mlflow" in wrong.stderr
