"""The words that constructs_lib and runtime_lib share."""

import ast
from pathlib import Path

import pytest

from runtime_lib import contract
from runtime_lib.contract import Priority, Route

ROOT = Path(__file__).parents[2]


def test_a_priority_in_lower_case_is_the_same_member() -> None:
    assert Priority.high is Priority.HIGH  # type: ignore[comparison-overlap]
    assert [one.value for one in Priority] == ["default", "high", "low", "bulk"]
    assert (Priority.default, Priority.low, Priority.bulk) == (Priority.DEFAULT, Priority.LOW, Priority.BULK)


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("shop.tasks.invoice", "TASK_ROUTE__SHOP_TASKS_INVOICE"),
        ("mail-2", "TASK_ROUTE__MAIL_2"),
        ("größe", "TASK_ROUTE__GR_SSE_D353A267"),
    ],
)
def test_a_route_variable_is_a_name_that_lambda_takes(name: str, variable: str) -> None:
    found = contract.task_route_variable(name)
    assert found == variable
    assert found.isidentifier()
    assert found.isascii()


def test_names_outside_ascii_that_look_alike_do_not_share_a_variable() -> None:
    assert contract.task_route_variable("größe") != contract.task_route_variable("grüße")
    assert contract.task_route_variable("größe") == contract.task_route_variable("größe")


def test_a_namespace_has_a_variable_and_one_for_each_priority() -> None:
    assert contract.namespace_route_variable("Mail") == "TASK_ROUTE__MAIL"
    assert contract.namespace_route_variable("Mail", Priority.HIGH) == "TASK_ROUTE__MAIL__HIGH"


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("lambda:mail:live", Route("lambda", "mail:live")),
        ("sqs:mail", Route("sqs", "mail")),
        ("states:Shop-Etl-1A2B", Route("states", "Shop-Etl-1A2B")),
        ("states+store:Shop-Etl-1A2B", Route("states", "Shop-Etl-1A2B", stored=True)),
        ("sqs:https://sqs.eu-west-1.amazonaws.com/1/mail", Route("sqs", "https://sqs.eu-west-1.amazonaws.com/1/mail")),
    ],
)
def test_a_route_is_read_as_it_is_written(text: str, route: Route) -> None:
    assert Route.parse(text, variable="V") == route
    assert str(route) == text


@pytest.mark.parametrize("text", ["", "mail", "sqs:", "lambda:", "sns:topic", "SQS:mail", ":mail", " sqs:mail"])
def test_a_bad_route_says_which_variable_what_it_is_and_what_is_allowed(text: str) -> None:
    forms = "'lambda:.*', 'sqs:.*' or 'states:.*'"
    with pytest.raises(ValueError, match=f"^TASK_ROUTE__X is .*: a route is {forms}$") as caught:
        Route.parse(text, variable="TASK_ROUTE__X")
    assert repr(text) in str(caught.value)


def test_an_environment_is_counted_in_bytes() -> None:
    assert contract.environment_bytes({"A": "ö", "BC": ""}) == 5


def test_taskhawks_queue_names() -> None:
    assert contract.taskhawk_queue_name("shop", Priority.DEFAULT) == "TASKHAWK-SHOP"
    assert contract.taskhawk_queue_name("shop", Priority.HIGH) == "TASKHAWK-SHOP-HIGH-PRIORITY"
    assert contract.taskhawk_queue_name("shop", Priority.LOW) == "TASKHAWK-SHOP-LOW-PRIORITY"
    assert contract.taskhawk_queue_name("shop", Priority.BULK, dead_letters=True) == "TASKHAWK-SHOP-BULK-DLQ"


def test_the_contract_imports_neither_library() -> None:
    tree = ast.parse((ROOT / "runtime_lib" / "contract.py").read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert modules == {"re", "collections.abc", "enum", "typing", "hashlib"}


def test_what_both_libraries_must_agree_on_is_spelled_in_the_contract_alone() -> None:
    shared = {
        value
        for name, value in vars(contract).items()
        if name.startswith("ENV_") or name.endswith(("_HANDLER", "_ATTRIBUTE")) or name == "METADATA_KEY"
    } - {contract.ENV_LOG_LEVEL}
    assert len(shared) > 8
    for library in ("runtime_lib", "constructs_lib", "tasks_cli"):
        for path in (ROOT / library).rglob("*.py"):
            if path.name == "contract.py":
                continue
            written = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
            assert not shared & {value for value in written if isinstance(value, str)}, path
