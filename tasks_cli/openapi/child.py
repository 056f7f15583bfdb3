"""A process that imports the tasks of an API's methods, and describes them; see `describe`."""

import json
import os
import sys
from typing import Any

from runtime_lib.errors import TaskError
from runtime_lib.registry import load_modules
from tasks_cli.openapi.document import document_of
from tasks_cli.openapi.methods import ApiMethod


def main() -> None:
    """Read methods from standard input and write ``{"document": …}`` or ``{"error": …}`` to standard output."""
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what the modules print is no part of the answer
    methods = [ApiMethod(**one) for one in json.load(sys.stdin)]
    for method in methods:
        if method.code not in sys.path:
            sys.path.append(method.code)  # behind what is installed here: the asset's is for Lambda's platform
    try:
        for method in methods:
            load_modules(method.modules)
        found: dict[str, Any] = {"document": document_of(methods)}
    except TaskError as error:
        found = {"error": str(error)}
    with answer:
        json.dump(found, answer)


if __name__ == "__main__":
    main()
