"""Places the nodes of a workflow: before above, after below, what runs on failure to the side.

A graph is nested, one run of a task with all that belongs to it in another: each is a block, placed about its own
node's middle, and blocks are put side by side and one below the other. Nothing has to be searched for or untangled.
What would be too wide side by side is folded into several rows in a frame, to which the arrows lead.
"""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple

from tasks_cli.workflows import Node

__all__ = ["Box", "Drawing", "Edge", "Frame", "Line", "draw", "shortened", "width_of"]

GAP_X, GAP_Y = 28.0, 46.0
MARGIN = 24.0
FRAME_PADDING, FRAME_TITLE = 16.0, 22.0
BOX_PADDING_X, BOX_PADDING_Y = 14.0, 10.0
MIN_WIDTH, MAX_WIDTH = 120.0, 400.0
ROW_WIDTH = 1600.0
"""What is wider side by side is folded into several rows."""
ROW_GAP, BRANCH_GAP = 18.0, 64.0
"""Between such rows: of boxes alone, and of what has arrows inside it."""
BEND = GAP_Y - 10
"""Height in which an arrow goes over to the side; what is left is for its head."""
BOLD = 1.12
"""How much wider bold letters are."""
LINE_SPACING = 1.45
_NARROW, _WIDE = set("iIljtfr.,:;'|!()[] "), set("mwMW@%—…▶")


class Line(NamedTuple):
    """A line of text in a box."""

    text: str
    size: float
    kind: str
    """What it says, for who writes it: ``name``, ``place``, ``badges``, ``state``, ``error``."""

    @property
    def is_bold(self) -> bool:
        """Whether it stands out."""
        return self.kind in {"name", "state"}

    @property
    def scale(self) -> float:
        """Its size as far as its width is concerned."""
        return self.size * BOLD if self.is_bold else self.size


@dataclass(slots=True)
class Box:
    """A node's box, by its upper left corner."""

    node: Node
    lines: Sequence[Line]
    x: float
    y: float
    width: float
    height: float


@dataclass(slots=True)
class Frame:
    """What is around all that runs for each item of a list; if ``is_fold``, around what is folded into rows."""

    title: str
    x: float
    y: float
    width: float
    height: float
    is_fold: bool = False


@dataclass(slots=True)
class Edge:
    """An arrow from one point to another, which is straight but between ``bend`` and `BEND` below that.

    ``is_failure``: it leads to what runs on failure, from side to side.
    """

    x1: float
    y1: float
    x2: float
    y2: float
    bend: float = 0.0
    is_failure: bool = False


class Drawing(NamedTuple):
    """Everything in its place, from 0, 0 on."""

    boxes: list[Box]
    frames: list[Frame]
    edges: list[Edge]
    width: float
    height: float


@dataclass(slots=True)
class _Block:
    """A node with all that belongs to it, placed about x = 0, which is the middle of its own box, from y = 0 down."""

    left: float = 0.0
    right: float = 0.0
    height: float = 0.0
    node_top: float = 0.0
    """Where the node's own box, or the frame around it, begins."""
    boxes: list[Box] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    entries: list[tuple[float, float]] = field(default_factory=list)
    """The upper ends of what begins first."""
    exits: list[tuple[float, float]] = field(default_factory=list)
    """The lower ends of what has to be done before this is."""
    is_leaf: bool = False
    """Whether it is a box alone."""

    @property
    def width(self) -> float:
        return self.left + self.right

    def move(self, x: float, y: float) -> None:
        shapes: list[Box | Frame] = [*self.boxes, *self.frames]
        for shape in shapes:
            shape.x += x
            shape.y += y
        for edge in self.edges:
            edge.x1, edge.x2 = edge.x1 + x, edge.x2 + x
            edge.y1, edge.y2, edge.bend = edge.y1 + y, edge.y2 + y, edge.bend + y
        self.entries = [(one + x, other + y) for one, other in self.entries]
        self.exits = [(one + x, other + y) for one, other in self.exits]

    def take(self, other: "_Block") -> None:
        self.boxes += other.boxes
        self.frames += other.frames
        self.edges += other.edges


def draw(graph: Node, lines_of: Callable[[Node], Sequence[Line]], title_of: Callable[[Node], str]) -> Drawing:
    """Place every node of a graph.

    Args:
        graph: the node that it begins with.
        lines_of: what a node's box says; a line that is longer than a box may be wide is shortened.
        title_of: the title of the frame around what runs for each item of a list.
    """
    block = _block(graph, lines_of, title_of)
    block.move(block.left + MARGIN, MARGIN)
    return Drawing(block.boxes, block.frames, block.edges, block.width + 2 * MARGIN, block.height + 2 * MARGIN)


def _block(node: Node, lines_of: Callable[[Node], Sequence[Line]], title_of: Callable[[Node], str]) -> _Block:
    def of(one: Node) -> _Block:
        return _block(one, lines_of, title_of)

    block = _with_failure(node, _boxed(node, lines_of(node)), of)
    block = _below(_folded([of(one) for one in node.before], is_before=True), block)
    block = _above(block, _folded([of(one) for one in node.after]))
    block.is_leaf = not (node.before or node.after or node.failure or node.each)
    if node.each:
        block = _framed(block, title_of(node))
        block = _above(block, [of(node.each.then)] if node.each.then else [])
    return block


def _boxed(node: Node, lines: Sequence[Line]) -> _Block:
    fitting = [line._replace(text=shortened(line.text, MAX_WIDTH - 2 * BOX_PADDING_X, line.scale)) for line in lines]
    widest = max(width_of(line.text, line.scale) for line in fitting)
    width = min(max(widest + 2 * BOX_PADDING_X, MIN_WIDTH), MAX_WIDTH)
    height = sum(line.size * LINE_SPACING for line in fitting) + 2 * BOX_PADDING_Y
    box = Box(node, fitting, -width / 2, 0, width, height)
    return _Block(width / 2, width / 2, height, boxes=[box], entries=[(0, 0)], exits=[(0, height)])


def _with_failure(node: Node, block: _Block, of: Callable[[Node], _Block]) -> _Block:
    """The node's box with what runs on its failure at its right, on the same height."""
    if node.failure is None:
        return block
    [box] = block.boxes
    failure = of(node.failure)
    first = next(one for one in failure.boxes if one.node is node.failure)
    top = max(0.0, failure.node_top)
    block.move(0, top)
    x = block.right + GAP_X * 2 + failure.left
    failure.move(x, top - failure.node_top)
    y = top + min(box.height, first.height) / 2
    edge = Edge(box.x + box.width, y, first.x, y, is_failure=True)
    block.take(failure)
    block.edges.append(edge)
    block.right = x + failure.right
    block.height = max(top + box.height, top - failure.node_top + failure.height)
    block.node_top = top
    return block


def _row(blocks: Sequence[_Block]) -> tuple[float, float]:
    """Put blocks side by side, their nodes' middles about 0; how far they reach to the left and to the right."""
    x, middles = 0.0, []
    for block in blocks:
        middles.append(x + block.left)
        x += block.width + GAP_X
    middle = (middles[0] + middles[-1]) / 2
    for block, own in zip(blocks, middles, strict=True):
        block.move(own - middle, 0)
    return middle, x - GAP_X - middle


def _below(blocks: Sequence[_Block], block: _Block) -> _Block:
    """The block below a row of what runs before it."""
    if not blocks:
        return block
    left, right = _row(blocks)
    height = max(one.height for one in blocks)
    for one in blocks:
        one.move(0, height - one.height)
    top = height + GAP_Y
    block.move(0, top)
    block.node_top += top
    for one in blocks:
        block.take(one)
        block.edges += [Edge(x, y, 0, block.node_top, height) for x, y in one.exits]
    block.entries = [entry for one in blocks for entry in one.entries]
    block.left, block.right = max(left, block.left), max(right, block.right)
    block.height += top
    return block


def _above(block: _Block, blocks: Sequence[_Block]) -> _Block:
    """The block above a row of what runs after it."""
    if not blocks:
        return block
    left, right = _row(blocks)
    top = block.height + GAP_Y
    sources, block.exits = block.exits, []
    for one in blocks:
        one.move(0, top)
        block.edges += [Edge(*source, *entry, top - GAP_Y) for source in sources for entry in one.entries]
        block.take(one)
        block.exits += one.exits
    block.left, block.right = max(left, block.left), max(right, block.right)
    block.height = top + max(one.height for one in blocks)
    return block


def _framed(block: _Block, title: str, *, is_fold: bool = False) -> _Block:
    """The block in a frame with a title."""
    least = width_of(title, 12) / 2
    left, right = max(block.left, least) + FRAME_PADDING, max(block.right, least) + FRAME_PADDING
    block.move(0, FRAME_PADDING + FRAME_TITLE)
    height = block.height + 2 * FRAME_PADDING + FRAME_TITLE
    block.frames.insert(0, Frame(title, -left, 0, left + right, height, is_fold))
    return _Block(left, right, height, 0, block.boxes, block.frames, block.edges, [(0, 0)], [(0, height)])


# --- Rows that would be too wide -------------------------------------------------------------------------------------


def _folded(blocks: list[_Block], *, is_before: bool = False) -> list[_Block]:
    """What is to stand side by side: boxes alone folded into several rows if it would be too wide, all if it still is.

    ``is_before``: it is what runs before a task, whose lower ends are on one height.
    """
    if len(blocks) == 1 or _total(blocks) <= ROW_WIDTH:
        return blocks
    leaves = [block for block in blocks if block.is_leaf]
    others = [block for block in blocks if not block.is_leaf]
    if leaves and others and _total(others) <= ROW_WIDTH / 2:
        room = ROW_WIDTH - _total(others) - GAP_X - 2 * FRAME_PADDING
        return [*others, _fold(leaves, room, is_before=is_before)]
    return [_fold([*others, *leaves], ROW_WIDTH - 2 * FRAME_PADDING, is_before=is_before)]


def _fold(blocks: Sequence[_Block], room: float, *, is_before: bool) -> _Block:
    """Blocks in rows and columns in a frame, as many columns as there is room for."""
    most = next((count for count in range(len(blocks), 1, -1) if _total(_columns(blocks, count)) <= room), 1)
    # As many rows as that takes, each about as long as the others.
    even = ceil(len(blocks) / ceil(len(blocks) / most))
    columns = _columns(blocks, even if _total(_columns(blocks, even)) <= room else most)
    folded, y, gap = _Block(), 0.0, 0.0
    for first in range(0, len(blocks), len(columns)):
        row, x = blocks[first : first + len(columns)], 0.0
        height = max(one.height for one in row)
        gap = ROW_GAP if all(one.is_leaf for one in row) else BRANCH_GAP
        for one, column in zip(row, columns, strict=False):
            if column.is_leaf:
                [box] = one.boxes
                box.x, box.width = -column.left, column.width
            one.move(x + column.left, y + (height - one.height if is_before else 0.0))
            folded.take(one)
            x += column.width + GAP_X
        y += height + gap
    middle = _total(columns) / 2
    folded.move(-middle, 0)
    folded.left = folded.right = middle
    folded.height = y - gap
    return _framed(folded, f"{len(blocks)} side by side", is_fold=True)


def _columns(blocks: Sequence[_Block], count: int) -> list[_Block]:
    """The columns of blocks in rows of so many, each as wide as the widest in it."""
    columns = [blocks[first::count] for first in range(count)]
    return [
        _Block(
            max(one.left for one in column),
            max(one.right for one in column),
            is_leaf=all(one.is_leaf for one in column),
        )
        for column in columns
    ]


def _total(blocks: Sequence[_Block]) -> float:
    """How wide blocks are side by side."""
    return sum(block.width + GAP_X for block in blocks) - GAP_X


# --- Text ------------------------------------------------------------------------------------------------------------


def width_of(text: str, size: float) -> float:
    """How wide a text is at most, whichever font without serifs it is set in."""
    return size * sum(map(_width, text))


def shortened(text: str, width: float, size: float) -> str:
    """The text, or as much of its beginning as fits, with an ellipsis."""
    if width_of(text, size) <= width:
        return text
    room = width - width_of("…", size)
    kept = 0
    while room >= (needed := size * _width(text[kept])):
        room -= needed
        kept += 1
    return text[:kept].rstrip() + "…"


def _width(character: str) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    if unicodedata.combining(character):
        return 0.0
    if character in _NARROW:
        return 0.4
    if character in _WIDE:
        return 0.98
    return 0.72 if character.isupper() else 0.63
