"""Markdown as HTML, for previews: a small part of it, and nothing of what a file says is HTML.

Every text is escaped before a tag is put around it, so that there are no tags but those made here.
Images and HTML stay text; links lead to http and https only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from html import escape
from itertools import takewhile

_HEADING = re.compile(r"(#{1,6})[ \t]+(.*)").fullmatch
_BULLET = re.compile(r"[ \t]{0,8}[-*+][ \t]+(.*)").fullmatch
_NUMBERED = re.compile(r"[ \t]{0,8}[0-9]{1,9}[.)][ \t]+(.*)").fullmatch
_RULE = re.compile(r"[ ]{0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}").fullmatch
_QUOTE = re.compile(r"[ ]{0,3}>[ ]?(.*)").fullmatch
_INLINE = re.compile(
    r"`(?P<code>[^`\n]{1,2000})`"
    r"|(?<!!)\[(?P<text>[^\[\]\n]{1,500})\]\((?P<url>https?://[^\s()<>\"']{1,2000})\)"
    r"|\*\*(?P<strong>[^*\n]{1,2000})\*\*"
    r"|\*(?P<em>[^*\s][^*\n]{0,2000})\*"
)
_FENCE = ("```", "~~~")
_BETWEEN_CELLS = re.compile(r"(?<!\\)\|")
_DASHES = re.compile(r":?-+:?").fullmatch
MOST_COLUMNS = 50
"""What has more columns is no table: no page could show it."""

_Fits = Callable[[str], re.Match[str] | None]


def render(text: str) -> str:
    r"""Return Markdown as HTML that is safe to stand in a page.

    Example:
        >>> render("# A *model*\n\n<b>1</b>")
        '<h3>A <em>model</em></h3>\n<p>&lt;b&gt;1&lt;/b&gt;</p>'
    """
    return "\n".join(_blocks(text.splitlines()))


def _blocks(lines: list[str]) -> Iterator[str]:
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.lstrip().startswith(_FENCE):
            mark = line.lstrip()[:3]
            end = _until(lines, at + 1, partial(_starts, mark))
            yield f"<pre><code>{escape(chr(10).join(lines[at + 1 : end]))}</code></pre>"
            at = end + 1
        elif not line.strip():
            at += 1
        elif heading := _HEADING(line):
            # The page has headings of its own above these.
            level = min(6, len(heading[1]) + 2)
            yield f"<h{level}>{_inline(_without_closing(heading[2]))}</h{level}>"
            at += 1
        elif _RULE(line):
            yield "<hr>"
            at += 1
        elif columns := _columns(lines, at):
            end = _until(lines, at + 2, _ends_a_paragraph)
            yield _table(columns, [line, *lines[at + 2 : end]])
            at = end
        elif (kind := _kind(line)) is not None:
            tag, pattern = kind
            items = [
                _inline(match[match.lastindex or 0])
                for match in takewhile(bool, map(pattern, lines[at:]))
                if match
            ]
            end = at + len(items)
            if tag == "blockquote":
                yield f"<blockquote><p>{'<br>'.join(items)}</p></blockquote>"
            else:
                yield f"<{tag}>{''.join(f'<li>{item}</li>' for item in items)}</{tag}>"
            at = end
        else:
            end = at + 1
            while end < len(lines) and not (_ends_a_paragraph(lines[end]) or _columns(lines, end)):
                end += 1
            yield f"<p>{_inline(' '.join(lines[at:end]))}</p>"
            at = end


def _without_closing(title: str) -> str:
    """A title without the marks that may close it; a pattern for them would take cubic time."""
    return title.rstrip(" \t").rstrip("#").rstrip(" \t")


def _starts(mark: str, line: str) -> bool:
    return line.lstrip().startswith(mark)


def _until(lines: list[str], start: int, ends: Callable[[str], object]) -> int:
    return next((at for at in range(start, len(lines)) if ends(lines[at])), len(lines))


def _kind(line: str) -> tuple[str, _Fits] | None:
    for tag, pattern in (("ul", _BULLET), ("ol", _NUMBERED), ("blockquote", _QUOTE)):
        if pattern(line):
            return tag, pattern
    return None


def _ends_a_paragraph(line: str) -> bool:
    if not line.strip() or line.lstrip().startswith(_FENCE):
        return True
    return bool(_HEADING(line) or _RULE(line) or _kind(line))


def _columns(lines: list[str], at: int) -> list[str]:
    """The classes of the columns of a table whose head is this line; none where there is none."""
    if at + 1 >= len(lines) or "|" not in lines[at] or "-" not in lines[at + 1]:
        return []
    dashes, head = _cells(lines[at + 1]), _cells(lines[at])
    if len(dashes) != len(head) or len(head) > MOST_COLUMNS or not all(map(_DASHES, dashes)):
        return []
    return [' class="num"' if each.endswith(":") and each[0] != ":" else "" for each in dashes]


def _cells(line: str) -> list[str]:
    """The texts between the bars of a line of a table; one behind a backslash is no such bar."""
    inside = line.strip().removeprefix("|")
    cells = [cell.strip().replace(r"\|", "|") for cell in _BETWEEN_CELLS.split(inside)]
    return cells[:-1] if len(cells) > 1 and not cells[-1] else cells


def _table(columns: list[str], lines: list[str]) -> str:
    head, *rows = [
        [(kind, _inline(cell)) for kind, cell in zip(columns, _cells(line), strict=False)]
        for line in lines
    ]
    titles = "".join(f'<th scope="col"{kind}>{cell}</th>' for kind, cell in head)
    body = "".join(
        f"<tr>{''.join(f'<td{kind}>{cell}</td>' for kind, cell in row)}</tr>" for row in rows
    )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Table"><table class="list">'
        f"<thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _inline(text: str) -> str:
    parts = []
    at = 0
    for match in _INLINE.finditer(text):
        parts.append(escape(text[at : match.start()]))
        at = match.end()
        if match["code"]:
            parts.append(f"<code>{escape(match['code'])}</code>")
        elif match["url"]:
            url, label = escape(match["url"]), escape(match["text"])
            parts.append(f'<a href="{url}" rel="noopener noreferrer nofollow">{label}</a>')
        elif match["strong"]:
            parts.append(f"<strong>{escape(match['strong'])}</strong>")
        else:
            parts.append(f"<em>{escape(match['em'])}</em>")
    parts.append(escape(text[at:]))
    return "".join(parts)
