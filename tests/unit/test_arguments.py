"""Signatures: what binds to them, what the library passes itself, and annotations of every spelling."""

import inspect
from typing import Any

import pytest

from runtime_lib import ArgumentError, TaskContext, TaskDefinitionError
from runtime_lib.arguments import Signature, unwrapped
from runtime_lib.context import Delivery
from runtime_lib.contract import Priority
from runtime_lib.envelope import Envelope
from runtime_lib.execution import DeadLettered, Outcome, Succeeded, run
from tests.task_modules import load

HEAD = "from __future__ import annotations\n"


def define(source: str, *, later: bool = False) -> Any:
    """The task ``send`` of this source; with ``later``, annotations are text."""
    return load((HEAD if later else "") + "import typing\nfrom typing import *\nfrom runtime_lib import *\n" + source)


def through(task: Any, *args: Any, **kwargs: Any) -> Any:
    """What the function returns after a dispatch with these arguments."""
    envelope = Envelope.decode(task.with_headers(request_id="1").call(*args, **kwargs).body)
    outcome = run(task, envelope, Delivery(receipt="r"))
    assert isinstance(outcome, Succeeded), outcome
    return outcome.result


# --- Binding ---------------------------------------------------------------------------------------------------------

SIGNATURES = [
    "",
    "a",
    "a, b=1",
    "a, /",
    "a, /, b",
    "a=1, /, b=2",
    "*, a",
    "*, a, b=1",
    "a, *, b",
    "*a",
    "a, *b",
    "a, *b, c",
    "**a",
    "a, /, **b",
    "a, b=1, /, c=2, *d, e, f=3, **g",
]
CALLS: list[tuple[list[Any], dict[str, Any]]] = [
    ([], {}),
    ([1], {}),
    ([1, 2], {}),
    ([1, 2, 3, 4], {}),
    ([], {"a": 1}),
    ([1], {"a": 1}),
    ([1], {"b": 1}),
    ([], {"a": 1, "b": 2}),
    ([1], {"c": 1}),
    ([1, 2], {"e": 1}),
    ([1], {"not a name": 1}),
]


@pytest.mark.parametrize("parameters", SIGNATURES)
def test_arguments_bind_as_python_binds_them(parameters: str) -> None:
    module = load(f"from runtime_lib import task\n@task\ndef send({parameters}): return locals()")
    signature = module.send.signature
    for args, kwargs in CALLS:
        expected = plainly(module.send, args, kwargs)
        if isinstance(expected, TypeError):
            for check in (signature.to_wire, signature.accept):
                with pytest.raises(ArgumentError) as refused:
                    check(args, kwargs)
                assert str(refused.value) == str(expected)
        else:
            assert plainly(module.send, *signature.accept(*signature.to_wire(args, kwargs))) == expected


def plainly(function: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """What a plain call returns or raises."""
    try:
        return function(*args, **kwargs)
    except TypeError as error:
        return error


@pytest.mark.parametrize("parameters", SIGNATURES)
def test_a_signature_is_what_inspect_reads(parameters: str) -> None:
    module = load(f"def send({parameters}): ...")
    binder = inspect.signature(Signature(module.send, "send")._bind)
    expected = inspect.signature(module.send)
    assert [(one.name, one.kind) for one in binder.parameters.values()] == [
        (one.name, one.kind) for one in expected.parameters.values()
    ]


def test_a_message_whose_arguments_do_not_fit_is_given_up_with_pythons_words() -> None:
    send = define("@task\ndef send(to): ...").send
    envelope = Envelope.new(send.name, [1, 2], {}, priority=Priority.DEFAULT)
    outcome: Outcome = run(send, envelope, Delivery())
    assert isinstance(outcome, DeadLettered)
    assert outcome.reason == "send() takes 1 positional argument but 2 were given"


def test_an_error_names_the_variadic_parameter_and_the_keyword() -> None:
    send = define("@task\ndef send(*rest: int, **named: int): ...").send
    with pytest.raises(ArgumentError, match=r"argument 'rest' takes int, given str"):
        send.call(1, "x")
    with pytest.raises(ArgumentError, match=r"argument 'width' takes int, given str"):
        send.call(width="x")


def test_unwrapped_stops_at_the_last_function() -> None:
    def function() -> None: ...

    def outer() -> None: ...

    assert unwrapped(function) is function  # type: ignore[arg-type]
    outer.__wrapped__ = print  # type: ignore[attr-defined]
    assert unwrapped(outer) is outer  # type: ignore[arg-type]
    print_like = load("import functools\n@functools.cache\ndef f(): ...\ndef g(): ...\ng.__wrapped__ = f")
    assert unwrapped(print_like.g) is print_like.f.__wrapped__


# --- What the library passes -----------------------------------------------------------------------------------------

INJECTED = {
    "metadata": ("a, metadata: dict", ("metadata",)),
    "metadata, no annotation": ("a, metadata", ("metadata",)),
    "metadata, optional": ("a, metadata: dict[str, Any] | None = None", ("metadata",)),
    "metadata of typing": ("a, metadata: Optional[Dict[str, Any]] = None", ("metadata",)),
    "metadata, Mapping": ("a, metadata: Mapping[str, object]", ("metadata",)),
    "metadata first": ("metadata: dict, a", ("metadata",)),
    "metadata between": ("b=0, metadata: dict = {}, a=0", ("metadata",)),
    "metadata by keyword": ("a, *, metadata: dict", ("metadata",)),
    "metadata behind positional-only": ("a, /, metadata: dict", ("metadata",)),
    "headers": ("a, headers: dict[str, str]", ("headers",)),
    "both": ("metadata: dict, headers: Any, a", ("metadata", "headers")),
    "**kwargs": ("a, **kwargs", ("metadata", "headers")),
    "**kwargs of a type": ("a, **kwargs: int", ("metadata", "headers")),
    "*args and **kwargs": ("*args, a=0, **kwargs", ("metadata", "headers")),
    "metadata and **kwargs": ("metadata: dict, a, **kwargs", ("metadata", "headers")),
    "context": ("a, context: TaskContext", ("context",)),
    "context of another name": ("a, *, c: TaskContext", ("c",)),
    "context, optional": ("a, c: TaskContext | None = None", ("c",)),
    "context first": ("c: TaskContext, a", ("c",)),
    "metadata that is the context": ("a, metadata: TaskContext", ("metadata",)),
    "the context in metadata, and **kwargs": ("a, metadata: TaskContext, **kwargs", ("metadata", "headers")),
    "everything": ("metadata: dict, a, c: TaskContext, b=0, *, headers: dict, d=0", ("metadata", "headers", "c")),
}


@pytest.mark.parametrize("later", [False, True], ids=["", "from __future__ import annotations"])
@pytest.mark.parametrize(("parameters", "injected"), INJECTED.values(), ids=INJECTED)
def test_the_library_passes_what_a_task_asks_for(parameters: str, injected: tuple[str, ...], later: bool) -> None:
    send = define(f"@task\ndef send({parameters}): return locals()", later=later).send
    found = through(send, 1) if "/" in parameters else through(send, a=1)
    found |= found.pop("kwargs", {})
    assert found["a"] == 1
    assert {name for name in found if name not in {"a", "b", "d", "args"}} == set(injected)
    for name in injected:
        match found[name]:
            case TaskContext() as context:
                assert context.receipt == "r"
            case dict() as passed if name == "headers":
                assert passed == {"request_id": "1"}
            case dict() as passed:
                assert passed.keys() == {"id", "priority", "receipt", "timestamp", "version"}
                assert (passed["receipt"], passed["priority"], passed["version"]) == ("r", Priority.DEFAULT, "1.0")
            case other:
                pytest.fail(f"{name} is {other!r}")


@pytest.mark.parametrize("parameters", ["metadata: dict, a, b=2", "a, metadata: dict, b=2", "metadata, a, *, b=2"])
def test_positional_arguments_go_round_what_the_library_passes(parameters: str) -> None:
    send = define(f"@task\ndef send({parameters}): return a, b").send
    assert through(send, 1) == (1, 2)
    assert through(send, 1, b=3) == (1, 3)
    if "*" not in parameters:
        assert through(send, 1, 3) == (1, 3)
        with pytest.raises(ArgumentError, match=r"takes from 1 to 2 positional arguments but 3 were given"):
            send.call(1, 2, 3)


@pytest.mark.parametrize("parameters", ["metadata: dict", "**kwargs", "a=1, *, headers=None, metadata=None"])
def test_what_the_library_passes_cannot_be_dispatched(parameters: str) -> None:
    send = define(f"@task\ndef send({parameters}): ...").send
    with pytest.raises(ArgumentError, match=r"send\(\) gets 'metadata' from the library: do not pass it to dispatch"):
        send.dispatch(metadata={})


def test_variadic_parameters_may_have_any_name() -> None:
    assert through(define("@task\ndef send(*metadata): return metadata").send, 1, 2) == (1, 2)
    found = through(define("@task\ndef send(**headers): return headers").send, a=1)
    assert found.keys() == {"a", "metadata", "headers"}


# --- Annotations -----------------------------------------------------------------------------------------------------

ANNOTATED = {
    "names defined later": (
        (
            "@task\ndef send(order: Order): return order\n"
            "import dataclasses\n@dataclasses.dataclass\nclass Order:\n    id: int"
        ),
        "Order(5)",
    ),
    "names defined later, in a container": (
        (
            "@task\ndef send(orders: list[Order] | None = None): return orders\n"
            "import dataclasses\n@dataclasses.dataclass\nclass Order:\n    id: int"
        ),
        "[Order(5)]",
    ),
    "fields whose names are defined later": (
        (
            "import dataclasses\n@dataclasses.dataclass\nclass Order:\n    lines: list[Line]\n"
            "@task\ndef send(order: Order): return order\n"
            "@dataclasses.dataclass\nclass Line:\n    price: int"
        ),
        "Order([Line(5)])",
    ),
    "a model whose names are defined later": (
        (
            "import pydantic\nclass Order(pydantic.BaseModel):\n    lines: list[Line]\n"
            "@task\ndef send(order: Order): return order\n"
            "class Line(pydantic.BaseModel):\n    price: int"
        ),
        "Order(lines=[Line(price=5)])",
    ),
    "its own class": (
        (
            "import dataclasses\n@dataclasses.dataclass\nclass Tree:\n    leaves: list[Tree]\n"
            "@task\ndef send(tree: Tree): return tree"
        ),
        "Tree([Tree([])])",
    ),
}


@pytest.mark.parametrize(("source", "argument"), ANNOTATED.values(), ids=ANNOTATED)
def test_annotations_may_be_text_of_what_is_defined_later(source: str, argument: str) -> None:
    module = define(source, later=True)
    value = eval(argument, vars(module))
    assert through(module.send, value) == value
    with pytest.raises(ArgumentError, match="given object"):
        module.send.call(object())


def test_text_inside_an_annotation_is_read_as_well() -> None:
    module = define("@task\ndef send(orders: list['Order'], ids: Optional['Id'] = None): ...\nOrder = int\nId = str")
    module.send.call([1], "x")
    with pytest.raises(ArgumentError, match=r"argument 'orders'\[0\] takes int, given str"):
        module.send.call(["x"])
    with pytest.raises(ArgumentError, match=r"argument 'ids' takes str \| None, given int"):
        module.send.call([1], 5)


@pytest.mark.parametrize("later", [False, True])
def test_a_name_for_type_checkers_only_is_refused_when_it_is_needed(later: bool) -> None:
    annotation = "Order" if later else "'Order'"
    module = define(
        f"if TYPE_CHECKING:\n    from orders import Order\n@task\ndef send(order: {annotation}, to: str = ''): ...",
        later=later,
    )
    message = (
        r"send: parameter 'order' is annotated 'Order', of which its module does not define every name when it runs: "
        "import them outside 'if TYPE_CHECKING'"
    )
    with pytest.raises(TaskDefinitionError, match=message):
        module.send.dispatch(1)
    outcome = run(module.send, Envelope.new(module.send.name, [1], {}, priority=Priority.DEFAULT), Delivery())
    assert isinstance(outcome, DeadLettered)
    assert "parameter 'order' is annotated 'Order'" in outcome.reason


def test_a_module_that_lacks_an_attribute_yet_is_asked_again() -> None:
    module = define("import types\nlater = types.SimpleNamespace()\n@task\ndef send(order: 'later.Order'): ...")
    with pytest.raises(TaskDefinitionError, match=r"parameter 'order' is annotated 'later\.Order'"):
        module.send.call(1)
    module.later.Order = int
    module.send.call(1)


def test_a_missing_name_of_a_variadic_parameter_is_named() -> None:
    module = define("@task\ndef send(**orders: 'Order'): ...")
    with pytest.raises(TaskDefinitionError, match="parameter 'orders' is annotated 'Order'"):
        module.send.call(first=1)


FOR_CHECKERS = {
    "metadata": ("from collections.abc import Mapping as M", "a, metadata: M[str, Any]", "metadata"),
    "headers": ("from shop import Headers", "a, *, headers: Headers | None = None", "headers"),
    "context": ("from runtime_lib import TaskContext as TaskContext", "a, context: TaskContext", "context"),
    "context of a module": ("import runtime_lib as rl", "a, c: rl.TaskContext | None = None", "c"),
    "context of a module, first": ("import runtime_lib as rl", "c: rl.TaskContext, a", "c"),
}


@pytest.mark.parametrize(("imported", "parameters", "injected"), FOR_CHECKERS.values(), ids=FOR_CHECKERS)
def test_what_the_library_passes_may_be_annotated_for_type_checkers_only(
    imported: str, parameters: str, injected: str
) -> None:
    module = load(
        f"{HEAD}from typing import TYPE_CHECKING, Any\nfrom runtime_lib import task\n"
        f"if TYPE_CHECKING:\n    {imported}\n@task\ndef send({parameters}): return locals()"
    )
    found = through(module.send, 1)
    assert found.keys() == {"a", injected}
    assert found["a"] == 1
    assert isinstance(found[injected], dict | TaskContext)


def test_a_default_of_none_allows_none() -> None:
    module = define("@task\ndef send(to: str = None, *, at: int = None, many: list[int] = None): return to, at, many")
    assert through(module.send, None, at=None, many=None) == (None, None, None)
    assert through(module.send, "a", at=1, many=[1]) == ("a", 1, [1])
    with pytest.raises(ArgumentError, match=r"argument 'to' takes str \| None, given int"):
        module.send.call(1)
    with pytest.raises(ArgumentError, match=r"argument 'many'\[0\] takes int, given None"):
        module.send.call(many=[None])


def test_without_a_default_of_none_none_is_refused() -> None:
    with pytest.raises(ArgumentError, match="argument 'to' takes str, given NoneType"):
        define("@task\ndef send(to: str = ''): ...").send.call(None)
