"""A workflow as a flowchart of Mermaid, which GitHub and many editors draw.

https://mermaid.js.org/syntax/flowchart.html
"""

from collections.abc import Iterator, Mapping
from itertools import count

from tasks_cli.drawing.colours import COLOURS, FAILURE
from tasks_cli.drawing.words import SIGNS, duration, errors, facts, place, repetition
from tasks_cli.workflow_history import NodeRun
from tasks_cli.workflows import Node

__all__ = ["flowchart"]

_PLAIN = " .,:/-_()"


def flowchart(graph: Node, told: Mapping[str, NodeRun] | None = None) -> str:
    """The graph as a flowchart; with what became of its nodes, if that is told."""
    chart = _Chart(told)
    chart.add(graph)
    lines = ["flowchart TD", *(f"    {line}" for line in chart.lines())]
    return "\n".join(lines) + "\n"


class _Chart:
    def __init__(self, told: Mapping[str, NodeRun] | None) -> None:
        self._told = told
        self._numbers = count()
        self._nodes: list[str] = []
        self._edges: list[tuple[str, bool]] = []

    def add(self, node: Node) -> tuple[list[str], list[str]]:
        """Add a node with all that belongs to it: what begins first of that, and what has to end before it has."""
        number = next(self._numbers)
        own = f"n{number}"
        if node.each:
            self._nodes.append(f'subgraph each{number}["{repetition(node.each)}"]')
        self._nodes.append(f'{own}["{self._label(node)}"]{self._class(node)}')
        begins: list[str] = []
        for one in node.before:
            first, last = self.add(one)
            begins += first
            self._edges += [(f"{end} --> {own}", False) for end in last]
        ends = [end for one in node.after for end in self._follow(own, one)]
        if node.failure:
            self._edges += [(f"{own} -. on failure .-> {entry}", True) for entry in self.add(node.failure)[0]]
        if node.each:
            self._nodes.append("end")
            own, begins = f"each{number}", []
            ends = self._follow(own, node.each.then) if node.each.then else []
        return begins or [own], ends or [own]

    def lines(self) -> Iterator[str]:
        """The lines of the chart."""
        yield from self._nodes
        yield from (edge for edge, _ in self._edges)
        failing = [str(number) for number, (_, is_failure) in enumerate(self._edges) if is_failure]
        if failing:
            yield f"linkStyle {','.join(failing)} stroke:{FAILURE},color:{FAILURE}"
        for state in sorted({run.state for run in (self._told or {}).values()}):
            colour = COLOURS[state]
            dashed = ",stroke-dasharray:4 3" if colour.is_dashed else ""
            yield f"classDef {state} fill:{colour.fill},stroke:{colour.stroke},color:{colour.text}{dashed}"

    def _follow(self, end: str, node: Node) -> list[str]:
        """Add what follows; what has to end before it has."""
        begins, ends = self.add(node)
        label = f"|after {duration(node.wait)}|" if node.wait else ""
        self._edges += [(f"{end} -->{label} {begin}", False) for begin in begins]
        return ends

    def _label(self, node: Node) -> str:
        run = self._told[node.name] if self._told else None
        lines = [f"<b>{_escaped(node.name)}</b>", _escaped(place(node))]
        # The arrow to it says when it begins, the frame around it for what.
        lines += ["subprocess"] if node.subprocess else []
        if run:
            lines.append(f"{SIGNS[run.state]} {_escaped(', '.join(facts(run)))}")
            lines += map(_escaped, errors(run))
        return "<br/>".join(lines)

    def _class(self, node: Node) -> str:
        return f":::{self._told[node.name].state}" if self._told else ""


def _escaped(text: str) -> str:
    """A text in which Mermaid sees nothing else."""
    return "".join(one if one.isalnum() or one in _PLAIN else f"#{ord(one)};" for one in text)
