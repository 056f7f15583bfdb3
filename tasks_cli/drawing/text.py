"""A workflow as a tree in text: each node below what it belongs to, with how."""

from collections.abc import Iterator, Mapping

from tasks_cli.drawing.words import SIGNS, badges, errors, facts, place
from tasks_cli.workflow_history import NodeRun
from tasks_cli.workflows import Node

__all__ = ["tree"]

_ERRORS = 10
"""Ways in which the items of a list failed, of which so many are told."""


def tree(graph: Node, told: Mapping[str, NodeRun] | None = None) -> str:
    """The graph as a tree; with what became of its nodes, if that is told."""
    return "\n".join(_lines(graph, "", "", "", told))


def _lines(node: Node, relation: str, first: str, rest: str, told: Mapping[str, NodeRun] | None) -> Iterator[str]:
    """The lines of a node and all below it; ``first`` stands before its own, ``rest`` before the others."""
    run = told[node.name] if told else None
    sign = f"{SIGNS[run.state]} " if run else ""
    said = ", ".join(facts(run)) if run else place(node)
    how = f" [{' · '.join(found)}]" if (found := badges(node)) else ""
    yield f"{first}{relation}{sign}{node.name}{how}  {said}".rstrip()
    below = [("before: ", one) for one in node.before]
    below += [("on failure: ", node.failure)] if node.failure else []
    below += [("then: ", one) for one in node.after]
    below += [("then all: ", node.each.then)] if node.each and node.each.then else []
    for error in errors(run, _ERRORS) if run else ():
        yield f"{rest}{'│' if below else ' '}  {error}"
    for number, (how_related, one) in enumerate(below, 1):
        is_last = number == len(below)
        yield from _lines(
            one, how_related, rest + ("└─ " if is_last else "├─ "), rest + ("   " if is_last else "│  "), told
        )
