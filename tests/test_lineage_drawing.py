"""Lineage as a tree, as Mermaid and DOT, and as a picture, of any graph that a store may claim."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import combinations, pairwise
from types import FrameType
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ama.cli.output import plain
from ama.lineage.formats import ASCII, TreeLine, as_mapping, dot, mermaid, tree_lines
from ama.lineage.graph import Graph, Lineage, LineageEdge, LineageNode
from ama.lineage.layout import Layout, Size, arranged, planned, shortened, width
from ama.lineage.ordering import Edge, columns, crossings
from ama.lineage.svg import svg

NAMESPACE = "{http://www.w3.org/2000/svg}"
START = datetime(2026, 11, 1, 9, tzinfo=UTC)
HOSTILE = [
    'a"]-->x; %% `md`',
    "</text></svg><script>alert(1)</script>",
    "]]>&amp;&#0;#quot;",
    '\\N\\"\\',
    "line\nbreak\x00\x1b[31m\u202e\ud800\ufffe",
    "日本語" * 300,
]
texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=20))


def asset_id(number: int) -> str:
    return f"{number:08x}" * 8


def node(at: int, /, **fields: Any) -> LineageNode:
    known: dict[str, Any] = {
        "class_name": "models",
        "number": at + 1,
        "aliases": (),
        "author": "Ann Lee <ann@example.com>",
        "created_at": START + timedelta(hours=at),
    }
    return LineageNode(asset_id(at), **{**known, **fields})


def lineage(count: int, edges: Sequence[Edge], *, root: int = 0, label: str = "") -> Lineage:
    """A lineage of so many assets; each edge leads from a source to what was made from it."""
    links = [LineageEdge(asset_id(b), asset_id(a), "ref", label) for a, b in edges]
    return Lineage(asset_id(root), tuple(map(node, range(count))), tuple(links))


@st.composite
def lineages(draw: st.DrawFn) -> Lineage:
    """Anything that a store may claim: cycles, the same twice, assets that aren't there."""
    count = draw(st.integers(1, 14))
    nodes = [
        node(
            number,
            class_name=draw(st.sampled_from(["models", "data", "sequence_models", *HOSTILE])),
            number=draw(st.sampled_from([None, number, 10**9])),
            aliases=tuple(draw(st.lists(texts, max_size=4))),
            author=draw(texts),
            message=draw(texts),
            created_at=draw(st.sampled_from([None, START, START + timedelta(days=number)])),
            status=draw(st.sampled_from(["active", "deprecated", "deleted"])),
            here=draw(st.booleans()),
        )
        for number in range(count)
    ]
    ends = st.integers(0, count).map(asset_id)
    kinds = st.sampled_from(["ref", "parent"])
    edges = draw(st.lists(st.builds(LineageEdge, ends, ends, kinds, texts), max_size=30))
    return Lineage(asset_id(0), tuple(nodes), tuple(edges), draw(st.booleans()))


@st.composite
def acyclic(draw: st.DrawFn) -> tuple[int, list[Edge]]:
    count = draw(st.integers(1, 16))
    pairs = [*combinations(range(count), 2)]
    return count, draw(st.lists(st.sampled_from(pairs), max_size=40)) if pairs else []


def reached(graph: Graph, start: str, *, up: bool) -> set[str]:
    found, waiting = {start}, [start]
    while waiting:
        asset = waiting.pop()
        links = graph.sources[asset] if up else graph.products[asset]
        new = {link.source if up else link.made for link in links} - found
        found |= new
        waiting += new
    return found


# The value


@given(lineages())
def test_each_pair_is_linked_once_and_only_cycles_are_closed(lineage: Lineage) -> None:
    graph = lineage.graph()
    pairs = [(link.made, link.source) for link in graph.links]
    known = {node.id for node in lineage.nodes}
    claimed = {(edge.made, edge.source) for edge in lineage.edges}
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == {pair for pair in claimed if {*pair} <= known}
    for link in graph.closing:
        assert link.source in reached(graph, link.made, up=False)
    left = tuple(
        LineageEdge(link.made, link.source, "ref")
        for link in graph.links
        if link not in graph.closing
    )
    assert not Lineage(lineage.root, lineage.nodes, left).graph().closing


@given(lineages(), st.integers(1, 14))
def test_the_nearest_are_those_that_hang_together_with_the_root(
    lineage: Lineage, limit: int
) -> None:
    part = lineage.nearest(limit)
    graph = lineage.graph()
    assert len(part.nodes) == min(limit, len(part.nodes))
    assert lineage.root in {node.id for node in part.nodes}
    assert part.cut or part.nodes == lineage.nodes
    assert part.nearest(limit) == part
    assert {link.made for link in part.graph().links} <= set(graph.nodes)


def test_a_root_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="not among the nodes"):
        lineage(2, [], root=2)


# The tree


def tree(lineage: Lineage, **options: Any) -> list[TreeLine]:
    return [*tree_lines(lineage, **options)]


def test_the_tree_of_a_model() -> None:
    data = node(0, class_name="data", number=1, aliases=("corpus",))
    base = node(1, number=1, status="deprecated")
    tuned = node(2, number=2, aliases=("best", "latest"))
    quantised = node(3, number=3, author="", created_at=None, here=False)
    edges = [
        LineageEdge(base.id, data.id, "ref", "training data"),
        LineageEdge(tuned.id, data.id, "ref", "training data"),
        LineageEdge(tuned.id, base.id, "parent"),
        LineageEdge(tuned.id, base.id, "ref", "weights"),
        LineageEdge(quantised.id, tuned.id, "parent"),
    ]
    shown = Lineage(tuned.id, (data, base, tuned, quantised), tuple(edges), cut=True)
    assert [line.text for line in tree(shown)] == [
        "models/2 (0000000200) @best @latest  Ann Lee, 2026-11-01",
        "made from:",
        "├── data/1 (0000000000) @corpus as training data  Ann Lee, 2026-11-01",
        "└── models/1 (0000000100) [deprecated] as parent, weights  Ann Lee, 2026-11-01",
        "    └── data/1 (0000000000) as training data (see above)",
        "made into:",
        "└── models/3 (0000000300) [not in this store], used it as parent",
        "there is more: not all of the lineage is shown",
    ]
    assert [line.text for line in tree(shown, up=False, branches=ASCII)][2].startswith(
        "`-- models/3"
    )


def test_what_was_cut_off_is_not_said_to_be_nothing() -> None:
    alone = node(1, number=1)
    assert [line.text for line in tree(Lineage(alone.id, (alone,), (), cut=True))] == [
        "models/1 (0000000100)  Ann Lee, 2026-11-01",
        "there is more: not all of the lineage is shown",
    ]
    assert [line.text for line in tree(Lineage(alone.id, (alone,), ()))][1:] == [
        "made from nothing else",
        "nothing was made from it",
    ]


@given(lineages())
def test_each_asset_is_shown_in_full_once_in_a_tree(lineage: Lineage) -> None:
    graph = lineage.graph()
    for up in (True, False):
        _, *lines = tree(lineage, up=up, down=not up)
        full = [line.node.id for line in lines if line.node and not line.repeated]
        assert sorted(full) == sorted(reached(graph, lineage.root, up=up) - {lineage.root})
        assert all(line.text.isprintable() for line in lines)
        assert all(len(line.text) < 800 for line in lines)


def test_a_cycle_is_shown_where_it_closes() -> None:
    lines = [line.text for line in tree(lineage(3, [(0, 1), (1, 2), (2, 1), (1, 1)]), up=False)]
    assert sum("closes a cycle" in line for line in lines) == 2
    assert "closes a cycle" in mermaid(lineage(1, [(0, 0)]))
    assert "closes a cycle" in dot(lineage(1, [(0, 0)]))
    assert "closes a cycle" in svg(lineage(1, [(0, 0)]))


def test_a_deep_tree_goes_on_at_the_margin() -> None:
    lines = tree(lineage(3000, [*pairwise(range(3000))]))
    assert sum(len(line.text) for line in lines) < 3000 * 200
    assert len({line.node.id for line in lines if line.node}) == 3000
    assert any("continued below" in line.text for line in lines)


# Mermaid, DOT and JSON

MERMAID = re.compile(
    r"  (?:n\d+|more)\[\"(?:[\w /@.,+()…-]|#\d+;|<br/>)*\"\](?::::absent)?"
    r"|  n\d+ (?:-->|==>|-\.->)(?:\|\"(?:[\w /@.,+()…-]|#\d+;)+\"\|)? n\d+"
    r"|  class n\d+ (?:root|deprecated|deleted|absent)"
    r"|  classDef [a-z]+ [a-z0-9#:, -]+"
)
QUOTED = r'"(?:[^"\\]|\\["\\n])*"'
LIST = rf"\[(?:[a-z]+=(?:{QUOTED}|[\w.]+)(?:, )?)+\]"
DOT = re.compile(
    rf"  (?:rankdir=LR|(?:n\d+ -> n\d+|n\d+|more|node)(?: {LIST})?(?:; edge {LIST})?);"
)


@given(lineages())
def test_nothing_in_mermaid_or_dot_means_more_than_its_letters(lineage: Lineage) -> None:
    first, *lines = mermaid(lineage).splitlines()
    assert first == "flowchart LR"
    assert [line for line in lines if not MERMAID.fullmatch(line)] == []
    first, *lines, last = dot(lineage).splitlines()
    assert (first, last) == ("digraph lineage {", "}")
    assert [line for line in lines if not DOT.fullmatch(line)] == []


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_what_it_is_given() -> None:
    nodes = tuple(node(at, author=text, aliases=(text,)) for at, text in enumerate(HOSTILE))
    edges = tuple(
        LineageEdge(asset_id(at), asset_id(0), "ref", text) for at, text in enumerate(HOSTILE)
    )
    text = dot(Lineage(asset_id(0), nodes, edges, cut=True))
    drawn = subprocess.run(
        ["dot", "-Tjson"], input=text.encode(), capture_output=True, check=True, timeout=60
    )
    graph = json.loads(drawn.stdout)
    assert len(graph["objects"]) == len(HOSTILE) + 1
    assert len(graph["edges"]) == len(HOSTILE)


@given(lineages())
def test_the_mapping_is_json_and_has_each_edge_once(lineage: Lineage) -> None:
    mapping: Any = json.loads(json.dumps(as_mapping(lineage)))
    assert mapping == plain(as_mapping(lineage))
    edges = [tuple(edge.values()) for edge in mapping["edges"]]
    known = {node["id"] for node in mapping["nodes"]}
    assert len(edges) == len(set(edges))
    assert all({made, source} <= known for made, source, _, _ in edges)


# Where things lie


def drawn(count: int, edges: Sequence[Edge], most_cells: int = 10_000) -> Layout:
    plan = planned(count, edges, [at % 2 == 0 for at in range(len(edges))], most_cells)
    return arranged(plan, *sizes(count, len(edges)))


def sizes(count: int, edges: int) -> tuple[list[Size], list[Size | None]]:
    boxes = [Size(100.0 + box % 3 * 20, 40.0 + box % 4 * 15) for box in range(count)]
    return boxes, [Size(60.0, 14.0) if at % 2 == 0 else None for at in range(edges)]


Rectangle = tuple[float, float, float, float]


def rectangle(middle: tuple[float, float], size: Size) -> Rectangle:
    along, across = middle
    return (
        along - size.along / 2,
        along + size.along / 2,
        across - size.across / 2,
        across + size.across / 2,
    )


def overlap(a: Rectangle, b: Rectangle, slack: float = 0.001) -> bool:
    return (
        a[0] < b[1] - slack and b[0] < a[1] - slack and a[2] < b[3] - slack and b[2] < a[3] - slack
    )


@given(acyclic())
def test_boxes_and_labels_overlap_nowhere_and_edges_stay_clear_of_boxes(
    graph: tuple[int, list[Edge]],
) -> None:
    count, edges = graph
    layout = drawn(count, edges)
    box_sizes, label_sizes = sizes(count, len(edges))
    boxes = [*map(rectangle, layout.boxes, box_sizes)]
    labels = [
        rectangle(route.label, size)
        for route, size in zip(layout.routes, label_sizes, strict=True)
        if route.label and size
    ]
    assert len(labels) == (len(edges) + 1) // 2
    assert not any(overlap(a, b) for a, b in combinations(boxes + labels, 2))
    for left, right, top, bottom in boxes + labels:
        assert -0.001 <= left < right <= layout.along + 0.001
        assert -0.001 <= top < bottom <= layout.across + 0.001
    for (a, b), route in zip(edges, layout.routes, strict=True):
        first, last = route.points[0], route.points[-1]
        assert boxes[a][1] == pytest.approx(first[0])
        assert boxes[b][0] == pytest.approx(last[0])
        assert boxes[a][2] < first[1] < boxes[a][3]
        assert boxes[b][2] < last[1] < boxes[b][3]
        for before, after in pairwise(route.points):
            # From left to right always. Where it bends, the whole strip must be free of boxes.
            assert before[0] <= after[0]
            bent = before[1] != after[1]
            high, low = (-1.0, 1e9) if bent else (before[1], before[1] + 0.01)
            strip = before[0], after[0], high, low
            assert not any(overlap(strip, box, 0.005) for box in boxes)


@given(acyclic())
def test_what_has_no_cells_still_leads_from_box_to_box(graph: tuple[int, list[Edge]]) -> None:
    count, edges = graph
    layout = drawn(count, edges, most_cells=3)
    boxes = [*map(rectangle, layout.boxes, sizes(count, 0)[0])]
    for (a, b), route in zip(edges, layout.routes, strict=True):
        assert boxes[a][1] == pytest.approx(route.points[0][0])
        assert boxes[b][0] == pytest.approx(route.points[-1][0])


def test_the_longest_edges_go_without_cells_where_there_are_too_many() -> None:
    layout = drawn(10, [*pairwise(range(10)), (0, 9)], most_cells=9)
    assert [route.direct for route in layout.routes] == [False] * 9 + [True]


def test_a_cycle_has_no_layers() -> None:
    with pytest.raises(ValueError, match="cycle"):
        planned(2, [(0, 1), (1, 0)], [False, False])


@given(acyclic(), st.randoms(use_true_random=False))
def test_crossings_are_those_of_all_pairs(
    graph: tuple[int, list[Edge]], chance: random.Random
) -> None:
    count, edges = graph
    cells = columns(count, edges, [False] * len(edges))
    order = [chance.sample(column, len(column)) for column in cells.cells]
    place = {cell: at for column in order for at, cell in enumerate(column)}
    segments = [[(place[a], place[b]) for a in column for b in cells.right[a]] for column in order]
    expected = sum(
        (a - c) * (b - d) < 0 for gap in segments for (a, b), (c, d) in combinations(gap, 2)
    )
    assert crossings(cells, order) == expected


@pytest.mark.parametrize("seed", range(20))
def test_a_tree_has_no_crossings(seed: int) -> None:
    chance = random.Random(seed)
    down = [(chance.randrange(max(0, b - 9), b), b) for b in range(1, 80)]
    up = [(80 - b, 80 - a) for a, b in down]
    assert drawn(80, down).crossings == 0
    assert drawn(81, up).crossings == 0
    # What a model was made from and what was made from it.
    both = [*up, *((a + 80, b + 80) for a, b in down)]
    assert drawn(160, both).crossings == 0


def test_few_crossings_where_there_must_be_some() -> None:
    ladder = [(at, at + 2) for at in range(28)] + [(at, at + 3) for at in range(0, 26, 2)]
    assert drawn(30, ladder).crossings == 0
    butterfly = [(a, b) for a in range(3) for b in range(3, 6)]
    assert drawn(6, butterfly).crossings == 9


# The picture


def parsed(picture: str) -> ElementTree.Element:
    return ElementTree.fromstring(picture.encode("utf-8"))


@given(lineages())
def test_any_lineage_is_a_picture(lineage: Lineage) -> None:
    picture = parsed(svg(lineage))
    names = {element.tag.removeprefix(NAMESPACE) for element in picture.iter()}
    assert names <= {"svg", "title", "desc", "style", "rect", "path", "g", "text", "tspan"}
    attributes = {name for element in picture.iter() for name in element.attrib}
    assert not any(name.startswith("on") or "href" in name for name in attributes)
    boxes = [element for element in picture.iter() if element.get("rx") == "5"]
    assert len(boxes) == len(lineage.nodes)
    assert sum("ama-root" in element.get("class", "") for element in boxes) == 1
    arrows = [e for e in picture.iter() if e.get("class") in {"ama-head", "ama-closing-head"}]
    graph = lineage.graph()
    assert len(arrows) == len(graph.links)
    assert sum(e.get("class") == "ama-closing-head" for e in arrows) == len(graph.closing)
    assert picture.get("role") == "img"
    assert picture.get("aria-label")


@given(lineages(), st.randoms(use_true_random=False))
def test_the_order_of_what_is_claimed_changes_nothing(
    lineage: Lineage, chance: random.Random
) -> None:
    nodes = chance.sample(lineage.nodes, len(lineage.nodes))
    edges = chance.sample(lineage.edges, len(lineage.edges))
    again = Lineage(lineage.root, tuple(nodes), (*edges, *edges), lineage.cut)
    for show in (svg, mermaid, dot, as_mapping, lambda lineage: tree(lineage)):
        assert show(lineage) == show(again)


def test_names_are_shown_as_they_are() -> None:
    text = "<R&D> 'ann' \"lee\""
    picture = parsed(svg(Lineage(asset_id(0), (node(0, author=text, aliases=(text,)),), ())))
    assert f"@{text}" in {element.text for element in picture.iter()}
    assert any((element.text or "").startswith(text) for element in picture.iter())


def test_long_names_are_shortened_and_keep_their_number() -> None:
    long = node(0, class_name="m" * 100, number=123, aliases=tuple(f"a{at}" for at in range(50)))
    picture = parsed(svg(Lineage(long.id, (long,), ())))
    wide = float(next(e for e in picture.iter() if e.get("rx") == "5").attrib["width"])
    lines = [element for element in picture.iter(f"{NAMESPACE}text") if element.get("font-size")]
    names = [span.text or "" for line in lines for span in line if line.get("font-weight")]
    assert names[0].endswith("…/123")
    assert width(names[0], 12.5, bold=True) + width(names[1], 10.5) < wide
    assert any("and 47 more" in (e.text or "") for e in picture.iter())


@given(st.text(max_size=80), st.floats(20, 300))
def test_a_shortened_text_fits(text: str, room: float) -> None:
    short = shortened(text, room, 10)
    assert short == text or short.endswith("…")
    assert width(short, 10) <= max(room, width("…", 10)) + 1e-6


def test_an_asset_leads_where_its_address_says() -> None:
    addresses = {asset_id(0): 'asset?id=0&x="<>', asset_id(1): None}
    picture = parsed(svg(lineage(2, [(0, 1)]), href=lambda node: addresses[node.id]))
    links = [*picture.iter(f"{NAMESPACE}a")]
    assert [link.get("href") for link in links] == ['asset?id=0&x="<>']
    assert picture.get("role") == "group"


def test_a_long_chain_reads_downwards_and_a_fan_rightwards() -> None:
    chain = parsed(svg(lineage(30, [*pairwise(range(30))])))
    assert float(chain.attrib["height"]) > float(chain.attrib["width"])
    for count in (3, 15):
        fan = svg(lineage(count, [(0, at) for at in range(1, count)]))
        assert "from left to right" in fan


def test_a_picture_says_what_it_leaves_out() -> None:
    fan = svg(lineage(60, [(0, at) for at in range(1, 60)]), most_assets=50)
    assert "10 more assets are not shown" in fan
    mesh = svg(lineage(80, [*combinations(range(80), 2)]))
    assert "1,160 more links are not shown" in mesh


# Work is counted, not timed: lines of code that run.


def lines_run(work: Callable[[], object]) -> int:
    count = 0

    def local(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return local

    def traced(frame: FrameType, event: str, argument: object) -> Any:
        inside = "lineage" in frame.f_code.co_filename and event == "call"
        return local if inside else None

    before = sys.gettrace()
    sys.settrace(traced)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def shapes(count: int) -> Iterator[tuple[str, list[Edge]]]:
    chance = random.Random(count)
    yield "chain", [*pairwise(range(count))]
    yield "fan", [(0, at) for at in range(1, count)]
    yield "ring", [(at, (at + 1) % count) for at in range(count)]
    yield "chain with a hub", [*pairwise(range(count)), *((0, at) for at in range(2, count))]
    yield "mixed", [(chance.randrange(max(0, b - 40), b), b) for b in range(1, count) for _ in "ab"]
    yield "all of a few", [*combinations(range(int(count**0.5) * 2), 2)]


@pytest.mark.parametrize("shape", [name for name, _ in shapes(2)])
@pytest.mark.parametrize("show", [svg, mermaid, dot, tree, as_mapping])
def test_work_grows_with_what_there_is(shape: str, show: Callable[..., object]) -> None:
    def work(count: int) -> int:
        shown = lineage(count, dict(shapes(count))[shape], label="data")
        options = {"most_assets": count} if show is svg else {}
        return lines_run(lambda: show(shown, **options))

    small, large = work(100), work(400)
    assert large < 4 * small * 1.6 + 20_000


def test_a_picture_of_two_thousand_is_bounded() -> None:
    shown = lineage(2000, dict(shapes(2000))["mixed"], label="data")
    assert lines_run(lambda: svg(shown, most_assets=2000)) < 20_000_000
