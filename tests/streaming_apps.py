"""Functions that stream, for tests of constructs."""

from typing import Any

from constructs import Construct

from constructs_lib import StreamingLambda
from tests.apps import back_office


def add_export(scope: Construct, construct_id: str = "Export", **arguments: Any) -> StreamingLambda:
    """The export of all orders."""
    arguments = {"handler": "back_office.exports:export", **arguments}
    return StreamingLambda(scope, construct_id, code=back_office(), **arguments)
