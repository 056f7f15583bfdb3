"""What can be a task, what cannot, and what the refusal says."""

import asyncio
import importlib
import inspect
import re
from typing import Any

import pytest

from runtime_lib import Priority, Retry, Task, TaskDefinitionError, registry
from tests.task_modules import load, run_program

AT_TOP = "@task takes a function at the top level of a module, given "
REFUSED = {
    "a lambda": ("task(lambda: 1)", "a lambda has no name by which a worker could find it: use def"),
    "a lambda, assigned": ("send = task()(lambda: 1)", "a lambda has no name by which a worker could find it: use def"),
    "nested in a function": (
        "def make():\n    @task\n    def send(): ...\nmake()",
        (
            "make.<locals>.send is nested in a function, where no worker finds it: move it to the top level (a decorator "
            "below @task keeps the name of its function with functools.wraps)"
        ),
    ),
    "a method": (
        "class Mail:\n    @task\n    def send(self): ...",
        "Mail.send is a method: a task is a function at the top level of its module",
    ),
    "a function of a class": ("class Mail:\n    def send(self): ...\ntask(Mail.send)", "Mail.send is a method"),
    "a bound method": ("class Mail:\n    def send(self): ...\ntask(Mail().send)", AT_TOP + "the method Mail.send: put"),
    "a staticmethod": (
        "class Mail:\n    @task\n    @staticmethod\n    def send(): ...",
        AT_TOP + "the staticmethod Mail.send: put @task above every other decorator, and let those return functions "
        "(its own options are keywords: @task(name='…'))",
    ),
    "a classmethod": (
        "class Mail:\n    @task\n    @classmethod\n    def send(cls): ...",
        AT_TOP + "the classmethod Mail",
    ),
    "a class": ("@task\nclass Mail: ...", AT_TOP + "the type Mail"),
    "a callable object": ("class Mail:\n    def __call__(self): ...\ntask(Mail())", AT_TOP + "<shop"),
    "a builtin": ("task(len)", AT_TOP + "the builtin_function_or_method len"),
    "a partial": ("import functools\ntask(functools.partial(print, 1))", AT_TOP + "functools.partial("),
    "a cached function": (
        "import functools\n@task\n@functools.cache\ndef send(): ...",
        AT_TOP + "the _lru_cache_wrapper",
    ),
    "a name": ("task('send')", AT_TOP + "'send': put"),
    "a number": ("task(5)", AT_TOP + "5"),
    "a task": ("@task\n@task\ndef send(): ...", ".send is a task already: decorate it once"),
    "a generator": ("@task\ndef send(): yield", "send is a generator: a task is called once and returns"),
    "an async generator": ("@task\nasync def send(): yield", "send is a generator: a task is called once and returns"),
    "below a decorator without functools.wraps": (
        "def deco(f):\n    def inner(): f()\n    return inner\n@task\n@deco\ndef send(): ...",
        "deco.<locals>.inner is nested in a function",
    ),
    "a name twice": ("@task\ndef send(): ...\n@task\ndef send(): ...", "two tasks are called "),
    "a name of its own twice": (
        "@task(name='mail')\ndef a(): ...\n@task(name='mail')\ndef b(): ...",
        "; rename one or give it a name of its own: @task(name='…')",
    ),
    "a name twice below one decorator": (
        (
            "import functools\n"
            "def deco(f):\n    @functools.wraps(f)\n    def inner(): f()\n    return inner\n"
            "@task\n@deco\ndef send(): ...\n@task\n@deco\ndef send(): ..."
        ),
        "two tasks are called ",
    ),
    "metadata that is no dict": (
        "@task\ndef send(metadata: str): ...",
        (
            "send: the library passes a dict for a parameter called 'metadata', but it is annotated str: annotate it "
            "'dict', or rename it"
        ),
    ),
    "headers that are no dict": ("@task\ndef send(*, headers: list[str] | None = None): ...", "called 'headers'"),
    "metadata by position only": (
        "@task\ndef send(a, metadata: dict, /): ...",
        "send: the library passes 'metadata' by keyword: move it behind the '/'",
    ),
    "metadata before *args": (
        "@task\ndef send(a, metadata: dict, *rest): ...",
        "send: the library passes 'metadata' by keyword: move it behind '*rest'",
    ),
    "a type that has no JSON form": (
        "@task\ndef send(to: str, handle: complex): ...",
        (
            "send: parameter 'handle' is annotated complex, which cannot be sent (complex has no JSON form): use JSON "
            "types, dataclasses, enums, datetime, UUID, Decimal, bytes, set, tuple, TypedDict or pydantic models"
        ),
    ),
    "a type that has no JSON form, deep inside": (
        "import socket\n@task\ndef send(*, sockets: dict[str, list[socket.socket]]): ...",
        "parameter 'sockets' is annotated dict[str, list[socket.socket]], which cannot be sent (socket has no JSON form)",
    ),
    "a type of a variadic parameter": (
        "@task\ndef send(*parts: complex): ...",
        "parameter 'parts' is annotated complex",
    ),
    "an annotation that is no type": (
        "@task\ndef send(to: 'the address'): ...",
        "send: parameter 'to' is annotated 'the address', which is no type: ",
    ),
    "an unknown option": (
        "@task(retries=3)\ndef send(): ...",
        "@task has no option 'retries': it takes name, priority, namespace, retry, schema_version, max_hops",
    ),
    "an empty name": ("@task(name='')\ndef send(): ...", "the name of a task is a str that is not empty, given ''"),
    "a priority's text": (
        "@task(priority='high')\ndef send(): ...",
        "send: a priority is one of Priority.DEFAULT, Priority.HIGH, Priority.LOW, Priority.BULK, given 'high'",
    ),
    "an empty namespace": ("@task(namespace='')\ndef send(): ...", "send: namespace is a name or several, given ''"),
    "no namespace": ("@task(namespace=[])\ndef send(): ...", "send: namespace is a name or several, given []"),
    "a namespace that is no name": ("@task(namespace=['a', 5])\ndef send(): ...", "given ['a', 5]"),
    "a policy's name that is unknown": (
        "@task(retry='sometimes')\ndef send(): ...",
        "send: retry is a Retry or one of 'never', 'retry_once', 'retry_always', 'always', given 'sometimes'",
    ),
    "a number of retries": ("@task(retry=3)\ndef send(): ...", "send: retry is a Retry or one of"),
    "a schema version that is no number": (
        "@task(schema_version='2')\ndef send(): ...",
        "send: schema_version is a whole number from 1, given '2'",
    ),
    "max_hops below 0": ("@task(max_hops=-1)\ndef send(): ...", "send: max_hops is a whole number from 0, given -1"),
}


@pytest.mark.parametrize(("source", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_a_task_is_refused_with_the_reason_and_what_to_do(source: str, message: str) -> None:
    with pytest.raises(TaskDefinitionError) as caught:
        load(f"from runtime_lib import task\n{source}")
    assert isinstance(caught.value, TypeError)
    assert message in str(caught.value)


def test_the_refusal_of_a_second_name_says_where_both_are() -> None:
    with pytest.raises(TaskDefinitionError, match=r"at (shop_\d+\.py):2 and at \1:5; rename one"):
        load("from runtime_lib import task\n@task\ndef send(): ...\n\n@task\ndef send(): ...")


@pytest.mark.parametrize("decorator", ["@task", "@task()", "@task(max_hops=1)"])
def test_a_decorated_function_is_a_task_called_after_its_module(decorator: str) -> None:
    module = load(f"from runtime_lib import task\n{decorator}\ndef send(to: str) -> str:\n    'Sends.'\n    return to")
    assert isinstance(module.send, Task)
    assert module.send.name == f"{module.__name__}.send"
    assert registry.find(module.send.name) is module.send
    assert repr(module.send) == f"<task {module.__name__}.send>"


def test_a_task_is_described_as_its_function_is() -> None:
    module = load("from runtime_lib import task\n@task\ndef send(to: str) -> str:\n    'Sends.'\n    return to")
    send = module.send
    assert (send.__name__, send.__qualname__, send.__module__, send.__doc__) == (
        "send",
        "send",
        module.__name__,
        "Sends.",
    )
    assert str(inspect.signature(send)) == "(to: str) -> str"
    assert send.__wrapped__ is send.function


def test_a_plain_call_runs_here_and_returns() -> None:
    assert load("from runtime_lib import task\n@task\ndef add(a, b=1): return a + b").add(2, b=3) == 5


def test_a_plain_call_of_an_async_task_gives_its_coroutine() -> None:
    coroutine = load("from runtime_lib import task\n@task\nasync def add(a, b=1): return a + b").add(2, b=3)
    assert asyncio.run(coroutine) == 5


def test_options_are_kept() -> None:
    send = load("""
        from runtime_lib import Priority, Retry, task
        @task(name="mail.decorated", priority=Priority.LOW, namespace=["mail", "news"], retry=Retry(7), schema_version=2, max_hops=0)
        def send(): ...
        """).send
    assert (send.name, send.priority, send.namespaces) == ("mail.decorated", Priority.LOW, ("mail", "news"))
    assert (send.retry, send.schema_version, send.max_hops) == (Retry(7), 2, 0)


def test_defaults_of_options() -> None:
    send = load("from runtime_lib import task\n@task\ndef send(): ...").send
    assert (send.priority, send.namespaces, send.retry) == (Priority.DEFAULT, ("DEFAULT",), Retry())
    assert (send.schema_version, send.max_hops, send.is_async) == (None, 16, False)


def test_what_other_decorators_leave_on_a_function_does_not_hide_what_a_task_has() -> None:
    send = load("""
        from runtime_lib import task
        def mark(function):
            function.dispatch = function.name = function.function = "other"
            return function
        @task
        @mark
        def send(): return 1
        """).send
    assert send.name.endswith(".send")
    assert callable(send.dispatch)
    assert send() == 1


WRAPPED = """
    import functools
    from runtime_lib import task

    def logged(function):
        @functools.wraps(function)
        def inner(*args, **kwargs):
            return ["logged", function(*args, **kwargs)]
        return inner

    @task
    @logged
    @logged
    def send(to: str, *, subject: str = "Hi") -> str:
        return f"{to}: {subject}"
    """


def test_a_function_below_other_decorators_is_known_by_its_own_name_and_signature() -> None:
    module = load(WRAPPED)
    assert module.send.name == f"{module.__name__}.send"
    assert module.send("a") == ["logged", ["logged", "a: Hi"]]
    with pytest.raises(TypeError, match=re.escape("send() got an unexpected keyword argument 'sub'")):
        module.send.call("a", sub="x")
    with pytest.raises(TypeError, match="argument 'to' takes str, given int"):
        module.send.call(1)


def test_a_module_that_is_loaded_again_brings_its_tasks_again(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop_reloaded.py").write_text("from runtime_lib import task\n@task\ndef send(): return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("shop_reloaded")
    first = module.send
    importlib.reload(module)
    assert registry.find("shop_reloaded.send") is module.send is not first


def test_a_task_of_another_module_that_is_imported_is_no_second_one() -> None:
    first = load("from runtime_lib import task\n@task\ndef send(): ...")
    second = load(f"from {first.__name__} import send")
    assert second.send is first.send


def test_the_same_function_may_be_two_tasks_of_different_names() -> None:
    module = load(
        "from runtime_lib import task\ndef send(): ...\na = task(name='twice.a')(send)\nb = task(name='twice.b')(send)"
    )
    assert registry.find("twice.a") is module.a
    assert registry.find("twice.b") is module.b


def test_refusals_hold_under_python_o() -> None:
    source = """
        from runtime_lib import task
        try:
            task(lambda: 1)
        except TypeError as error:
            print(error)
        """
    assert "a lambda has no name" in run_program(source, "-O")
