"""A workflow as a picture that stands alone: SVG without fonts, scripts or style sheets of others."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape as escape_html

from tasks_cli.drawing.colours import ARROW, COLOURS, FAILURE, PLAIN, Colour
from tasks_cli.drawing.layout import (
    BEND,
    BOX_PADDING_X,
    BOX_PADDING_Y,
    LINE_SPACING,
    MARGIN,
    Box,
    Drawing,
    Edge,
    Frame,
    Line,
    draw,
    width_of,
)
from tasks_cli.drawing.words import SIGNS, badges, errors, facts, place, start
from tasks_cli.workflow_history import NodeRun, NodeState
from tasks_cli.workflows import Node

__all__ = ["picture"]

NAME_SIZE, TEXT_SIZE, TITLE_SIZE, FAILURE_SIZE = 14.0, 11.5, 16.0, 10.0
HEADER = 34.0
LEGEND_LINE = 22.0
SWATCH = 12.0
_INK, _MUTED, _FOLD = "#1f2328", "#57606a", "#afb8c1"
_FONT = "-apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"


def picture(title: str, graph: Node, told: Mapping[str, NodeRun] | None = None, *, note: str = "") -> str:
    """The graph as SVG, with its title; with what became of its nodes, if that is told.

    ``note`` stands below the title: which run it is, and how that ended.
    """
    drawing = draw(graph, lambda node: _lines(node, told), lambda node: " · ".join(reversed(start(node))))
    legend = _legend(told)
    legend_width = max(sum(map(_legend_width, row)) for row in legend)
    text_width = max(width_of(title, TITLE_SIZE) * 1.1, width_of(note, TEXT_SIZE))
    width = max(drawing.width, text_width + 2 * MARGIN, legend_width + 2 * MARGIN)
    header = HEADER + (LEGEND_LINE if note else 0)
    height = drawing.height + header + LEGEND_LINE * len(legend) + MARGIN / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}"',
        f'height="{height:g}" role="img" aria-labelledby="title description" font-family="{_FONT}">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="description">{escape(_description(graph, told, note))}</desc>',
        "<defs>",
        *(_arrow_head(name, colour) for name, colour in (("arrow", ARROW), ("failure", FAILURE))),
        "</defs>",
        f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>',
        _text(title, (MARGIN, MARGIN + TITLE_SIZE / 2), TITLE_SIZE, _INK, 'font-weight="600"'),
    ]
    if note:
        parts.append(_text(note, (MARGIN, MARGIN + LEGEND_LINE + TITLE_SIZE / 2), TEXT_SIZE, _MUTED))
    parts.append(f'<g transform="translate({(width - drawing.width) / 2:g} {header:g})">')
    parts += _drawn(drawing, lambda node: COLOURS[told[node.name].state] if told else PLAIN)
    parts.append("</g>")
    for number, row in enumerate(legend):
        parts += _legend_row(row, drawing.height + header + LEGEND_LINE * (number + 0.5))
    return "\n".join([*parts, "</svg>", ""])


def escape(text: str) -> str:
    """A text in XML, which has no control characters."""
    return escape_html("".join(one if one.isprintable() else " " for one in text))


def _lines(node: Node, told: Mapping[str, NodeRun] | None) -> list[Line]:
    lines = [Line(node.name, NAME_SIZE, "name"), Line(place(node), TEXT_SIZE, "place")]
    # What runs for each item of a list has a frame around it that says so.
    how = badges(node._replace(each=None, wait=0.0 if node.each else node.wait))
    lines += [Line(" · ".join(how), TEXT_SIZE, "badges")] if how else []
    if told:
        run = told[node.name]
        lines.append(Line(" · ".join([f"{SIGNS[run.state]} {run.state}", *facts(run)[1:]]), TEXT_SIZE, "state"))
        lines += [Line(error, TEXT_SIZE, "error") for error in errors(run)]
    return lines


def _description(graph: Node, told: Mapping[str, NodeRun] | None, note: str) -> str:
    nodes = list(graph.walk())
    said = [f"{node.name} ({', '.join(facts(told[node.name]))})" if told else node.name for node in nodes]
    return f"{f'{note}. ' if note else ''}{len(nodes)} runs of tasks, starting with {graph.name}: {', '.join(said)}."


# --- Shapes ----------------------------------------------------------------------------------------------------------


def _drawn(drawing: Drawing, colour_of: Callable[[Node], Colour]) -> Iterator[str]:
    yield from map(_frame, drawing.frames)
    yield from map(_edge, drawing.edges)
    for box in drawing.boxes:
        yield from _box(box, colour_of(box.node))


def _box(box: Box, colour: Colour) -> Iterator[str]:
    dashed = ' stroke-dasharray="5 3"' if colour.is_dashed else ""
    yield "<g>"
    said = [line.text for line in box.lines if line.kind == "error"]
    yield f"<title>{escape(': '.join([f'{box.node.task} on {place(box.node)}', *said]))}</title>"
    yield (
        f'<rect x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" rx="7" '
        f'fill="{colour.fill}" stroke="{colour.stroke}" stroke-width="1.5"{dashed}/>'
    )
    y = box.y + BOX_PADDING_Y
    for line in box.lines:
        # A text begins at its baseline, somewhat below the middle of its line.
        baseline = y + line.size * (LINE_SPACING / 2 + 0.35)
        yield _text(line.text, (box.x + BOX_PADDING_X, baseline), line.size, *_ink(line, colour))
        y += line.size * LINE_SPACING
    yield "</g>"


def _ink(line: Line, colour: Colour) -> tuple[str, str]:
    match line.kind:
        case "name":
            return colour.text, 'font-weight="600"'
        case "state":
            return colour.stroke if colour.text != _MUTED else _MUTED, 'font-weight="600"'
        case "error":
            return FAILURE, ""
    return _MUTED, ""


def _frame(frame: Frame) -> str:
    stroke = f'stroke="{ARROW}" stroke-dasharray="2 4" stroke-linecap="round"'
    if frame.is_fold:
        stroke = f'stroke="{_FOLD}"'
    rect = (
        f'<rect x="{frame.x:g}" y="{frame.y:g}" width="{frame.width:g}" height="{frame.height:g}" rx="10" '
        f'fill="none" {stroke}/>'
    )
    return rect + _text(frame.title, (frame.x + 12, frame.y + 20), TEXT_SIZE, _MUTED, 'font-style="italic"')


def _edge(edge: Edge) -> str:
    if edge.is_failure:
        path = f"M {edge.x1:g} {edge.y1:g} L {edge.x2 - 2:g} {edge.y2:g}"
        middle = ((edge.x1 + edge.x2) / 2, edge.y1 - 6)
        label = _text("on failure", middle, FAILURE_SIZE, FAILURE, 'text-anchor="middle"')
        return _path(path, FAILURE, "failure", ' stroke-dasharray="6 4"') + label
    half, end = edge.bend + BEND / 2, edge.bend + BEND
    path = (
        f"M {edge.x1:g} {edge.y1:g} L {edge.x1:g} {edge.bend:g} "
        f"C {edge.x1:g} {half:g} {edge.x2:g} {half:g} {edge.x2:g} {end:g} L {edge.x2:g} {edge.y2 - 2:g}"
    )
    return _path(path, ARROW, "arrow")


def _path(path: str, colour: str, head: str, more: str = "") -> str:
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.4"{more} marker-end="url(#{head})"/>'


def _arrow_head(name: str, colour: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="7" markerHeight="7" '
        f'orient="auto-start-reverse"><path d="M 0 0 L 10 5 L 0 10 z" fill="{colour}"/></marker>'
    )


def _text(text: str, at: tuple[float, float], size: float, colour: str, more: str = "") -> str:
    x, y = at
    attributes = f'x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{colour}" {more}'.rstrip()
    return f"<text {attributes}>{escape(text)}</text>"


# --- Legend ----------------------------------------------------------------------------------------------------------


_Entry = tuple[str, Colour | None]


def _legend(told: Mapping[str, NodeRun] | None) -> "list[list[_Entry]]":
    """What the colours mean, in rows; what the arrows mean where there are no states."""
    if told is None:
        return [[("above a task: what runs before it · below: after it · at its side: when it fails", None)]]
    entries: list[_Entry] = [(f"{SIGNS[state]} {state}", COLOURS[state]) for state in NodeState]
    return [entries[:4], entries[4:]]


def _legend_width(entry: "_Entry") -> float:
    return SWATCH + 6 + width_of(entry[0], TEXT_SIZE) + 18


def _legend_row(row: "Sequence[_Entry]", y: float) -> Iterator[str]:
    x = MARGIN
    for text, colour in row:
        if colour:
            dashed = ' stroke-dasharray="3 2"' if colour.is_dashed else ""
            yield (
                f'<rect x="{x:g}" y="{y - SWATCH / 2:g}" width="{SWATCH:g}" height="{SWATCH:g}" rx="3" '
                f'fill="{colour.fill}" stroke="{colour.stroke}"{dashed}/>'
            )
        yield _text(text, (x + SWATCH + 6 if colour else x, y + 4), TEXT_SIZE, _INK if colour else _MUTED)
        x += _legend_width((text, colour))
