"""The scripts of WORKER_TASK_DIR, which run in place of the functions of tasks with subprocess=True."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime_lib import ArgumentError, EagerTransport, SubprocessError, TaskTimeoutError, task, using_transport
from runtime_lib.context import Delivery
from runtime_lib.contract import Priority
from runtime_lib.envelope import Envelope
from runtime_lib.execution import Outcome, Succeeded, run, run_async
from runtime_lib.subprocess_task import subprocess as script_function
from tests.task_modules import load, run_program

ROOT = Path(__file__).parents[2]


@task(subprocess=True, timeout=5)
def work(a: int, b: Any, c: Any = None) -> Any:
    raise AssertionError("the script runs in its place")


@task(subprocess=True)
async def awork(a: int, b: Any, c: Any = None) -> Any:
    raise AssertionError("the script runs in its place")


@task(subprocess=True, timeout=1)
def slow() -> None: ...


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes the script of a task, whose lines follow the import of `subprocess`."""
    monkeypatch.setenv("WORKER_TASK_DIR", str(tmp_path))

    def write_one(body: str, name: str = "work") -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text("from runtime_lib.subprocess_task import subprocess\n" + textwrap.dedent(body))
        return path

    return write_one


def execute(of: Any, *args: Any, **kwargs: Any) -> Outcome:
    envelope = Envelope.new(of.name, list(args), kwargs, priority=Priority.DEFAULT)
    return asyncio.run(run_async(of, envelope, Delivery())) if of.is_async else run(of, envelope, Delivery())


def error_of(of: Any, *args: Any, **kwargs: Any) -> Any:
    outcome = execute(of, *args, **kwargs)
    assert not isinstance(outcome, Succeeded)
    return outcome.error  # type: ignore[union-attr]


@pytest.mark.parametrize("of", [work, awork], ids=["def", "async def"])
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_the_script_gets_the_arguments_and_gives_the_result(write: Write, of: Any, kind: str) -> None:
    write(
        f"""
        @subprocess
        {kind} anything(a, b, c):
            return {{"result": [a, b, c]}}

        if __name__ == "__main__":
            anything()
        """,
        of.__name__,
    )
    assert execute(of, 1, {"x": None}, c="ü") == Succeeded({"result": [1, {"x": None}, "ü"]})


@pytest.mark.parametrize("result", ["0", "None", "''", "False"])
def test_a_result_that_is_false_is_one(write: Write, result: str) -> None:
    write(f"@subprocess\ndef f(a, b): return {result}\nf()")
    outcome = execute(work, 1, 2)
    assert isinstance(outcome, Succeeded)
    assert repr(outcome.result) == result


def test_the_template_of_easyjobs_runs(write: Write) -> None:
    """The seed page's own, with its import renamed and its sleep left out."""
    write(
        """
        import time

        @subprocess
        def work(a, b, c):
            \"\"\"
            insert blocking / non-blocking work here
            \"\"\"
            time.sleep(0) # Blocking
            return {'result': f'I slept for 5 seconds - blocking with {a} {b} {c}'}

        if __name__ == '__main__':
            work()
        """
    )
    assert execute(work, 1, 2, 3) == Succeeded({"result": "I slept for 5 seconds - blocking with 1 2 3"})


def test_the_script_of_the_page_runs(write: Write) -> None:
    page = (ROOT / "docs" / "subprocess-tasks.md").read_text()
    script = page.split("# $WORKER_TASK_DIR/basic_blocking.py\n")[1].split("```")[0]
    assert "time.sleep(5)" in script
    write(script.replace("time.sleep(5)", "time.sleep(0)"))
    assert execute(work, 1, 2, 3) == Succeeded({"result": "blocking with 1 2 3"})


def test_without_a_script_of_its_name_the_function_itself_runs(write: Write) -> None:
    write("@subprocess\ndef f(): return 'another one'\nf()", "another")
    assert "the script runs in its place" in str(error_of(work, 1, 2))


def test_the_program_itself_may_have_the_task(write: Write) -> None:
    write("@subprocess\ndef f(a): return a + 1\nf()", "add")
    printed = run_program(
        """
        from runtime_lib import EagerTransport, middleware, task, using_transport
        @middleware
        def show(context, call_next):
            print(call_next())
        @task(subprocess=True)
        def add(a: int): ...
        with using_transport(EagerTransport()): add.dispatch(1)
        """
    )
    assert printed == "2\n"


def test_arguments_are_checked_as_the_task_is_annotated(write: Write) -> None:
    write("@subprocess\ndef f(a, b): return 1\nf()")
    with using_transport(EagerTransport()), pytest.raises(ArgumentError, match="argument 'a'"):
        work.dispatch("one", 2)  # type: ignore[arg-type]


def test_it_runs_as_a_script(write: Write, tmp_path: Path) -> None:
    (tmp_path / "beside_it.py").write_text("value = 17")
    path = write(
        """
        import os, sys
        import beside_it
        from runtime_lib import current_context

        @subprocess
        def f(a, b):
            return [__name__, __file__, sys.argv, beside_it.value, os.getcwd(), current_context().task]

        f()
        """
    )
    outcome = execute(work, 1, 2)
    assert isinstance(outcome, Succeeded)
    name, file, argv, value, folder, running = outcome.result
    assert (name, file, argv, value, running) == ("__main__", str(path), [str(path)], 17, work.name)
    assert not Path(folder).exists()


def test_a_folder_may_be_given_relative_to_this_process(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("@subprocess\ndef f(a, b): return 1\nf()")
    monkeypatch.chdir(path.parent.parent)
    monkeypatch.setenv("WORKER_TASK_DIR", path.parent.name)
    assert execute(work, 1, 2) == Succeeded(1)


# --- What goes wrong -------------------------------------------------------------------------------------------------


def test_a_script_that_never_calls_its_function_is_told_to(write: Write) -> None:
    path = write("@subprocess\ndef f(a, b): return 1")
    error = error_of(work, 1, 2)
    assert isinstance(error, SubprocessError)
    assert str(error) == (
        f"{path} ended without a result for {work.name}: its last lines are to call the function that has @subprocess, "
        "without arguments"
    )


def test_what_its_function_raises_is_raised_once(write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    write("@subprocess\ndef f(a, b): raise LookupError('no such order')\nf()")
    error = error_of(work, 1, 2)
    assert (type(error), error.args) == (LookupError, ("no such order",))
    assert ", in f\n" in error.__notes__[0]
    assert "Traceback" not in capfd.readouterr().err


def test_an_exception_class_of_the_script_is_not_one_of_this_program(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "UsageError", LookupError, raising=False)
    write("class UsageError(Exception): ...\n@subprocess\ndef f(a, b): raise UsageError('bad')\nf()")
    error = error_of(work, 1, 2)
    assert type(error) is SubprocessError
    assert str(error) == f"{work.name} raised UsageError: bad"


def test_what_fails_before_the_function_is_called_is_told(write: Write) -> None:
    write("import there_is_no_such_module")
    error = error_of(work, 1, 2)
    assert isinstance(error, ModuleNotFoundError)
    assert "work.py" in error.__notes__[0]


def test_what_fails_after_the_result_is_on_stderr(write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    write("@subprocess\ndef f(a, b): return 1\nf()\nraise LookupError('while cleaning up')")
    assert execute(work, 1, 2) == Succeeded(1)
    assert "LookupError: while cleaning up" in capfd.readouterr().err


def test_arguments_that_do_not_fit_its_function_are_an_error(write: Write) -> None:
    write("@subprocess\ndef f(a): return 1\nf()")
    error = error_of(work, 1, 2)
    assert isinstance(error, TypeError)
    assert "f() takes 1 positional argument but 2 were given" in str(error)


def test_exit_codes_and_signals_are_told(write: Write) -> None:
    write("import sys\nsys.exit(4)")
    assert error_of(work, 1, 2).exit_code == 4
    write("import os\nos.abort()")
    assert error_of(work, 1, 2).exit_code == -signal.SIGABRT


def test_it_is_killed_at_the_timeout(write: Write) -> None:
    write("import time\ntime.sleep(60)", "slow")
    assert isinstance(error_of(slow), TaskTimeoutError)


# --- The decorator where no task asks for it -------------------------------------------------------------------------


def test_called_with_arguments_it_is_the_function() -> None:
    module = load(
        """
        from runtime_lib.subprocess_task import subprocess
        @subprocess
        def add(a, b=1): return a + b
        @subprocess
        async def aadd(a, b=1): return a + b
        @subprocess
        def nothing(): return "called"
        """
    )
    assert module.add(1, b=2) == 3
    assert asyncio.run(module.aadd(1)) == 2
    assert module.nothing() == "called"
    assert module.add.__name__ == "add"


def test_called_without_arguments_that_it_needs_it_says_what_to_do() -> None:
    @script_function
    def add(a: int, b: int) -> int:
        return a + b

    with pytest.raises(ArgumentError) as caught:
        add()
    assert str(caught.value) == (
        "add() missing a required argument: 'a': this process runs it for no task, so call it with its arguments, or "
        "dispatch the task that is called like this file"
    )


def test_in_the_process_of_a_task_only_the_first_call_gets_its_arguments(write: Write) -> None:
    write(
        """
        @subprocess
        def f(a, b): return a + b

        again = f(f(), 10)
        try:
            f()
        except TypeError as error:
            print(again, error)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", _DISPATCHES], env=os.environ, capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.stdout.startswith("13 f() missing a required argument: 'a'"), done.stderr


_DISPATCHES = """
from runtime_lib import EagerTransport, using_transport
from runtime_lib import task
@task(subprocess=True)
def work(a: int, b: int): ...
with using_transport(EagerTransport()): work.dispatch(1, 2)
"""
