"""constructs_lib._source: what is no task is refused, saying what to do."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from constructs_lib._source import SourceTree

WriteTree = Callable[[Mapping[str, str | bytes]], SourceTree]
Refusal = Callable[[Callable[[], object]], str]

TASK = """
from runtime_lib import task

@task
def send(): ...
"""


NOT_THE_DECORATOR = {
    "none": "",
    "another library's": "from celery import task\n@task",
    "own function": "def task(f): return f\n@task",
    "a local module of that name": "from shop.runtime_lib import task\n@task",
    "an attribute of it": "from runtime_lib import task\n@task.other",
    "called with the function's place taken": "from runtime_lib import task\n@task(print)",
    "a call that cannot be followed": "from runtime_lib import task\n@str(task)",
    "a subscript": "from runtime_lib import task\ntasks = {'a': task}\n@tasks['a']",
    "rebound before": "from runtime_lib import task\nfrom celery import task\n@task",
    "bound only afterwards": "if 1: background = None\n@background",
    "imported for type checkers only": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from runtime_lib import task\n@task",
    "imported for typing.TYPE_CHECKING": "import typing\nif typing.TYPE_CHECKING:\n    from runtime_lib import task\n@task",
    "imported under else of not TYPE_CHECKING": "if not TYPE_CHECKING: ...\nelse:\n    from runtime_lib import task\n@task",
    "imported never": "if 0:\n    from runtime_lib import task\n@task",
    "imported in a function": "def load():\n    from runtime_lib import task\n@task",
    "deleted before": "from runtime_lib import task\ndel task\n@task",
    "called by itself": "t = t()\n@t",
    "builtin": "@staticmethod",
}


@pytest.mark.parametrize("decorated", NOT_THE_DECORATOR.values(), ids=NOT_THE_DECORATOR.keys())
def test_function_without_the_decorator_is_refused(write_tree: WriteTree, refusal: Refusal, decorated: str) -> None:
    source = f"{decorated}\ndef send(): ...\nfrom runtime_lib import task as background\n"
    tree = write_tree({"tasks.py": source, "runtime_lib.py": "def task(f): return f\n"})
    message = refusal(lambda: tree.task("shop.tasks:send"))
    assert "'shop.tasks:send' is not decorated with @task" in message
    assert "tasks.py:" in message
    assert "from runtime_lib import task" in message
    decorator = decorated.rpartition("\n")[2]
    assert decorator in message.replace('"', "'")
    assert tree.tasks() == ()


def test_line_of_the_refused_function_is_named(write_tree: WriteTree, refusal: Refusal) -> None:
    tree = write_tree({"tasks.py": "import os\n\ndef send(): ...\n"})
    assert "shop/tasks.py:3" in refusal(lambda: tree.task("shop.tasks:send"))


NOT_LITERAL = {
    "name from a variable": ("name=NAME", "name=NAME"),
    "name from an f-string": ("name=f'{NAME}.x'", "name=f'{NAME}.x'"),
    "name from an expression": ("name='a' + NAME", "name='a' + NAME"),
    "namespace from a variable": ("namespace=NAME", "namespace=NAME"),
    "namespace with a variable": ("namespace=['mail', NAME]", "namespace=['mail', NAME]"),
}


@pytest.mark.parametrize(("option", "named"), NOT_LITERAL.values(), ids=NOT_LITERAL.keys())
def test_option_that_is_no_literal_is_refused_with_what_to_write(
    write_tree: WriteTree, refusal: Refusal, option: str, named: str
) -> None:
    tree = write_tree({"tasks.py": f"from runtime_lib import task\nNAME = 'n'\n@task({option})\ndef send(): ...\n"})
    for call in (lambda: tree.task("shop.tasks:send"), tree.tasks):
        message = refusal(call)
        assert named in message
        assert "tasks.py:4" in message
        assert "write it as a literal string" in message


def test_options_hidden_in_a_mapping_are_refused(write_tree: WriteTree, refusal: Refusal) -> None:
    tree = write_tree({"tasks.py": "from runtime_lib import task\n@task(**OPTIONS)\ndef send(): ...\n"})
    message = refusal(lambda: tree.task("shop.tasks:send"))
    assert "**OPTIONS" in message
    assert "write the options out" in message


@pytest.mark.parametrize(
    "option", ["name=3", "name=''", "namespace=''", "namespace=[]", "namespace=None", "namespace=[1]"]
)
def test_option_of_a_wrong_value_is_refused(write_tree: WriteTree, refusal: Refusal, option: str) -> None:
    tree = write_tree({"tasks.py": f"from runtime_lib import task\n@task({option})\ndef send(): ...\n"})
    message = refusal(lambda: tree.task("shop.tasks:send"))
    assert option in message
    assert "non-empty string" in message


REFUSED = {
    "another decorator above": (
        "@functools.cache\n@task\ndef send(): ...",
        "another decorator above @task",
        "move @task to the top",
    ),
    "only another decorator": ("@functools.cache\ndef send(): ...", "only with @functools.cache", "put @task"),
    "class": ("class send: ...", "is a class", "a function decorated with @task"),
    "method": (
        "class Mail:\n    @task\n    def send(self): ...",
        "inside a class or function",
        "move it to the top level",
    ),
    "nested": (
        "def outer():\n    @task\n    def send(): ...",
        "inside a class or function",
        "move it to the top level",
    ),
    "nested async": (
        "def outer():\n    async def send(): ...",
        "inside a class or function",
        "move it to the top level",
    ),
    "module": ("from shop import mail as send", "is a module", "'shop.mail:<task>'"),
    "module of another package": (
        "import json as send",
        "leads to json, which is not in package 'shop'",
        "define the task",
    ),
    "name of another package": ("from other.tasks import send", "leads to other.tasks.send", "define the task"),
    "attribute of another package": ("import other\nsend = other.tasks.send", "leads to other.tasks.send", "define"),
    "the last of two": ("if print:\n    send = 1\nelse:\n    class send: ...", "is a class", ""),
    "own value after a star": ("from .stars import *\nsend = 1", "cannot be followed", "decorate the function"),
    "replaced under try without except": (
        "@task\ndef send(): ...\ntry:\n    send = 1\nfinally: ...",
        "cannot be followed",
        "decorate the function",
    ),
    "value": ("send = 1", "cannot be followed without importing", "decorate the function"),
    "result of a call": ("send = make()", "cannot be followed without importing", "decorate the function"),
    "wrapped again": (
        "@task\ndef send(): ...\nsend = functools.cache(send)",
        "cannot be followed",
        "decorate the function",
    ),
    "unpacked from a call": ("send, other = make()", "cannot be followed without importing", "decorate the function"),
    "starred": ("*send, other = 1, 2", "cannot be followed without importing", "decorate the function"),
    "variable of a loop": ("for send in []: ...", "cannot be followed without importing", "decorate the function"),
    "variable of with": ("with make() as send: ...", "cannot be followed without importing", "decorate the function"),
    "augmented": ("send = 1\nsend += 1", "cannot be followed without importing", "decorate the function"),
    "attribute of a value": (
        "x = make()\nsend = x.send",
        "cannot be followed without importing",
        "decorate the function",
    ),
    "lambda": ("send = task(lambda: 0)", "is not given a function of package 'shop'", "top level of a module"),
    "imported function": (
        "from json import dumps\nsend = task(dumps)",
        "is not given a function of package 'shop'",
        "top level",
    ),
    "declared, not assigned": ("send: object", "has no 'send'", ""),
    "deleted": ("@task\ndef send(): ...\ndel send", "nothing that it is imported from defines it", ""),
    "not run when imported": ("if __name__ == '__main__':\n    @task\n    def send(): ...", "inside a class", ""),
    "missing there": ("from shop.mail import send", "nothing that it is imported from defines it", ""),
    "circle of two names": ("send = sent\nsent = send", "nothing that it is imported from defines it", ""),
    "star of another package": (
        "from other import *",
        "from other import * cannot be followed",
        "import the name itself",
    ),
    "star of a module whose __all__ has it not": ("from .private import *", "has no 'send'", ""),
    "globals": ("globals()['send'] = task(print)", "has no 'send'", ""),
}


@pytest.mark.parametrize(("source", "what", "remedy"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_task_is_refused_with_what_to_do(
    write_tree: WriteTree, refusal: Refusal, source: str, what: str, remedy: str
) -> None:
    files = {
        "mail.py": "",
        "private.py": "__all__ = ['other']\nfrom .stars import *\n",
        "stars.py": TASK,
        "tasks.py": f"import functools\nfrom runtime_lib import task\n{source}\n",
    }
    message = refusal(lambda: write_tree(files).task("shop.tasks:send"))
    assert "'shop.tasks:send'" in message or "tasks.py:" in message
    assert what in message
    assert remedy in message


def test_two_modules_with_a_task_of_one_name_are_refused(write_tree: WriteTree, refusal: Refusal) -> None:
    named = "from runtime_lib import task\n@task(name='mail')\ndef send(): ...\n"
    tree = write_tree({"a.py": named, "b.py": "\n" + named})
    message = refusal(tree.tasks)
    assert "two tasks are called 'mail'" in message
    assert "shop/a.py:3" in message
    assert "shop/b.py:4" in message


def test_function_that_two_modules_register_is_one_task(write_tree: WriteTree) -> None:
    registered = "from runtime_lib import task\nfrom .plain import work\nsend = task(work)\n"
    tree = write_tree({"plain.py": "def work(): ...\n", "a.py": registered, "b.py": registered})
    assert {(task.name, task.module) for task in tree.tasks()} == {
        ("shop.plain.work", "shop.a"),
        ("shop.plain.work", "shop.b"),
    }


def test_underscored_names_do_not_come_by_star(write_tree: WriteTree, refusal: Refusal) -> None:
    tree = write_tree({"tasks.py": "from .mail import *\n", "mail.py": TASK.replace("send", "_send")})
    assert "has no '_send'" in refusal(lambda: tree.task("shop.tasks:_send"))


@pytest.mark.parametrize("imported", ["from .{} import send", "from .{} import *"])
def test_modules_that_import_from_each_other_in_a_circle_are_refused(
    write_tree: WriteTree, refusal: Refusal, imported: str
) -> None:
    tree = write_tree({"a.py": imported.format("b"), "b.py": imported.format("a")})
    assert "'shop.a:send'" in refusal(lambda: tree.task("shop.a:send"))
    assert tree.tasks() == ()


def test_decorators_that_call_each_other_in_a_circle_are_refused(write_tree: WriteTree, refusal: Refusal) -> None:
    tree = write_tree(
        {"a.py": "from .b import t\nu = t()\n@u\ndef send(): ...\n", "b.py": "from .a import u\nt = u()\n"}
    )
    assert "is not decorated with @task" in refusal(lambda: tree.task("shop.a:send"))


BAD_REFERENCES = ["", ":", "shop.tasks", "shop.tasks.send", "shop.tasks:", ":send", "shop/tasks:send", "shop.tasks:send:x",
                  "shop..tasks:send", ".tasks:send", "shop.tasks:1", "shop.tasks: send", "shop.tasks:send\n", None, 3]  # fmt: skip


@pytest.mark.parametrize("reference", BAD_REFERENCES)
def test_bad_form_of_a_reference_is_refused(write_tree: WriteTree, refusal: Refusal, reference: str) -> None:
    tree = write_tree({"tasks.py": TASK})
    for find in (tree.task, tree.handler):
        message = refusal(lambda find=find: find(reference))
        assert repr(reference) in message
        assert "write 'module:name', as in 'shop.tasks:send_email'" in message


def test_attribute_of_a_class_is_refused(write_tree: WriteTree, refusal: Refusal) -> None:
    tree = write_tree({"tasks.py": "class Mail:\n    def send(self): ...\n"})
    assert "an attribute of Mail" in refusal(lambda: tree.task("shop.tasks:Mail.send"))


def test_missing_names_are_answered_with_the_nearest(write_tree: WriteTree, refusal: Refusal) -> None:
    tree = write_tree({"tasks.py": TASK})
    assert "did you mean 'send'?" in refusal(lambda: tree.task("shop.tasks:sned"))
    assert "did you mean 'send'?" in refusal(lambda: tree.handler("shop.tasks:sned"))
    assert "did you mean 'shop.tasks'?" in refusal(lambda: tree.task("shop.task:send"))
    assert "did you mean 'shop.tasks'?" in refusal(lambda: tree.require_modules(["shop.task"]))
    assert "did you mean" not in refusal(lambda: tree.task("shop.tasks:zzz"))


def test_modules_outside_the_asset_are_refused(write_tree: WriteTree, refusal: Refusal, tmp_path: Path) -> None:
    tree = write_tree({"tasks.py": TASK})
    (tmp_path / "shop" / "dev.py").write_text(TASK)
    (tmp_path / "shop" / "tests" / "unit").mkdir(parents=True)
    (tmp_path / "shop" / "tests" / "unit" / "test_tasks.py").write_text("")
    (tmp_path / "shop" / "data").mkdir()
    for call in (
        lambda m: tree.task(f"{m}:send"),
        lambda m: tree.handler(f"{m}:send"),
        lambda m: tree.require_modules([m]),
    ):
        assert "of your code it has package 'shop'" in refusal(lambda call=call: call("other.tasks"))
        assert "exclude= leaves it out" in refusal(lambda call=call: call("shop.dev"))
        assert "exclude= leaves it out" in refusal(lambda call=call: call("shop.tests"))
        assert "does not exist" in refusal(lambda call=call: call("shop.nowhere"))
        assert "does not exist" in refusal(lambda call=call: call("shop.data"))


@pytest.mark.parametrize("decorators", ["@streaming_handler()", "@other\n@streaming_handler", "@other", ""])
def test_what_is_no_streaming_handler_once_it_is_loaded_is_refused(
    write_tree: WriteTree, refusal: Refusal, decorators: str
) -> None:
    source = f"from runtime_lib import streaming_handler\nfrom elsewhere import other\n{decorators}\ndef rows(): ..."
    tree = write_tree({"export.py": source})
    message = refusal(lambda: tree.streaming_handler("shop.export:rows"))
    assert message.endswith("put one of them (from runtime_lib) above it, without parentheses")
