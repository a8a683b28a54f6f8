"""The form of assets, files, changes and aliases in the terminal, shared by all commands."""

from __future__ import annotations

import os
import posixpath
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ama.cli.output import (
    Style,
    console,
    count,
    first_line,
    plain,
    short,
    shown_path,
    size,
    when,
    when_short,
)
from ama.system.encoding import from_system, to_system

if TYPE_CHECKING:
    from ama.contents.comparison import ContentDiff, FileDiff, TensorChange
    from ama.contents.tensors import Tensor
    from ama.contents.text import Hunk
    from ama.repo import Repo
    from ama.results import AliasChange, NoCode
    from ama.settings import Settings
    from ama.values import AssetInfo, Change, ChangeKind, File, Note, Ref, Scalar


T = TypeVar("T")

_STYLES: Mapping[str, Style] = {"added": "green", "removed": "red", "modified": "yellow"}
_GUESSED = "guessed-author"
_SOME = 10
_NAMED = 3
_FIELD_WIDTH = len("Created By:  ")


def print_field(label: str, value: str) -> None:
    """Print a line such as `Created By:  Ann <ann@example.com>`."""
    console.line(f"{label + ':':{_FIELD_WIDTH}}{value}")


def print_fields(label: str, values: Iterable[str]) -> None:
    """Print a field of several lines, with its label on the first."""
    for number, value in enumerate(values):
        if number == 0:
            print_field(label, value)
        else:
            console.line((" " * _FIELD_WIDTH + value).rstrip())


def print_log_entry(asset: AssetInfo, imported: Note | None = None) -> None:
    """Print an asset as `log` shows it, and how it was imported if it was."""
    console.line(asset_text(asset), "bold")
    print_origin(asset)
    print_import(imported)
    if asset.message:
        console.line()
        for line in asset.message.strip().splitlines():
            console.line(f"    {line}".rstrip())


def print_origin(asset: AssetInfo) -> None:
    """Print who made an asset, when, and from which assets."""
    print_field("Created By", asset.author)
    print_field("Created At", when(asset.created_at))
    if asset.status != "active":
        reason = f": {asset.status_reason}" if asset.status_reason else ""
        print_field("Status", asset.status + reason)
    print_fields("Refs", map(ref_text, asset.refs))


def print_import(note: Note | None) -> None:
    """Print who imported an asset, when, and from where."""
    from ama.format.recorded import SOURCE

    if note is not None:
        print_field("Imported", f"{when(note.at)}  {note.author}, from {note.metadata[SOURCE]}")


def asset_text(asset: AssetInfo | Ref, *, marked: bool = True) -> str:
    """Format an asset on one line, such as `models/7 (3f9a2c41d0) @best [deprecated]`.

    The line has its name, its aliases and (if `marked`) a mark if it is deprecated or deleted.
    """
    mark = [f"[{asset.status}]"] if marked and asset.status != "active" else []
    return " ".join((asset.name, *(f"@{alias}" for alias in asset.aliases), *mark))


def warn_of_deprecated(asset: AssetInfo, instead: AssetInfo | None) -> None:
    """Warn if an asset is deprecated, and name the asset to use instead."""
    if asset.status != "deprecated":
        return
    reason = f": {asset.status_reason}" if asset.status_reason else ""
    newest = "" if instead is None else f"; the newest that is not: {asset_text(instead)}"
    console.warn(f"{asset.name} is deprecated{reason}{newest}")


def ref_text(ref: Ref) -> str:
    """Format a ref on one line: the asset, its aliases, and the label."""
    return f"{asset_text(ref)} as {ref.label}" if ref.label else asset_text(ref)


def metadata_lines(metadata: Mapping[str, Scalar]) -> list[str]:
    """Format metadata as `key = value` lines, sorted by key."""
    return [f"{key} = {scalar_text(value)}" for key, value in sorted(metadata.items())]


def scalar_text(value: Scalar) -> str:
    """Format a metadata value as a user types it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def print_files(files: Sequence[File], *, indent: str = "") -> None:
    """Print files with their sizes and ids."""
    rows = [(size(file.size), short(file.id), _file_text(file)) for file in files]
    console.columns(rows, right=frozenset({0}), indent=indent)


def _file_text(file: File) -> str:
    return file.path if file.kind == "file" else f"{file.path} ({file.kind})"


def print_changes(
    changes: Sequence[Change],
    *,
    near: Callable[[str], str] = str,
    indent: str = "",
    limit: int | None = None,
) -> None:
    """Print changed paths with their kind and size.

    Args:
        changes: The changes.
        near: A function that returns a path as it is printed; see `as_seen_from_here`.
        indent: The text before each line.
        limit: The most changes to print; the others are only counted.
    """
    shown = changes if limit is None else beginning(changes, limit)
    paths = [near(change.path) for change in shown]
    width = min(max(map(len, paths), default=0), 60)
    for change, path in zip(shown, paths, strict=True):
        text = f"{indent}{change.kind:<8}  {path:<{width}}  {_sizes(change)}"
        console.line(text.rstrip(), _STYLES.get(change.kind))
    print_rest(len(changes) - len(paths), indent=indent)


def beginning(items: Sequence[T], limit: int) -> Sequence[T]:
    """Return the beginning of a long list, or all of it if that takes no more lines.

    Example:
        >>> beginning("abcd", 3), beginning("abcde", 3)
        ('abcd', 'abc')
    """
    return items if len(items) <= limit + 1 else items[:limit]


def print_rest(number: int, *, indent: str = "") -> None:
    """Print the number of items of a long list that were not printed."""
    if number:
        console.line(f"{indent}... and {number:,} more")


def print_some_changes(changes: Sequence[Change], near: Callable[[str], str] = str) -> None:
    """Print the first changed paths of a command that made them, unless `--quiet`."""
    if not console.quiet:
        print_changes(changes, near=near, limit=_SOME)


def as_seen_from_here(root: str | os.PathLike[str]) -> Callable[[str], str]:
    """Return a function that makes a worktree's paths relative to the working directory.

    As in git, a printed path can then be given to the next command. A directory keeps the slash at
    its end.
    """
    here = from_system(os.path.relpath(os.getcwd(), root)).replace(os.sep, "/")
    if here == os.curdir:
        return str

    def near(path: str) -> str:
        return posixpath.relpath(path, here) + ("/" if path.endswith("/") else "")

    return near


def _sizes(change: Change) -> str:
    if change.kind == "mode":
        return "executable bit"
    if change.old_size is None or change.new_size is None:
        return size(change.new_size if change.old_size is None else change.old_size)
    old, new = size(change.old_size), size(change.new_size)
    return new if old == new else f"{old} -> {new}"


def changes_summary(changes: Sequence[Change]) -> str:
    """Count changes by their kind, in words.

    Example:
        >>> changes_summary(())
        'no changes'
    """
    return kinds_text(Counter(change.kind for change in changes))


def kinds_text(kinds: Mapping[ChangeKind, int]) -> str:
    """Return the numbers of changes of each kind in words."""
    found = [f"{kinds[kind]:,} {_WORDS[kind]}" for kind in _ORDER if kinds.get(kind)]
    return ", ".join(found) or "no changes"


_ORDER: tuple[ChangeKind, ...] = ("added", "modified", "removed", "mode")
_WORDS = {"added": "added", "modified": "modified", "removed": "removed", "mode": "changed mode"}


def print_asset_table(assets: Sequence[AssetInfo]) -> None:
    """Print assets, one on each line; in a narrow window, print each message below its asset."""
    rows = [
        (
            asset.name,
            ", ".join(asset.aliases),
            asset.author.partition(" <")[0],
            when_short(asset.created_at),
            _message_cell(asset),
        )
        for asset in assets
    ]
    header = ("Asset", "Aliases", "Created By", "Created At (UTC)", "Message")
    console.table(header, rows, spill=True, cut=(1, 2))


def _message_cell(asset: AssetInfo) -> str:
    message = first_line(asset.message)
    return message if asset.status == "active" else f"[{asset.status}] {message}".rstrip()


def alias_change_text(change: AliasChange) -> str:
    """Describe the move of an alias, from where to where."""
    name = f"alias {change.class_name}@{change.alias}"
    old = _asset_text(change.class_name, change.old, change.old_number)
    new = _asset_text(change.class_name, change.new, change.new_number)
    if new is None:
        return f"removed {name}, which was {old}"
    if old is None:
        return f"{name} is new: {new}"
    return f"{name} stays at {new}" if old == new else f"{name} moved from {old} to {new}"


def moving_text(asset: AssetInfo, alias: str | None) -> str:
    """Return the command that moves an alias to a published asset.

    Example:
        ama alias move models@best models/3
    """
    name = f"{asset.class_name}@{alias}"
    return shlex.join(["ama", "alias", "move", name, f"{asset.class_name}/{asset.number}"])


def alias_lost_text(change: AliasChange) -> str:
    """Describe an alias that a store has lost, or has elsewhere."""
    old = _asset_text(change.class_name, change.old, change.old_number)
    new = _asset_text(change.class_name, change.new, change.new_number)
    where = "" if new is None else f", and is {new} now"
    return f"alias {change.class_name}@{change.alias}, which was {old}{where}"


def _asset_text(class_name: str, asset_id: str | None, number: int | None) -> str | None:
    if asset_id is None:
        return None
    from ama.values import display_name

    return display_name(class_name, number, asset_id)


def print_not_added(root: Path, paths: Sequence[str]) -> None:
    """Print the files that have changed since they were added, if there are any."""
    if not paths:
        return
    named = [shown_path(root / to_system(path)) for path in paths]
    step = "ama status" if len(named) > _NAMED else f"ama add {shlex.join(named)}"
    what = f"not as {'it was' if len(named) == 1 else 'they were'} added"
    console.done(f"{what}: {_some(named)} (next: {step})")


def print_untracked(
    root: str | os.PathLike[str], paths: Sequence[str], *, looked_at_all: bool
) -> None:
    """Print the files here that are in no asset, if there are any, or may be."""
    if not looked_at_all:
        console.done(
            "too many files here to look at all of them (for what is not in it: ama status)"
        )
    if paths:
        named = [shown_path(Path(root) / to_system(path)) for path in paths]
        console.done(f"not in it: {_some(named)} (ama add FILE, or name them in .amaignore)")


def print_same_files(others: Sequence[AssetInfo]) -> None:
    """Print the other assets with exactly the same files, if there are any."""
    if others:
        console.done(f"the very same files as {_some(list(map(asset_text, others)))}")


def print_unlinked(refs: Sequence[Ref]) -> None:
    """Print the refs of the version before, if there are any: the new version has none."""
    if not refs:
        return
    first = refs[0]
    name = f"{first.class_name}/{first.number}" if first.number else short(first.asset)
    label = f" --label {shlex.quote(first.label)}" if first.label else ""
    console.done(
        f"not linked, as the version before was, to {_some(list(map(ref_text, refs)))}; if it"
        f" should be: ama link {name}{label}, and ama upload"
    )


def _some(texts: Sequence[str]) -> str:
    """Return the first few texts, and the number of the others."""
    more = f" and {len(texts) - _NAMED:,} more" if len(texts) > _NAMED else ""
    return ", ".join(texts[:_NAMED]) + more


def note_guessed_author(settings: Settings, author: str) -> None:
    """Note once on this machine that the author, part of the asset for good, is a guess."""
    if console.quiet or console.json:
        return
    from ama.stores.cache import Cache

    said = Cache(settings.cache_dir)
    if said.get(_GUESSED) == author.encode() or settings.names_author():
        return
    said.put(_GUESSED, author.encode())
    name_it = "ama config set --user user.name 'YOUR NAME'"
    if settings.user_config_path is None:
        name_it = "AMA_AUTHOR='YOUR NAME <EMAIL>'"
    console.note(f"made by {author}, as nobody is configured; name yourself: {name_it}")


def note_no_code(settings: Settings, made_in: Path, missing: NoCode | None) -> None:
    """Note once for a directory on this machine why assets made there do not name their code."""
    if missing is None or console.quiet or console.json:
        return
    from ama.format.hashing import blob_id
    from ama.stores.cache import Cache

    said, place = Cache(settings.cache_dir), shlex.quote(missing.directory)
    key, text = (
        f"no-code-{blob_id(os.fsencode(made_in)).hex()[:20]}",
        f"{missing.reason} {place}".encode(),
    )
    if said.get(key) == text:
        return
    said.put(key, text)
    name_it = "name it: --code DIR, or AMA_CODE"
    why = {
        "no_repository": f"{place} is in no git repository; {name_it}",
        "no_git": "git is not installed; install it, or set record.git to false",
        "not_owned": f"{place} is another user's; trust it: git config --global --add"
        f" safe.directory {place}",
        "no_commit": f"the git repository at {place} has no commit; make one, or {name_it}",
        "no_answer": f"git said nothing of {place} in time; try it: git -C {place} status",
    }[missing.reason]
    console.note(f"no code was recorded: {why}")


def next_upload(repo: Repo) -> None:
    """Print the next step: an upload, if there are files or links to publish."""
    if repo.refs() or repo.diff(staged=True):
        console.next_step("ama upload")
    elif repo.head is None:
        console.next_step("ama add FILE...")


def files_text(files: int, total: int) -> str:
    """Format a number of files and their size, such as `5 files, 636.1 kB`."""
    return f"{count(files, 'file')}, {size(total)}"


_LINE_STYLES: Mapping[str, Style] = {"+": "green", "-": "red", "\\": "dim"}
_TENSOR_STYLES: Mapping[str, Style] = {"added": "green", "removed": "red", "renamed": "dim"}
_WIDEST = 60


def print_file_diff(diff: FileDiff, near: Callable[[str], str] = str) -> None:
    """Print a file that differs, and below it the differences of its content.

    Args:
        diff: The file.
        near: A function that returns a path as it is printed; see `as_seen_from_here`.
    """
    change = diff.change
    print_changes([change], near=near)
    tense = "was" if change.kind == "added" else "is now"
    for path in diff.elsewhere:
        console.line(f"  the same content {tense} {near(path)}")
    if diff.content is not None:
        _print_hunks(diff.content.hunks)
        _print_tensors(diff.content)
        if diff.content.form == "binary":
            console.line(f"  binary{_ids(diff)}")
        if diff.content.note:
            console.line(f"  {diff.content.note}")


def as_paths(words: Sequence[str]) -> str:
    """Return the command that compares two files given as ASSET:PATH.

    Example:
        >>> as_paths(["models/1:a.yml", "models/2:a.yml"])
        'ama diff models/1 models/2 -- a.yml'
    """
    pairs = [word.partition(":") for word in words]
    assets = [asset for asset, _, _ in pairs if asset]
    paths = dict.fromkeys(path for _, _, path in pairs if path)
    return shlex.join(["ama", "diff", *assets, "--", *paths])


def described(diff: FileDiff) -> dict[str, object]:
    """Convert a file that differs to JSON: the fields of a listing, and its content."""
    change = plain(diff.change)
    assert isinstance(change, dict)
    return {**change, "content": diff.content, "elsewhere": diff.elsewhere}


def _ids(diff: FileDiff) -> str:
    known = [short(each) for each in (diff.change.old_id, diff.change.new_id) if each]
    return f", {' -> '.join(known)}" if known else ""


def _print_hunks(hunks: tuple[Hunk, ...]) -> None:
    for hunk in hunks:
        console.line(hunk.header, "dim")
        for line in hunk.lines:
            console.line(line, _LINE_STYLES.get(line[0]), tabs=True)


def _print_tensors(content: ContentDiff) -> None:
    rows = [(change, _names(change), _what(change)) for change in content.tensors]
    width = min(max((len(name) for _, name, _ in rows), default=0), _WIDEST)
    for change, name, what in rows:
        style = _TENSOR_STYLES.get(change.kind, "yellow")
        console.line(f"  {change.kind:<8}  {name:<{width}}  {what}".rstrip(), style)
    if content.same and content.tensors:
        console.line(f"  {count(content.same, 'tensor')} the same")


def _names(change: TensorChange) -> str:
    """Return a tensor's name; if it was renamed, both names in git's short form."""
    old, new = change.old, change.new
    if old is None or new is None or old.name == new.name:
        known = new or old
        return known.name if known else ""
    before, now = old.name.split("/"), new.name.split("/")
    shorter = min(len(before), len(now))
    start = next((n for n in range(shorter) if before[n] != now[n]), shorter)
    rest = shorter - start
    end = next((n for n in range(rest) if before[-1 - n] != now[-1 - n]), rest)
    differing = ("/".join(parts[start : len(parts) - end]) for parts in (before, now))
    inner = "{" + " => ".join(differing) + "}"
    return "/".join([*now[:start], inner, *now[len(now) - end :]])


def _what(change: TensorChange) -> str:
    old, new = change.old, change.new
    if old is None or new is None:
        return " ".join(_form(tensor) for tensor in (old, new) if tensor)
    before, now = _form(old), _form(new)
    form = now if before == now else f"{before} -> {now}"
    if change.kind == "unknown":
        return f"{form}, values that can't be compared"
    if change.values is None:
        return form
    by = "" if change.by is None else f", by at most {change.by:.3g}"
    return f"{form}, {count(change.values, 'value')} changed{by}"


def _form(tensor: Tensor) -> str:
    shape = "" if not tensor.shape else " " + "×".join(map(str, tensor.shape))
    return tensor.dtype + shape
