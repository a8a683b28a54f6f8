"""How a bucket of S3 is reached, where what the user has configured says so plainly.

AWS's own client understands far more: roles, single sign-on, metadata services, proxies, and dozens
of settings. This reads what is simple and common in the way that it does, and where there is
anything else says that it doesn't know, so that the client itself is asked. The environment is read
here, as that client reads it: what it holds is meant for all of the user's tools.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

# What is read below, and what changes nothing for S3.
_KNOWN_VARIABLES = frozenset(
    "AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE AWS_DEFAULT_PROFILE"
    " AWS_SHARED_CREDENTIALS_FILE AWS_CONFIG_FILE AWS_DEFAULT_REGION AWS_ENDPOINT_URL_S3"
    " AWS_ENDPOINT_URL AWS_REGION AWS_EC2_METADATA_DISABLED AWS_PAGER AWS_DEFAULT_OUTPUT".split()
)
_KEYS = frozenset("aws_access_key_id aws_secret_access_key aws_session_token".split())
_KNOWN_IN_PROFILE = _KEYS | {"region", "output", "cli_pager", "cli_auto_prompt"}
# What a safe connection rests on, if not on the certificates of the system.
_CERTIFICATES = frozenset({"AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"})
# Proxies, and what fsspec and botocore are told apart from AWS's settings.
_OTHERS = re.compile("FSSPEC|BOTO|S3FS_LOGGING|(HTTPS?|ALL)_PROXY$").match
# Those that a bucket may have in a host's name; two hyphens are for special kinds.
_BUCKET = re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]").fullmatch
# Those of which every host ends with amazonaws.com.
_REGION = re.compile(r"(us|eu|ap|sa|ca|me|af|il|mx)-[a-z]+-[0-9]+").fullmatch
_ENDPOINT = re.compile(r"https?://(?!.*amazonaws)[A-Za-z0-9.-]+(:[0-9]+)?/?").fullmatch
_PROFILE = re.compile(r"[\w.@-]+").fullmatch


@dataclass(frozen=True, slots=True)
class Access:
    """How a bucket is reached.

    Attributes:
        endpoint: The server's URL; None for AWS itself, by the bucket's own host.
        region: What requests are signed for.
        keys: The access key, the secret key and, maybe, a session's token, by the names that
            profiles have for them; None where requests are not to be signed.
    """

    endpoint: str | None
    region: str
    keys: Mapping[str, str] | None = field(repr=False)


def plain_access(
    bucket: str, options: Mapping[str, Any], environ: Mapping[str, str] | None = None
) -> Access | None:
    """Return how a bucket is reached, if that is certain.

    Args:
        bucket: Its name.
        options: What s3fs would be told.
        environ: The environment; None for the process's own.

    Returns:
        The way; None where only AWS's own client knows.

    Example:
        >>> options = {"anon": True, "endpoint_url": "http://localhost:9000"}
        >>> plain_access("models", options, {"AWS_CONFIG_FILE": "/none"})
        Access(endpoint='http://localhost:9000', region='us-east-1')
        >>> plain_access("models", options, {"AWS_ROLE_ARN": "arn:aws:iam::1:role/r"}) is None
        True
    """
    environ = os.environ if environ is None else environ
    told = dict(options)
    table = told.pop("client_kwargs", {})
    table = dict(table) if isinstance(table, Mapping) else {"": table}
    region = table.pop("region_name", None)
    endpoint, anon, name = (told.pop(key, None) for key in ("endpoint_url", "anon", "profile"))
    given = {to: told.pop(key) for key, to in _OPTIONS.items() if key in told}
    endpoint = endpoint or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    ignored = _CERTIFICATES if str(endpoint).startswith("http://") else frozenset[str]()
    if told or table or anon not in (None, False, True) or not _is_plain(environ, ignored):
        return None
    profile = _profile(name, environ)
    if profile is None or not _BUCKET(bucket):
        return None
    region = region or environ.get("AWS_DEFAULT_REGION") or profile.region
    if not (_ENDPOINT(str(endpoint)) if endpoint else _REGION(str(region))):
        return None  # where the region isn't known, AWS's client finds it out
    keys: Mapping[str, str] | None = None
    if anon is not True:
        keys = _keys(given, name, profile, environ)
        if not keys.get("aws_access_key_id") or not keys.get("aws_secret_access_key"):
            return None
    return Access(endpoint and endpoint.rstrip("/"), str(region or "us-east-1"), keys)


_OPTIONS = {
    "key": "aws_access_key_id",
    "secret": "aws_secret_access_key",
    "token": "aws_session_token",
}


@dataclass(frozen=True, slots=True)
class _Profile:
    region: str | None
    keys: Mapping[str, str] = field(repr=False)


def _is_plain(environ: Mapping[str, str], ignored: frozenset[str]) -> bool:
    """Whether the environment holds nothing that isn't understood here."""
    for name, value in environ.items():
        upper = name.upper()
        if upper in ignored:
            continue
        if upper.startswith("AWS_") and (upper not in _KNOWN_VARIABLES or not value):
            return False
        if value and (upper in _CERTIFICATES or _OTHERS(upper)):
            return False
    return not os.path.exists(os.path.expanduser("~/.config/fsspec"))


def _keys(
    given: Mapping[str, str], wanted: object, profile: _Profile, environ: Mapping[str, str]
) -> Mapping[str, str]:
    """Return the keys that AWS's client would find; none where that isn't plain."""
    found = {name: environ[name.upper()] for name in _KEYS if name.upper() in environ}
    if not found:
        return given or profile.keys
    # The environment wins over a profile that it names itself, but not over options; and beside
    # other keys, what is left of it (a token) could get among them.
    return found if wanted is None and not given else {}


def _profile(wanted: object, environ: Mapping[str, str]) -> _Profile | None:
    """Return what the chosen profile holds; None where that isn't plain, or there is none such."""
    name = wanted or environ.get("AWS_DEFAULT_PROFILE") or environ.get("AWS_PROFILE")
    chosen = "default" if name is None else name
    if not isinstance(chosen, str) or not _PROFILE(chosen):
        return None
    config = _sections(environ.get("AWS_CONFIG_FILE", "~/.aws/config"), chosen, _name_in_config)
    shared = _sections(
        environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"), chosen, str
    )
    if config is None or shared is None or (name is not None and not config + shared):
        return None
    if len(config) > 1 or len(shared) > 1:
        return None
    (in_config,), (in_shared,) = config or [{}], shared or [{}]
    both = {**in_config, **in_shared}
    if both.keys() - _KNOWN_IN_PROFILE:
        return None
    source = in_shared if "aws_access_key_id" in in_shared else in_config
    return _Profile(both.get("region"), {n: source[n] for n in _KEYS if n in source})


def _sections(
    path: str, name: str, name_of: Callable[[str], str | None]
) -> list[Mapping[str, str]] | None:
    """Return the sections of a file that are about a profile; None where it can't be read."""
    path = os.path.expandvars(os.path.expanduser(path))
    if not os.path.isfile(path):
        return []
    from configparser import Error, RawConfigParser

    parser = RawConfigParser(default_section="")
    try:
        parser.read(path)
    except (Error, OSError, UnicodeDecodeError):
        return None
    return [dict(parser[section]) for section in parser.sections() if name_of(section) == name]


def _name_in_config(section: str) -> str | None:
    """Return the profile that a section of the config file is about."""
    if section == "default":
        return section
    try:
        words = shlex.split(section)
    except ValueError:
        return None
    return words[1] if len(words) == 2 and words[0] == "profile" else None
