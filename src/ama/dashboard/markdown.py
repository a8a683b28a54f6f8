"""Markdown as HTML that is safe in a page: nothing in it runs, loads anything, or takes long.

HTML in it is text. A link leads only to a web page or an address of mail; an image is a link.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from functools import cache
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

from ama.errors import shown

MOST_DEPTH = 20
"""The most blocks and marks within each other; what is deeper is text."""

_Env = MutableMapping[str, Any]

_ADDRESS = re.compile(r"(?:https?://|mailto:)[^\s]", re.IGNORECASE).match
_TABLE = '<div class="scroll" tabindex="0" role="region" aria-label="Table"><table class="list">\n'


def render(text: str) -> str:
    r"""Return Markdown as HTML that is safe in a page.

    Example:
        >>> render("# A *model*\n\n<b>1</b>")
        '<h3>A <em>model</em></h3>\n<p>&lt;b&gt;1&lt;/b&gt;</p>\n'
    """
    parser = _parser()
    tokens = list(map(_plain, parser.parse(plain_text(text))))
    return str(parser.renderer.render(tokens, parser.options, {}))


def plain_text(text: str) -> str:
    """Return a text of several lines with characters written out that a browser would not show."""
    return "\n".join(
        "\t".join(map(shown, line.split("\t"))) for line in text.replace("\r\n", "\n").split("\n")
    )


def _leads_out(url: str) -> bool:
    return _ADDRESS(url) is not None


def beginning(text: str, most: int = 200) -> str:
    r"""Return the first paragraph of Markdown without its marks, for where only text fits.

    Example:
        >>> beginning("# Models\n\nof *text*"), beginning("# Models")
        ('of text', 'Models')
    """
    found = ""
    is_title = False
    for token in _parser().parse(plain_text(text[:2000])):
        if token.type == "inline":
            marked = _without_images(token.children or ())
            said = "".join(
                " " if each.type in ("softbreak", "hardbreak") else each.content for each in marked
            ).strip()
            found = found or said
            if said and not is_title:
                found = said
                break
        is_title = token.type == "heading_open"
    return found if len(found) <= most else f"{found[:most]}…"


class _Parser(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802 - the name that it is called by
        return _leads_out(url)


class _Renderer(RendererHTML):
    """Writes texts as they are shown elsewhere, and no attribute but those that `_plain` leaves."""

    def text(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: _Env) -> str:
        # An entity may stand for a character that a browser would not show.
        return escape(plain_text(tokens[idx].content.replace("\N{NO-BREAK SPACE}", " ")))

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: _Env) -> str:
        return f'<pre tabindex="0"><code>{escape(tokens[idx].content)}</code></pre>\n'

    def code_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: _Env) -> str:
        return self.fence(tokens, idx, options, env)

    def table_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: _Env) -> str:
        return _TABLE

    def table_close(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: _Env
    ) -> str:
        return "</table></div>\n"


@cache
def _parser() -> MarkdownIt:
    options = {"html": False, "maxNesting": MOST_DEPTH}
    made = _Parser("commonmark", options, renderer_cls=_Renderer)
    return made.enable(["table", "strikethrough"])


def _plain(token: Token) -> Token:
    """Return a token with only the attributes that a page needs."""
    kept: dict[str, str | int | float] = {}
    if token.type == "heading_open" or token.type == "heading_close":
        # The page has its own headings above these.
        token.tag = f"h{min(6, int(token.tag[1:]) + 2)}"
    elif token.type == "ordered_list_open" and "start" in token.attrs:
        kept = {"start": token.attrs["start"]}
    elif token.type in ("th_open", "td_open"):
        kept = {"scope": "col"} if token.type == "th_open" else {}
        if token.attrs.get("style") == "text-align:right":
            kept["class"] = "num"
    elif token.type == "link_open":
        kept = {"href": str(token.attrs["href"]), "rel": "noopener noreferrer nofollow"}
    token.attrs = kept
    if token.children is not None:
        token.children = list(map(_plain, _without_images(token.children)))
    return token


def _without_images(tokens: Iterable[Token]) -> Iterator[Token]:
    """Yield a line's tokens, with links instead of images: no page loads one from elsewhere."""
    link: Token | None = None
    for token in tokens:
        if token.type == "link_open":
            link = token
        if token.type == "image":
            source = str(token.attrs.get("src", ""))
            linked = link is None and _leads_out(source)
            if linked:
                yield Token("link_open", "a", 1, attrs={"href": source})
            yield Token("text", "", 0, content=token.content or "image")
            if linked:
                yield Token("link_close", "a", -1)
        # `[a]()` leads nowhere.
        elif not token.type.startswith("link_") or _leads_out(str(link and link.attrs["href"])):
            yield token
        if token.type == "link_close":
            link = None
