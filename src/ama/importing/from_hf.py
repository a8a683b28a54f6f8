"""Models and datasets of Hugging Face: snapshots in its cache, and folders with a model card.

    models--google-bert--bert-base-uncased/
        refs/main                       the commit that a branch or tag is on
        snapshots/86b5e0934494.../      the files of a commit, each a symlink
        blobs/4d2b...                   to one of these, called by its git id or its SHA-256

`huggingface_hub` writes the cache; its documentation has the layout. The network is not asked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ama.errors import Conflict, InvalidInput, NotFound, shown
from ama.format.hashing import blob_id
from ama.format.objects import EntryKind
from ama.importing.digests import git_blob_of, sha256_of
from ama.importing.incoming import Content, Contents, Incoming, Origin, Refused, Source
from ama.importing.naming import as_alias, as_class
from ama.system import disk
from ama.system.encoding import from_system, system_path
from ama.values import Scalar
from ama.worktree.given import Listing, listed
from ama.worktree.reader import link_target
from ama.worktree.scan import Found, look

HUB = "https://huggingface.co"

_CARD = "README.md"
_WHAT = (
    "give a cache of huggingface_hub, a repository in it, or a folder with a README.md:"
    " the network is not asked"
)
_KINDS = {"models": "", "datasets": "datasets/", "spaces": "spaces/"}
_REPO = re.compile(r"(?P<kind>models|datasets|spaces)--(?P<name>.+)").fullmatch
_COMMIT = re.compile(r"[0-9a-f]{40}").fullmatch
_SHA256 = re.compile(r"[0-9a-f]{64}").fullmatch
_MOST_REF = 200
_MOST_DEPTH = 40
_OF_DOWNLOADS = ".cache/huggingface/"
"""What `huggingface_hub` notes in a folder that it has downloaded to."""


@dataclass(frozen=True, slots=True)
class _Blob:
    """A file of a snapshot: where its bytes are, and what it is called by them."""

    place: Path
    found: Found
    digest: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot in the cache.

    Attributes:
        origin: Where it is.
        repo: The directory of its repository in the cache.
        commit: Its commit.
        blobs: Its files, by their paths.
        aliases: The aliases of its asset: the branches and tags that are on it.
    """

    origin: Origin
    repo: Path
    commit: str
    blobs: Mapping[str, _Blob]
    aliases: tuple[str, ...] = ()

    def read(self, scratch: Path) -> Contents:
        """Check each file by what it is called; see `Source.read`."""
        if not self.blobs:
            raise InvalidInput("it has no files")
        files: dict[str, Content] = {}
        for path, blob in self.blobs.items():
            name = from_system(blob.place.name)
            if look(blob.place.parent, name) != blob.found:
                raise Conflict(f"{shown(path)} was changed while it was read")
            _check(path, blob)
            files[path] = Content(EntryKind.FILE, blob.place)
        kind, name = _kind_and_name(self.repo)
        owner = name.rpartition("/")[0]
        return Contents(
            (
                Incoming(
                    as_class(name.replace("/", "--") if kind == "models" else self.repo.name),
                    files,
                    self.aliases,
                    owner or None,
                    message=f"{name} at {self.commit[:10]}",
                    metadata=_said(kind, name, self.commit),
                ),
            )
        )


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with the files of a model or dataset.

    Attributes:
        origin: Where it is.
        place: The folder.
        listing: Its files.
        metadata: What `huggingface_hub` has noted of where they came from.
    """

    origin: Origin
    place: Path
    listing: Listing
    metadata: Mapping[str, Scalar] = field(default_factory=dict)

    def read(self, scratch: Path) -> Contents:
        """Look at it; see `Source.read`."""
        self.listing.require_same()
        files: dict[str, Content] = {}
        for path, root, found in self.listing.on_disk:
            data: bytes | Path = root.absolute() / found.path
            if found.kind is EntryKind.SYMLINK:
                data = link_target(root, found.path).encode()
            files[path] = Content(found.kind, data)
        name = from_system(self.place.name)
        return Contents((Incoming(as_class(name), files, metadata=self.metadata),))


def list_hf(places: Iterable[str], *, portable: bool, force: bool) -> list[Source]:
    """Return the snapshots in caches, and folders.

    Args:
        places: Caches, repositories or snapshots in them, or folders.
        portable: Whether to refuse names that some system can't hold.
        force: Whether to take files that look like secrets.

    Raises:
        NotFound: There is nothing.
        StorageError: A directory can't be read.
    """
    found: dict[str, Source] = {}
    for text in places:
        place = Path(os.path.abspath(system_path(text)))
        if not disk.is_directory(place):
            raise NotFound(f"{shown(text)}: there is no such directory", hint=_WHAT)
        for source in _sources(place, portable=portable, force=force):
            found.setdefault(source.origin.url, source)
    return list(found.values())


def _sources(place: Path, *, portable: bool, force: bool) -> Iterator[Source]:
    if place.parent.name == "snapshots" and _REPO(place.parent.parent.name):
        yield from _snapshots(place.parent.parent, {place.name})
        return
    if _REPO(place.name) and disk.is_directory(place / "snapshots"):
        yield from _snapshots(place)
        return
    # HF_HOME has the cache in it.
    for cache in (place, place / "hub"):
        repos = [name for name in _names(cache) if _REPO(name)]
        if repos:
            for name in repos:
                yield from _snapshots(cache / name)
            return
    if _CARD in _names(place) or disk.is_directory(place / ".cache" / "huggingface"):
        yield _folder(place, portable=portable, force=force)
    else:
        error = InvalidInput("it is no cache, and has no model card", hint=_WHAT)
        yield Refused(Origin(from_system(str(place)), 0, ""), error)


def _names(directory: Path) -> list[str]:
    """Return what is in a directory, sorted; nothing if there is none."""
    return sorted(disk.list_directory(directory)) if disk.is_directory(directory) else []


# Snapshots


def _snapshots(repo: Path, wanted: set[str] | None = None) -> Iterator[Source]:
    aliases: dict[str, list[str]] = {}
    for name, commit in _refs(repo / "refs", ""):
        if (alias := as_alias(name)) is not None:
            aliases.setdefault(commit, []).append(alias)
    for commit in _names(repo / "snapshots"):
        if wanted is None or commit in wanted:
            yield _snapshot(repo, commit, tuple(aliases.get(commit, ())))


def _refs(directory: Path, above: str) -> Iterator[tuple[str, str]]:
    """Yield branches and tags with their commits; a name may have slashes."""
    for name in _names(directory):
        place = directory / name
        if disk.is_directory(place) and above.count("/") < _MOST_DEPTH:
            yield from _refs(place, f"{above}{from_system(name)}/")
        else:
            text = (disk.read_file(place, _MOST_REF) or b"").decode("ascii", "replace").strip()
            if _COMMIT(text):
                yield above + from_system(name), text


def _snapshot(repo: Path, commit: str, aliases: tuple[str, ...]) -> Source:
    kind, name = _kind_and_name(repo)
    url = f"{HUB}/{_KINDS[kind]}{name}/tree/{commit}"
    try:
        blobs = dict(_blobs(repo, repo / "snapshots" / commit, ""))
    except InvalidInput as error:
        return Refused(Origin(url, 0, ""), error)
    lines = [f"{path}\0{blob.digest}\0{blob.found.size}" for path, blob in blobs.items()]
    mark = blob_id("\n".join([*sorted(lines), "", *aliases]).encode("utf-8", "surrogateescape"))
    newest = max((blob.found.mtime for blob in blobs.values()), default=None)
    origin = Origin(
        url,
        sum(blob.found.size for blob in blobs.values()),
        mark.hex(),
        None if newest is None else datetime.fromtimestamp(newest / 1e9, UTC),
        says_aliases=True,
    )
    return Snapshot(origin, repo, commit, blobs, aliases)


def _kind_and_name(repo: Path) -> tuple[str, str]:
    match = _REPO(from_system(repo.name))
    assert match is not None
    return match["kind"], match["name"].replace("--", "/")


def _said(kind: str, name: str, commit: str) -> dict[str, Scalar]:
    return {"hf.repo": name, "hf.type": kind.removesuffix("s"), "hf.commit": commit}


def _blobs(repo: Path, directory: Path, above: str) -> Iterator[tuple[str, _Blob]]:
    if above.count("/") > _MOST_DEPTH:
        raise InvalidInput(f"{shown(above)}: too deep")
    for name in _names(directory):
        path = above + from_system(name)
        found = look(directory, from_system(name))
        if found is not None and found.kind is not EntryKind.SYMLINK:  # where links are not allowed
            yield path, _Blob(directory / name, found, "")
        elif found is not None:
            yield path, _followed(repo, directory, name, path)
        elif disk.is_directory(directory / name):
            yield from _blobs(repo, directory / name, f"{path}/")


def _followed(repo: Path, directory: Path, name: str, path: str) -> _Blob:
    """Return the blob that a file is a link to.

    Raises:
        InvalidInput: It leads to none, or out of the cache.
    """
    called = os.path.basename(disk.read_symlink(directory / name))
    real = Path(os.path.realpath(directory / name))
    # A cache may share blobs between its repositories.
    inside = [os.path.realpath(each) + os.sep for each in (repo / "blobs", repo.parent / "blobs")]
    if not str(real).startswith(tuple(inside)):
        raise InvalidInput(f"{shown(path)} leads out of the cache's blobs")
    found = look(real.parent, from_system(real.name))
    if found is None or found.kind is EntryKind.SYMLINK:
        raise InvalidInput(f"{shown(path)} has no content in the cache: download it again")
    return _Blob(real, found, called)


def _check(path: str, blob: _Blob) -> None:
    """Check a blob by what it is called.

    Raises:
        InvalidInput: It is something else.
    """
    found = blob.digest
    if _SHA256(blob.digest):
        found = sha256_of(blob.place)
    elif _COMMIT(blob.digest):
        found = git_blob_of(blob.place)
    if found != blob.digest:
        raise InvalidInput(f"{shown(path)} is damaged in the cache: download it again")


# Folders


def _folder(place: Path, *, portable: bool, force: bool) -> Source:
    try:
        found = listed([place], store=None, portable=portable, force=force)
    except InvalidInput as error:
        return Refused(Origin(from_system(str(place)), 0, ""), error)
    on_disk = [each for each in found.on_disk if not each.path.startswith(_OF_DOWNLOADS)]
    listing = Listing(on_disk, found.held, found.links)
    lines = [f"{path}\0{f.kind}\0{f.size}\0{f.mtime}" for path, _, f in on_disk]
    newest = max((f.mtime for _, _, f in on_disk), default=None)
    commits = _commits(place, [path for path, _, _ in on_disk])
    origin = Origin(
        from_system(str(place)),
        sum(f.size for _, _, f in on_disk),
        blob_id("\n".join([*sorted(lines), *commits]).encode("utf-8", "surrogateescape")).hex(),
        None if newest is None else datetime.fromtimestamp(newest / 1e9, UTC),
    )
    metadata: dict[str, Scalar] = {"hf.commit": commits[0]} if len(commits) == 1 else {}
    return Folder(origin, place, listing, metadata)


def _commits(place: Path, paths: Iterable[str]) -> list[str]:
    """Return the commits that the files of a folder were downloaded from."""
    found = set()
    notes = place / ".cache" / "huggingface" / "download"
    if disk.is_directory(notes):
        for path in paths:
            note = disk.read_file(notes / f"{path}.metadata", _MOST_REF) or b""
            commit = note.partition(b"\n")[0].decode("ascii", "replace").strip()
            if _COMMIT(commit):
                found.add(commit)
    return sorted(found)
