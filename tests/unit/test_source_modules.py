"""constructs_lib._source: modules, handlers, and files as they are on disk."""

import warnings
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


def test_required_modules_in_the_asset_are_accepted(write_tree: WriteTree) -> None:
    write_tree({"__init__.py": "", "jobs/mail.py": TASK}).require_modules(["shop", "shop.jobs", "shop.jobs.mail"])


def test_one_string_is_no_list_of_modules(write_tree: WriteTree, refusal: Refusal) -> None:
    assert "['shop.tasks']" in refusal(lambda: write_tree({"tasks.py": TASK}).require_modules("shop.tasks"))


def test_directory_without_init_holds_modules_but_no_names(write_tree: WriteTree, refusal: Refusal) -> None:
    tree = write_tree({"jobs/mail.py": TASK})
    assert tree.task("shop.jobs.mail:send").name == "shop.jobs.mail.send"
    assert "is a module" in refusal(lambda: tree.task("shop.jobs:mail"))
    assert "without __init__.py" in refusal(lambda: tree.task("shop.jobs:send"))


ENCODINGS = {
    "byte order mark": b"\xef\xbb\xbf" + TASK.encode(),
    "byte order mark and cookie": b"\xef\xbb\xbf# -*- coding: utf-8 -*-\n" + TASK.encode(),
    "latin-1": b"# -*- coding: latin-1 -*-\n" + TASK.encode() + "X = 'é'\n".encode("latin-1"),
    "windows line ends": TASK.replace("\n", "\r\n").encode(),
    "no line end": TASK.strip().encode(),
    "form feed": b"\x0c" + TASK.encode(),
}


@pytest.mark.parametrize("content", ENCODINGS.values(), ids=ENCODINGS.keys())
def test_file_is_read_in_its_encoding(write_tree: WriteTree, content: bytes) -> None:
    assert write_tree({"tasks.py": content}).task("shop.tasks:send").name == "shop.tasks.send"


BROKEN = {
    "syntax": (b"x = 1\ndef send(:\n", 2),
    "indentation": (b"def f():\nx\n", 2),
    "null byte": (b"x = 1\0", 1),
    "not its encoding": (b"x = '\xff'\n", 1),
    "unknown encoding": (b"# coding: nonsense\n", 1),
}


@pytest.mark.parametrize(("content", "line"), BROKEN.values(), ids=BROKEN.keys())
def test_file_that_cannot_be_parsed_is_named_with_its_line(
    write_tree: WriteTree, refusal: Refusal, content: bytes, line: int
) -> None:
    tree = write_tree({"tasks.py": content, "good.py": TASK})
    calls = (
        lambda: tree.task("shop.tasks:send"),
        lambda: tree.handler("shop.tasks:send"),
        lambda: tree.loaded_by(["shop.tasks"]),
        tree.tasks,
    )
    for call in calls:
        message = refusal(call)
        assert f"shop/tasks.py:{line} cannot be parsed" in message
        assert "exclude=" in message
    assert tree.task("shop.good:send")


def test_invalid_escape_in_the_source_is_left_to_who_runs_it(write_tree: WriteTree) -> None:
    tree = write_tree({"tasks.py": TASK + "X = '\\d'\n"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tree.task("shop.tasks:send")


def test_file_is_parsed_once(write_tree: WriteTree, tmp_path: Path) -> None:
    tree = write_tree({"tasks.py": TASK})
    first = tree.task("shop.tasks:send")
    (tmp_path / "shop" / "tasks.py").unlink()
    assert tree.task("shop.tasks:send") == first
    assert tree.tasks() == (first,)


HANDLERS = {
    "function": "def handler(event, context): ...",
    "assignment": "from runtime_lib import LambdaTransport\nt = LambdaTransport()\nhandler = t.lambda_handler",
    "lambda": "handler = lambda event, context: None",
    "call": "handler = make()",
    "import": "from runtime_lib.handlers.managed_async_task import handler",
    "import under try": "try:\n    from fast import handler\nexcept ImportError:\n    def handler(e, c): ...",
    "star": "from .mail import *",
    "unpacked": "handler, other = make()",
    "decorated": "@wrap\ndef handler(event, context): ...",
}


@pytest.mark.parametrize("source", HANDLERS.values(), ids=HANDLERS.keys())
def test_handler_is_any_callable_name_of_a_module(write_tree: WriteTree, source: str) -> None:
    tree = write_tree({"sub/entry.py": source, "sub/mail.py": "def handler(e, c): ..."})
    assert tree.handler("shop.sub.entry:handler") == "shop.sub.entry.handler"


NO_HANDLERS = {
    "class": ("class handler: ...", "is a class"),
    "async def": ("async def handler(event, context): ...", "Lambda does not await"),
    "module": ("from . import mail as handler", "is a module"),
    "missing": ("def handle(event, context): ...", "did you mean 'handle'?"),
    "nested": ("def outer():\n    def handler(e, c): ...", "inside a class or function"),
    "only for type checkers": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from x import handler",
        "has no",
    ),
    "imported from where it is not": ("from .mail import handler", "nothing that it is imported from defines it"),
}


@pytest.mark.parametrize(("source", "what"), NO_HANDLERS.values(), ids=NO_HANDLERS.keys())
def test_what_lambda_cannot_call_is_no_handler(write_tree: WriteTree, refusal: Refusal, source: str, what: str) -> None:
    tree = write_tree({"entry.py": source, "mail.py": ""})
    message = refusal(lambda: tree.handler("shop.entry:handler"))
    assert "'shop.entry:handler'" in message
    assert what in message


LOADED = {
    "__init__.py": "",
    "a.py": "import shop.b\nfrom shop.sub import deep, value\nfrom . import c\n",
    "b.py": "def later():\n    import shop.unused\n",
    "c.py": """
        from typing import TYPE_CHECKING
        import json, other.tasks
        if TYPE_CHECKING:
            from . import unused
        try:
            from . import d
        except ImportError:
            from .e import *
        class K:
            from . import f
        if __name__ == "__main__":
            import shop.unused
    """,
    "d.py": "",
    "e.py": "from shop import a\n",
    "f.py": "from .starred import *\n",
    "starred/__init__.py": "__all__ = ['g', 'h']\nh = 1\n",
    "starred/g.py": "",
    "starred/h.py": "",
    "sub/__init__.py": "value = 1\n",
    "sub/deep.py": "from .. import i\nfrom ..nowhere import j\nfrom ....beyond import k\n",
    "beyond.py": "",
    "i.py": "",
    "j.py": "",
    "sub/value.py": "",
    "unused.py": "import shop.g\n",
}


def test_loaded_by_follows_imports_of_the_top_level(write_tree: WriteTree) -> None:
    loaded = write_tree(LOADED).loaded_by(["shop.a"])
    names = "a b c d e f i starred starred.g sub sub.deep"
    assert loaded == {"shop", *(f"shop.{name}" for name in names.split())}


def test_loaded_by_includes_the_parent_packages(write_tree: WriteTree) -> None:
    tree = write_tree({"__init__.py": "from . import tasks", "tasks.py": "", "x/__init__.py": "", "x/y/z.py": ""})
    assert tree.loaded_by(["shop.x.y.z"]) == {"shop", "shop.tasks", "shop.x", "shop.x.y.z"}
    assert tree.loaded_by([]) == frozenset()


def test_loaded_by_refuses_a_missing_module(write_tree: WriteTree, refusal: Refusal) -> None:
    assert "did you mean 'shop.tasks'?" in refusal(lambda: write_tree({"tasks.py": ""}).loaded_by(["shop.taks"]))
