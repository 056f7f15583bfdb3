"""Groups of tasks: options that they share, and how they are put together."""

from typing import Any

import pytest

from runtime_lib import (
    Priority,
    RecordingTransport,
    Retry,
    TaskDefinitionError,
    TaskGroup,
    registry,
    using_transport,
)
from tests.task_modules import load

retry = Retry(5)
shop = TaskGroup(namespace="shop", priority=Priority.LOW, retry=retry, name_prefix="shop.")
mail = TaskGroup(parent=shop, namespace=["mail", "bulk"], name_prefix="mail.")


@shop.task
def invoice(order: int) -> int:
    return order


@shop.task(name="refunds", priority=Priority.HIGH, namespace="money", retry="never", max_hops=2)
async def refund(order: int) -> None: ...


@mail.task()
def send(to: str) -> None: ...


@mail.batch_task
def index(documents: list[str]) -> None: ...


@mail.batch_task(name="sum", retry="never")
def add(numbers: list[int]) -> int:
    return sum(numbers)


def test_batch_tasks_have_the_options_of_their_group_too() -> None:
    assert (index.name, index.namespaces, index.retry, index.group) == (
        "shop.mail.index",
        ("mail", "bulk"),
        retry,
        mail,
    )
    assert (add.name, add.retry.max_attempts, add([1, 2])) == ("shop.mail.sum", 1, 3)
    with using_transport(RecordingTransport()) as recording:
        index.dispatch("a")
    assert recording.sent[0].envelope.args == ["a"]


def test_tasks_have_the_options_of_their_group() -> None:
    assert (invoice.name, invoice.namespaces, invoice.priority) == ("shop.invoice", ("shop",), Priority.LOW)
    assert invoice.retry is retry
    assert invoice.group is shop
    assert registry.resolve("shop.invoice") is invoice
    assert invoice(3) == 3
    with using_transport(RecordingTransport()) as recording:
        invoice.dispatch(3)
    assert (recording.sent[0].namespace, recording.sent[0].envelope.priority) == ("shop", Priority.LOW)


def test_what_a_task_says_itself_comes_before_its_group() -> None:
    assert (refund.name, refund.namespaces, refund.priority) == ("shop.refunds", ("money",), Priority.HIGH)
    assert (refund.retry.max_attempts, refund.max_hops) == (1, 2)


def test_a_nested_group_has_the_options_of_its_parent_where_it_has_none() -> None:
    assert (send.name, send.namespaces, send.priority) == ("shop.mail.send", ("mail", "bulk"), Priority.LOW)
    assert send.retry is retry


def test_tasks_of_a_group_without_a_prefix_have_the_names_of_other_tasks() -> None:
    module = load(
        """
        from runtime_lib import TaskGroup
        group = TaskGroup()
        @group.task
        def send(): ...
        @group.task(name="named")
        def _send(): ...
        """,
        "shop_of_groups",
    )
    assert (module.send.name, module._send.name) == ("shop_of_groups.send", "named")


def test_groups_cannot_be_put_into_a_circle_or_into_two() -> None:
    outer, middle, inner = TaskGroup(), TaskGroup(), TaskGroup()
    outer.include(middle)
    middle.include(inner)
    for group in (outer, middle, inner):
        with pytest.raises(TaskDefinitionError, match=r"cannot be included in itself, or in a group that is inside it"):
            inner.include(group)
    with pytest.raises(TaskDefinitionError, match=r"is in TaskGroup.* already: a group is in one other at most"):
        TaskGroup().include(inner)
    with pytest.raises(TaskDefinitionError, match=r"is in TaskGroup.* already"):
        TaskGroup().include(mail)


def test_a_group_with_options_cannot_include_another_whose_tasks_would_not_have_them() -> None:
    with pytest.raises(TaskDefinitionError, match=r"TaskGroup\(namespace='shop'.* has options.*TaskGroup\(parent=…\)"):
        shop.include(TaskGroup())
    with pytest.raises(TaskDefinitionError, match="has options"):
        TaskGroup(name_prefix="a.").include(TaskGroup())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TaskGroup(parent="shop"), "the parent of a TaskGroup is a TaskGroup, given 'shop'"),
        (lambda: TaskGroup(name_prefix=3), "the name_prefix of a TaskGroup is a str, given 3"),
        (lambda: TaskGroup().include("mail"), "a TaskGroup includes a TaskGroup, given 'mail'"),
        (lambda: shop.task(retries=3)(plain), "@task has no option 'retries'"),
        (lambda: shop.task(name=3)(plain), "the name of a task is a str"),
        (lambda: shop.task("name"), "@task takes a function"),
        (lambda: shop.task(invoice), "shop.invoice is a task already"),
        (lambda: TaskGroup(namespace=[]).task(plain), "namespace is a name or several"),
        (lambda: TaskGroup(retry=3).task(plain), "retry"),
    ],
)
def test_what_is_wrong_is_refused(make: Any, message: str) -> None:
    with pytest.raises(TaskDefinitionError, match=message):
        make()


def plain() -> None: ...


def test_a_decorator_of_a_group_can_be_kept_and_used_often() -> None:
    module = load(
        """
        from runtime_lib import TaskGroup
        urgent = TaskGroup(name_prefix="kept.").task(max_hops=1)
        @urgent
        def a(): ...
        @urgent
        def b(): ...
        """
    )
    assert (module.a.name, module.b.name) == ("kept.a", "kept.b")


def test_two_tasks_of_one_name_are_refused_in_groups_too() -> None:
    with pytest.raises(TaskDefinitionError, match=r"two tasks are called 'shop.invoice'"):
        load(
            """
            from runtime_lib import TaskGroup
            @TaskGroup(name_prefix="shop.").task
            def invoice(): ...
            """
        )
