"""What is a credential: ama writes none down, prints none, and takes none in a URL or an option.

It goes by what a name or a value means, and not by a list of each client's options: clients take
whatever theirs take, in tables below tables.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from ama.config import Option
from ama.errors import InvalidInput, shown
from ama.storage.backends import BACKENDS

# In a part of a name without its `_`: it means a secret, whatever stands around it.
_SECRET = re.compile(
    "secret|passw|passphrase|token|authorization|credential|connectionstring|cookie"
    "|signature(?!version)"
    "|(account|access|api|private|shared|customer|encryption)key(?!name)"
).search
# The same, but as a word or as the whole part: they stand in harmless names too.
_SECRET_WORDS = frozenset({"sas", "sig", "pin", "pwd"})
_SECRET_PARTS = frozenset({"key", "auth"})
_LOGIN = re.compile(r"[^/\s@:]*:[^/\s@]+@")  # user:password@host
_SECRET_VALUE = re.compile(
    _LOGIN.pattern + r"|AccountKey=|SharedAccessSignature=|[?&;]sig=|\b(Bearer|Basic)\s|-----BEGIN"
    r"|\bA[KS]IA[0-9A-Z]{16}\b",
    re.IGNORECASE,
).search
# What gcsfs takes in the place of a token, and is a way to find one: `anon` is for public buckets.
_NO_TOKENS = frozenset({"anon", "google_default", "cloud", "cache", "browser"})


def refuse_credentials(url: str, scheme: str | None, name: str, value: Option) -> None:
    """Refuse an option that is a credential, or has one in its value.

    Args:
        url: Of which storage, for the message: without options, and free of credentials.
        scheme: The URL's.
        name: The option's, with dots where it is in tables.
        value: Its value.

    Raises:
        InvalidInput: It is one. Nothing of the value is in the message.
    """
    if _is_named_so(name, value):
        what = f"option {shown(name)} of {shown(url)} is a credential"
    elif isinstance(value, str) and _SECRET_VALUE(value):
        what = f"option {shown(name)} of {shown(url)} has a credential in its value"
    else:
        return
    raise InvalidInput(f"{what}, and ama writes none down", hint=_hint(scheme))


def refuse_password(url: str, scheme: str) -> None:
    """Refuse a URL with a password in it, or a login that can only be a token.

    Raises:
        InvalidInput: It has one, which isn't in the message.
    """
    place = url.partition("://")[2].partition("/")[0].partition("?")[0]
    login, at, host = place.rpartition("@")
    has_password = ":" in unquote(login)
    if at and (has_password or scheme in ("http", "https")):
        what = "a password" if has_password else "a login, which may be a token,"
        raise InvalidInput(
            f"the {scheme}:// URL of {shown(host)} has {what} in it, and ama writes none down",
            hint=_hint(scheme),
        )


def without_credentials(url: str) -> str:
    """Return a URL that is refused as it may be printed: what may be a credential left out.

    Example:
        >>> without_credentials("ftp://ann:hunter2@host/ama?sig=abc")
        'ftp://***@host/ama'
        >>> without_credentials("https:/ann:hunter2@host/ama")
        'https:/***@host/ama'
    """
    place = re.sub("//[^/]*:[^/]*@", "//***@", url.partition("?")[0] if "://" in url else url)
    return _LOGIN.sub("***@", place)


def _is_named_so(name: str, value: Option) -> bool:
    if isinstance(value, bool):  # such as password_auth=false
        return False
    if name == "token" and value in _NO_TOKENS:
        return False
    for part in name.lower().split("."):
        words = re.split("[^a-z0-9]+", part)
        if _SECRET("".join(words)) or part in _SECRET_PARTS or _SECRET_WORDS.intersection(words):
            return True
    return False


def _hint(scheme: str | None) -> str:
    backend = BACKENDS.get(scheme or "")
    if backend is None:
        return "leave it out: see docs/remotes.md"
    return f"{backend.package} finds it itself: {backend.credentials}"
