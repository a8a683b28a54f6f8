"""Credentials: ama writes none down, prints none, and takes none in a URL or an option.

Ama takes only options that are known to be no secret, each with its possible values. A list of
secrets could never be complete: clients pass options on to their own clients, in nested tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import unquote

from ama.config import Option
from ama.errors import InvalidInput, shown
from ama.format.names import nearest
from ama.storage.backends import AZURE, BACKENDS, GCS, HTTP, S3, SFTP

# Parts of a name that mean a secret, whatever stands around them.
_SECRET = re.compile(
    "secret|passw|passphrase|token|authorization|credential|connectionstring|cookie"
    "|signature(?!version)"
    "|(account|access|api|private|shared|customer|encryption)key(?!name)"
).search
# The same, but only as a whole word or part: harmless names contain them too.
_SECRET_WORDS = frozenset({"sas", "sig", "pin", "pwd"})
_SECRET_PARTS = frozenset({"key", "auth"})
_LOGIN = re.compile(r"[^/\s@:]*:[^/\s@]+@")  # user:password@host
_SECRET_VALUE = re.compile(
    _LOGIN.pattern + r"|AccountKey=|SharedAccessSignature=|[?&;]sig=|\b(Bearer|Basic)\s|-----BEGIN"
    r"|\bA[KS]IA[0-9A-Z]{16}\b",
    re.IGNORECASE,
).search
# What gcsfs takes instead of a token, as a way to find one: `anon` is for public buckets.
_NO_TOKENS = frozenset({"anon", "google_default", "cloud", "cache", "browser"})
_USER = re.compile(r"[\w.+@$\\-]*").fullmatch
_PORT = re.compile("[0-9]*").fullmatch
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}").fullmatch
_ADDRESS = re.compile(r"https?://[A-Za-z0-9._\[\]:-]+(/[A-Za-z0-9._~/-]*)?").fullmatch
_FILE = re.compile(r"(~?/|\.\.?/|~\\|[A-Za-z]:[\\/])[^\n\r]{0,1000}").fullmatch


def _is_number(value: Option) -> bool:
    return isinstance(value, bool | int | float)


def _is_word(value: Option) -> bool:
    return isinstance(value, int) or (isinstance(value, str) and _WORD(value) is not None)


def _is_address(value: Option) -> bool:
    return isinstance(value, str) and _ADDRESS(value) is not None


def _is_file(value: Option) -> bool:
    # An empty one tells the client to read none.
    return value == "" or (isinstance(value, str) and _FILE(value) is not None)


def _is_no_token(value: Option) -> bool:
    return value in _NO_TOKENS


_Check = tuple[Callable[[Option], bool], str]
_NUMBER: _Check = (_is_number, "true, false or a number")
_TEXT: _Check = (_is_word, "a word")
_URL: _Check = (_is_address, "a server's URL, without a login")
_PATH: _Check = (_is_file, "a file's path that begins with /, ~/ or ./")
_TOKEN: _Check = (_is_no_token, ", ".join(sorted(_NO_TOKENS)))


def _checks(check: _Check, names: str) -> dict[str, _Check]:
    return dict.fromkeys(names.split(), check)


ALLOWED: Mapping[str, Mapping[str, _Check]] = {
    GCS.package: {
        **_checks(_TEXT, "project access consistency default_location"),
        **_checks(_URL, "endpoint_url"),
        **_checks(
            _NUMBER, "requester_pays version_aware block_size check_connection requests_timeout"
        ),
        **_checks(_TOKEN, "token"),
    },
    S3.package: {
        **_checks(
            _TEXT,
            "profile client_kwargs.region_name config_kwargs.region_name"
            " config_kwargs.signature_version config_kwargs.s3.addressing_style"
            " config_kwargs.retries.mode config_kwargs.request_checksum_calculation"
            " config_kwargs.response_checksum_validation"
            " s3_additional_kwargs.ServerSideEncryption s3_additional_kwargs.SSEKMSKeyId"
            " s3_additional_kwargs.StorageClass s3_additional_kwargs.ACL"
            " s3_additional_kwargs.RequestPayer s3_additional_kwargs.ExpectedBucketOwner",
        ),
        **_checks(_URL, "endpoint_url client_kwargs.endpoint_url"),
        **_checks(_PATH, "client_kwargs.verify"),
        **_checks(
            _NUMBER,
            "anon use_ssl client_kwargs.use_ssl requester_pays version_aware cache_regions"
            " default_block_size fixed_upload_size local_expiry_check max_concurrency"
            " config_kwargs.connect_timeout config_kwargs.read_timeout"
            " config_kwargs.max_pool_connections config_kwargs.retries.max_attempts"
            " config_kwargs.retries.total_max_attempts config_kwargs.tcp_keepalive"
            " config_kwargs.use_dualstack_endpoint config_kwargs.use_fips_endpoint"
            " config_kwargs.s3.use_accelerate_endpoint config_kwargs.s3.payload_signing_enabled"
            " s3_additional_kwargs.BucketKeyEnabled",
        ),
    },
    AZURE.package: {
        **_checks(_TEXT, "account_name account_host client_id tenant_id location_mode"),
        **_checks(
            _NUMBER,
            "anon version_aware assume_container_exists max_concurrency timeout blocksize"
            " socket_timeout connection_timeout read_timeout",
        ),
    },
    SFTP.package: {
        **_checks(
            _TEXT,
            "username port host_key_alias preferred_auth family kex_algs encryption_algs mac_algs"
            " compression_algs signature_algs server_host_key_algs tunnel",
        ),
        **_checks(_PATH, "client_keys client_certs known_hosts config agent_path"),
        **_checks(
            _NUMBER,
            "password_auth public_key_auth kbdint_auth host_based_auth gss_auth gss_kex"
            " tcp_keepalive connect_timeout login_timeout keepalive_interval keepalive_count_max"
            " agent_forwarding ignore_encrypted canonicalize_hostname",
        ),
    },
    HTTP.package: {
        **_checks(
            _NUMBER,
            "simple_links same_scheme block_size encoded client_kwargs.trust_env"
            " client_kwargs.auto_decompress client_kwargs.requote_redirect_url",
        ),
    },
}
"""The options that ama takes, by the client's package: the check of a value, and its wording.

A dot in a name means a table. A file's path is no secret, whatever is in the file.
"""

# Where a file may be named, its absence may be named as well.
_OR_FALSE = frozenset({"client_kwargs.verify", "agent_path"})


def refuse_credentials(url: str, scheme: str | None, name: str, value: Option) -> None:
    """Refuse an option that is a credential, or whose value holds one.

    Args:
        url: The storage's URL for the message: without options, and free of credentials.
        scheme: The URL's scheme.
        name: The option's name, with dots for tables.
        value: The option's value.

    Raises:
        InvalidInput: It is or holds a credential. The message has nothing of the value.
    """
    backend = BACKENDS.get(scheme or "")
    allowed = ALLOWED[backend.package] if backend else {}
    option = f"option {shown(name)} of {shown(url)}"
    check = allowed.get(name)
    if isinstance(value, str) and _SECRET_VALUE(value):
        raise InvalidInput(
            f"{option} has a credential in its value, and ama writes none down", hint=_hint(scheme)
        )
    if check is None:
        _refuse_name(option, name, value, scheme, allowed)
    elif not (check[0](value) or (name in _OR_FALSE and isinstance(value, bool))):
        raise InvalidInput(
            f"{option} can't have this value, which may be a credential: it must be {check[1]}",
            hint=_hint(scheme),
        )


def _refuse_name(
    option: str, name: str, value: Option, scheme: str | None, allowed: Mapping[str, _Check]
) -> None:
    if _is_named_so(name, value):
        raise InvalidInput(
            f"{option} is a credential, and ama writes none down", hint=_hint(scheme)
        )
    near = nearest(name, allowed)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    raise InvalidInput(
        f"{option} is none that is known to hold no credential, and ama writes none down",
        hint=f"{meant}docs/remotes.md has those that are taken; for a secret, {_hint(scheme)}",
    )


def refuse_password(url: str, scheme: str) -> None:
    """Refuse a URL with a password, or with a login that can only be a token.

    Raises:
        InvalidInput: The URL has one. The message hasn't.
    """
    place = re.split("[/?#]", url.partition("://")[2], maxsplit=1)[0]
    login, at, host = place.rpartition("@")
    # A slash in a password ends the host: the text before it looks like a port.
    port = "" if host.startswith("[") else host.partition(":")[2]
    if scheme in BACKENDS and not _PORT(port):
        raise InvalidInput(
            f"this {scheme}:// URL has something behind a ':' that is no port, and may be a"
            " password, and ama writes none down",
            hint=_hint(scheme),
        )
    has_password = not _USER(unquote(login))
    if at and (has_password or scheme in ("http", "https")):
        what = "a password" if has_password else "a login, which may be a token,"
        raise InvalidInput(
            f"the {scheme}:// URL of {shown(host)} has {what} in it, and ama writes none down",
            hint=_hint(scheme),
        )


def without_credentials(url: str) -> str:
    """Return a refused URL for printing, without what may be a credential.

    Example:
        >>> without_credentials("ftp://ann:hunter2@host/ama?sig=abc")
        'ftp://***@host/ama'
        >>> without_credentials("https:/ann:hunter2@host/ama")
        'https:/***@host/ama'
    """
    place = url.partition("?")[0] if "://" in url else url
    place = re.sub("//.*@", "//***@", place, count=1, flags=re.DOTALL)
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


def holds_secret(words: str) -> bool:
    """Whether joined words of a name mean a secret, whatever stands around them.

    Example:
        >>> holds_secret("myclientsecret"), holds_secret("regionname")
        (True, False)
    """
    return _SECRET(words) is not None


def _hint(scheme: str | None) -> str:
    backend = BACKENDS.get(scheme or "")
    if backend is None:
        return "leave it out: see docs/remotes.md"
    return f"{backend.package} finds it itself: {backend.credentials}"
