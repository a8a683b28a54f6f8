"""Differences between two files by their content: lines, tensors, or only that they differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from ama.contents.hdf5_process import Values, read_hdf5
from ama.contents.tensors import Tensor, looks_like, paired, read_safetensors
from ama.contents.text import Hunk, Pieces, Text, compare_lines, read_text
from ama.errors import AmaError, FormatError
from ama.values import Change

Form = Literal["text", "safetensors", "hdf5", "binary"]
TensorChangeKind = Literal[
    "added", "removed", "reshaped", "retyped", "changed", "renamed", "unknown"
]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_HDF5_PLACES = (0, 512, 1024, 2048)  # behind anything that its writer put before it
_HEAD = _HDF5_PLACES[-1] + len(_HDF5)


@dataclass(frozen=True, slots=True)
class TensorChange:
    """A tensor that differs."""

    kind: TensorChangeKind
    """The first that applies of `reshaped`, `retyped`, `changed` and `renamed` (only the counter in
    the name differs); `unknown` if the values can't be compared."""
    old: Tensor | None
    """The old tensor; None if it was added."""
    new: Tensor | None
    """The new tensor; None if it was removed."""
    values: int | None = None
    """The number of values that differ, if known."""
    by: float | None = None
    """The largest difference of a value, if known."""


@dataclass(frozen=True, slots=True)
class ContentDiff:
    """The differences between the contents of two files."""

    form: Form
    """The form of both files; "binary" if they have different forms."""
    hunks: tuple[Hunk, ...] = ()
    """The differing lines of texts."""
    tensors: tuple[TensorChange, ...] = ()
    """The differing tensors."""
    same: int = 0
    """The number of equal tensors."""
    note: str = ""
    """Why there is no more detail, or what else differs."""


@dataclass(frozen=True, slots=True)
class FileDiff:
    """A path that differs, with the differences of its content."""

    change: Change
    content: ContentDiff | None
    """The differences of the content; None if only the mode or the name differs."""
    elsewhere: tuple[str, ...] = ()
    """The paths of the same content on the other side."""


def form_of(file: Pieces) -> Form | None:
    r"""Return a file's form by its beginning, without reading; None: perhaps a text.

    Example:
        >>> form_of(Pieces([b"\x89HDF\r\n\x1a\n", bytes(100)]))
        'hdf5'
    """
    head = file.peek(_HEAD)
    if any(head.startswith(_HDF5, at) for at in _HDF5_PLACES):
        return "hdf5"
    return "safetensors" if looks_like(head) else None


def read_tensors(pieces: Iterable[bytes], *, digests: bool = False) -> tuple[Tensor, ...] | None:
    """List the tensors of a safetensors or HDF5 file; None for a file of another form.

    Args:
        pieces: The file's bytes.
        digests: Whether to hash tensors, if the format has each one's bytes in one place.

    Raises:
        FormatError: The file is broken, or h5py is not installed.

    Example:
        >>> read_tensors([b"layers: [512]"]) is None
        True
    """
    file = Pieces(pieces)
    form = form_of(file)
    if form == "safetensors":
        return read_safetensors(file, digests=digests)
    return read_hdf5(None, file.rest()).new if form == "hdf5" else None


def compare_contents(old: Iterable[bytes] | None, new: Iterable[bytes] | None) -> ContentDiff:
    r"""Compare the contents of two files.

    Args:
        old: A file's bytes, in pieces of any size; None: no file.
        new: The other file's bytes; None: no file.

    Example:
        >>> compare_contents([b"loss: 0.3\n"], [b"loss: 0.2\n"]).hunks[0].lines
        ('-loss: 0.3', '+loss: 0.2')
    """
    files = [None if pieces is None else Pieces(pieces) for pieces in (old, new)]
    forms = {form_of(file) for file in files if file is not None}
    if forms == {None}:
        return _compare_texts(*files)
    form = forms.pop() if len(forms) == 1 else None
    if form is None:
        return ContentDiff("binary", note="they are of different forms")
    try:
        return (_compare_hdf5 if form == "hdf5" else _compare_safetensors)(*files)
    except FormatError as error:
        return ContentDiff("binary", note=_in_words(error))


def _in_words(error: AmaError) -> str:
    advice = [hint for hint in error.hints if isinstance(hint, str)]
    return f"{error.message} ({'; or '.join(advice)})" if advice else error.message


def _compare_texts(old: Pieces | None, new: Pieces | None) -> ContentDiff:
    texts = []
    for file in (old, new):
        text = Text("", "utf-8") if file is None else read_text(file.rest())
        if text is None:
            return ContentDiff("binary")
        texts.append(text)
    before, now = texts
    if not (before.complete and now.complete):
        return ContentDiff("text", note="too large to be compared line by line")
    hunks = compare_lines(before.text, now.text)
    if hunks is None:
        return ContentDiff("text", note="too many lines to be compared")
    note = ""
    if old and new and before.encoding != now.encoding:
        note = f"its encoding was {before.encoding} and is {now.encoding}"
    return ContentDiff("text", hunks, note=note)


def _compare_safetensors(old: Pieces | None, new: Pieces | None) -> ContentDiff:
    before, now = (
        () if file is None else read_safetensors(file, digests=True) for file in (old, new)
    )
    digests = {tensor.name: tensor.digest for tensor in (*before, *now)}
    was = {tensor.name: tensor.digest for tensor in before}
    differing: dict[str, Values] = {
        name: (None, None)
        for old_name, name in paired(was, (tensor.name for tensor in now))
        if old_name and name and was[old_name] != digests[name]
    }
    return _of_tensors("safetensors", before, now, differing)


def _compare_hdf5(old: Pieces | None, new: Pieces | None) -> ContentDiff:
    found = read_hdf5(*(None if file is None else file.rest() for file in (old, new)))
    return _of_tensors("hdf5", found.old, found.new, found.values)


def _of_tensors(
    form: Form,
    old: tuple[Tensor, ...],
    new: tuple[Tensor, ...],
    values: Mapping[str, Values],
) -> ContentDiff:
    before = {tensor.name: tensor for tensor in old}
    now = {tensor.name: tensor for tensor in new}
    pairs = paired(before, now)
    found = (
        _tensor_change(before.get(was or ""), now.get(name or ""), values) for was, name in pairs
    )
    changes = tuple(change for change in found if change is not None)
    note = "" if changes else "the tensors are the same; what differs is something else in the file"
    return ContentDiff(form, tensors=changes, same=len(pairs) - len(changes), note=note)


def _tensor_change(
    old: Tensor | None, new: Tensor | None, values: Mapping[str, Values]
) -> TensorChange | None:
    if old is None or new is None:
        return TensorChange("added" if old is None else "removed", old, new)
    if old.shape != new.shape:
        return TensorChange("reshaped", old, new)
    if old.dtype != new.dtype:
        return TensorChange("retyped", old, new)
    if new.name not in values:
        return TensorChange("renamed", old, new) if old.name != new.name else None
    found = values[new.name]
    if found is None:
        return TensorChange("unknown", old, new)
    return TensorChange("changed", old, new, *found)
