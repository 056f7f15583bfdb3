"""Drawings of workflows: nothing overlaps, everything fits, and states are told in words as well."""

import re
from collections import Counter
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks_cli.drawing import layout, mermaid, svg, text
from tasks_cli.drawing.colours import COLOURS
from tasks_cli.drawing.words import SIGNS, duration, facts
from tasks_cli.workflow_history import Items, NodeRun, NodeState, item_errors
from tasks_cli.workflows import Each, Node

SVG = "{http://www.w3.org/2000/svg}"


def node(name: str, **more: Any) -> Node:
    return Node(name, f"shop.etl.{name}", more.pop("on", "Shop/Etl"), more.pop("via", "lambda"), **more)


def seed_page() -> Node:
    """The graph of the page of easyjobs."""
    configure = node("configure_environment", before=(node("deploy_environment"), node("prepare_db")))
    compute = node("compute", subprocess=True, before=(configure,))
    load = node("load", failure=node("failure_notify"), after=(compute,))
    return node("extract", after=(node("transform", after=(load,)),))


def wide() -> Node:
    each = node(
        "resize",
        on="Shop/Images",
        via="sqs",
        wait=1800.0,
        each=Each(40, node("publish")),
        before=(node("warm"),),
        failure=node("report"),
    )
    failure = node("notify", before=(node("look_up"),), after=(node("escalate", wait=60.0),))
    return node("scan", before=tuple(node(f"check{n}") for n in range(4)), failure=failure, after=(each, node("audit")))


def deep(depth: int = 25) -> Node:
    graph = node("last")
    for number in range(depth):
        more: dict[str, Any] = {"after": (graph, node(f"side{number}")) if number % 5 == 0 else (graph,)}
        if number % 3 == 0:
            more["before"] = (node(f"before{number}"),)
        if number % 4 == 0:
            more["failure"] = node(f"failure{number}")
        graph = node(f"step{number}", **more)
    return graph


def many() -> Node:
    """Too much to stand side by side: boxes alone, branches, and both."""
    checks = tuple(node(f"check_{'stock' if number % 3 else 'everything'}_{number}") for number in range(40))
    branches = tuple(
        node(f"import_{n}", failure=node(f"alarm_{n}"), after=(node(f"index_{n}", before=(node(f"lock_{n}"),)),))
        for n in range(20)
    )
    single = node("load", before=checks, after=branches)
    return node("order", after=(*(node(f"notify_{number}") for number in range(250)), single))


GRAPHS = {"seed": seed_page(), "wide": wide(), "deep": deep(), "one": node("alone"), "many": many()}


def children() -> Any:
    names = st.text(min_size=1, max_size=70)
    leaves = st.builds(lambda name: node(name, on=name), names)

    def grown(inner: Any) -> Any:
        some = st.lists(inner, max_size=3).map(tuple)
        each = st.none() | st.builds(Each, st.integers(1, 10_000), st.none() | inner)
        return st.builds(
            node,
            names,
            before=some,
            after=some,
            failure=st.none() | inner,
            each=each,
            wait=st.sampled_from([0.0, 90.0]),
            subprocess=st.booleans(),
        )

    return st.recursive(leaves, grown, max_leaves=12)


def renamed(graph: Node) -> Node:
    """The graph with a name for each node that no other has, as the names of a workflow's are."""
    numbers = iter(range(10_000))

    def of(one: Node) -> Node:
        each = one.each and Each(one.each.max_concurrency, one.each.then and of(one.each.then))
        return one._replace(
            name=f"{one.name}{next(numbers)}",
            before=tuple(map(of, one.before)),
            after=tuple(map(of, one.after)),
            failure=one.failure and of(one.failure),
            each=each,
        )

    return of(graph)


def told(graph: Node) -> dict[str, NodeRun]:
    """Every state, one after another."""
    states = list(NodeState)
    return {
        one.name: NodeRun(states[number % len(states)], 2, 0.0, 90.0, "ValueError: <bad> & 'worse' " * 4)
        for number, one in enumerate(graph.walk())
    }


def drawn(graph: Node) -> layout.Drawing:
    return layout.draw(graph, lambda one: svg._lines(one, told(graph)), lambda one: f"for each {one.name}")


def assert_well_placed(drawing: layout.Drawing) -> None:
    boxes = drawing.boxes
    for number, box in enumerate(boxes):
        assert box.x >= 0
        assert box.x + box.width <= drawing.width + 0.01
        assert box.y >= 0
        assert box.y + box.height <= drawing.height + 0.01
        for other in boxes[number + 1 :]:
            assert (
                box.x + box.width <= other.x
                or other.x + other.width <= box.x
                or box.y + box.height <= other.y
                or other.y + other.height <= box.y
            ), f"{box.node.name} and {other.node.name} overlap"
        for line in box.lines:
            assert layout.width_of(line.text, line.scale) <= box.width - 2 * layout.BOX_PADDING_X + 0.01
    for edge in drawing.edges:
        if edge.is_failure:
            assert edge.x1 < edge.x2
            assert edge.y1 == edge.y2
        else:
            assert edge.y1 <= edge.bend + 0.01
            assert edge.bend + layout.BEND < edge.y2


@pytest.mark.parametrize("name", GRAPHS)
def test_no_boxes_overlap_and_every_text_fits_its_box(name: str) -> None:
    drawing = drawn(GRAPHS[name])
    assert len(drawing.boxes) == len(list(GRAPHS[name].walk()))
    assert_well_placed(drawing)


@given(children())
@settings(max_examples=60, deadline=None)
def test_any_graph_is_well_placed_and_well_formed(graph: Node) -> None:
    graph = renamed(graph)
    assert_well_placed(drawn(graph))
    ElementTree.fromstring(svg.picture("any", graph, told(graph)))
    tree = text.tree(graph)
    assert tree.count("\n") + 1 >= len(list(graph.walk()))
    mermaid.flowchart(graph, told(graph))


@pytest.mark.parametrize("name", GRAPHS)
def test_no_arrow_passes_through_a_box(name: str) -> None:
    drawing = drawn(GRAPHS[name])
    for edge in drawing.edges:
        if edge.is_failure:
            continue
        for x, top, bottom in ((edge.x1, edge.y1, edge.bend), (edge.x2, edge.bend + layout.BEND, edge.y2)):
            for box in drawing.boxes:
                is_beside = not box.x < x < box.x + box.width
                assert is_beside or box.y + box.height <= top + 0.01 or bottom - 0.01 <= box.y


def test_what_runs_before_is_above_and_after_below_and_on_failure_at_the_side() -> None:
    boxes = {box.node.name: box for box in drawn(seed_page()).boxes}
    order = ["extract", "transform", "load", "deploy_environment", "configure_environment", "compute"]
    assert sorted(order, key=lambda name: boxes[name].y) == order
    assert boxes["deploy_environment"].y == boxes["prepare_db"].y
    assert boxes["failure_notify"].y == boxes["load"].y
    assert boxes["failure_notify"].x > boxes["load"].x + boxes["load"].width


def test_what_runs_before_a_task_ends_on_one_height() -> None:
    graph = node("load", before=(node("one"), node("two", before=(node("zero"),))))
    boxes = {box.node.name: box for box in drawn(graph).boxes}
    assert boxes["one"].y + boxes["one"].height == boxes["two"].y + boxes["two"].height


def test_bold_text_is_given_more_room() -> None:
    assert layout.Line("a", 10, "name").scale > layout.Line("a", 10, "place").scale == 10


def test_arrows_lead_to_what_begins_first() -> None:
    drawing = drawn(seed_page())
    boxes = {box.node.name: box for box in drawing.boxes}

    def name_at(x: float, y: float) -> str:
        return next(
            name for name, box in boxes.items() if box.x <= x <= box.x + box.width and box.y <= y <= box.y + box.height
        )

    arrows = {(name_at(edge.x1, edge.y1), name_at(edge.x2, edge.y2)) for edge in drawing.edges}
    assert arrows == {
        ("extract", "transform"),
        ("transform", "load"),
        ("load", "failure_notify"),
        ("load", "deploy_environment"),
        ("load", "prepare_db"),
        ("deploy_environment", "configure_environment"),
        ("prepare_db", "configure_environment"),
        ("configure_environment", "compute"),
    }


def test_what_runs_for_each_item_is_in_a_frame_that_says_so() -> None:
    drawing = drawn(wide())
    [frame] = [one for one in drawing.frames if not one.is_fold]
    inside = {
        box.node.name
        for box in drawing.boxes
        if frame.x < box.x < frame.x + frame.width and frame.y < box.y < frame.y + frame.height
    }
    assert inside == {"warm", "resize", "report"}
    assert "for each item, 40 at once · after 30 min" in svg.picture("t", wide())


def test_how_a_task_runs_is_said_once_in_each_form() -> None:
    graph = node("scan", after=(node("resize", wait=60.0, each=Each(3, None), subprocess=True),))
    runs = {name: NodeRun(NodeState.RUNNING, items=Items(5, 3, 0, 2)) for name in ("scan", "resize")}
    for form in (svg.picture("t", graph, runs), mermaid.flowchart(graph, runs), text.tree(graph, runs)):
        for said in ("for each item, 3 at once", "after 1 min", "subprocess"):
            assert form.count(said) == 1, said
        assert "3 of 5 done" in form


def test_250_tasks_side_by_side_are_folded_into_rows_that_fit_a_screen() -> None:
    graph = node("order", after=tuple(node(f"notify_{number}") for number in range(250)))
    drawing = layout.draw(graph, lambda one: svg._lines(one, None), lambda _: "")
    assert layout.ROW_WIDTH * 0.8 < drawing.width <= layout.ROW_WIDTH + 2 * layout.MARGIN
    assert len(drawing.boxes) == 251
    assert [frame.title for frame in drawing.frames] == ["250 side by side"]
    assert len(drawing.edges) == 1, "one arrow leads to all of them"
    assert len({box.y for box in drawing.boxes}) < 251 / 8 + 2


def test_what_fits_side_by_side_is_not_folded() -> None:
    graph = node("order", before=tuple(node(f"check_{number}") for number in range(10)))
    assert drawn(graph._replace(before=graph.before[:3])).frames == []
    assert layout.draw(graph, lambda one: svg._lines(one, None), lambda _: "").frames == []


def test_branches_are_folded_as_a_whole_and_what_is_alone_stands_beside_them() -> None:
    drawing = layout.draw(many(), lambda one: svg._lines(one, None), lambda _: "")
    assert sorted(frame.title for frame in drawing.frames) == ["20 side by side", "251 side by side", "40 side by side"]
    alone = node("load", after=(node("publish"),))
    graph = node("order", after=(*(node(f"notify_{number}") for number in range(250)), alone))
    drawing = layout.draw(graph, lambda one: svg._lines(one, None), lambda _: "")
    [frame] = drawing.frames
    assert frame.title == "250 side by side"
    [box] = [box for box in drawing.boxes if box.node is alone]
    assert box.x + box.width < frame.x
    assert drawing.width <= layout.ROW_WIDTH + 2 * layout.MARGIN


def test_a_picture_stands_alone_and_can_be_read_aloud() -> None:
    picture = svg.picture("Shop/Etl", seed_page(), told(seed_page()), note="run 5f0c: running for 12 s")
    root = ElementTree.fromstring(picture)
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert description is not None
    assert root.attrib["aria-labelledby"].split() == [title.attrib["id"], description.attrib["id"]]
    assert title.text == "Shop/Etl"
    assert "failure_notify (" in (description.text or "")
    assert "running for 12 s" in (description.text or "")
    assert not re.search(r"<script|<style|href|url\((?!#)|@import|<image|<foreignObject", picture)


@pytest.mark.parametrize("state", list(NodeState))
def test_every_state_has_a_colour_and_a_word_and_a_sign(state: NodeState) -> None:
    runs = {"alone": NodeRun(state)}
    for drawing in (svg.picture("t", node("alone"), runs), mermaid.flowchart(node("alone"), runs)):
        assert f"{SIGNS[state]} {state.value}" in drawing
    assert f"{SIGNS[state]} alone  {state.value}" in text.tree(node("alone"), runs)
    assert len(set(SIGNS.values())) == len({COLOURS[one] for one in NodeState}) == len(NodeState)


def test_a_legend_says_what_the_colours_mean() -> None:
    picture = svg.picture("t", node("alone"), {"alone": NodeRun(NodeState.RUNNING)})
    for state in NodeState:
        assert f">{SIGNS[state]} {state.value}</text>" in picture
    assert "retrying" not in svg.picture("t", node("alone"))


def test_names_are_written_as_they_are() -> None:
    graph = node('a"<b>&c', on="Shop/<Etl>")
    picture = ElementTree.fromstring(svg.picture('"<&>', graph))
    assert 'a"<b>&c' in [element.text for element in picture.iter(f"{SVG}text")]
    assert "a#34;#60;b#62;#38;c" in mermaid.flowchart(graph)


def test_a_flowchart_has_each_node_once_and_arrows_in_the_order_of_the_run() -> None:
    chart = mermaid.flowchart(wide(), told(wide()))
    names = dict(re.findall(r'^\s*(n\d+)\["<b>(\w+)</b>', chart, re.MULTILINE))
    assert Counter(names.values()) == Counter(one.name for one in wide().walk())
    arrows = {
        (names.get(start, start), kind, names.get(end, end))
        for start, kind, end in re.findall(
            r"^\s*(\w+) (-->|-\. on failure \.->)(?:\|[^|]*\|)? (\w+)$", chart, re.MULTILINE
        )
    }
    [each] = {start for start, _, _ in arrows if start.startswith("each")}
    assert arrows == {
        *((f"check{number}", "-->", "scan") for number in range(4)),
        ("scan", "-->", each),
        ("scan", "-->", "audit"),
        ("warm", "-->", "resize"),
        ("resize", "-. on failure .->", "report"),
        (each, "-->", "publish"),
        ("scan", "-. on failure .->", "look_up"),
        ("look_up", "-->", "notify"),
        ("notify", "-->", "escalate"),
    }
    assert "subgraph each" in chart
    assert "after 1 min" in chart


def test_a_tree_says_how_everything_belongs_together() -> None:
    assert text.tree(wide()).splitlines() == [
        "scan  Shop/Etl",
        "├─ before: check0  Shop/Etl",
        "├─ before: check1  Shop/Etl",
        "├─ before: check2  Shop/Etl",
        "├─ before: check3  Shop/Etl",
        "├─ on failure: notify  Shop/Etl",
        "│  ├─ before: look_up  Shop/Etl",
        "│  └─ then: escalate [after 1 min]  Shop/Etl",
        "├─ then: resize [after 30 min · for each item, 40 at once]  Shop/Images by queue",
        "│  ├─ before: warm  Shop/Etl",
        "│  ├─ on failure: report  Shop/Etl",
        "│  └─ then all: publish  Shop/Etl",
        "└─ then: audit  Shop/Etl",
    ]


def test_a_tree_tells_what_became_of_each_node() -> None:
    graph = node("load", after=(node("publish"),))
    runs = {
        "load": NodeRun(NodeState.FAILED, 3, 0.0, 64.0, "ValueError: bad", "40/100 orders"),
        "publish": NodeRun(NodeState.SKIPPED),
    }
    assert text.tree(graph, runs).splitlines() == [
        "✗ load  failed, 1 min 4 s, 3 attempts, 40/100 orders",
        "│  ValueError: bad",
        f"└─ then: {SIGNS[NodeState.SKIPPED]} publish  skipped",
    ]


def test_a_node_of_a_list_says_how_many_items_are_done() -> None:
    run = NodeRun(NodeState.RUNNING, 9, 0.0, 5.0, items=Items(5, 3, 1, 1))
    assert facts(run) == ["running", "3 of 5 done", "1 failed", "1 running", "5 s"]


def test_items_that_failed_alike_are_told_together_and_the_first_ways_only() -> None:
    ways = [(str(number), f"ValueError: {number}") for number in range(12)]
    run = NodeRun(NodeState.FAILED, error="ValueError: 11", item_errors=item_errors(ways))
    lines = text.tree(node("load"), {"load": run}).splitlines()
    assert lines[1] == "   item 0: ValueError: 0"
    assert lines[-1] == "   and 2 more, in other ways"
    picture = svg.picture("t", node("load"), {"load": run})
    assert "item 2: ValueError: 2" in picture
    assert "and 9 more, in other ways" in picture
    assert "item 3: " not in picture


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        (["55"], "item 55: E"),
        (["10", "9"], "items 9, 10: E"),
        (["0.2", "0.10"], "items 0.2, 0.10: E"),
        ([str(number) for number in range(8)], "items 0, 1, 2, 3, 4 and 3 more: E"),
        (["", ""], "2 items: E"),
        (["", "7"], "items 7 and 1 more: E"),
    ],
)
def test_items_are_told_by_their_numbers_where_they_are_known(numbers: list[str], told: str) -> None:
    [found] = item_errors((number, "E") for number in numbers)
    assert str(found) == told


@pytest.mark.parametrize(
    ("seconds", "spelled"),
    [
        (0, "0 s"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (184, "3 min 4 s"),
        (3_600, "1 h"),
        (3_605, "1 h"),
        (90_000, "1 d 1 h"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_units(seconds: float, spelled: str) -> None:
    assert duration(seconds) == spelled


def test_a_text_is_shortened_to_its_room() -> None:
    assert layout.shortened("short", 100, 10) == "short"
    found = layout.shortened("a" * 100, 100, 10)
    assert found.endswith("…")
    assert layout.width_of(found, 10) <= 100
