"""The words for hints: the commands that an error suggests."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping

from ama.errors import Fact, Hint, Hints, shown

# In a template, `{name}` is a fact. Between < and > stands a command as the user types it: its
# facts are quoted for the shell, and it gets the store option of the failed command.
WORDS: Mapping[str, str] = {
    # Looking
    "check-options": "the options are in the URL, and in what is configured: <ama remote list>;"
    " those of {package} are in its documentation",
    "check-permissions-of-file": "check its permissions; `<ama status>` compares the rest",
    "check-url": "check the URL: <ama remote list>",
    "diff-all": "see what differs: <ama diff> without paths",
    "fsck": "see what is touched: <ama fsck>",
    "fsck-after-repair": "what was here was sent; see what is touched: <ama fsck --remote {store}>",
    "fsck-what-is-damaged": "see what is damaged: <ama fsck>",
    "hash-file": "<ama hash> FILE prints that of a file here",
    "list-aliases": "see what there is: <ama alias list>",
    "list-aliases-of": "see them: <ama alias list {class_name}>",
    "list-all-of": "see them all: <ama list {class_name}>",
    "list-assets": "see its assets: <ama list {class_name}>",
    "list-class": "see what there is: <ama list {class_name}>",
    "list-classes": "see what there is: <ama list>",
    "list-it": "see it: <ama list>",
    "list-refs": "see what is: <ama ref list>",
    "list-settings": "see what is: <ama config list>",
    "list-then-delete": "see what is published: <ama list> CLASS; then delete {note}, and go on",
    "log-of": "see what there is: <ama log {asset}>",
    "log-of-deleted": "see what there was: <ama log {class_name}>",
    "alias-history": "look where it is now: <ama alias history {alias}>",
    "ls": "see its files: <ama ls {asset}>",
    "ls-and-status": "see what is: <ama ls>, <ama status>",
    "ls-one-directory": "look at one directory of it: <ama ls> ASSET:DIR",
    "ls-directory": "list it: <ama ls {asset} {path}>",
    "ls-here": "see what is: <ama ls>",
    "ls-of": "see what is: <ama ls {asset}>",
    "show-asset": "see one by itself: <ama show> ASSET",
    "rank-class": "rank a class: <ama compare> --class CLASS",
    "show-entry": "see what that says: <ama show {asset}>",
    "show-values": "see what one has: <ama show> ASSET",
    "status": "see: <ama status>",
    "status-here": "see what is here: <ama status>",
    "status-of-what-is": "see what is: <ama status>",
    "status-then-again": "see it: <ama status>; then run the same command again",
    # Names
    "did-you-mean": "did you mean {names|or}?",
    "did-you-mean-file": "did you mean {names|and}?",
    "did-you-mean-or-id": "did you mean {names|or}? an id needs its first {digits} digits",
    "known-remotes": "there is {names|and}",
    "name-path": "name one: {asset}:PATH; see what there is: <ama ls {asset}>",
    "narrow-find": "ask for less: give --class, --name or a condition",
    "paste-hash": "paste 7 to 64 hex digits, as `<ama hash> FILE` prints them",
    "paths-from-top": "paths are relative to the top",
    "get-or-start": "get an asset: <ama download> ASSET; or start one here: <ama init> CLASS",
    "give-a-condition": "give a file or a condition; all assets: <ama list>",
    "ls-all": "`<ama ls {asset}>` lists all",
    "name-an-asset": "name an asset (see what there is: <ama list>)",
    "path-behind-asset": "a path goes behind the asset: <ama ls HEAD {path}>",
    "paths-after-dashes": "paths go after --: <ama diff {words}>",
    "show-or-list": "an asset: <ama show {asset}>; all of its class: <ama list {class_name}>",
    "say-class": "say which: --class {class_name}",
    "say-which-of": "say which: <ama list {class_name}>",
    "use-alias": "use that one: <ama set --alias {alias}>",
    "use-class": "use that one: <ama init {class_name}>",
    # Staging, and making assets
    "add-again": "add it again: <ama add {paths}>",
    "add-anyway": "add it all the same: <ama add --force {paths}>",
    "add-as-file": "a file can hold it: <ama add>",
    "add-and-commit": "keep it: <ama add {paths}> and <ama commit>",
    "add-to-keep": "keep it: <ama add {paths}>",
    "begin-from-head": "begin anew from HEAD: <ama restore --staged .>",
    "begin-in-new-store": "begin without it: <ama init {class_name}>, <ama add .> and"
    " <ama upload --new-store>",
    "begin-without-it": "begin without it: <ama init --force {class_name}>, <ama add .> and"
    " <ama upload>",
    "change-ignore-file": "change the line in .amaignore that names it",
    "commit-first": "make an asset of it first: <ama commit>",
    "commit-there": "commit them (<cd {directory} && ama commit>), or choose another directory:"
    " -o DIR",
    "download-instead": "download it: <ama download {asset}>",
    "enlarge-cache": "let the cache keep more: <ama config set cache.size> SIZE",
    "fetch-elsewhere": "download it instead: <ama download {asset}>; or keep it elsewhere:"
    " <ama config set cache.directory> DIR",
    "switch-cache-on": "switch it on: <ama config set cache.size 10GiB>",
    "drop": "drop it: --force",
    "drop-anyway": "drop it all the same: --force",
    "fsck-or-begin-anew": "see what is touched: <ama fsck>; in a worktree, begin without what it"
    " comes from: <ama init --force> CLASS, <ama add .> and <ama upload>",
    "ignore-or-add-secret": "name it in .amaignore; or add it all the same:"
    " <ama add --force {paths}>",
    "ignore-or-add-secrets": "name them in .amaignore; or add them all the same:"
    " <ama add --force {paths}>",
    "import-another-alias": "choose another --alias; or take it away first:"
    " <ama alias remove {alias}>",
    "cross-directories": "`**` crosses directories: '{glob}'",
    "quote-globs": "give a path, a URL, or a glob in quotes",
    "leave-out-or-force": "leave them out; or take them all the same: --force, in Python"
    " force=True",
    "init": "start an asset here: <ama init> CLASS",
    "init-here": "for a worktree of its own: <ama init --here> CLASS",
    "init-with-staged": "go on with what is staged: <ama init> CLASS",
    "delete-file-anyway": "delete it all the same: <ama rm --force {paths}>",
    "keep-elsewhere": "keep it: move it elsewhere",
    "keep-file": "keep it: <ama rm --cached {paths}>",
    "leave-out-from-now-on": "leave them out from now on: <ama rm --cached {paths}>",
    "leave-out-there": "leave them out there from now on: <ama -C {root} rm --cached {directory}>",
    "link-instead": "link its asset instead: <ama link> CLASS/NUMBER",
    "make-and-upload": "make one: <ama add> PATH, then <ama upload>",
    "make-one": "make one: <ama add> PATH, then <ama commit> or <ama upload>",
    "move-control-elsewhere": "move its .ama elsewhere",
    "record-environment": "the next asset can: <ama publish> --environment",
    "name-code": "name the directory of the code: --code DIR, or AMA_CODE",
    "never-ignore": "always: the line {line} in .amaignore",
    "overwrite-anyway": "overwrite it all the same: --force",
    "put-back-or-rm": "put back what was added, or take it out: <ama rm {paths}>",
    "rename-one-or-allow": "rename one, or allow such names:"
    " <ama config set add.portable_names false>",
    "rename-or-allow": "rename it, or allow such names: <ama config set add.portable_names false>",
    "restore-first": "bring it back first: <ama restore {paths}>",
    "stage-as-it-is": "stage it as it is: <ama add {paths}>",
    "stage-files": "stage files first: <ama add> PATH",
    "stage-it": "stage it first: <ama add {paths}>",
    "take-out": "take it out: <ama rm {paths}>",
    "unstage-removal": "take that back: <ama restore --staged {paths}>",
    "unstage-them": "unstage them: <ama restore --staged .>",
    "work-elsewhere": "use a directory outside it, or work there",
    # Publishing
    "build-on-theirs": "build on theirs: <ama switch {alias}> brings it here",
    "bring-store-back": "bring it back",
    "finish-upload": "finish it first: <ama upload>",
    "give-up": "give it up: delete {note}, and go on",
    "leave-behind": "leave them behind: <ama init --force>",
    "leave-behind-anyway": "leave them behind all the same: --force",
    "new-store": "if it was deleted on purpose, publish to a new one there: run <ama upload>,"
    " <ama push> or <ama publish> with --new-store",
    "no-store-yet": "the first `<ama upload>` makes it; what is configured: <ama remote list>",
    "publish-without-alias": "publish without the alias: <ama set --unset {label}>, and upload"
    " again; then move it all the same: <ama alias move {alias} HEAD>",
    "push-first": "publish first: <ama push>",
    "push-it": "publish it first: <ama push>",
    "publish-it": "publish a new one: <ama publish> CLASS PATH...",
    "push-them": "publish them first: <ama push>",
    "upload-first": "publish first: <ama upload>",
    "upload-them": "publish them first: <ama upload>",
    # Bringing assets here
    "choose-directory": "choose another directory: -o DIR",
    "choose-directory-outside": "choose a directory outside it: -o DIR",
    "choose-parent": "choose another parent directory: -o DIR/{name|word}",
    "download-again": "get the asset again in another directory: <ama download> CLASS --alias NAME",
    "download-elsewhere": "download it from the store that has it",
    "drop-metadata-only": "leave out --metadata-only, or --include and --exclude",
    "exclude": "leave it out: --exclude '{glob}'",
    "exclude-one": "leave one out: --exclude '{glob}'",
    "fetch": "get what the remote has: <ama fetch>",
    "follow-alias": "follow another: <ama switch> {class_name}@ALIAS",
    "give-up-switch": "give it up, which frees what it took: <ama switch HEAD>",
    "metadata-only": "take none: --metadata-only",
    "partial": "leave it out: --partial",
    "switch-it": "switch it: <cd {directory} && ama switch {asset}>",
    "download-a-part": "take a part elsewhere: <ama {command}> --include 'DIR/*'; or all of it:"
    " --include '*'",
    "take-a-part": "take a part: --include 'DIR/*'; or, if it is to be so, all of it:"
    " --include '*'",
    "take-newest": "take the newest asset: <ama switch {class_name}>",
    # Retiring assets
    "delete-anyway": "delete it all the same: <ama delete --force {asset}>",
    "deprecate-instead": "keep it, and advise against it: <ama deprecate {asset}> --reason TEXT",
    "move-alias": "move it first: <ama alias move {alias}> ASSET",
    "say-why": "say why, for those who use it: --reason TEXT",
    "take-deletion-back": "take that back: <ama delete --undo {asset}>",
    "undelete": "bring it back: <ama delete --undo {asset}>",
    "name-the-asset": "name one: {class_name}/NUMBER or {class_name}@ALIAS; see them:"
    " <ama list {class_name}>",
    "publish-instead": "publish it as an asset of its own: <ama publish> CLASS {path}",
    "say-what-to-note": "give --meta KEY=VALUE, --tag TAG, --file FILE or -m TEXT",
    "show-notes": "see what was: <ama note {asset}>",
    "undeprecate": "take that back: <ama deprecate --undo {asset}>",
    # Stores and remotes
    "upgrade-store": "once everybody who uses it has this version: <ama remote upgrade {store}>",
    "accept-store": "was it put back from a backup, or made anew? take it as it is now:"
    " <ama fetch --force --remote {store}>; else restore it from another copy",
    "add-a-remote": "add one with `<ama remote add> NAME URL`",
    "add-remote": "add it: <ama remote add {name}> URL",
    "choose-default-remote": "choose another: <ama remote default> NAME",
    "choose-host": "give a name or an address of this machine: --host 127.0.0.1",
    "choose-port": "use another --host, or another port: --port 0 takes one that is free",
    "correct-remote": "correct it: <ama config set remotes.{name}.url> URL",
    "make-bucket": "make it first",
    "make-it-a-mirror": "make it a mirror, to which nobody publishes: --force",
    "mirror-diverged": "what was published to it goes back by <ama copy>; then mirror to another"
    " place, or delete {mirror}",
    "publish-to-the-mirrored": "publish to that one: --remote REMOTE; to go on with the mirror"
    " instead, delete its {name}",
    "name-export": "name one: --export DIR",
    "name-remote": "name one: --remote REMOTE",
    "remove-remote": "remove it: <ama remote remove {name}>",
    "configure-source": "keep how it is reached: <ama remote add> NAME <{url}>",
    "bring-source-back": "bring {source} back as it was; or send its content, from a worktree that"
    " has it: <ama push --materialize>",
    "allow-references": "if you trust that server:"
    " <ama config set --user references.allow {prefix}>",
    "materialize": "send the content too: <ama push --materialize>",
    "repair": "send it again from a worktree that has its content: <ama push --repair>",
    "repair-log": "put it back, as this machine remembers it: <ama push --repair --remote {store}>",
    "repair-log-elsewhere": "put it back on a machine that has seen it:"
    " <ama push --repair --remote {store}>",
    "repair-where-seen": "run this on a machine that has seen it:"
    " <ama push --repair --remote {store}>",
    "restore-then-fsck": "restore the log from a backup; see what is touched:"
    " <ama fsck --remote {store}>",
    "move-data": "set AMA_DATA_DIR to a directory that may be written to, or name a store:"
    " --remote URL",
    "repair-index": "make it again, from a worktree of this store: <ama push --repair>",
    "restore-log": "restore it from a backup or another copy; see what is touched: <ama fsck>",
    "run-with-user": "run the same command with --user",
    "set-option": "set it for a remote: <ama remote add> NAME URL --option {name}=VALUE",
    "set-user": "set each by itself: <ama config set user.name>, and user.email",
    "single-writer": "if nobody else will ever write there: <ama remote add> NAME URL --option"
    " single_writer=true",
    "use-another-remote": "use another remote: <ama remote add> NAME URL",
    "use-another-storage": "use another storage",
    # Work that was interrupted
    "fetch-was-interrupted": "a download or switch was interrupted before it changed anything: run"
    " it again; or give it up, which frees its space: <ama switch HEAD>",
    "finish": "finish it first: <ama {command}>",
    "init-was-interrupted": "an init was interrupted: finish it: <ama init {class_name}>",
    "upload-was-interrupted": "an upload or push was interrupted: run it again, and it is finished",
}
"""The words for each code of a hint, unless they depend on the facts."""

_PART = re.compile(r"<(?P<command>[^<>]+)>|\{(?P<fact>\w+)(?:\|(?P<form>\w+))?\}")
_FACT = re.compile(r"\{(\w+)\}")
_BEGINNING = re.compile(r"ama (?:(?:alias|config|ref|remote) )?[a-z]+")

_MOST_PATHS = 10
"""More paths than these are not typed into a hint, which may be of any number of files."""

Command = Callable[[str], str]


def as_typed(command: str) -> str:
    """Return a command unchanged."""
    return command


def words(hints: Hints, command: Callable[[str], str] = as_typed) -> str | None:
    """Return the words for hints, in one line; None for no hint.

    Args:
        hints: The hints of an error; each of them helps by itself.
        command: A function that returns how a command begins here, such as `ama list --remote
            team`.

    Example:
        >>> words((Hint("list-assets", class_name="models"),))
        'see its assets: ama list models'
    """
    return "; or ".join(_said(hint, command) for hint in hints) or None


def _said(hint: Hint | str, command: Command) -> str:
    if isinstance(hint, str):
        return hint
    if hint.code in _FROM_FACTS:
        return _FROM_FACTS[hint.code](hint, command)

    def part(found: re.Match[str]) -> str:
        if found["command"]:
            return _command(found["command"], hint.facts, command)
        return _prose(hint.facts[found["fact"]], found["form"])

    return _PART.sub(part, WORDS[hint.code])


def _prose(fact: Fact, form: str | None) -> str:
    if isinstance(fact, tuple):
        return shown((" or " if form == "or" else ", ").join(fact))
    return shown(shlex.quote(str(fact)) if form == "word" else fact)


def _command(template: str, facts: Mapping[str, Fact], command: Command) -> str:
    """Return a command with its facts, each quoted for the shell."""
    found = _BEGINNING.match(template)
    beginning, rest = "", template
    if found and "--remote" not in template:
        beginning, rest = command(found[0]), template[found.end() :]

    def quoted(found: re.Match[str]) -> str:
        fact = facts[found[1]]
        if found[1] == "paths" and isinstance(fact, tuple) and len(fact) > _MOST_PATHS:
            return "FILE..."
        return shlex.join(fact if isinstance(fact, tuple) else (str(fact),))

    return shown(beginning + _FACT.sub(quoted, rest))


def _taking_back(lead: str) -> Callable[[Hint, Command], str]:
    """Return the words that unset everything: a command for keys, and one for each link."""

    def said(hint: Hint, command: Command) -> str:
        commands = []
        if keys := _several(hint, "keys"):
            options = tuple(word for key in keys for word in ("--unset", key))
            commands.append(_command("ama set {options}", {"options": options}, command))
        for asset in _several(hint, "assets"):
            commands.append(_command("ama ref remove {asset}", {"asset": asset}, command))
        return f"{lead}: {'; '.join(commands)}"

    return said


def _excluding(hint: Hint, command: Command) -> str:
    options = tuple(word for glob in _several(hint, "globs") for word in ("--exclude", glob))
    words = (*_several(hint, "command"), *options)
    template = "ama {words}" if hint.facts["command"] else "{words}"
    return f"leave it out: {_command(template, {'words': words}, command)}"


def _interrupted(hint: Hint, command: Command) -> str:
    how = "run the same command again"
    if hint.facts["command"]:
        how = f"finish it: {_command('ama {command}', hint.facts, command)}"
    return f"bringing the files of {shown(hint.facts['asset'])} here was interrupted: {how}"


def _several(hint: Hint, name: str) -> tuple[str, ...]:
    fact = hint.facts[name]
    return fact if isinstance(fact, tuple) else (str(fact),)


_FROM_FACTS: Mapping[str, Callable[[Hint, Command], str]] = {
    "checkout-was-interrupted": _interrupted,
    "exclude-git": _excluding,
    "take-back-what-is-set": _taking_back("take back what is set"),
    "take-them-back": _taking_back("take them back"),
}
