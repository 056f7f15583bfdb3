"""constructs_lib._source: tasks of groups, and stubs of other applications' tasks."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from constructs_lib._source import SourceTree

WriteTree = Callable[[Mapping[str, str | bytes]], SourceTree]
Refusal = Callable[[Callable[[], object]], str]

HEAD = "from runtime_lib import Retry, TaskGroup\n"
GROUPS = f"""{HEAD}
shop = TaskGroup(namespace="shop", retry=Retry(first_delay=5), middleware=[print])
mail = TaskGroup(parent=shop, namespace=None, name_prefix="mail.")
__all__ = ["mail", "shop"]
"""

DECORATORS = {
    "plain": (f"{HEAD}g = TaskGroup()\n@g.task", "shop.tasks.send", "DEFAULT"),
    "called": (f"{HEAD}g = TaskGroup(namespace='a')\n@g.task()", "shop.tasks.send", "a"),
    "own options over the group's": (
        f"{HEAD}g = TaskGroup(namespace='a', name_prefix='p.')\n@g.task(namespace='b', name='n')",
        "p.n",
        "b",
    ),
    "prefix and function": (f"{HEAD}g = TaskGroup(name_prefix='p.')\n@g.task", "p.send", "DEFAULT"),
    "prefixes of nested groups": (
        f"{HEAD}a = TaskGroup(name_prefix='a.', namespace='x')\nb = TaskGroup(parent=a, name_prefix='b.')\n@b.task",
        "a.b.send",
        "x",
    ),
    "from its own module": (
        "from runtime_lib.task_group import TaskGroup\ng = TaskGroup()\n@g.task",
        "shop.tasks.send",
        "DEFAULT",
    ),
    "through the package": (
        "import runtime_lib as rl\ng = rl.TaskGroup(namespace='a')\n@g.task",
        "shop.tasks.send",
        "a",
    ),
    "imported": ("from .groups import mail\n@mail.task", "mail.send", "shop"),
    "imported and renamed": ("from shop.groups import mail as post\n@post.task()", "mail.send", "shop"),
    "of a module": ("from . import groups\n@groups.mail.task", "mail.send", "shop"),
    "of a dotted module": ("import shop.groups\n@shop.groups.shop.task(name='n')", "n", "shop"),
    "by star": ("from .groups import *\n@mail.task", "mail.send", "shop"),
    "parent of another module": (
        f"{HEAD}from . import groups\ng = TaskGroup(parent=groups.mail, name_prefix='x.')\n@g.task",
        "mail.x.send",
        "shop",
    ),
    "decorator kept": ("from .groups import mail\nurgent = mail.task(max_hops=1)\n@urgent", "mail.send", "shop"),
    "method kept": ("from .groups import mail\nmail_task = mail.task\n@mail_task(name='n')", "mail.n", "shop"),
    "partial": (
        "from functools import partial\nfrom .groups import mail\nt = partial(mail.task, namespace='b')\n@t()",
        "mail.send",
        "b",
    ),
    "made in place": (f"{HEAD}@TaskGroup(name_prefix='p.').task", "p.send", "DEFAULT"),
    "included": (
        f"{HEAD}app = TaskGroup(middleware=[print])\ng = TaskGroup(namespace='a')\napp.include(g)\n@g.task",
        "shop.tasks.send",
        "a",
    ),
    "batches": (f"{HEAD}g = TaskGroup(namespace='a', name_prefix='p.')\n@g.batch_task(max_hops=2)", "p.send", "a"),
    "batches without a group": ("from runtime_lib import batch_task\n@batch_task", "shop.tasks.send", "DEFAULT"),
    "batches, from their module": ("import runtime_lib.batches as b\n@b.batch_task()", "shop.tasks.send", "DEFAULT"),
    "annotated": (f"{HEAD}g: TaskGroup = TaskGroup(namespace='a')\n@g.task", "shop.tasks.send", "a"),
}


@pytest.mark.parametrize(("decorated", "name", "namespace"), DECORATORS.values(), ids=DECORATORS.keys())
def test_a_groups_task_has_the_name_and_namespace_that_the_group_gives(
    write_tree: WriteTree, decorated: str, name: str, namespace: str
) -> None:
    tree = write_tree({"groups.py": GROUPS, "tasks.py": f"{decorated}\ndef send(): ...\n"})
    task = tree.task("shop.tasks:send")
    assert (task.name, task.namespaces) == (name, (namespace,))
    assert tree.tasks() == (task,)


def test_a_function_given_to_a_groups_task_is_its_task(write_tree: WriteTree) -> None:
    source = "from .groups import mail\ndef _send(): ...\nsend = mail.task(_send)\n"
    tree = write_tree({"groups.py": GROUPS, "tasks.py": source})
    assert tree.task("shop.tasks:send").name == "mail._send"


def test_source_and_runtime_agree_about_groups(write_tree: WriteTree, tmp_path: Path) -> None:
    """Names are not those of the table: each module needs a function of its own name."""
    cases = [
        f"{decorated}\nasync def send{n}(items: list[int]): ...\n"
        for n, (decorated, name, _) in enumerate(DECORATORS.values())
    ]
    cases = [case.replace("name='n'", f"name='n{n}'") for n, case in enumerate(cases)]
    tree = write_tree({"groups.py": GROUPS} | {f"case{n}.py": case for n, case in enumerate(cases)})
    found = {task.name: list(task.namespaces) for task in tree.tasks()}
    program = """
import importlib, json, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
from runtime_lib import registry
print(json.dumps({name: registry.resolve(name).namespaces for name in registry.names()}))
"""
    result = subprocess.run(
        [sys.executable, "-c", program, *(f"shop.case{n}" for n in range(len(cases)))],
        cwd=tmp_path,
        env={"PYTHONPATH": os.pathsep.join(map(str, (tmp_path, Path(__file__).parents[2])))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert found == json.loads(result.stdout)
    assert len(found) == len(cases)


PRIORITIES = {
    "of the group": ("from .groups import urgent\n@urgent.task", "HIGH"),
    "of its parent": ("from runtime_lib import TaskGroup\nfrom .groups import urgent\n@TaskGroup(parent=urgent).task", "HIGH"),
    "of a decorator kept elsewhere": ("from .groups import slow\n@slow", "LOW"),
    "of the task": ("from runtime_lib import Priority as P\nfrom .groups import urgent\n@urgent.task(priority=P.BULK)", "BULK"),
    "of none": ("from .groups import mail\n@mail.task", None),
}  # fmt: skip


@pytest.mark.parametrize(("decorated", "priority"), PRIORITIES.values(), ids=PRIORITIES.keys())
def test_an_option_is_read_where_it_is_written(write_tree: WriteTree, decorated: str, priority: str | None) -> None:
    groups = f"""{GROUPS}
from runtime_lib import Priority, task
urgent = TaskGroup(priority=Priority.HIGH)
slow = task(priority=Priority.LOW)
"""
    tree = write_tree({"groups.py": groups, "tasks.py": f"{decorated}\ndef send(): ...\n"})
    assert tree.option(tree.task("shop.tasks:send"), "priority") == priority


REFUSED = {
    "prefix from a variable": ("P = 'p.'\ng = TaskGroup(name_prefix=P)", "name_prefix=P", "write it as a literal string"),
    "prefix that is no string": ("g = TaskGroup(name_prefix=3)", "name_prefix=3", "write a string"),
    "namespace from a variable": ("N = 'n'\ng = TaskGroup(namespace=N)", "namespace=N", "write it as a literal string"),
    "options in a mapping": ("g = TaskGroup(**OPTIONS)", "**OPTIONS", "write the options out"),
    "parent that is made by a call": ("g = TaskGroup(parent=make())", "parent=make() of TaskGroup", "TaskGroup(…) in the package"),
    "parent of another package": (
        "from other import parent\ng = TaskGroup(parent=parent)",
        "parent=parent of TaskGroup cannot be followed",
        "TaskGroup(…) in the package",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("group", "what", "remedy"), REFUSED.values(), ids=REFUSED.keys())
def test_a_group_that_cannot_be_read_is_refused_with_what_to_write(
    write_tree: WriteTree, refusal: Refusal, group: str, what: str, remedy: str
) -> None:
    tree = write_tree({"tasks.py": f"{HEAD}{group}\n@g.task\ndef send(): ...\n"})
    for call in (lambda: tree.task("shop.tasks:send"), tree.tasks):
        message = refusal(call)
        assert what in message
        assert remedy in message
        assert "tasks.py:" in message


NOT_A_GROUP = {
    "another library's": "from celery import Celery\ng = Celery()\n@g.task",
    "made by a call": "g = make()\n@g.task",
    "another method": f"{HEAD}g = TaskGroup()\n@g.tasks",
    "the class": f"{HEAD}@TaskGroup.task",
    "of another package": "from other import g\n@g.task",
}


@pytest.mark.parametrize("decorated", NOT_A_GROUP.values(), ids=NOT_A_GROUP.keys())
def test_what_is_no_group_has_no_tasks(write_tree: WriteTree, refusal: Refusal, decorated: str) -> None:
    tree = write_tree({"tasks.py": f"{decorated}\ndef send(): ...\n"})
    assert tree.tasks() == ()
    assert "is not decorated with @task" in refusal(lambda: tree.task("shop.tasks:send"))


def test_a_group_that_is_not_written_out_is_answered_with_what_to_write(
    write_tree: WriteTree, refusal: Refusal
) -> None:
    tree = write_tree({"tasks.py": "from other import g\n@g.task\ndef send(): ...\n"})
    assert "or write its group out, as in group = TaskGroup(…)" in refusal(lambda: tree.task("shop.tasks:send"))


def test_the_last_retry_counts_for_the_delays_that_a_task_asks_for(write_tree: WriteTree) -> None:
    source = "from .groups import shop\n@shop.task\ndef a(): ...\n@shop.task(retry='never')\ndef b(): ...\n"
    tree = write_tree({"groups.py": GROUPS, "tasks.py": source})
    assert [task.delays for task in tree.tasks()] == ["Retry(first_delay=…)", None]


@pytest.mark.parametrize(
    "imported", ["from runtime_lib import external_task", "from runtime_lib.external import external_task"]
)
def test_a_stub_of_another_applications_task_is_no_task_here(
    write_tree: WriteTree, refusal: Refusal, imported: str
) -> None:
    source = f"{imported}\n@external_task(name='images.resize', namespace='images')\ndef resize(): ...\n"
    tree = write_tree({"tasks.py": source})
    assert tree.tasks() == ()
    message = refusal(lambda: tree.task("shop.tasks:resize"))
    assert "stands for a task of another application" in message
    assert "tasks.py:3" in message
