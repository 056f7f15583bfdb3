"""The benchmarks work, and tell a broken promise; how long anything takes is not for a test."""

import json
import sys

import pytest

from benchmarks.__main__ import main
from benchmarks.figures import Figure, table

FEW = ["--processes", "1", "--rounds", "1", "--invocations", "1"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's peak of memory")
def test_every_promise_has_a_figure(capsys: pytest.CaptureFixture[str]) -> None:
    code = main([*FEW, "--json"])
    figures = json.loads(capsys.readouterr().out)
    assert [(one["what"], round(one["promise"], 2)) for one in figures if one["promise"] is not None] == [
        ("import runtime_lib", 4.17),
        ("import runtime_lib, memory", 14),
        ("encode", 1.5),
        ("decode, validate, call", 2),
        ("early answer, processor time", 1.1),
        ("first byte after the first write, median", 2),
        ("200 MiB streamed, memory", 20),
        ("hook into the runtime client, import", 10),
        *(
            (f"definition of {size} tasks, {what}", promise)
            for size in (5, 50, 200)
            for what, promise in ((f"beside {size} / 5 of that of 5", 1.5), ("size", 1), ("findings of cfn-lint", 0))
        ),
        ("a task in a process of its own, beside a bare one", 8),
    ]
    assert all(one["value"] > 0 or one["promise"] == 0 for one in figures)
    assert code == (not all(one["holds"] in {True, None} for one in figures))


def test_the_table_has_a_line_for_every_figure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.workflows.measure", lambda _: [])  # the slowest
    main(FEW)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["measured", "floor", "ratio", "promised"]
    assert len([line for line in lines if line.endswith(("ok", "BROKEN"))]) >= 3


@pytest.mark.parametrize(
    ("figure", "holds", "line"),
    [
        (Figure("encode", "µs", 3.0, 2.0, 1.5), True, "encode 3.00 µs 2.00 µs 1.50 x ≤ 1.50 x ok"),
        (Figure("encode", "µs", 3.1, 2.0, 1.5), False, "encode 3.10 µs 2.00 µs 1.55 x ≤ 1.50 x BROKEN"),
        (Figure("memory", "MiB", 14.0, promise=14), True, "memory 14.00 MiB ≤ 14.00 MiB ok"),
        (Figure("memory", "MiB", 14.1, promise=14), False, "memory 14.10 MiB ≤ 14.00 MiB BROKEN"),
        (Figure("memory", "MiB", 99.0), None, "memory 99.00 MiB"),
    ],
)
def test_a_promise_is_of_the_ratio_where_there_is_a_floor(figure: Figure, holds: bool | None, line: str) -> None:
    assert figure.holds is holds
    assert " ".join(table([figure]).splitlines()[1].split()) == line


def test_a_broken_promise_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.imports.measure", lambda _: [Figure("import", "ms", 50.0, 10.0, 25 / 6)])
    monkeypatch.setattr("benchmarks.messages.measure", lambda _: [])
    monkeypatch.setattr("benchmarks.streaming.measure", lambda _: [])
    monkeypatch.setattr("benchmarks.workflows.measure", lambda _: [])
    assert main([]) == 1
