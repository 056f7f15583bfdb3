"""Who serves a task: what is refused because a message would reach a worker that does not know its task."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk.assertions import Annotations, Match

from constructs_lib import (
    BackgroundTaskFunction,
    ManagedAsyncTask,
    PriorityTaskQueues,
    QueueSettings,
    TaskCode,
    TaskReferenceError,
)
from runtime_lib.contract import Priority
from tests.apps import (
    add_invoice,
    add_mail,
    add_orders,
    add_plain_function,
    add_receipts,
    back_office,
    environment,
    new_app,
    new_stack,
    resources,
)

RENDER = "TASK_ROUTE__BACK_OFFICE_INVOICES_RENDER"


def _archive(stack: cdk.Stack) -> ManagedAsyncTask:
    return ManagedAsyncTask(stack, "Archive", code=back_office(), task="back_office.invoices:archive")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], TaskCode]:
    """Makes a package ``shed`` of the given modules."""

    def make(modules: dict[str, str]) -> TaskCode:
        root = tmp_path / "shed"
        root.mkdir()
        for name, body in {"__init__": "", **modules}.items():
            (root / f"{name}.py").write_text(f"from runtime_lib import task\n{body}\n")
        monkeypatch.syspath_prepend(tmp_path)
        return TaskCode.from_package("shed")

    return make


# --- Served twice, or by the wrong one -------------------------------------------------------------------------------


def test_two_servers_of_one_namespace_in_one_function_are_refused_with_both_paths() -> None:
    stack = new_stack()
    orders = add_orders(stack)
    add_receipts(stack).grant_dispatch(orders.function)
    other = add_mail(stack, modules=["back_office.mail", "back_office.receipts"], namespace=["mail", "receipts"])
    with pytest.raises(
        ValueError,
        match=r"Shop/Orders/Function gets routes to two servers of namespace 'receipts': Shop/Receipts and Shop/Mail",
    ):
        other.grant_dispatch(orders.function)


def test_two_tasks_of_one_name_in_one_function_are_refused_wherever_they_stand() -> None:
    app = new_app()
    first, second = cdk.Stack(app, "First"), cdk.Stack(app, "Second")
    plain = add_plain_function(first)
    add_invoice(first).grant_dispatch(plain)
    with pytest.raises(
        ValueError,
        match=r"First/Plain gets routes to two servers of task 'back_office.invoices.render': "
        r"First/Invoice and Second/Invoice: grant one of them only",
    ):
        add_invoice(second).grant_dispatch(plain)


def test_two_servers_in_two_functions_are_fine() -> None:
    stack = new_stack()
    for name in ("One", "Two"):
        add_invoice(stack, name).grant_dispatch(add_plain_function(stack, f"Plain{name}"))
    assert len(resources(stack, "AWS::Lambda::Function")) == 4


def test_a_task_of_its_own_goes_before_its_namespace() -> None:
    stack = new_stack()
    plain = add_plain_function(stack)
    add_invoice(stack).grant_dispatch(plain)
    invoices = BackgroundTaskFunction(stack, "Rest", code=back_office(), modules=["back_office.invoices"])
    invoices.grant_dispatch(plain)
    assert environment(stack, under="Plain").keys() >= {RENDER, "TASK_ROUTE__DEFAULT"}


def test_names_that_share_a_variable_are_refused_with_both_paths() -> None:
    stack = new_stack()
    plain = add_plain_function(stack)
    ManagedAsyncTask.from_queue_name(stack, "A", task="shop.send_mail", queue_name="a").grant_dispatch(plain)
    with pytest.raises(
        ValueError,
        match=r"Shop/Plain: task 'shop.send_mail' of Shop/A and task 'shop.send.mail' of Shop/B share the "
        r"environment variable TASK_ROUTE__SHOP_SEND_MAIL: rename one",
    ):
        ManagedAsyncTask.from_queue_name(stack, "B", task="shop.send.mail", queue_name="b").grant_dispatch(plain)


def test_namespaces_that_share_a_variable_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Shop/Mail: namespace 'mail' and namespace 'MAIL' share the environment"):
        add_mail(new_stack(), namespace=["mail", "MAIL"])


@pytest.mark.parametrize("namespace", ["", [], ["mail", ""], ["mail", "mail"]])
def test_namespace_without_a_name_is_refused(namespace: Any) -> None:
    with pytest.raises(ValueError, match=r"^Shop/Mail: namespace is .*, allowed is one name, or several different"):
        add_mail(new_stack(), namespace=namespace)


def test_server_that_does_not_load_a_task_of_its_namespace_is_refused_at_synth() -> None:
    stack = new_stack()
    BackgroundTaskFunction(stack, "Rest", code=back_office(), modules=["back_office.mail"])
    with pytest.raises(
        RuntimeError,
        match=r"Shop/Rest serves namespace 'DEFAULT' with its task 'back_office.invoices.render' \(invoices.py:\d+\), "
        r"but its modules do not load 'back_office.invoices': add 'back_office.invoices' to modules, or serve the task",
    ):
        environment(stack)


def test_module_loaded_by_another_module_counts_as_loaded() -> None:
    stack = new_stack()
    # orders imports invoices, which has every task of DEFAULT.
    BackgroundTaskFunction(stack, "Rest", code=back_office(), modules=["back_office.orders"])
    assert environment(stack)["TASK_MODULES"] == "back_office.orders"


def test_task_with_a_server_of_its_own_need_not_be_loaded_by_its_namespace() -> None:
    stack = new_stack()
    BackgroundTaskFunction(stack, "Rest", code=back_office(), modules=["back_office.mail"])
    # Later in the program, and in another stack: what counts is the whole app.
    _archive(stack)
    add_invoice(cdk.Stack(stack.node.root, "Other"))
    assert environment(stack, under="Rest")


_DELAYED = {
    "RetryLater": "from runtime_lib import RetryLater\n@task\ndef job():\n    raise RetryLater(60)",
    "a qualified RetryLater": "import runtime_lib\n@task\ndef job():\n    raise runtime_lib.RetryLater",
    "first_delay": "from runtime_lib import Retry\n@task(retry=Retry(5, first_delay=30))\ndef job(): ...",
    "max_delay": "from runtime_lib import Retry\n@task(retry=Retry(max_delay=30))\ndef job(): ...",
}


@pytest.mark.parametrize("body", _DELAYED.values(), ids=_DELAYED)
def test_background_task_that_asks_for_delays_is_refused_at_synth(package: Any, body: str) -> None:
    code = package({"jobs": body})
    stack = new_stack()
    BackgroundTaskFunction(stack, "Jobs", code=code, modules=["shed.jobs"])
    with pytest.raises(RuntimeError, match=r"'shed\.jobs\.job' .*uses (RetryLater|Retry\(\w+_delay=…\)), and an async"):
        environment(stack)


@pytest.mark.parametrize("body", _DELAYED.values(), ids=_DELAYED)
def test_task_that_asks_for_delays_is_fine_on_a_queue(package: Any, body: str) -> None:
    code = package({"jobs": body, "more": "@task\ndef other(): ..."})
    stack = new_stack()
    modules = ["shed.jobs", "shed.more"]
    BackgroundTaskFunction(stack, "Jobs", code=code, modules=modules)
    ManagedAsyncTask(stack, "Job", code=code, task="shed.jobs:job")
    PriorityTaskQueues(cdk.Stack(stack.node.root, "Queues"), "Jobs", code=code, modules=modules)
    assert environment(stack, under="JobsFunction")


def _warnings(stack: cdk.Stack) -> list[str]:
    found = Annotations.from_stack(stack).find_warning("*", Match.any_value())
    return [str(message.entry.data) for message in found]


def test_function_that_knows_a_task_without_a_route_to_its_worker_is_warned() -> None:
    stack = new_stack()
    server = BackgroundTaskFunction(stack, "Rest", code=back_office(), modules=["back_office.mail"])
    add_invoice(stack)
    archive, orders = _archive(stack), add_orders(stack)
    server.grant_dispatch(orders.function)
    archive.grant_dispatch(orders.function)
    [warning] = _warnings(stack)
    assert warning.startswith(
        "Shop/Orders/Function knows task 'back_office.invoices.render', and would dispatch it to the server of its "
        "namespace 'DEFAULT', Shop/Rest, which does not load 'back_office.invoices'"
    )
    assert warning.endswith("[ack: lambda-task-constructs:task-without-route]")


def test_function_with_the_tasks_own_route_is_not_warned() -> None:
    stack = new_stack()
    server = BackgroundTaskFunction(stack, "Rest", code=back_office(), modules=["back_office.mail"])
    orders = add_orders(stack)
    for target in (server, add_invoice(stack), _archive(stack)):
        target.grant_dispatch(orders.function)
    assert _warnings(stack) == []


def test_source_that_cannot_be_read_fails_the_synthesis_with_its_name(package: Any) -> None:
    code = package({"jobs": "@task\ndef job(): ...", "broken": "def ("})
    stack = new_stack()
    BackgroundTaskFunction(stack, "Jobs", code=code, modules=["shed.jobs"])
    with pytest.raises(RuntimeError, match=r"broken\.py"):
        environment(stack)


# --- References ------------------------------------------------------------------------------------------------------


def test_task_that_does_not_exist_is_refused_with_path_and_nearest_name() -> None:
    with pytest.raises(TaskReferenceError, match=r"^Shop/Invoice: .*rendr.*render"):
        ManagedAsyncTask(new_stack(), "Invoice", code=back_office(), task="back_office.invoices:rendr")


def test_module_that_does_not_exist_is_refused_with_path_and_nearest_name() -> None:
    with pytest.raises(TaskReferenceError, match=r"^Shop/Mail: .*back_office\.male.*back_office\.mail"):
        add_mail(new_stack(), modules=["back_office.male"])


def test_modules_as_one_string_are_refused() -> None:
    with pytest.raises(TaskReferenceError, match=r"^Shop/Mail: .*'back_office.mail' is one string"):
        add_mail(new_stack(), modules="back_office.mail")


def test_task_is_known_by_its_registered_name() -> None:
    stack = new_stack()
    assert _archive(stack).dispatch_environment["TASK_ROUTE__INVOICES_ARCHIVE"].startswith("sqs:Shop-Archive-")
    assert environment(stack)["TASK_MODULES"] == "back_office.invoices"


# --- Priorities ------------------------------------------------------------------------------------------------------


def test_priority_without_a_queue_goes_to_the_default_queue() -> None:
    stack = new_stack()
    mail = add_mail(
        stack, namespace="mail", priorities={Priority.high: QueueSettings(), Priority.default: QueueSettings()}
    )
    assert mail.routes == {
        "TASK_ROUTE__MAIL": "sqs:Shop-Mail-FFFD920E-default",
        "TASK_ROUTE__MAIL__HIGH": "sqs:Shop-Mail-FFFD920E-high",
    }


def test_priorities_without_default_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^Shop/Mail: priorities is HIGH, allowed is DEFAULT, and any of the others"):
        add_mail(new_stack(), priorities={Priority.HIGH: QueueSettings()})


def test_imported_queue_names_without_default_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^Shop: priorities is BULK, allowed is DEFAULT, and any of the others"):
        PriorityTaskQueues.from_queue_names(new_stack(), "Mail", queue_names={Priority.BULK: "bulk"})
