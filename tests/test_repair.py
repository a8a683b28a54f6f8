"""`push --repair`: what a store has lost is sent again, and every reader finds it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import ama.system.fs
from ama import Repo, Store
from ama.errors import IntegrityError, NotFound
from ama.format.entries import Event, Gc, Publish, decode_entry
from ama.settings import Settings
from ama.stores.object_reader import pack_name
from ama.wording.hints import words
from conftest import Ama
from damage import DAMAGES, content, files_of, flip
from test_golden import ama_listing, as_json, independent_listing

NOISE = random.Random(11)
FILES = {
    "small": b"small",
    "sub/some": NOISE.randbytes(9000),
    "sub/large": NOISE.randbytes(1_500_000),
}


@pytest.fixture(autouse=True)
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ama.system.fs._os, "fsync", lambda fd: None)


class People:
    """Worktrees that each have a machine of their own, and one store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = root / "store"

    def settings(self, machine: str) -> Settings:
        return Settings(
            data_dir=self.root / "data",
            cache_dir=self.root / f"cache-{machine}",
            user_config_path=self.root / "config.toml",
            default_remote=str(self.url),
            user_name="Ann",
            user_email="ann@example.org",
        )

    def worktree(self, class_name: str, files: Mapping[str, bytes]) -> Repo:
        """A worktree with these files, published."""
        directory = self.root / class_name
        if directory.exists():
            repo = self.again(class_name)
        else:
            repo = Repo.init(directory, class_name, settings=self.settings(class_name))
        for name, data in files.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(data)
        repo.add(["."])
        repo.upload()
        return repo

    def again(self, class_name: str) -> Repo:
        return Repo.open(self.root / class_name, settings=self.settings(class_name))

    def store(self) -> Store:
        """The store, as a machine sees it that has never seen it."""
        shutil.rmtree(self.root / "cache-cold", ignore_errors=True)
        return Store.open(str(self.url), settings=self.settings("cold"))

    def files(self, asset: str) -> dict[str, bytes]:
        out = self.root / "out"
        shutil.rmtree(out, ignore_errors=True)
        self.store().download(asset, out)
        return content(out)

    def file(self, asset: str, role: str) -> Path:
        return files_of(self.url, asset, self.settings("cold"))[role]

    def largest(self) -> Path:
        """The pack that the chunks of a large file are in."""
        return max(self.url.rglob("*.pack"), key=lambda path: path.stat().st_size)

    def entries(self) -> list[Sequence[Event]]:
        return [decode_entry(p.read_bytes()).events for p in sorted(self.url.glob("log/0*"))]

    def everything(self) -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in self.url.rglob("*") if p.is_file()}


@pytest.fixture
def people(tmp_path: Path) -> People:
    return People(tmp_path)


@pytest.mark.parametrize("damage", ["delete", "half", "flip-middle", "flip-end"])
@pytest.mark.parametrize("role", ["content", "chunks", "metadata", "index"])
def test_what_is_damaged_is_sent_again(people: People, role: str, damage: str) -> None:
    people.worktree("models", FILES)
    if role == "index":  # which this machine remembers once it has read it
        assert people.again("models").push(repair=True).repaired == 0
    path = people.largest() if role == "chunks" else people.file("models/1", role)
    DAMAGES[damage](path)
    assert not people.store().fsck().ok
    before = len(people.entries())
    result = people.again("models").push(repair=True)
    assert result.repaired
    assert result.published == ()
    assert (result.bytes_sent > 1_000_000) == (role == "chunks")
    assert people.files("models/1") == FILES
    report = people.store().fsck()
    assert report.ok, report.problems
    assert len(people.entries()) == before + 1
    ((event,),) = people.entries()[before:]
    assert isinstance(event, Gc)
    # Who knows the format only finds it too.
    independent = independent_listing(people.url, people.root / "independent")
    assert as_json(independent) == as_json(ama_listing(people.url))
    assert content(people.root / "independent" / "models-1") == FILES
    unchanged = people.everything()
    again = people.again("models").push(repair=True)
    assert (again.repaired, again.bytes_sent) == (0, 0)
    assert people.everything() == unchanged
    assert people.worktree("models", {**FILES, "more": b"more"}).head is not None
    assert people.files("models/2") == {**FILES, "more": b"more"}
    assert people.store().fsck().ok


@pytest.mark.parametrize("damage", ["delete", "flip-middle"])
def test_each_version_before_is_repaired_too(people: People, damage: str) -> None:
    people.worktree("models", FILES)
    people.worktree("models", {"small": b"another"})
    people.worktree("models", {"small": b"a third"})
    paths = [people.file(asset, "metadata") for asset in ("models/1", "models/2", "models/3")]
    for path in (*paths, people.file("models/2", "content")):
        DAMAGES[damage](path)
    with pytest.raises(IntegrityError):
        people.files("models/1")
    people.again("models").push(repair=True)
    for number, small in enumerate([b"small", b"another", b"a third"], 1):
        assert people.files(f"models/{number}") == {**FILES, "small": small}
    assert people.store().fsck().ok


def test_a_download_has_what_it_takes(people: People) -> None:
    """There content lies in the files alone: nothing of it is in its packs."""
    repo = people.worktree("models", FILES)
    (repo.root / "link").symlink_to("sub/some")
    (repo.root / "sub" / "some").chmod(0o755)
    repo.add(["."])
    repo.upload()
    settings = people.settings("other")
    Store.open(str(people.url), settings=settings).download("models/2", people.root / "copy")
    shutil.rmtree(repo.root)
    for path in [people.file(asset, "content") for asset in ("models/1", "models/2")]:
        path.unlink()
    people.largest().unlink()
    with pytest.raises(IntegrityError):
        people.files("models/2")
    copy = Repo.open(people.root / "copy", settings=settings)
    copy.push(repair=True)
    assert people.files("models/2") == {**FILES, "link": FILES["sub/some"]}
    assert people.store().fsck().ok


def test_another_remote_has_what_it_takes(people: People) -> None:
    repo = people.worktree("models", FILES)
    people.store().copy("models/1", Store.open(str(people.root / "archive"), create=True))
    for name in FILES:
        (repo.root / name).unlink()
    shutil.rmtree(repo.root / ".ama" / "objects")
    DAMAGES["half"](people.file("models/1", "content"))
    DAMAGES["delete"](people.file("models/1", "metadata"))
    remotes = {"archive": str(people.root / "archive")}
    settings = replace(people.settings("models"), remotes=remotes)
    Repo.open(repo.root, settings=settings).push(repair=True)
    assert people.files("models/1") == FILES
    assert people.store().fsck().ok


@pytest.mark.parametrize("damage", ["delete", "flip-middle"])
def test_what_others_have_in_the_same_pack_stays_as_it_is(people: People, damage: str) -> None:
    """It can't be sent from here: it is neither lost by the repair, nor called sound."""
    private = {f"private{n}": NOISE.randbytes(3000) for n in range(3)}
    people.worktree("secret", {"shared": FILES["sub/some"], **private})
    people.worktree("public", {"shared": FILES["sub/some"]})
    pack = people.file("secret/1", "content")
    whole = pack.read_bytes()
    if damage == "delete":
        pack.unlink()
    else:
        for at in range(100, len(whole), 1000):
            flip(at)(pack)
    assert people.again("public").push(repair=True).repaired == 1
    assert people.files("public/1") == {"shared": FILES["sub/some"]}
    (problem,) = people.store().fsck().problems
    assert problem.where == pack.relative_to(people.url).as_posix()
    assert [name.partition(" ")[0] for name in problem.assets] == ["secret/1"]
    event = people.entries()[-1][0]
    assert isinstance(event, Gc)
    assert event.packs == ()

    people.again("secret").push(repair=True)
    assert people.files("secret/1") == {"shared": FILES["sub/some"], **private}
    assert people.store().fsck().ok
    event = people.entries()[-1][0]
    assert isinstance(event, Gc)
    assert [pack_name(found) for found in event.packs] == [problem.where]


def test_what_is_sound_in_a_damaged_pack_is_kept(people: People) -> None:
    private = {f"private{n}": NOISE.randbytes(3000) for n in range(3)}
    people.worktree("secret", {"shared": FILES["sub/some"], **private})
    people.worktree("public", {"shared": FILES["sub/some"]})
    DAMAGES["flip-end"](people.file("secret/1", "content"))
    assert people.again("public").push(repair=True).repaired == 4
    assert people.files("secret/1") == {"shared": FILES["sub/some"], **private}
    assert people.store().fsck().ok


@pytest.mark.parametrize("damage", ["delete", "half", "flip-middle"])
@pytest.mark.parametrize(("role", "size"), [("pack", 900), ("pack", 1_500_000), ("idx", 900)])
def test_the_file_of_a_note_is_sent_again(
    people: People, damage: str, role: str, size: int
) -> None:
    """If it still lies in the worktree under its name, or is in another place that is known."""
    people.worktree("models", FILES)
    old = set(people.url.rglob("*"))
    report = NOISE.randbytes(size)
    repo = people.again("models")
    (repo.root / "report.bin").write_bytes(report)
    people.store().note("models/1", file=repo.root / "report.bin")
    new = [path for path in set(people.url.rglob("*")) - old if path.suffix == f".{role}"]
    if role == "idx":  # which this machine remembers
        assert people.again("models").push(repair=True).repaired == 0
    for path in new:
        DAMAGES[damage](path)
    assert not people.store().fsck().ok
    assert people.again("models").push(repair=True).repaired > 0
    assert people.store().fsck().ok
    (note,) = people.store().notes("models/1")
    assert note.file is not None
    assert b"".join(people.store().note_file(note)) == report
    assert people.files("models/1") == FILES
    assert people.again("models").push(repair=True).repaired == 0


def test_the_file_of_a_note_that_is_nowhere_is_named(people: People) -> None:
    people.worktree("models", FILES)
    old = set(people.url.rglob("*.pack"))
    repo = people.again("models")
    people.store().note("models/1", file={"report.bin": b"result"})
    for path in set(people.url.rglob("*.pack")) - old:
        path.unlink()
    (repo.root / "report.bin").write_bytes(b"another")
    with pytest.raises(IntegrityError, match=r"report\.bin, the file of a note, can't be read"):
        people.again("models").push(repair=True)
    assert people.files("models/1") == FILES


def test_a_repair_makes_no_store(people: People, tmp_path: Path) -> None:
    repo = people.worktree("models", {"model.txt": b"weights"})
    repo.commit()
    with pytest.raises(NotFound, match="there is no ama store"):
        repo.push(remote=str(tmp_path / "slip"), repair=True)
    assert not (tmp_path / "slip").exists()


def test_what_can_not_be_repaired_is_named(people: People, run: Ama) -> None:
    people.worktree("models", FILES)
    people.worktree("models", {"small": b"another"})
    repo = people.again("models")
    DAMAGES["delete"](people.file("models/1", "content"))
    DAMAGES["delete"](people.file("models/2", "content"))
    for pack in (repo.root / ".ama" / "objects").rglob("*.pack"):
        if b"small" in pack.read_bytes():
            pack.unlink()
    with pytest.raises(IntegrityError, match=r"not all could be repaired: object \w{10} can't be"):
        people.again("models").push(repair=True)
    assert people.files("models/2") == {**FILES, "small": b"another"}
    (problem,) = people.store().fsck().problems
    assert [name.partition(" ")[0] for name in problem.assets] == ["models/1"]
    env = {"AMA_REMOTE": str(people.url)}
    told = run("push", "--repair", cwd=repo.root, env=env)
    assert told.code == 6
    assert "not all could be repaired" in told.stderr
    assert "Traceback" not in told.output


@pytest.mark.parametrize("damage", ["delete", "half", "flip-middle"])
def test_an_index_that_nobody_remembers_is_made_again(people: People, damage: str) -> None:
    """Its packs say themselves what they hold; what none holds is sent from the worktree."""
    people.worktree("models", FILES)
    people.worktree("other", {"theirs": b"theirs", "shared": FILES["sub/some"]})
    repo = people.again("models")
    shutil.rmtree(repo.root / ".ama" / "objects" / "packs")  # a clone has no content there
    people.file("models/1", "content").unlink()
    DAMAGES[damage](people.file("models/1", "index"))
    DAMAGES[damage](people.file("other/1", "index"))
    shutil.rmtree(people.root / "cache-models")
    before = len(people.entries())
    chunks = people.largest().read_bytes()
    result = people.again("models").push(repair=True)
    assert result.repaired
    assert result.bytes_sent < 100_000, "what a pack holds is not sent again"
    assert people.largest().read_bytes() == chunks
    assert people.files("models/1") == FILES
    assert people.files("other/1") == {"theirs": b"theirs", "shared": FILES["sub/some"]}
    report = people.store().fsck()
    assert report.ok, report.problems
    ((event,),) = people.entries()[before:]
    assert isinstance(event, Gc)
    independent = independent_listing(people.url, people.root / "independent")
    assert as_json(independent) == as_json(ama_listing(people.url))
    assert content(people.root / "independent" / "models-1") == FILES
    unchanged = people.everything()
    assert people.again("models").push(repair=True).repaired == 0
    assert people.everything() == unchanged


def test_an_index_over_many_packs_is_made_again_for_all_who_need_it(people: People) -> None:
    """It has no packs of its own: what it named is told by the assets, also those of others."""
    files = {f"file{n:02}": NOISE.randbytes(2000) for n in range(20)}
    for name, data in files.items():
        people.worktree("models", {name: data})
    people.worktree("other", files)
    path = max(people.url.glob("index/*"), key=lambda path: path.stat().st_size)
    needing = [
        event.class_name
        for events in people.entries()
        for event in events
        if isinstance(event, Publish) and path.stem in {need.hex() for need in event.needs}
    ]
    assert needing == ["other"]
    path.unlink()
    shutil.rmtree(people.root / "cache-models")
    # It stood in the way of every publication too.
    (people.root / "models" / "more").write_bytes(b"more")
    repo = people.again("models")
    repo.add(["more"])
    repo.commit()
    with pytest.raises(IntegrityError, match="is missing") as caught:
        people.again("models").push()
    assert "ama push --repair" in (words(caught.value.hints) or "")
    assert len(people.again("models").push(repair=True).published) == 1
    report = people.store().fsck()
    assert report.ok, report.problems
    assert people.files("other/1") == files
    assert people.files("models/21") == {**files, "more": b"more"}


def test_the_command(people: People, run: Ama) -> None:
    repo = people.worktree("models", FILES)
    env = {"AMA_REMOTE": str(people.url)}
    told = run.ok("push", "--repair", cwd=repo.root, env=env).stdout
    assert told.splitlines()[-1] == f"read back what {people.url} has of it: all is well"
    DAMAGES["flip-middle"](people.file("models/1", "content"))
    failed = run("download", "models/1", "-o", "there", env=env, cwd=people.root)
    assert failed.code == 6
    assert "ama push --repair" in failed.stderr
    checked = run("fsck", "--remote", str(people.url), cwd=repo.root)
    assert "ama push --repair" in checked.stdout
    told = run.ok("push", "--repair", cwd=repo.root, env=env).stdout
    assert "sent again" in told
    run.ok("download", "models/1", "-o", "there", env=env, cwd=people.root)
    assert content(people.root / "there") == FILES
    document = run.ok("push", "--repair", "--json", cwd=repo.root, env=env).json()
    assert document["repaired"] == 0
