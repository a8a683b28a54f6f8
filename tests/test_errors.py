"""The errors: one tree, a stable code and exit code each, and one clear line from the disk's."""

from __future__ import annotations

import errno
import os
import pickle

import pytest

from ama import errors

KINDS = {
    errors.AmaError: ("error", 1, Exception),
    errors.InvalidInput: ("invalid-input", 2, ValueError),
    errors.NotFound: ("not-found", 3, LookupError),
    errors.AlreadyExists: ("already-exists", 4, Exception),
    errors.Conflict: ("conflict", 5, Exception),
    errors.IntegrityError: ("integrity", 6, Exception),
    errors.FormatError: ("format", 7, Exception),
    errors.StorageError: ("storage", 8, OSError),
}

each_kind = pytest.mark.parametrize("kind", KINDS)


def test_every_error_is_listed_here() -> None:
    found = {v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)}
    assert found == {*KINDS, errors.NoSpace}


def test_a_full_disk_says_how_much_it_takes_and_has() -> None:
    error = pickle.loads(pickle.dumps(errors.NoSpace("model", needed=3_000, free=2_000)))
    assert str(error) == "model takes 3.0 kB, and 2.0 kB are free on its disk"
    assert (error.needed, error.free, error.errno) == (3_000, 2_000, errno.ENOSPC)
    assert (error.code, error.exit_code) == ("storage", 8)


@each_kind
def test_codes_are_stable_and_errors_can_be_caught_by_what_they_also_are(
    kind: type[errors.AmaError],
) -> None:
    code, exit_code, also = KINDS[kind]
    error = kind("it broke", hint="mend it")
    assert (error.code, error.exit_code) == (code, exit_code)
    assert isinstance(error, also)
    assert isinstance(error, errors.AmaError)


@each_kind
def test_the_text_is_the_message_and_nothing_else(kind: type[errors.AmaError]) -> None:
    error = kind("it broke", hint="mend it")
    assert (str(error), error.message, error.hints) == ("it broke", "it broke", ("mend it",))
    assert kind("it broke").hints == ()


@each_kind
def test_an_error_comes_whole_out_of_another_process(kind: type[errors.AmaError]) -> None:
    error = pickle.loads(pickle.dumps(kind("it broke", hint="mend it")))
    assert (type(error), str(error), error.hints) == (kind, "it broke", ("mend it",))


def test_a_storage_error_says_if_a_retry_may_help() -> None:
    error = errors.StorageError("no answer", retryable=True, errno=errno.ETIMEDOUT)
    again = pickle.loads(pickle.dumps(error))
    assert (again.retryable, again.errno) == (True, errno.ETIMEDOUT)
    assert errors.StorageError("no").retryable is False


@pytest.mark.parametrize(
    ("number", "message", "retryable"),
    [
        (errno.ENOSPC, "no space left on the disk of run/model.h5", False),
        (errno.EDQUOT, "the disk quota is used up for run/model.h5", False),
        (errno.EROFS, "run/model.h5 is read-only: its file system is mounted so", False),
        (errno.EACCES, "no permission to write run/model.h5", False),
        (errno.EPERM, "no permission to write run/model.h5", False),
        (errno.ENAMETOOLONG, "run/model.h5 is a longer name than its file system holds", False),
        (errno.EIO, "the disk of run/model.h5 reports an error", False),
        (errno.ESTALE, "run/model.h5 was lost by its network file system", True),
        (errno.EMFILE, "too many open files: can't open run/model.h5", True),
    ],
)
def test_what_the_system_said_becomes_one_clear_line(
    number: int, message: str, retryable: bool
) -> None:
    error = errors.storage_error(OSError(number, os.strerror(number)), "run/model.h5")
    assert str(error) == message
    assert (error.retryable, error.errno) == (retryable, number)


def test_what_is_not_in_the_table_is_told_as_the_system_told_it() -> None:
    error = errors.storage_error(OSError(errno.ENOLCK, "No locks available"), "f")
    assert str(error) == "f: No locks available"
    assert str(errors.storage_error(OSError(), "f")) == "f: OSError"


def test_a_file_that_may_not_be_read_is_not_called_read_only() -> None:
    error = errors.storage_error(
        PermissionError(errno.EACCES, "Permission denied"), "f", doing="read"
    )
    assert str(error) == "no permission to read f"


def test_a_storage_error_is_not_explained_twice() -> None:
    error = errors.StorageError("no space left on the disk of a")
    assert errors.storage_error(error, "b") is error


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("model.h5", "model.h5"),
        ("größe 模型", "größe 模型"),
        ("two\nlines", "two\\nlines"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("bad\udcffbyte", "bad\\udcffbyte"),
        ("right\u202eleft", "right\\u202eleft"),
    ],
)
def test_hostile_names_are_shown_on_one_printable_line(text: str, safe: str) -> None:
    assert errors.shown(text) == safe
    assert str(errors.storage_error(OSError(errno.EIO, ""), text)).isprintable()
