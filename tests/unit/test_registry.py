"""Names of tasks: a message runs what is registered, and nothing else."""

import sys
from pathlib import Path

import pytest

from runtime_lib import TaskDefinitionError, UnknownTaskError, registry, task
from runtime_lib.context import Delivery
from runtime_lib.execution import RetryAfter, admit
from tests.deliveries import body_of


@task
def send_email() -> None: ...


def test_a_task_is_found_by_its_name() -> None:
    assert registry.resolve(send_email.name) is registry.find(send_email.name) is send_email
    assert send_email.name in registry.names()
    assert registry.names() == sorted(registry.names())


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    assert registry.find("shop.nothing") is None
    with pytest.raises(UnknownTaskError, match=rf"did you mean '{send_email.name}'\?"):
        registry.resolve(send_email.name.replace("email", "e_mail"))
    with pytest.raises(LookupError, match=r"no task called '§' is registered here \(\d+ are\)"):
        registry.resolve("§")


def test_a_long_name_is_quoted_in_part() -> None:
    with pytest.raises(UnknownTaskError) as caught:
        registry.resolve("x" * 1_000_000)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "name",
    ["os.system", "subprocess:run", "shop_of_attacker.run", "builtins.exec", "runtime_lib.registry.load_modules"],
)
def test_a_message_imports_and_calls_nothing_that_is_no_task(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop_of_attacker.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert isinstance(admit(body_of(name, "exit 1"), Delivery()), RetryAfter)
    assert "shop_of_attacker" not in sys.modules


def test_modules_are_loaded_so_that_their_tasks_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("shop_a", "shop_b", "shop_c"):
        (tmp_path / f"{name}.py").write_text("from runtime_lib import task\n@task\ndef send(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry.load_modules(" shop_a, shop_b,,")
    registry.load_modules(["shop_c"])
    registry.load_modules("")
    assert {"shop_a.send", "shop_b.send", "shop_c.send"} <= set(registry.names())


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (None, "ModuleNotFoundError: No module named 'shop_broken'"),
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("def", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_module_that_fails_to_import_is_an_error_that_says_why(
    source: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source is not None:
        (tmp_path / "shop_broken.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    message = f"the task module 'shop_broken' cannot be imported: {said}"
    with pytest.raises(TaskDefinitionError, match=message) as caught:
        registry.load_modules("shop_broken")
    assert caught.value.__cause__ is not None


def test_a_task_that_is_refused_while_its_module_loads_says_so_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop_refused.py").write_text("from runtime_lib import task\ntask(lambda: 1)")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TaskDefinitionError, match=r"^a lambda has no name"):
        registry.load_modules("shop_refused")
