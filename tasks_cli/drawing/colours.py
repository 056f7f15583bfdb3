"""The colours of states, legible on white and told apart by those who see fewer of them."""

from typing import NamedTuple

from tasks_cli.workflow_history import NodeState

__all__ = ["ARROW", "COLOURS", "FAILURE", "PLAIN", "Colour"]


class Colour(NamedTuple):
    """How a box is drawn."""

    fill: str
    stroke: str
    text: str = "#1f2328"
    is_dashed: bool = False


PLAIN = Colour("#f6f8fa", "#57606a")
COLOURS = {
    NodeState.SUCCEEDED: Colour("#e3f4e8", "#1a7f37"),
    NodeState.RUNNING: Colour("#ddeeff", "#0969da"),
    NodeState.RETRYING: Colour("#fff3c9", "#9a6700"),
    NodeState.WAITING: Colour("#ffffff", "#57606a"),
    NodeState.FAILED: Colour("#ffe5e2", "#cf222e"),
    NodeState.SKIPPED: Colour("#f4f4f4", "#8c959f", "#57606a", is_dashed=True),
    NodeState.CANCELLED: Colour("#f3e8fd", "#7b3fbf"),
}
ARROW = "#57606a"
FAILURE = "#cf222e"
