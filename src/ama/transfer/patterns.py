"""Which files of an asset a partial worktree has: include and exclude globs."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def selector(
    include: Sequence[str], exclude: Sequence[str], *, metadata_only: bool = False
) -> Callable[[str], bool]:
    """Return whether a path is wanted.

    Globs are gitignore's: `*.yml` anywhere, `/data` at the top, `logs/` a directory, `**` across
    directories. A path is wanted if an include matches it (or there's none) and no exclude does.

    Args:
        include: globs of what is wanted; empty for everything.
        exclude: globs of what isn't.
        metadata_only: whether no file is wanted.

    Example:
        >>> wanted = selector(["*.yml"], ["secret.yml"])
        >>> wanted("a/model.yml"), wanted("secret.yml"), wanted("model.h5")
        (True, False, False)
    """
    if metadata_only:
        return lambda path: False
    if not include and not exclude:
        return lambda path: True
    from pathspec import GitIgnoreSpec

    included = GitIgnoreSpec.from_lines(include)
    excluded = GitIgnoreSpec.from_lines(exclude)
    return lambda path: (not include or included.match_file(path)) and not excluded.match_file(path)
