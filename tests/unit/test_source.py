"""constructs_lib._source: tasks are found in source without importing it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from constructs_lib._source import SourceTree

WriteTree = Callable[[Mapping[str, str | bytes]], SourceTree]

TASK = """
from runtime_lib import task

@task
def send(): ...
"""


def test_task_definition_says_what_the_source_says(write_tree: WriteTree, tmp_path: Path) -> None:
    tree = write_tree(
        {
            "tasks.py": """
            from runtime_lib import task, Priority

            @task(name="mail.send", namespace=["mail", "bulk"], priority=Priority.HIGH)
            async def send(to: str) -> None: ...
            """
        }
    )
    task = tree.task("shop.tasks:send")
    assert task.name == "mail.send"
    assert task.module == "shop.tasks"
    assert task.function == "send"
    assert task.namespaces == ("mail", "bulk")
    assert task.is_async
    assert task.path == tmp_path / "shop" / "tasks.py"
    assert task.line == 5


def test_task_without_options_has_the_default_name_and_namespace(write_tree: WriteTree) -> None:
    task = write_tree({"tasks.py": TASK}).task("shop.tasks:send")
    assert (task.name, task.namespaces, task.is_async) == ("shop.tasks.send", ("DEFAULT",), False)


DECORATORS = {
    "plain": "from runtime_lib import task\n@task",
    "called": "from runtime_lib import task\n@task()",
    "renamed": "from runtime_lib import task as background\n@background(retry=None)",
    "from its own module": "from runtime_lib.task import task\n@task",
    "through the package": "import runtime_lib\n@runtime_lib.task",
    "through the renamed package": "import runtime_lib as rl\n@rl.task(max_hops=1)",
    "through the package's attribute": "import runtime_lib.task\n@runtime_lib.task",
    "through the renamed attribute": "import runtime_lib.task as t\n@t",
    "assigned": "from runtime_lib import task\nbackground = task\n@background",
    "annotated assignment": "from runtime_lib import task\nbackground: object = task\n@background",
    "assigned attribute": "import runtime_lib\nbackground = runtime_lib.task\n@background()",
    "with options, assigned": "from runtime_lib import task\nretried = task(retry='always')\n@retried",
    "functools.partial": "import functools\nfrom runtime_lib import task\nt = functools.partial(task, retry=None)\n@t",
    "partial, called": "from functools import partial\nfrom runtime_lib import task\nt = partial(task, retry=None)\n@t()",
    "alias module": "from .aliases import background\n@background",
    "alias module, absolute": "from shop.aliases import background\n@background()",
    "alias module, attribute": "from . import aliases\n@aliases.background",
    "alias module, dotted": "import shop.aliases\n@shop.aliases.background",
    "alias module, star": "from .aliases import *\n@background",
    "alias of an alias": "from .more_aliases import job\n@job",
    "alias with options": "from .aliases import quiet\n@quiet",
    "import under try": "try:\n    from runtime_lib import task\nexcept ImportError:\n    task = None\n@task",
    "fallback decorator": "try:\n    from runtime_lib import task\nexcept ImportError:\n    def task(f): return f\n@task",
    "import under if": "import os\nif os.name == 'nt':\n    from runtime_lib import task\nelse:\n    from .aliases import background as task\n@task",
    "bound to something else afterwards": "from runtime_lib import task\n@task\ndef other(): ...\n@task",
    "above another decorator": "from runtime_lib import task\ndef wrap(f): return f\n@task\n@wrap",
}
ALIASES = {
    "aliases.py": "from runtime_lib import task as background\nquiet = background(retry=None)\n__all__ = ['background']\n",
    "more_aliases.py": "from shop import aliases as a\njob = a.background\n",
}


@pytest.mark.parametrize("decorated", DECORATORS.values(), ids=DECORATORS.keys())
def test_decorator_is_recognised_however_it_is_spelled(write_tree: WriteTree, decorated: str) -> None:
    tree = write_tree({"tasks.py": f"{decorated}\ndef send(): ...\ntask = None\n", **ALIASES})
    assert tree.task("shop.tasks:send").name == "shop.tasks.send"
    assert "shop.tasks.send" in {task.name for task in tree.tasks()}


DEFINITIONS = {
    "function below the call": ("def _send(): ...\nsend = task(_send)", "shop.tasks._send"),
    "same name": ("def send(): ...\nsend = task(send)", "shop.tasks.send"),
    "with options": ("def _send(): ...\nsend = task(name='mail')(_send)", "mail"),
    "options beside the function": ("def _send(): ...\nsend = task(_send, name='post')", "post"),
    "one of several targets": ("def _send(): ...\nkept = send = task(_send)", "shop.tasks._send"),
    "unpacked": ("def _send(): ...\nother, send = None, task(_send)", "shop.tasks._send"),
    "annotated": ("def _send(): ...\nsend: object = task(_send)", "shop.tasks._send"),
    "function of another module": ("from .plain import work\nsend = task(work)", "shop.plain.work"),
    "under if": ("import os\nif os.name != 'nt':\n    @task\n    def send(): ...", "shop.tasks.send"),
    "under else": (
        "import os\nif os.name == 'nt':\n    send = None\nelse:\n    @task\n    def send(): ...",
        "shop.tasks.send",
    ),
    "under if, else something else": (
        "import os\nif os.name:\n    @task\n    def send(): ...\nelse:\n    send = None",
        "shop.tasks.send",
    ),
    "replaced under a condition": ("@task\ndef send(): ...\nif print:\n    send = None", "shop.tasks.send"),
    "under try": ("try:\n    @task\n    def send(): ...\nexcept ImportError: ...", "shop.tasks.send"),
    "under except": (
        "try:\n    from fast import send\nexcept ImportError:\n    @task\n    def send(): ...",
        "shop.tasks.send",
    ),
    "under try's else": ("try: ...\nexcept ImportError: ...\nelse:\n    @task\n    def send(): ...", "shop.tasks.send"),
    "under finally": ("try: ...\nfinally:\n    @task\n    def send(): ...", "shop.tasks.send"),
    "under except*": ("try:\n    @task\n    def send(): ...\nexcept* ImportError: ...", "shop.tasks.send"),
    "under with": ("with open('x'):\n    @task\n    def send(): ...", "shop.tasks.send"),
    "under for": ("for _ in range(1):\n    @task\n    def send(): ...", "shop.tasks.send"),
    "under while": ("while print:\n    @task\n    def send(): ...", "shop.tasks.send"),
    "under match": ("match print:\n    case _:\n        @task\n        def send(): ...", "shop.tasks.send"),
    "under not TYPE_CHECKING": (
        "import typing\nif not typing.TYPE_CHECKING:\n    @task\n    def send(): ...",
        "shop.tasks.send",
    ),
    "defined twice": ("def send(): ...\n@task\ndef send(): ...", "shop.tasks.send"),
    "alias": ("@task\ndef _send(): ...\nsend = _send", "shop.tasks._send"),
    "attribute of a module": ("from . import mail\nsend = mail.deliver", "shop.mail.deliver"),
    "attribute of a renamed module": ("import shop.mail as m\nsend = m.deliver", "shop.mail.deliver"),
    "imported": ("from .mail import deliver as send", "shop.mail.deliver"),
    "imported in a package and from there": ("from shop.sub import send", "shop.sub.inner.send"),
    "star": ("from .stars import *", "shop.stars.send"),
    "last star": ("from .send import *\nfrom .stars import *", "shop.stars.send"),
    "star after another binding": ("send = None\nfrom .stars import *", "shop.stars.send"),
    "star that does not bring it after a binding": ("from .stars import send\nfrom .plain import *", "shop.stars.send"),
    "star of a module with an extended __all__": ("from .extended import *", "shop.stars.send"),
    "replaced under try": (
        "@task\ndef send(): ...\ntry:\n    from fast import send\nexcept ImportError: ...",
        "shop.tasks.send",
    ),
    "imported under its module's name": ("from .send import send", "shop.send.send"),
}
MODULES = {
    "__init__.py": "",
    "plain.py": "def work(): ...\n",
    "mail.py": "from runtime_lib import task\n@task\ndef deliver(): ...\n",
    "stars.py": TASK,
    "send.py": TASK,
    "extended.py": "from .stars import send\n__all__ = []\n__all__ += ['send']\n",
    "sub/__init__.py": "from .inner import *\nfrom .. import plain\n",
    "sub/inner.py": TASK + "from ..mail import deliver\n",
}


@pytest.mark.parametrize(("source", "name"), DEFINITIONS.values(), ids=DEFINITIONS.keys())
def test_task_is_found_however_its_name_is_bound(write_tree: WriteTree, source: str, name: str) -> None:
    tree = write_tree({**MODULES, "tasks.py": f"from runtime_lib import task\n{source}\n"})
    task = tree.task("shop.tasks:send")
    assert task.name == name
    assert task in tree.tasks()


def test_module_of_a_task_is_the_one_whose_import_registers_it(write_tree: WriteTree) -> None:
    tree = write_tree(
        {
            "plain.py": "def work(): ...\n",
            "tasks.py": "from runtime_lib import task\nfrom .plain import work\nsend = task(work)\n",
            "__init__.py": "from .tasks import send\n",
        }
    )
    task = tree.task("shop:send")
    assert (task.name, task.module, task.function) == ("shop.plain.work", "shop.tasks", "work")
    assert task.path.name == "plain.py"


def test_tasks_does_not_count_aliases_and_reexports_again(write_tree: WriteTree) -> None:
    tree = write_tree({"__init__.py": "from .tasks import *\n", "tasks.py": TASK + "\nalias = send\n"})
    assert [task.name for task in tree.tasks()] == ["shop.tasks.send"]


def test_tasks_are_ordered_by_module_and_line(write_tree: WriteTree) -> None:
    tree = write_tree({"z.py": TASK, "a.py": "aa = None\n" + TASK + "@task\ndef aa(): ...\n", "__init__.py": ""})
    assert [task.name for task in tree.tasks()] == ["shop.a.send", "shop.a.aa", "shop.z.send"]


NAMESPACES = {
    "string": ("namespace='mail'", ("mail",)),
    "list": ("namespace=['mail', 'bulk']", ("mail", "bulk")),
    "tuple": ("namespace=('mail',)", ("mail",)),
    "joined literals": ("namespace='ma' 'il'", ("mail",)),
    "unicode": ("namespace='почта'", ("почта",)),
}


@pytest.mark.parametrize(("option", "namespaces"), NAMESPACES.values(), ids=NAMESPACES.keys())
def test_namespaces_are_read_in_order(write_tree: WriteTree, option: str, namespaces: tuple[str, ...]) -> None:
    tree = write_tree({"tasks.py": f"from runtime_lib import task\n@task({option})\ndef send(): ...\n"})
    assert tree.task("shop.tasks:send").namespaces == namespaces


def test_options_of_an_alias_count_unless_the_decorator_overrides_them(write_tree: WriteTree) -> None:
    tree = write_tree(
        {
            "tasks.py": """
            from functools import partial
            from runtime_lib import task
            mail_task = partial(task, namespace="mail")

            @mail_task
            def a(): ...

            @mail_task(name="b", namespace="bulk")
            def _b(): ...

            @mail_task(name="c")
            def _c(): ...
            """
        }
    )
    found = [(task.name, task.namespaces) for task in tree.tasks()]
    assert found == [("shop.tasks.a", ("mail",)), ("b", ("bulk",)), ("c", ("mail",))]


def test_source_and_runtime_agree(write_tree: WriteTree, tmp_path: Path) -> None:
    """What parsing finds is what importing registers: names, namespaces, kinds, and the modules that are loaded."""
    decorated = [f"{source}\nasync def send(): ...\n" for source in DECORATORS.values()]
    bound = [
        f"from runtime_lib import task\n{source}\n"
        for name, (source, _) in DEFINITIONS.items()
        if name not in {"under while", "under with"}  # one does not end, the other opens a file
    ]
    files = {**MODULES, **ALIASES} | {f"case{number}.py": source for number, source in enumerate(decorated + bound)}
    tree = write_tree(files)
    tasks = {task.name: [list(task.namespaces), task.is_async] for task in tree.tasks()}
    program = """
import importlib, json, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
from runtime_lib import registry
tasks = {name: registry.resolve(name) for name in registry.names()}
print(json.dumps([
    {name: [list(task.namespaces), task.is_async] for name, task in tasks.items()},
    [module for module in sys.modules if module.partition(".")[0] == "shop"],
]))
"""
    modules = [f"shop.case{number}" for number in range(len(decorated + bound))]
    result = subprocess.run(  # noqa: PLW1510
        [sys.executable, "-c", program, *modules],
        cwd=tmp_path,
        env={"PYTHONPATH": os.pathsep.join(map(str, (tmp_path, Path(__file__).parents[2])))},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    registered, loaded = json.loads(result.stdout)
    assert tasks == registered
    assert len(tasks) > len(decorated)
    assert tree.loaded_by(modules) == set(loaded)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ('schedule="0 2 * * *"', "0 2 * * *"),
        ("schedule=NIGHTLY", "0 2 * * *"),
        ("schedule=times.HOURLY", "rate(1 hour)"),
        ("schedule=HOURLY", "rate(1 hour)"),
        ('schedule={"kwargs": {"days": [1, 2]}}', {"kwargs": {"days": [1, 2]}}),
        ("schedule=Priority.HIGH", "HIGH"),
        ("name='x'", None),
        ('schedule="first", retry="never"', "first"),
    ],
)
def test_an_option_is_read_as_a_literal_or_a_name_for_one(write_tree: WriteTree, option: str, value: object) -> None:
    tree = write_tree(
        {
            "times.py": 'HOURLY = "rate(1 hour)"',
            "tasks.py": f"""
            from runtime_lib import task, Priority
            from shop import times
            from shop.times import HOURLY

            NIGHTLY = "0 2 * * *"

            @task({option})
            def send(): ...
            """,
        }
    )
    assert tree.option(tree.task("shop.tasks:send"), "schedule") == value


@pytest.mark.parametrize("option", ["schedule='0 2 ' + DAYS", "schedule=at_night()", "schedule=NOWHERE"])
def test_an_option_that_takes_an_import_is_refused(
    write_tree: WriteTree, refusal: Callable[[Callable[[], object]], str], option: str
) -> None:
    source = f"""
    from runtime_lib import task

    DAYS = "* * *"

    def at_night(): ...

    @task({option})
    def send(): ...
    """
    tree = write_tree({"tasks.py": source})
    said = refusal(lambda: tree.option(tree.task("shop.tasks:send"), "schedule"))
    assert f"{option} of @task cannot be read without importing: write it as a literal" in said
