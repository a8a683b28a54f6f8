"""What is stored, and what is printed, is the same whatever the locale: text is UTF-8.

One mission is run by real commands in several locales, and all that they say and leave is compared
with what it is where the locale is UTF-8. The same goes for the library in somebody's process.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conftest import isolate

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are Unicode")

LATIN = "de_DE.ISO-8859-15"
SOURCES = Path("/usr/share/i18n/locales/de_DE")
LOCALES = ("latin", "ascii")

# The command line with a clock that says what the first word says, so that ids can be compared.
COMMAND = """
import sys
at = int(sys.argv.pop(1))
from ama.operations import session
session.now = lambda: at
from ama.cli import main
main()
"""

WORK, STORE, OTHER, CODE = "Läufe-日", "Spëicher", "Zweitër", "Quëlle"

# What an asset must hold, whatever it was made with.
FILES = {
    "ü.txt": "größe: 1\n".encode(),
    "日本.bin": bytes(range(256)) * 8,
    "größe/tief-é.yml": "höhe: 3\nname: Jörg\n".encode(),
    "modell-ö.bin": b"".join(n.to_bytes(4, "big") for n in range(400_000)),
    ".amaignore": "übrig-*.log\n".encode(),
}
LINK, TARGET = "verweis-ä", "ü.txt"
IGNORED = "übrig-ß.log"


@pytest.fixture(scope="session")
def locales(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Mapping[str, str]]:
    """The locales by name, as variables; one has an encoding with umlauts that isn't UTF-8."""
    if not (shutil.which("localedef") and SOURCES.exists()):
        if "AMA_TESTS_NEED_SERVERS" in os.environ:
            pytest.fail("localedef, or what it makes locales of, is missing: install `locales`")
        pytest.skip("localedef, or what it makes locales of, is missing")
    place = tmp_path_factory.mktemp("locales")
    subprocess.run(
        ["localedef", "--no-archive", "-i", "de_DE", "-f", "ISO-8859-15", str(place / LATIN)],
        check=True,
        capture_output=True,
    )
    return {
        "utf-8": {"LC_ALL": "C.UTF-8"},
        "latin": {"LC_ALL": LATIN, "LOCPATH": str(place), "PYTHONUTF8": "0"},
        "ascii": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    }


@dataclass(frozen=True)
class Said:
    """What one command said, without the name of the directory that its mission ran in."""

    words: tuple[str, ...]
    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Mission:
    """Commands in a locale, each a second after the one before. Names are below `base`."""

    base: Path
    environ: Mapping[str, str]
    said: list[Said]

    def __call__(self, *words: str, at: str = WORK) -> Said:
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, str(self._now()), *words],
            cwd=self.base / at,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        shown = tuple(word.replace(str(self.base), "BASE") for word in words)
        said = Said(shown, done.returncode, self._text(done.stdout), self._text(done.stderr))
        self.said.append(said)
        return said

    def _now(self) -> int:
        return 1_700_000_000_000_000 + len(self.said) * 1_000_000

    def _text(self, data: bytes) -> str:
        text = data.decode("utf-8")  # not in the locale's encoding, whichever that is
        text = text.replace(str(self.base), "BASE")
        text = re.sub(r"\b[\d.,]+ (s|ms|[kM]?B/s)\b", "TIME", text)
        return re.sub(r"(\"store_id\": \")[0-9a-f]+", r"\1ID", text)


def begin(base: Path, locale: Mapping[str, str]) -> Mission:
    """Lay out the files of a training run, a repository of code and nothing else."""
    (base / WORK / "größe").mkdir(parents=True)
    for name, data in FILES.items():
        (base / WORK / name).write_bytes(data)
    (base / WORK / LINK).symlink_to(TARGET)
    (base / WORK / IGNORED).write_text("not meant")
    environ = {
        **os.environ,
        **locale,
        "HOME": str(base / "häuslich"),
        "XDG_CONFIG_HOME": str(base / "häuslich" / "config"),
        "XDG_DATA_HOME": str(base / "häuslich" / "data"),
        "XDG_CACHE_HOME": str(base / "häuslich" / "cache"),
        "AMA_AUTHOR": "Jörg Müller <jörg@beispiel.example>",
    }
    (base / "häuslich").mkdir()
    (base / CODE).mkdir()
    (base / CODE / "lärnen.py").write_text("print('ü')\n")
    fixed = {"GIT_AUTHOR_DATE": "1700000000 +0000", "GIT_COMMITTER_DATE": "1700000000 +0000"}
    git = ["git", "-c", "user.name=Zoë", "-c", "user.email=zoe@beispiel.example"]
    for words in (["init", "-q", "-b", "hauptast-ä"], ["add", "."], ["commit", "-qm", "größer"]):
        subprocess.run([*git, *words], cwd=base / CODE, env={**os.environ, **fixed}, check=True)
    return Mission(base, environ, [])


def perform(mission: Mission) -> None:
    """Do with files of such names all that a command can do with them."""
    store, other, code = f"../{STORE}", f"../{OTHER}", f"../{CODE}"
    work = mission.base / WORK
    mission("init", "modelle")
    mission("add", "ü.txt,", "日本.bin")
    mission("status")
    mission("status", "--json")
    mission("add", "g*ße/*")
    mission("add", "größe", LINK)
    mission("add", ".")
    mission("set", "--alias", "bestes", "-m", "schön", "--meta", "größe=über", "--meta", "n=日")
    mission("status", "--json")
    mission("upload", "--remote", store, "--code", code)
    mission("remote", "add", "lager", store)
    mission("remote", "list")
    mission("config", "list")
    mission("upload")
    for words in (["show"], ["show", "--json"], ["ls"], ["ls", "--json"], ["log"], ["list"]):
        mission(*words)
    mission("ls", "HEAD", "größe")
    mission("ls", "HEAD", "./größe")
    mission("ls", "HEAD", "../ü.txt", at=f"{WORK}/größe")
    mission("cat", "HEAD:ü.txt")
    mission("cat", "modelle/1:größe/tief-é.yml")
    mission("list", "modelle", "--json")
    mission("find", "ü.txt")
    mission("find", "tief-é.yml", at=f"{WORK}/größe")
    mission("find", "--name", "ü*")
    mission("find", "--author", "Jörg")
    mission("find", "--author", "Jorg")
    mission("find", "--meta", "größe=über")
    mission("find", "--param", "höhe=3", "--csv")
    mission("hash", "ü.txt", "日本.bin")
    (work / "ü.txt").write_text("größe: 2\nwärme: 4\n", encoding="utf-8")
    (work / "größe" / "tief-é.yml").write_text("höhe: 4\nname: Jörg\n", encoding="utf-8")
    (work / "nëu.txt").write_text("nëu", encoding="utf-8")
    (work / LINK).unlink()
    (work / LINK).symlink_to("nirgends-ö")
    mission("status")
    mission("status", at=f"{WORK}/größe")
    mission("status", "--json")
    mission("diff")
    mission("diff", "--", "ü.txt", LINK)
    mission("upload", "-m", "nichts")
    mission("add", "ü.txt", "größe/", LINK)
    mission("upload", "-m", "zweite: ä 日本")
    mission("diff", "modelle/1", "modelle/2", "-p")
    mission("diff", "modelle/1", "modelle/2", "--json")
    mission("compare", "modelle/1", "modelle/2")
    mission("compare", "--class", "modelle", "--csv")
    mission("switch", "modelle/1")
    mission("restore", "--source", "modelle/2", "ü.txt")
    mission("switch", "modelle/2")
    mission("restore", "--staged", "ü.txt")
    mission("restore", "ü.txt", "gr*")
    mission("rm", "--cached", "日本.bin")
    mission("restore", "--staged", "日本.bin")
    mission("rm", "日本.bin", "größe")
    mission("restore", "größe", "日本.bin")
    mission("restore", "--staged", "größe", "日本.bin")
    mission("restore", "größe", "日本.bin")
    mission("status")
    mission("alias", "history", "modelle@bestes")
    mission("deprecate", "modelle/1", "--reason", "überholt")
    mission("list", "modelle")
    into = ("--remote", f"./{STORE}", "-o")
    mission("download", "modelle@bestes", *into, "Kopië", at=".")
    mission(
        "download", "modelle/2", "-o", "Teil-ü", "--include", "ü*", "--remote", f"./{STORE}", at="."
    )
    mission("download", "modelle/2", *into, "Kopië", at=".")
    mission("-C", "Kopië", "status", at=".")
    mission("-C", "Kopiä", "status", at=".")
    mission("copy", "modelle@bestes", "--from", f"./{STORE}", "--to", f"./{OTHER}", at=".")
    mission("remote", "check", store)
    mission("fsck")
    mission("fsck", "--remote", f"../{OTHER}")
    mission("lineage", "modelle/2", "--remote", other)
    mission("dashboard", "--export", "../Sëite", "--files", "10MB")
    mission("set", "--message", "für später")
    mission("upload")
    mission("init", "daten", "--force")
    (work / "größe" / "inner-ö").mkdir()
    mission("init", "innen", at=f"{WORK}/größe/inner-ö")
    mission("add", "ü.txt")
    mission("link", "modelle/2", "--label", "grundlage-ä")
    mission("upload")  # the default store of this machine: below a home with an umlaut
    mission("upload", "--remote", f"file://{mission.base}/{STORE}")
    mission("show", "--json")
    mission("add", "nicht-da-ü.txt")
    mission("add", "ü.tx")
    mission("cat", "HEAD:ö")
    mission("list", "--remote", "lagör")
    mission("list", "--remote", "./nicht-da-ö")
    mission("frobnicate-ü")
    mission("status", "--ü")


def names_in(base: Path) -> set[bytes]:
    """The path of everything that lies there as the system has it, but for stores and caches."""
    found = set()
    for top, directories, files in os.walk(os.fsencode(base)):
        directories[:] = [n for n in directories if n not in (b".ama", b".git", b"packs", b"cache")]
        found |= {os.path.relpath(os.path.join(top, n), os.fsencode(base)) for n in directories}
        found |= {os.path.relpath(os.path.join(top, n), os.fsencode(base)) for n in files}
    return {path for path in found if not re.search(rb"/index/|checkpoint/", path)}


@pytest.fixture(scope="module")
def reference(
    locales: Mapping[str, Mapping[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mission]:
    """The mission where the locale is UTF-8."""
    with pytest.MonkeyPatch.context() as patch:
        isolate(tmp_path_factory.mktemp("home"), patch)
        mission = begin(tmp_path_factory.mktemp("utf8_"), locales["utf-8"])
        perform(mission)
        yield mission


@pytest.mark.parametrize("locale", LOCALES)
def test_a_mission_says_and_leaves_the_same_in_every_locale(
    locales: Mapping[str, Mapping[str, str]],
    reference: Mission,
    tmp_path_factory: pytest.TempPathFactory,
    locale: str,
) -> None:
    # A name as long as the other one, as tables and lines are cut by it.
    mission = begin(tmp_path_factory.mktemp("other"), locales[locale])
    assert len(str(mission.base)) == len(str(reference.base))
    perform(mission)
    for mine, theirs in zip(mission.said, reference.said, strict=True):
        assert mine == theirs
    assert names_in(mission.base) == names_in(reference.base)


def test_what_the_mission_published_is_what_was_meant(reference: Mission) -> None:
    def said(*words: str, at: int = 0) -> Said:
        return [each for each in reference.said if each.words[: len(words)] == words][at]

    failed = [each.words for each in reference.said if each.code not in (0, 2, 3, 4, 5)]
    assert not failed
    assert not [each for each in reference.said if "Traceback" in each.stderr]
    first = json.loads(said("show", "--json").stdout)
    assert first["author"] == "Jörg Müller <jörg@beispiel.example>"
    assert first["message"] == "schön"
    assert first["metadata"]["größe"] == "über"
    assert first["metadata"]["git.branch"] == "hauptast-ä"
    assert first["metadata"]["git.repository"] == CODE
    listed = {file["path"] for file in json.loads(said("ls", "--json").stdout)}
    assert listed == {*FILES, LINK}
    status = said("status", "--json", at=2).stdout
    for path in ("ü.txt", "größe/tief-é.yml", LINK, "nëu.txt"):
        assert status.count(json.dumps(path)) == 1, status
    assert json.dumps(IGNORED)[1:-1] not in status
    for name in ("Kopië/ü.txt", "Kopië/日本.bin", "Kopië/größe/tief-é.yml", "Teil-ü/ü.txt"):
        assert name.encode() in names_in(reference.base)
    assert os.readlink(os.fsencode(reference.base / "Kopië" / LINK)) == TARGET.encode()
    assert (reference.base / "Sëite" / "index.html").is_file()


def test_names_that_are_no_utf8_are_never_taken_for_others(
    locales: Mapping[str, Mapping[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = {}
    for name, locale in locales.items():
        mission = begin(tmp_path_factory.mktemp("odd"), locale)
        other = "\udcfc.txt"  # ü.txt in Latin-9, beside the one in UTF-8
        (mission.base / WORK / other).write_bytes(b"other")
        mission("init", "modelle")
        for words in (["add", other], ["status"], ["hash", other], ["add", "ü.txt"], ["add", "."]):
            mission(*words)
        mission("upload", "--remote", f"../{STORE}")
        mission("download", "modelle/1", "--remote", f"./{STORE}", "-o", "K\udceb", at=".")
        mission("download", "modelle/1", "--remote", f"./{STORE}", "-o", "Kë", at=".")
        found[name] = mission.said, names_in(mission.base)
    said, left = found["utf-8"]
    assert b"K\xeb/\xc3\xbc.txt" in left
    assert said[1].code == 2
    assert "\\udcfc.txt" in said[1].stderr
    assert "\udcfc.txt" not in said[2].stdout
    assert found["latin"] == found["utf-8"]
    assert found["ascii"] == found["utf-8"]


@pytest.mark.parametrize("locale", ["utf-8", *LOCALES])
def test_a_name_that_could_be_another_one_twice_encoded_is_itself(
    locales: Mapping[str, Mapping[str, str]], tmp_path: Path, locale: str
) -> None:
    """What a command was given is turned into text once."""
    mission = begin(tmp_path, locales[locale])
    twice = "Ã©.txt"  # the UTF-8 of é.txt, read as Latin-9
    for name in ("é.txt", twice):
        (mission.base / WORK / os.fsdecode(name.encode())).write_text(name, "utf-8")
    for words in (["init", "modelle"], ["add", "."], ["upload", "--remote", f"../{STORE}"]):
        assert mission(*words).code == 0
    for name, other in (("é.txt", twice), (twice, "é.txt")):
        assert mission("cat", f"HEAD:{name}").stdout == name
        for place in ("HEAD", "modelle/1"):
            found = mission("find", f"{place}:{name}").stdout
            assert name in found
            assert other not in found
    assert mission("rm", twice).code == 0
    names = {name.removeprefix(f"{WORK}/".encode()) for name in names_in(mission.base)}
    assert "é.txt".encode() in names
    assert twice.encode() not in names


@pytest.mark.parametrize("locale", ["utf-8", *LOCALES])
def test_the_shell_completes_names(
    locales: Mapping[str, Mapping[str, str]], tmp_path: Path, locale: str
) -> None:
    mission = begin(tmp_path, locales[locale])
    for words in (["init", "modelle"], ["add", "."], ["upload", "--remote", f"../{STORE}"]):
        assert mission(*words).code == 0
    for begun in ("HEAD:g", "HEAD:größe/t"):
        asked = {"_AMA_COMPLETE": "complete_bash", "COMP_WORDS": f"ama\ncat\n{begun}"}
        done = subprocess.run(
            [sys.executable, "-m", "ama"],
            cwd=tmp_path / WORK,
            env={**mission.environ, **asked, "COMP_CWORD": "2"},
            capture_output=True,
            check=True,
        )
        assert done.stdout.decode() == "HEAD:größe/tief-é.yml\n"
        assert not done.stderr


@pytest.mark.parametrize("locale", ["utf-8", *LOCALES])
def test_a_terminal_that_cannot_show_it_gets_it_escaped(
    locales: Mapping[str, Mapping[str, str]], tmp_path: Path, locale: str
) -> None:
    mission = begin(tmp_path, locales[locale])
    assert mission("init", "modelle").code == 0
    said = {
        "utf-8": ("ü.txt".encode(), "日本.bin".encode()),
        "latin": ("ü.txt".encode("iso8859-15"), rb"\u65e5\u672c.bin"),
        "ascii": (rb"\xfc.txt", rb"\u65e5\u672c.bin"),
    }[locale]
    code, shown = on_terminal(mission, "status")
    assert code == 0
    assert all(name in shown for name in said), shown
    code, shown = on_terminal(mission, "add", "日本")
    assert code == 3
    assert said[1].removesuffix(b".bin") + b": no such file" in shown
    asked = {**mission.environ, "PYTHONIOENCODING": "iso8859-15:replace"}
    piped = subprocess.run(
        [sys.executable, "-m", "ama", "status"],
        cwd=tmp_path / WORK,
        env=asked,
        capture_output=True,
        check=True,
    )
    assert "ü.txt".encode("iso8859-15") in piped.stdout  # who says how it is to be, gets it so


def on_terminal(mission: Mission, *words: str) -> tuple[int, bytes]:
    """Run a command whose streams are a terminal; its exit code, and what is seen there."""
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ama", *words],
        cwd=mission.base / WORK,
        env=mission.environ,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # what a terminal says whose other side is closed
        pass
    os.close(ours)
    return process.wait(60), shown


LIBRARY = r"""
import json, os, sys
from pathlib import Path
clock = [1_700_000_000_000_000]
from ama.operations import session
def now():
    clock[0] += 1_000_000
    return clock[0]
session.now = now
import ama
kind = {"str": str, "Path": Path}[sys.argv[1]]
base = sys.argv[2]
def place(start):
    [found] = [name for name in os.listdir(base) if name.startswith(start)]
    return kind(os.path.join(base, found))
root, store, code = place("L"), place("S"), place("Q")
here = [name for name in os.listdir(root) if name[-4:] not in (".log", ".ama")]
repo = ama.Repo.init(root, "modelle")
added = repo.add([kind(name) for name in here])
repo.set(aliases=["bestes"], message="sch\u00f6n", metadata={"gr\u00f6\u00dfe": "\u00fcber"})
done = repo.upload(remote=store, code=code)
said = {"id": done.asset.id, "author": done.asset.author, "message": done.asset.message}
said["metadata"] = dict(done.asset.metadata)
said["added"] = [change.path for change in added.changes]
opened = ama.Store.open(store)
asset = opened.resolve("modelle@bestes")
said["url"] = opened.url
said["files"] = {file.path: [file.id, len(asset.read(file.path))] for file in asset.files()}
[umlaut] = [name for name in here if name.endswith(".txt")]
full = os.path.join(root, umlaut)
said["found"] = [len(opened.find(kind(full)).found), len(opened.find(author="J\u00f6rg").found)]
Path(full).write_bytes(b"other")
status = repo.status()
said["changed"] = [str(change.path) for change in status.changed]
said["untracked"] = list(status.untracked)
repo.restore([kind(umlaut)], force=True)
said["clean"] = len(repo.status().changed)
repo.add([kind(full)])
target = kind(f"{root}-Kopie")
asset.download(target)
said["copy"] = sorted(map(ascii, os.listdir(os.fsencode(target))))
if kind is str:
    text = os.path.join(base, "Sp\u00ebicher")
    said["text"] = [ama.Store.open(text).url, repo.upload(remote=text).remote]
    said["text"] += [len(opened.find(root + "/\u00fc.txt").found), repo.add("\u00fc.txt").size]
    said["text"] += [repo.is_tracked(top + "\u65e5\u672c.bin") for top in ("", f"{root}/")]
    asset.download(os.path.join(base, "neu-\u00fc"))
    said["text"] += [opened.find(os.path.join(base, "neu-\u00fc", "\u00fc.txt")) is not None]
try:
    repo.add([kind("nicht-da-" + umlaut)])
except ama.NotFound as error:
    said["error"] = str(error)
try:
    ama.Store.open(os.path.join(base, "nirgends-\u65e5", umlaut))
except ama.NotFound as error:
    said["none"] = str(error)
said["repr"] = (repr(repo) + repr(opened)).replace(opened.id[:12], "ID")
print(json.dumps(said).replace(json.dumps(base)[1:-1], "BASE"))
"""


@pytest.mark.parametrize("kind", ["str", "Path"])
def test_the_library_has_the_same_text_in_every_locale(
    locales: Mapping[str, Mapping[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
) -> None:
    found: dict[str, Any] = {}
    for name, locale in locales.items():
        mission = begin(tmp_path_factory.mktemp("lib"), locale)
        (mission.base / STORE).mkdir()
        done = subprocess.run(
            [sys.executable, "-c", LIBRARY, kind, str(mission.base)],
            env=mission.environ,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, (name, done.stderr.decode())
        found[name] = json.loads(done.stdout)
    assert set(found["utf-8"]["files"]) == {*FILES, LINK}
    assert found["utf-8"]["found"] == [1, 1]
    assert found["utf-8"]["changed"] == ["ü.txt"]
    assert found["latin"] == found["utf-8"]
    assert found["ascii"] == found["utf-8"]
