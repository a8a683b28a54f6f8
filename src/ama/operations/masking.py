"""Command lines without credentials: `***` stands where one was.

A word is masked if its option is named like a credential, or if it looks like one: a login in a
URL, a token, a key. What is masked in vain is lost, and what is not is published: in doubt, mask.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from ama.storage.credentials import holds_secret
from ama.system.git import TOKEN
from ama.worktree.ignore import without_keys

MASK = "***"

LONGEST_WORD = 1000
LONGEST = 8000
"""The most characters of a word, and of a command line."""

MOST_SEARCHED = 64 * 1024
"""The most characters of a word to search: the rest is not shown."""

_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+").findall
_LAST = frozenset("pass pwd pin auth sas sig signature jwt bearer dsn otp pat login".split())
_BEFORE = frozenset(
    "api access private account shared secret encryption signing auth hf hub github gitlab bearer"
    " refresh session security client".split()
)
# Tokens of a text, and numbers of them, which are no credentials.
_OF_TEXT = frozenset(
    "eos bos pad unk mask sep cls special stop start end image new max min num n per total".split()
)
_NUMBER = re.compile(r"[0-9][0-9.,_]{0,11}([eE][+-]?[0-9]{1,3}|[kKmMbBgGtT])?").fullmatch
_OPTION = re.compile(r"--?[A-Za-z][A-Za-z0-9_.-]{0,99}").fullmatch
_NAMED = re.compile(r"(?P<name>[+~]{0,2}[A-Za-z0-9_.@/-]{1,200})(?P<sign>[:=]?=)(.+)", re.DOTALL)
_USER = frozenset({"-u", "-U", "--user", "--proxy-user"})

# In a text, such as a program behind -c, a header or JSON. No pattern starts twice at one place.
_HEADER = re.compile(
    r"((?:proxy-)?authorization|(?:set-)?cookie)([\"']?\s{0,9}[:=]\s{0,9}[\"']?)[^\r\n\"']+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer|basic)(\s{1,9})[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
# Between the name and the value: as in `a: str = 1`, `{\"a\": 1}`, `setenv("a", "1")`, `a%3D1`.
_ASSIGNED = re.compile(
    r"(?<![A-Za-z0-9_.-])([A-Za-z0-9_.-]{1,100}+)"
    r"(?::\s{0,9}[A-Za-z][A-Za-z0-9_.\[\]| ]{0,60}(?==)"
    r"|[\\\"'\])]{0,5}\s{0,9}(?=[:=])|[\"']\s{0,9},(?=\s{0,9}[\"'])|(?=%3[ADad]))"
    r"(?:[:=]|%3[ADad]){0,2}\s{0,9}"
)
_IN_WORDS = re.compile(r"(?<!\S)(--?[A-Za-z][A-Za-z0-9_.-]{0,99}+)\s{1,9}")
_VALUE = re.compile(
    r"\\\"(?:[^\\\"]|\\(?!\"))*(?:\\\")?|[A-Za-z]{0,2}(?:\"[^\"]*\"?|'[^']*'?)|[^\s\"'&]+"
).match
_LOGIN_OPTION = re.compile(r"(?<!\S)(-[uU]\s{0,9}|--(?:proxy-)?user[\s=]\s{0,9})[^\s:]{0,200}:\S+")
_LOGIN = re.compile(r"(?<![^/\s@:\"'=])[^/\s@:]{0,200}+:[^/\s@]{1,500}+@|:[^/\s@]{1,500}+@")
_ENCODED_LOGIN = re.compile(r"%3[Aa](?:(?!%40)[^\s/@&]){1,500}+%40")
_IN_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30}+://)((?:(?!::)[^\s\"'<>]){0,2000}@)")
_ASSET = re.compile(r"[A-Za-z0-9._-]+@").fullmatch
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}+(\.[A-Za-z0-9_-]*)?")
_TOKEN = re.compile(
    rf"(?<![A-Za-z0-9])(?:{TOKEN}|ya29\.[A-Za-z0-9_-]{{16,}}|npm_[A-Za-z0-9]{{30,}}"
    r"|pypi-[A-Za-z0-9_-]{30,}|AIza[A-Za-z0-9_-]{30,}|(?:[rs]k_(?:live|test)|gsk|r8|dckr_pat)_\w{16,}"
    r"|(?:nvapi|tskey|dapi|shp[a-z]{2}_|dop_v1_)-?[A-Za-z0-9_-]{20,}|SG\.[\w-]{16,}\.[\w-]{16,})"
    r"[A-Za-z0-9_-]*"
)
# Whoever knows such an address may write there.
_HOOK = re.compile(
    r"((?:hooks\.slack\.com|discord(?:app)?\.com/api/webhooks|api\.telegram\.org)/)[^\s\"'<>]+"
)

_SAFE = re.compile(r"[A-Za-z0-9@%+=:,./_…-]+").fullmatch


def is_secret_name(name: str, value: str = "") -> bool:
    """Whether an option of this name is a credential; with a value, unless that is none.

    Example:
        >>> is_secret_name("--hf-token"), is_secret_name("--tokenizer"), is_secret_name("API_KEY")
        (True, False, True)
        >>> is_secret_name("--max-tokens"), is_secret_name("--key-size")
        (False, False)
    """
    parts = [part.lower() for part in _PARTS(name)]
    if not parts:
        return False
    *before, last = parts
    nearest = before[-1] if before else ""
    if last.endswith(("token", "tokens")):
        return nearest not in _OF_TEXT and not _NUMBER(value)
    if last in _LAST or last.endswith("key") or (last == "keys" and nearest in _BEFORE):
        return True
    if any(
        one in _BEFORE and other in ("key", "keys", "token", "tokens")
        for one, other in pairwise(parts)
    ):
        return True
    # A token may be of a text; what is none was found above.
    return holds_secret("".join(part for part in parts if "token" not in part))


def mask_words(words: Sequence[str]) -> list[str]:
    """Return the words of a command line without credentials.

    Example:
        >>> mask_words(["train", "--lr", "0.1", "--password", "x", "--token=y", "s3://a:b@c/d"])
        ['train', '--lr', '0.1', '--password', '***', '--token=***', 's3://***@c/d']
    """
    found: list[str] = []
    # With a key's id in one word, what looks like its secret is masked in the others.
    known = without_keys("\0".join(word[:MOST_SEARCHED] for word in words)).split("\0")
    for word in known if len(known) == len(words) else words:
        before = words[len(found) - 1] if found else ""
        named = _NAMED.fullmatch(word[:MOST_SEARCHED])
        is_login = before in _USER and ":" in word
        if is_login or (_OPTION(before) and is_secret_name(before, word)):
            found.append(MASK)
        elif named and is_secret_name(named["name"], named[3]):
            found.append(f"{named['name']}{named['sign']}{MASK}")
        else:
            found.append(mask_text(word))
    return found


def mask_text(text: str) -> str:
    """Return a text without credentials: its beginning, if it is long.

    Example:
        >>> mask_text("import hub; hub.login(token='hf_x')")
        'import hub; hub.login(token=***)'
        >>> mask_text("ama://models@best/model.h5::s3://id:secret@bucket")
        'ama://models@best/model.h5::s3://***@bucket'
    """
    text = without_keys(text[:MOST_SEARCHED])
    text = _HEADER.sub(rf"\1\2{MASK}", text)
    text = _BEARER.sub(rf"\1\2{MASK}", text)
    text = _without_values(_IN_WORDS, _without_values(_ASSIGNED, text))
    text = _HOOK.sub(rf"\1{MASK}", _LOGIN_OPTION.sub(rf"\1{MASK}", text))
    text = _ENCODED_LOGIN.sub(f"%3A{MASK}%40", text)
    if "@" in text:
        text = _LOGIN.sub(f"{MASK}@", _IN_URL.sub(_masked_login, text))
    return _TOKEN.sub(MASK, _JWT.sub(MASK, text))


def _without_values(names: re.Pattern[str], text: str) -> str:
    """Return a text with a mask behind each name of a credential."""
    done, at = "", 0
    while found := names.search(text, at):
        is_secret = is_secret_name(found[1])
        # What is behind another name may be a name itself.
        end = found.end() if is_secret else found.end(1)
        done += text[at:end]
        at = end
        value = _VALUE(text, at) if is_secret else None
        if value and is_secret_name(found[1], value[0]):
            done += MASK
            at = value.end()
    return done + text[at:]


def _masked_login(found: re.Match[str]) -> str:
    scheme, login = found.groups()
    return found[0] if scheme == "ama://" and _ASSET(login) else f"{scheme}{MASK}@"


def command_line(words: Iterable[str]) -> str:
    """Return words as one line that a shell takes; long words, and a long line, are cut.

    Example:
        >>> command_line(["python", "-c", "print(1)", "x" * 2000])[:30]
        "python -c 'print(1)' xxxxxxxxx"
    """
    line = " ".join(_quoted(_cut(word, LONGEST_WORD)) for word in words)
    return _cut(line, LONGEST)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _quoted(word: str) -> str:
    # The mask needs no quotes: nobody runs it.
    return word if _SAFE(word.replace(MASK, "_")) else "'" + word.replace("'", "'\"'\"'") + "'"
