"""Markdown on pages: nothing of it runs, whatever it says, and none takes long."""

from __future__ import annotations

import random
import time
from html.parser import HTMLParser

import pytest

from ama.dashboard.markdown import render

ALLOWED: dict[str, set[str]] = {
    **{
        name: set()
        for name in ("p h3 h4 h5 h6 ul li em strong s code blockquote hr br thead tbody tr".split())
    },
    "pre": {"tabindex"},
    "ol": {"start"},
    "th": {"scope", "class"},
    "td": {"class"},
    "div": {"class", "tabindex", "role", "aria-label"},
    "table": {"class"},
    "a": {"href", "rel"},
}
"""The elements that a page may get from Markdown, and their attributes."""

VOID = {"hr", "br"}


class Reader(HTMLParser):
    """What a browser makes of it: refuses what is not allowed, and what isn't closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.deepest = 0
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED, tag
        assert {name for name, _ in attrs} <= ALLOWED[tag], (tag, attrs)
        if tag == "a":
            assert "a" not in self.open
            told = dict(attrs)
            assert told["rel"] == "noopener noreferrer nofollow"
            href = told["href"] or ""
            assert href.lower().startswith(("http://", "https://", "mailto:")), href
            self.links.append(href)
        if tag not in VOID:
            self.open.append(tag)
            self.deepest = max(self.deepest, len(self.open))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        assert all(c.isprintable() or c in "\n\t" for c in data), repr(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n- b\n- c\n\n1. d", "<p>a</p><ul><li>b</li><li>c</li></ul><ol><li>d</li></ol>"),
        ("- a\n  - b", "<ul><li>a<ul><li>b</li></ul></li></ul>"),
        ("3. x", '<ol start="3"><li>x</li></ol>'),
        (
            "**b** *i* ~~s~~ `<c>`",
            "<p><strong>b</strong> <em>i</em> <s>s</s> <code>&lt;c&gt;</code></p>",
        ),
        ("```js\n<x>", '<pre tabindex="0"><code>&lt;x&gt;</code></pre>'),
        ("## a # b ## ", "<h4>a # b</h4>"),
        ("###### a", "<h6>a</h6>"),
        ("> a\n> b", "<blockquote><p>a b</p></blockquote>"),
        ("a  \nb", "<p>a<br /> b</p>"),
        ("[a](javascript:x)", "<p>[a](javascript:x)</p>"),
        ("![](file.png)", "<p>![](file.png)</p>"),
        (
            "a\n|`<b>`|\n|-|\n\n|c|",
            '<p>a</p><div class="scroll" tabindex="0" role="region" aria-label="Table">'
            '<table class="list"><thead><tr><th scope="col"><code>&lt;b&gt;</code></th></tr>'
            "</thead></table></div><p>|c|</p>",
        ),
    ],
)
def test_markdown(text: str, expected: str) -> None:
    found = render(text)
    Reader(found)
    joined = found.replace("<br />\n", "<br /> ").replace("a\nb", "a b").replace("\n", "")
    assert joined == expected


@pytest.mark.parametrize(
    ("text", "links", "said"),
    [
        ("[a](https://b/c?d=e&f#g)", ["https://b/c?d=e&f#g"], "a"),
        ("[a](HTTP://b 'title')", ["HTTP://b"], "a"),
        ("<https://a/b> <mailto:a@b.org>", ["https://a/b", "mailto:a@b.org"], "https://a/b"),
        ("![a *b*](https://c/d.png)", ["https://c/d.png"], "a *b*"),
        ("[![badge](https://a/b.svg)](https://c)", ["https://c"], "badge"),
        ("![](https://a/b)", ["https://a/b"], "image"),
        ("[a]\n\n[a]: https://b", ["https://b"], "a"),
        ("[a](javascript:alert(1))", [], "[a]("),
        ("[a](JaVa\tScRiPt:alert(1))", [], "[a]("),
        ("[a](java&#x73;cript:alert(1))", [], "[a]("),
        ("[a](&#106;avascript&colon;alert(1))", [], "[a]("),
        ("[a](vbscript:x) [b](data:text/html,<script>) [c](file:///etc/passwd)", [], "[a]("),
        ("[a](//evil.example) [b](/search?q=1) [c](#d) [d](e.md) [e](https:f)", [], "[a]("),
        ("[a]() ![b]()", [], "a b"),
        ("[a]\n\n[a]: javascript:x", [], "[a]"),
        ("<javascript:alert(1)>", [], "<javascript:alert(1)>"),
        ('[a](https://b"onmouseover="x)', ["https://b%22onmouseover=%22x"], "a"),
        ("![a](javascript:x)", [], "![a]("),
    ],
)
def test_links_lead_to_pages_only(text: str, links: list[str], said: str) -> None:
    found = Reader(render(text))
    assert found.links == links
    assert said in found.text


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "a <b onclick=x>b</b> <!-- c --> <?php ?> <![CDATA[x]]>",
        "<details open ontoggle=x>\n\n*a*\n\n</details>",
        "`<script>`",
        "    <script>",
        "```<script>\n<script>\n```",
        "| <script> |\n|-|\n| <img src=x> |",
        "[<script>](https://a)",
        "&lt;script&gt;&#60;script&#62;",
        "![<script>](https://a)",
    ],
)
def test_html_in_it_is_text(text: str) -> None:
    found = Reader(render(text))
    assert "<" in found.text or "*a*" not in found.text
    assert "<script" not in render(text)


def test_characters_that_are_not_shown_are_written_out() -> None:
    found = Reader(render("a&#x202e;b &#8203; &#xad; c&nbsp;d"))
    assert found.text.strip() == r"a\u202eb \u200b \xad c d"


@pytest.mark.parametrize(
    ("text", "head", "rows"),
    [
        ("| a | b |\n|:--|--:|\n| 1 | 2 |", "a b", ["1 2"]),
        ("a|b\n-|-\n1|2|3\n4\n- c", "a b", ["1 2", "4"]),
        ("text\n| a |\n|---|\n| x \\| `y` |\n\n| b |", "a", ["x | y"]),
    ],
)
def test_markdown_has_tables(text: str, head: str, rows: list[str]) -> None:
    page = render(text)
    Reader(page)
    titles, *others = [" ".join(Reader(f"<p>{row}</p>").text.split()) for row in rows_of(page)]
    assert (titles, others) == (head, rows)
    assert page.count('<td class="num">') == text.count("--:")


def rows_of(page: str) -> list[str]:
    return [part.partition("</tr>")[0] for part in page.split("<tr>")[1:]]


SIZE = 64 * 1024
LONG = {
    "title": "# " + " " * SIZE + "x",
    "bars": "|" * SIZE + "\n" + "|-" * (SIZE // 2),
    "rows": "a|b\n-|-\n" * (SIZE // 8),
    "empty rows": "a|b\n-|-\n" + "|\n" * (SIZE // 2),
    "dashes": "a|b\n" + "-" * SIZE + "x",
    "quotes": "> " * (SIZE // 2) + "a",
    "lists": "- " * (SIZE // 2) + "a",
    "deeper and deeper": "".join("  " * n + "- a\n" for n in range(250)),
    "both": "> - " * (SIZE // 4),
    "brackets": "[" * SIZE,
    "images": "![" * (SIZE // 2),
    "open links": "[a](" * (SIZE // 4),
    "links in links": "[[a](b)" * (SIZE // 7),
    "stars": "*" * SIZE,
    "open marks": "**a *b " * (SIZE // 7),
    "both marks": "*a_ " * (SIZE // 4),
    "ticks": " ".join("`" * n for n in range(1, 360)),
    "definitions": "".join(f"[a{n}]: https://u\n" for n in range(3000)) + "[a1] " * 3000,
    "tags": "<a " * (SIZE // 3),
    "entities": "&#x26;" * (SIZE // 6),
    "fences": "```\n" * (SIZE // 4),
    "lines": "a\n" * (SIZE // 2),
}


@pytest.mark.parametrize("name", LONG)
def test_no_markdown_takes_long(name: str) -> None:
    text = LONG[name]
    started = time.process_time()
    page = render(text)
    assert time.process_time() - started < 4  # of which a slow machine takes most
    assert len(page) < 20 * len(text)
    assert Reader(page).deepest <= 50


@pytest.mark.parametrize("seed", range(20))
def test_whatever_it_says_the_page_is_whole(seed: int) -> None:
    pick = random.Random(seed)
    parts = (
        "[ ] ( ) ![ ]( <a <script> </p> ` ``` * ** _ ~~ # > - 1. | |-| \n \n\n \t & &#60; \\ \" '"
    )
    words = [*parts.split(" "), " ", "\n", "https://a", "javascript:", "\x00", "‮", "é", "]: "]
    for _ in range(40):
        Reader(render("".join(pick.choice(words) for _ in range(200))))
