"""Which files look like secrets: by their names, or by what a small text says.

What is published can't be taken back, so a doubtful name counts. A text counts only if it holds
what has the very form of a key: hashes, ids and base64 are ordinary in results.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MOST_SEARCHED = 64 * 1024
"""Longer files are not searched: keys are kept in small ones."""

_NAMES = {
    ".env": "an environment file",
    ".git-credentials": "git's passwords",
    ".netrc": "passwords",
    "_netrc": "passwords",
    ".pgpass": "passwords",
    ".pypirc": "passwords",
    "credentials.json": "credentials",
    "id_dsa": "a private key",
    "id_ecdsa": "a private key",
    "id_ed25519": "a private key",
    "id_rsa": "a private key",
}
_PLACES = {(".aws", "credentials"): "credentials", (".kube", "config"): "credentials"}
_TEMPLATES = (".example", ".sample", ".template", ".dist")

_LABEL = re.compile(rb"-----BEGIN ([^-\n]{1,64})-----").findall
_PUBLIC = re.compile(
    rb"(TRUSTED |X509 )?(CERTIFICATE( REQUEST)?|CRL)|NEW CERTIFICATE REQUEST"
    rb"|([A-Z0-9]+ )?(PUBLIC KEY|PARAMETERS)"
).fullmatch

_PRIVATE_KEY = re.compile(
    rb"-----BEGIN ([A-Z0-9]+ ){0,3}PRIVATE KEY( BLOCK)?-----(\\r|\\n|\s)+"
    rb"([A-Za-z-]{1,40}: [^\n]{0,200}\n\s*){0,5}[A-Za-z0-9+/=]{16}"
).search
_AWS_ID = re.compile(rb"(?<![A-Za-z0-9])A[KS]IA[A-Z2-7]{16}(?![A-Za-z0-9])").search
_AWS_SECRET = re.compile(
    rb"(?<![A-Za-z0-9/+])(?![0-9a-f]{40}|[0-9A-F]{40})[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])"
).search
# A sign that each has in it is looked for first, then its start: both far quicker than expressions.
_FORMS = {
    b"A": (
        (b"AIza", rb"AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])", "a key of Google's"),
        (b"AccountKey=", rb"AccountKey=[A-Za-z0-9+/]{86}==", "a key of Azure's"),
    ),
    b"_": (
        (b"ghp_", rb"ghp_[A-Za-z0-9]{36}(?![A-Za-z0-9])", "a token of GitHub's"),
        (b"github_pat_", rb"github_pat_[A-Za-z0-9_]{60}", "a token of GitHub's"),
        (b"hf_", rb"hf_[A-Za-z0-9]{34}(?![A-Za-z0-9])", "a token of Hugging Face's"),
    ),
    b"-": ((b"xox", rb"xox[abeprs]-[0-9]{8,16}-[A-Za-z0-9-]{16}", "a token of Slack's"),),
}
_SEARCHES = tuple(
    (sign, start, re.compile(rb"(?<![A-Za-z0-9_])" + form).search, what)
    for sign, forms in _FORMS.items()
    for start, form, what in forms
)


def secret_names(paths: Iterable[str]) -> dict[str, str]:
    """Return those of some paths whose name is that of a secret, each with what it is.

    Example:
        >>> secret_names(["run/.env", ".env.example", "model.h5"])
        {'run/.env': 'an environment file'}
    """
    return {path: what for path in paths if (what := _named_so(path)) is not None}


def _named_so(path: str) -> str | None:
    above, _, name = path.lower().rpartition("/")
    if name.startswith(".env.") and not name.endswith(_TEMPLATES):
        return _NAMES[".env"]
    return _NAMES.get(name) or _PLACES.get((above.rpartition("/")[2], name))


def secret_within(path: str, data: bytes) -> str | None:
    """Return what kind of secret a small file holds, or None.

    Args:
        path: the file's.
        data: all of it.

    Example:
        >>> secret_within("ca.pem", b"-----BEGIN CERTIFICATE-----")
        >>> secret_within("server.pem", b"no certificate")
        'no certificate or public key alone'
    """
    if path.lower().endswith(".pem"):
        labels = _LABEL(data)
        if not labels or not all(map(_PUBLIC, labels)):
            return "no certificate or public key alone"
    if len(data) > MOST_SEARCHED or b"\0" in data:
        return None
    signs = {sign for sign in _FORMS if sign in data}
    if b"-" in signs and b"PRIVATE KEY" in data and _PRIVATE_KEY(data):
        return "a private key"
    if b"A" in signs and (b"AKIA" in data or b"ASIA" in data):
        if _AWS_ID(data) and _AWS_SECRET(data):
            return "a key of AWS's"
    for sign, start, search, what in _SEARCHES:
        if sign in signs and start in data and search(data):
            return what
    return None
