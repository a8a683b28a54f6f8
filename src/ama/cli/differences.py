"""What differs within files, as it is printed: lines, and tensors."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ama.cli.output import Style, console, count, plain, short
from ama.cli.rendering import print_changes

if TYPE_CHECKING:
    from ama.contents.comparison import ContentDiff, FileDiff, TensorChange
    from ama.contents.tensors import Tensor
    from ama.contents.text import Hunk

_LINE_STYLES: Mapping[str, Style] = {"+": "green", "-": "red", "\\": "dim"}
_TENSOR_STYLES: Mapping[str, Style] = {"added": "green", "removed": "red", "renamed": "dim"}
_WIDEST = 60


def print_file_diff(diff: FileDiff, near: Callable[[str], str] = str) -> None:
    """Print a file that differs, and below it what of its content does.

    Args:
        diff: The file.
        near: How a path is shown: see `as_seen_from_here`.
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
    """The command that compares files which were written ASSET:PATH.

    Example:
        >>> as_paths(["models/1:a.yml", "models/2:a.yml"])
        'ama diff models/1 models/2 -- a.yml'
    """
    pairs = [word.partition(":") for word in words]
    assets = [asset for asset, _, _ in pairs if asset]
    paths = dict.fromkeys(path for _, _, path in pairs if path)
    return shlex.join(["ama", "diff", *assets, "--", *paths])


def described(diff: FileDiff) -> dict[str, object]:
    """A file that differs as JSON has it: what a listing says of it, and its content."""
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
    """A tensor's name; where it has another one now, both of what differs, as git does."""
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
