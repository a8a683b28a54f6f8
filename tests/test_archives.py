"""Archives whose members are read, and those that are refused."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zstandard

from ama.errors import InvalidInput
from ama.importing.archives import Member, is_archive, open_archive

FILES = {"a": b"one", "sub/deep/b.yml": b"layers: 3\n", "sub/empty": b"", "large": bytes(3_000_000)}
TARS = [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst"]


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return path


def tarred(path: Path, add: Callable[[tarfile.TarFile], None]) -> Path:
    plain = io.BytesIO()
    kind = {"gz": "gz", "tgz": "gz", "bz2": "bz2", "xz": "xz"}.get(path.suffix[1:], "")
    with tarfile.open(fileobj=plain, mode=f"w:{kind}") as made:  # type: ignore[call-overload]
        add(made)
    data = plain.getvalue()
    path.write_bytes(zstandard.compress(data) if path.suffix == ".zst" else data)
    return path


def of_files(files: dict[str, bytes], **facts: object) -> Callable[[tarfile.TarFile], None]:
    def add(made: tarfile.TarFile) -> None:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for fact, value in facts.items():
                setattr(info, fact, value)
            made.addfile(info, io.BytesIO(data))

    return add


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def extracted(file: Path, into: Path, wanted: list[str] | None = None) -> dict[str, bytes]:
    """Return the wanted files, read from the file and from its bytes; `into` is not written to."""
    found = []
    for source in (file, file.read_bytes()):
        with open_archive(source, file.name) as archive:
            members = archive.members
            asked = archive.contents(members.keys() if wanted is None else wanted)
            read = {path: data for paths, f in asked for data in [f.read()] for path in paths}
        found.append({path: read[path] for path in read if members[path].kind != "symlink"})
    assert found[0] == found[1]
    return found[0]


def members(file: Path) -> dict[str, Member]:
    with open_archive(file, file.name) as archive:
        return dict(archive.members)


# What is read


def test_a_zip(tmp_path: Path) -> None:
    file = zipped(tmp_path / "x.zip", FILES)
    assert extracted(file, tmp_path / "all") == FILES
    assert extracted(file, tmp_path / "one", ["sub/deep/b.yml"]) == {
        "sub/deep/b.yml": b"layers: 3\n"
    }
    assert {path: member.size for path, member in members(file).items()} == {
        path: len(data) for path, data in FILES.items()
    }


@pytest.mark.parametrize("suffix", TARS)
def test_a_tar(tmp_path: Path, suffix: str) -> None:
    file = tarred(tmp_path / f"x{suffix}", of_files(FILES, mtime=1_700_000_000))
    assert is_archive(file.name)
    assert extracted(file, tmp_path / "all") == FILES
    assert extracted(file, tmp_path / "one", ["a"]) == {"a": b"one"}
    assert {member.modified for member in members(file).values()} == {
        datetime.fromtimestamp(1_700_000_000, UTC)
    }


def test_what_the_systems_own_tools_make(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "run.sh").write_bytes(b"#!/bin/sh\n")
    (source / "run.sh").chmod(0o755)
    (source / "sub" / "größe").write_bytes(b"12")
    (source / "link").symlink_to("sub/größe")
    os.link(source / "run.sh", source / "sub" / "same")
    file = tmp_path / "x.tar.gz"
    subprocess.run(["tar", "-czf", str(file), "-C", str(source), "."], check=True)
    assert extracted(file, tmp_path / "into") == contents(source)
    with open_archive(file, file.name) as archive:
        ((paths, stream),) = archive.contents({"link"})
        assert (paths, stream.read().decode()) == (("link",), "sub/größe")
    assert {path: member.kind for path, member in members(file).items()} == {
        "run.sh": "executable",
        "sub/same": "executable",
        "sub/größe": "file",
        "link": "symlink",
    }
    # A hard link alone has the content, too.
    assert extracted(file, tmp_path / "one", ["sub/same"]) == {"sub/same": b"#!/bin/sh\n"}


def test_a_zip_of_unix_has_links_and_modes(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        for name, mode, data in (("l", 0o120777, "a"), ("a", 0o100755, "x"), ("b", 0o100644, "y")):
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = mode << 16
            made.writestr(info, data)
    assert extracted(tmp_path / "x.zip", tmp_path / "into") == {"a": b"x", "b": b"y"}
    with open_archive(tmp_path / "x.zip", "x.zip") as archive:
        assert [stream.read() for _, stream in archive.contents({"l"})] == [b"a"]
    assert [member.kind for member in members(tmp_path / "x.zip").values()] == [
        "symlink",
        "executable",
        "file",
    ]


def test_zip64_and_a_streamed_zip(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "x.zip", "w") as made,
        made.open("a", "w", force_zip64=True) as m,
    ):
        m.write(b"one")
    assert extracted(tmp_path / "x.zip", tmp_path / "large") == {"a": b"one"}


def test_names_of_other_encodings(tmp_path: Path) -> None:
    def made(raw: bytes, extra: bytes = b"") -> dict[str, Member]:
        """Put a name into a zip that says nothing of its encoding, as other programs do."""
        file = zipped(tmp_path / "x.zip", {})
        with zipfile.ZipFile(file, "w") as out:
            info = zipfile.ZipInfo("?" * len(raw))
            info.extra = extra
            out.writestr(info, b"x")
        file.write_bytes(file.read_bytes().replace(b"?" * len(raw), raw))
        return members(file)

    assert list(made("größe".encode())) == ["größe"]
    assert list(made("größe".encode("cp437"))) == ["größe"]
    raw = b"gr__e"
    said = b"\x01" + struct.pack("<I", zlib.crc32(raw)) + "größe".encode()
    assert list(made(raw, struct.pack("<HH", 0x7075, len(said)) + said)) == ["größe"]
    assert list(made(b"sub\\file")) == ["sub/file"]
    with open_archive(tmp_path / "x.zip", "x.zip", encoding="cp1252") as archive:
        assert list(archive.members) == ["sub/file"]


def test_times_of_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        made.writestr(zipfile.ZipInfo("a", (2020, 2, 3, 4, 5, 6)), b"x")
        utc = zipfile.ZipInfo("b", (2020, 2, 3, 4, 5, 6))
        utc.extra = struct.pack("<HHBi", 0x5455, 5, 1, 1_600_000_000)
        made.writestr(utc, b"x")
    assert [member.modified for member in members(tmp_path / "x.zip").values()] == [
        datetime(2020, 2, 3, 4, 5, 6, tzinfo=UTC),
        datetime.fromtimestamp(1_600_000_000, UTC),
    ]


def test_the_same_member_twice_is_one(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        file = zipped_twice(tmp_path / "x.zip", b"one", b"one")
    assert extracted(file, tmp_path / "into") == {"a": b"one"}


def zipped_twice(path: Path, first: bytes, second: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a", first)
        made.writestr("a", second)
    return path


# What is refused


BAD_PATHS = ["/etc/passwd", "../x", "sub/../../x", "..\\x", "C:/x", ".ama/HEAD", "a/.AMA/x", "\x00"]


@pytest.mark.parametrize("name", BAD_PATHS[:-1])
def test_a_path_that_leads_elsewhere(tmp_path: Path, name: str) -> None:
    for file in (
        zipped(tmp_path / "x.zip", {"a": b"x", name: b"evil"}),
        tarred(tmp_path / "x.tar", of_files({"a": b"x", name: b"evil"})),
    ):
        with pytest.raises(InvalidInput, match=f"^x.{file.suffix[1:]}: "):
            members(file)


def test_different_members_of_one_name(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        file = zipped_twice(tmp_path / "x.zip", b"one", b"two")
    with pytest.raises(InvalidInput, match="a is in it twice"):
        members(file)
    for files in ({"a": b"x", "a/b": b"y"}, {"a/b": b"y", "a": b"x"}):
        with pytest.raises(InvalidInput, match="a is in it as a file and as a directory"):
            members(zipped(tmp_path / "y.zip", files))


def test_an_encrypted_member(tmp_path: Path) -> None:
    file = zipped(tmp_path / "x.zip", {"a": b"x"})
    data = bytearray(file.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    file.write_bytes(data)
    with pytest.raises(InvalidInput, match=r"x\.zip: a is encrypted"):
        members(file)


def test_a_zip_whose_members_overlap(tmp_path: Path) -> None:
    """As in a bomb whose directory names the same bytes again and again."""
    file = zipped(tmp_path / "x.zip", {"a": bytes(1_000_000)})
    data = file.read_bytes()
    at, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    entry, tail = data[at:end], bytearray(data[end:])
    entries = [entry.replace(b"a", bytes([letter])) for letter in range(97, 117)]
    directory = b"".join(entries)
    struct.pack_into("<HHII", tail, 8, 20, 20, len(directory), at)
    file.write_bytes(data[:at] + directory + tail)
    with pytest.raises(InvalidInput, match="overlap"):
        members(file)


@pytest.mark.parametrize("suffix", [".zip", *TARS])
def test_one_that_expands_too_far(tmp_path: Path, suffix: str) -> None:
    zeros = {"a": bytes(5_000_000)}
    file = tmp_path / f"x{suffix}"
    if suffix == ".zip":
        zipped(file, zeros)
    else:
        tarred(file, of_files(zeros))
    with (
        pytest.raises(InvalidInput, match=r"x\..*: it expands to more"),
        open_archive(file, file.name, most=1_000_000),
    ):
        pass


def test_a_size_that_is_a_lie(tmp_path: Path) -> None:
    """The bound is on what a zip says: so it must not give more."""
    file = zipped(tmp_path / "x.zip", {"a": bytes(100_000)})
    data = bytearray(file.read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, 10)
    file.write_bytes(data)
    with pytest.raises(InvalidInput, match=r"x\.zip is broken"):
        extracted(file, tmp_path / "into")


def test_devices_and_links_to_nothing(tmp_path: Path) -> None:
    pipe = tarred(tmp_path / "x.tar", of_files({"p": b""}, type=tarfile.FIFOTYPE))
    with pytest.raises(InvalidInput, match="p is neither a file nor a directory"):
        members(pipe)
    link = tarred(tmp_path / "y.tar", of_files({"h": b""}, type=tarfile.LNKTYPE, linkname="no"))
    with pytest.raises(InvalidInput, match="h is a hard link to nothing before it"):
        members(link)


@pytest.mark.parametrize("suffix", [".zip", *TARS])
@pytest.mark.parametrize("damage", ["cut", "empty", "text", "flipped"])
def test_a_broken_one(tmp_path: Path, suffix: str, damage: str) -> None:
    file = tmp_path / f"x{suffix}"
    noise = {"a": os.urandom(300_000)}
    if suffix == ".zip":
        zipped(file, noise)
    else:
        tarred(file, of_files(noise))
    data = file.read_bytes()
    half = len(data) // 2
    broken = {
        "cut": data[:half],
        "empty": b"",
        "text": b"<html>no such object</html>",
        "flipped": data[:half] + bytes([data[half] ^ 255]) + data[half + 1 :],
    }
    file.write_bytes(broken[damage])
    if damage == "flipped" and suffix in (".tar", ".tar.zst"):
        return  # nothing in these says what their members' bytes are
    with pytest.raises(InvalidInput, match=rf"^x{suffix}"):
        extracted(file, tmp_path / "into")


def test_nothing_is_written_through_a_symlink(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()

    def add(made: tarfile.TarFile) -> None:
        link = tarfile.TarInfo("d")
        link.type, link.linkname = tarfile.SYMTYPE, str(outside)
        made.addfile(link)
        of_files({"d/x": b"evil"})(made)

    with pytest.raises(InvalidInput, match="as a file and as a directory"):
        extracted(tarred(tmp_path / "x.tar", add), tmp_path / "into")
    assert not list(outside.iterdir())
