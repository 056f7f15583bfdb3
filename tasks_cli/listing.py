"""Every task of a synthesized app: what starts it, the construct that serves it, or that nothing does."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from constructs_lib._source import SourceTree, TaskReferenceError
from runtime_lib.contract import METADATA_KEY
from tasks_cli.errors import CliError
from tasks_cli.templates import SynthesizedTemplate, read_templates

_SERVERS = {"AWS::Lambda::Function", "AWS::StepFunctions::StateMachine"}


class ListedTask(NamedTuple):
    """One way in which a task runs; nothing serves it if ``construct`` and ``path`` are None."""

    task: str
    trigger: str | None = None
    construct: str | None = None
    path: str | None = None
    stack: str | None = None
    source: str | None = None
    """File and line of its function, relative to the asset; None if its source is not in one."""


def list_tasks(folder: Path) -> list[ListedTask]:
    """The tasks of the assembly in ``folder``, by name.

    Raises:
        CliError: the source in an asset cannot be read.
    """
    templates = list(read_templates(folder))
    sources = _sources(templates)
    served = [*_served(templates), *_schedules(templates)]
    found = [one._replace(source=sources.get(one.task)) for one in served]
    found += [
        ListedTask(name, source=source) for name, source in sources.items() if name not in {one.task for one in served}
    ]
    return sorted(found, key=lambda one: (one.task, one.path or ""))


def _described(templates: Iterable[SynthesizedTemplate]) -> Iterator[tuple[SynthesizedTemplate, Any, Any]]:
    """The functions of constructs: their template, their resource, and what their metadata tells."""
    return (one for one in _all_described(templates) if one[1]["Type"] == "AWS::Lambda::Function")


def _all_described(templates: Iterable[SynthesizedTemplate]) -> Iterator[tuple[SynthesizedTemplate, Any, Any]]:
    for template in templates:
        for resource in template.resources.values():
            described = resource.get("Metadata", {}).get(METADATA_KEY)
            if described:
                yield template, resource, described


def _served(templates: Iterable[SynthesizedTemplate]) -> Iterator[ListedTask]:
    """What functions run, and what starts workflows."""
    for template, resource, described in _all_described(templates):
        if resource["Type"] not in _SERVERS:
            continue
        for name in described["tasks"]:
            yield ListedTask(
                name,
                trigger=described["trigger"],
                construct=described["construct"],
                path=described["path"],
                stack=template.stack,
            )


def _schedules(templates: list[SynthesizedTemplate]) -> Iterator[ListedTask]:
    """Schedules whose runs go to where the task is served: they have no function that tells of them."""
    own = {described["path"] for _, _, described in _described(templates)}
    for template in templates:
        for resource in template.resources.values():
            properties = resource.get("Properties", {})
            path = resource.get("Metadata", {}).get("aws:cdk:path", "").removesuffix("/Schedule/Resource")
            if resource["Type"] != "AWS::Scheduler::Schedule" or path in own:
                continue
            task = _scheduled_task(_text(properties.get("Target", {}).get("Input", "")))
            if task:
                trigger = f"{properties['ScheduleExpression']} {properties.get('ScheduleExpressionTimezone', '')}"
                yield ListedTask(task, trigger.strip(), "ScheduledTask", path, template.stack)


def _scheduled_task(message: str) -> str | None:
    """The task that a schedule's message names; None if the schedule is none of this library's."""
    try:
        found = json.loads(message)
    except ValueError:
        return None
    task = found.get("task") if isinstance(found, dict) and "scheduled_time" in found else None
    return task if isinstance(task, str) else None


def _text(value: Any) -> str:
    """A template's value as text, without what only CloudFormation knows."""
    match value:
        case str():
            return value
        case {"Fn::Join": [str(separator), [*parts]]}:
            return separator.join(map(_text, parts))
    return ""


def _sources(templates: Iterable[SynthesizedTemplate]) -> dict[str, str]:
    """File and line of every task in the packages whose modules the functions load, by the task's name."""
    packages = {
        (template.folder / _asset(resource), package)
        for template, resource, described in _described(templates)
        for package in {module.partition(".")[0] for module in described["modules"]}
    }
    found: dict[str, str] = {}
    for asset, package in sorted(packages):
        try:
            tasks = SourceTree(package, asset / package, _modules(asset, package)).tasks()
        except TaskReferenceError as error:
            raise CliError(str(error)) from None
        found |= {task.name: f"{task.path.relative_to(asset)}:{task.line}" for task in tasks}
    return found


def _asset(function: Any) -> str:
    """The folder beside the template that a function's code is in."""
    key = _text(function["Properties"]["Code"].get("S3Key"))  # behind the prefix of a synthesizer's bucket
    return f"asset.{key.rpartition('/')[2].removesuffix('.zip')}"


def _modules(asset: Path, package: str) -> dict[str, Path]:
    modules = {}
    for path in (asset / package).rglob("*.py"):
        *parents, name = path.relative_to(asset).with_suffix("").parts
        modules[".".join(parents if name == "__init__" else [*parents, name])] = path
    return modules
