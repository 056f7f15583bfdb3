"""A configuration file: read, checked as a whole, and merged for one stage and one task."""

import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Final

from constructs_lib._stage_options import OPTIONS, Kind, Where, nearest

__all__ = ["StageFile", "merged"]

_STAGES: Final = "stages"
_TASKS: Final = "tasks"
# A task has no API of its own.
_OPTIONS_OF_TASKS: Final = [name for name, option in OPTIONS.items() if option.kind is not Kind.API]
_NOWHERE: Final[Mapping[str, Any]] = {}

Level = Mapping[str, Any]


def merged(levels: Iterable[Level]) -> dict[str, Any]:
    """The options of several levels, the most general first: nothing gets lost but what a later level says otherwise.

    Tables are merged by their entries, lists are put one after the other, and of anything else the last counts. What
    is given stays as it is, whatever becomes of the result.
    """
    result: dict[str, Any] = {}
    for level in levels:
        for name, value in deepcopy(dict(level)).items():
            before = result.get(name)
            if isinstance(before, Mapping) and isinstance(value, Mapping):
                result[name] = {**before, **value}
            elif isinstance(before, list) and isinstance(value, list):
                result[name] = [*before, *value]
            else:
                result[name] = value
    return result


@dataclass(frozen=True, slots=True)
class StageFile:
    """A configuration file that has been checked.

    Attributes:
        name: the file as it was given, for error messages.
        app: its top level.
        stages: the level of each stage.
        tasks: the level of each task.
    """

    name: str
    app: Level
    stages: Mapping[str, Level]
    tasks: Mapping[str, Level]

    @classmethod
    def read(cls, file: Path) -> "StageFile":
        """Read a JSON or a TOML file.

        Raises:
            ValueError: it is neither, or something in it is unknown, misplaced or of a wrong type.
        """
        where = Where(str(file))
        data = _parsed(file)
        if not isinstance(data, Mapping):
            raise where.wrong_type(data, "a table")
        stages, tasks = _tables(where, data, _STAGES), _tables(where, data, _TASKS)
        _check_level(where, data, [*OPTIONS, _STAGES, _TASKS])
        for name, level in stages.items():
            _check_level(where.key(_STAGES).key(name), level, [*OPTIONS])
        in_stages = {name: _tables(where.key(_TASKS).key(name), task, _STAGES) for name, task in tasks.items()}
        # Stages that the file has no level for are those that its tasks name.
        known = [*stages] or [*dict.fromkeys(stage for levels in in_stages.values() for stage in levels)]
        for name, task in tasks.items():
            at = where.key(_TASKS).key(name)
            _check_level(at, task, [*_OPTIONS_OF_TASKS, _STAGES])
            for stage, level in in_stages[name].items():
                if stage not in known:
                    raise at.key(_STAGES).unknown(
                        stage, known, "stage of this file", otherwise=f"add an empty table {_STAGES}.{stage}"
                    )
                _check_level(at.key(_STAGES).key(stage), level, _OPTIONS_OF_TASKS)
        return cls(str(file), data, {**dict.fromkeys(known, _NOWHERE), **stages}, tasks)

    def require_stage(self, stage: str) -> None:
        """Refuse a stage that the file does not have, unless it has none at all.

        Raises:
            ValueError: it has others.
        """
        if self.stages and stage not in self.stages:
            near = nearest(stage, self.stages)
            raise ValueError(
                f"{self.name}: stage is {stage!r}, allowed is {', '.join(self.stages)}: "
                + (f"did you mean {near}?" if near else f"add an empty table {_STAGES}.{stage} if it has no options")
            )

    def options(self, stage: str | None, task: str | None = None) -> dict[str, Any]:
        """The options of a task in a stage, or of the stage, or of the app: all levels merged."""
        of_task = self.tasks.get(task, _NOWHERE) if task is not None else _NOWHERE
        levels = [self.app]
        if stage is not None:
            levels.append(self.stages.get(stage, _NOWHERE))
        levels.append(of_task)
        if stage is not None:
            levels.append(of_task.get(_STAGES, _NOWHERE).get(stage, _NOWHERE))
        return {name: value for name, value in merged(levels).items() if name in OPTIONS}

    def own_options(self, task: str) -> dict[str, str]:
        """The options that the file has for this one task, with where they stand."""
        at = Where(self.name).key(_TASKS).key(task)
        level = self.tasks.get(task, _NOWHERE)
        found = {name: at.key(name).path for name in level if name in OPTIONS}
        for stage, inner in level.get(_STAGES, _NOWHERE).items():
            found |= {name: at.key(_STAGES).key(stage).key(name).path for name in inner if name not in found}
        return found


def _parsed(file: Path) -> Any:
    kinds: dict[str, Callable[[str], Any]] = {".json": _json, ".toml": _toml}
    if file.suffix not in kinds:
        raise ValueError(f"{file} is a {file.suffix or 'file without a suffix'}, allowed is .json or .toml: rename it")
    try:
        return kinds[file.suffix](file.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} cannot be read: {error}") from None


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_without_repetition, parse_float=_finite, parse_constant=_finite)


def _toml(text: str) -> Any:
    return tomllib.loads(text, parse_float=_finite)


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text} is no number that CloudFormation has")
    return number


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """As TOML has it: of two entries of one name, JSON would silently take the last."""
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f"{key!r} stands twice in one table")
        table[key] = value
    return table


def _tables(where: Where, level: Level, name: str) -> Mapping[str, Level]:
    """The tables of a table."""
    tables = level.get(name, _NOWHERE)
    if not isinstance(tables, Mapping):
        raise where.key(name).wrong_type(tables, "a table")
    for key, table in tables.items():
        if not isinstance(table, Mapping):
            raise where.key(name).key(key).wrong_type(table, "a table")
    return tables


def _check_level(where: Where, level: Level, allowed: list[str]) -> None:
    for name, value in level.items():
        if name not in allowed:
            raise _misplaced(where, name) or where.unknown(name, allowed, "option")
        if name in OPTIONS:
            OPTIONS[name].check(where.key(name), value)


def _misplaced(where: Where, name: str) -> ValueError | None:
    """The error about what exists elsewhere in the file."""
    if name in OPTIONS:
        allowed, remedy = (
            f"{name} at the top or in {_STAGES}.<stage>",
            "move it there: the tasks of an app share its API",
        )
    elif name == _TASKS:
        allowed, remedy = f"{_TASKS} at the top", f"write {_TASKS}.<task>.{_STAGES}.<stage> for a task in a stage"
    elif name == _STAGES:
        allowed, remedy = f"{_STAGES} at the top or in {_TASKS}.<task>", "move it there"
    else:
        return None
    return where.key(name).refusal(given="misplaced", allowed=allowed, remedy=remedy)
