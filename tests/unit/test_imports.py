"""What `import runtime_lib` loads, and what it must not."""

import json

import pytest

from tests.task_modules import run_program

HEAVY = [
    "asyncio",
    "aws_cdk",
    "boto3",
    "botocore",
    "concurrent.futures",
    "dataclasses",
    "inspect",
    "logging",
    "msgspec",
]
HEAVY += ["pydantic", "random", "traceback", "uuid", "datetime", "threading", "difflib"]

USES = {
    "import": "",
    "decoration": "@task\ndef send(to: str, rows: list[dict[str, int]] | None = None, **kwargs): ...",
    "an async task": "@task\nasync def send(to: str): ...",
    "a dispatch": (
        "@task\ndef send(to: str): ...\n"
        "with runtime_lib.using_transport(runtime_lib.RecordingTransport()): send.with_headers(a=1).dispatch('a')"
    ),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_little_of_the_standard_library_and_nothing_else_is_loaded(use: str) -> None:
    printed = run_program(
        "import runtime_lib, sys\nfrom runtime_lib import task\n"
        f"{use}\n"
        f"import json\nprint(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    )
    assert json.loads(printed) == []


def test_constructs_are_not_loaded() -> None:
    printed = run_program("import runtime_lib, sys\nprint('constructs_lib' in sys.modules, 'tasks_cli' in sys.modules)")
    assert printed == "False False\n"


def test_what_is_loaded_later_is_the_same_object() -> None:
    printed = run_program(
        """
        import runtime_lib
        from runtime_lib import EagerTransport, Retry, task
        from runtime_lib.task import task as task_of_module
        import runtime_lib.retry, runtime_lib.task
        print(task is task_of_module is runtime_lib.task, Retry is runtime_lib.retry.Retry)
        """
    )
    assert printed == "True True\n"
