"""StageConfig: a configuration file for an app, its stages and its tasks."""

import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Unpack, cast

import aws_cdk as cdk
from constructs import Construct

from constructs_lib._address import DispatchTarget
from constructs_lib._api_options import ApiOptions
from constructs_lib._function import FunctionOptions
from constructs_lib._stage_file import StageFile
from constructs_lib._stage_options import OPTIONS, Kind, nearest
from constructs_lib._stage_values import Imports, api_options, function_options, on_top, queue_options
from constructs_lib._validation import check_at_synth, warn

__all__ = ["ScheduleOptions", "StageConfig", "TaskOptions"]

_CONTEXT_KEY: Final = "stage"


class TaskOptions(FunctionOptions, total=False):
    """Options of a `ManagedAsyncTask` that a configuration file has; it documents them.

    Attributes:
        managed_queue_extras: see `ManagedAsyncTask`.
        max_concurrency: see `ManagedAsyncTask`.
        queue_age_alarm: see `ManagedAsyncTask`.
    """

    managed_queue_extras: Sequence[Mapping[str, Any]]
    max_concurrency: int
    queue_age_alarm: cdk.Duration


class ScheduleOptions(FunctionOptions, total=False):
    """Options of a `ScheduledTask` that a configuration file has; it documents them.

    Attributes:
        enabled: see `ScheduledTask`.
        target: see `ScheduledTask`; with it there are no options of a function.
    """

    enabled: bool
    target: DispatchTarget


class StageConfig:
    """The options of a configuration file, for one stage.

    Made by `from_file`.

    Attributes:
        stage: the stage; None if none was chosen.
    """

    def __init__(self, file: StageFile, scope: Construct, stage: str | None) -> None:
        self.stage: Final = stage
        self._file = file
        self._imports = Imports(scope)
        self._asked = _Asked.of(scope, file)

    @classmethod
    def from_file(cls, file: str | os.PathLike[str], scope: Construct, *, stage: str | None = None) -> "StageConfig":
        """Read a configuration file.

        Args:
            file: a ``.json`` or ``.toml`` file, as seen from the working directory.
            scope: the app, or any construct in it.
            stage: the stage whose options apply. Default: ``stage`` in the context of ``scope`` (``-c stage=prod``);
                without that those of no stage.

        Raises:
            ValueError: something in the file is unknown, misplaced or of a wrong type, or it has no such stage.
            OSError: the file cannot be opened.
        """
        read = StageFile.read(Path(file))
        context = scope.node.try_get_context(_CONTEXT_KEY) if stage is None else stage
        chosen = None if context is None else str(context)
        if chosen is not None:
            read.require_stage(chosen)
        return cls(read, scope, chosen)

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of the stage whose values are known now, for `TaskCode.from_package`."""
        variables = self._file.options(self.stage).get("environment_variables", {})
        return {name: value for name, value in variables.items() if isinstance(value, str)}

    def task(self, name: str, **explicit: Unpack[TaskOptions]) -> TaskOptions:
        """The options of a `ManagedAsyncTask`.

        Args:
            name: the task as the file calls it.
            explicit: what the code says wins: ``environment`` and ``tags`` by their entries, anything else as a whole.
        """
        values = self._values(name, Kind.FUNCTION, Kind.QUEUE)
        options = function_options(values, self._imports) | queue_options(values)
        return cast("TaskOptions", on_top(options, explicit))

    def function(self, name: str, **explicit: Unpack[FunctionOptions]) -> FunctionOptions:
        """The options of the function of any other construct; see `task`."""
        options = function_options(self._values(name, Kind.FUNCTION), self._imports)
        return cast("FunctionOptions", on_top(options, explicit))

    def schedule(self, name: str, **explicit: Unpack[ScheduleOptions]) -> ScheduleOptions:
        """The options of a `ScheduledTask`; give it the ``target``, if there is one. See `task`."""
        kinds = (Kind.SCHEDULE,) if "target" in explicit else (Kind.SCHEDULE, Kind.FUNCTION)
        values = self._values(name, *kinds)
        options = function_options(values, self._imports)
        if "paused" in values:
            options["enabled"] = not values["paused"]
        return cast("ScheduleOptions", on_top(options, explicit))

    def api(self, **explicit: Unpack[ApiOptions]) -> ApiOptions:
        """The options of a `TaskApi`; ``method_settings`` are merged by their entries as well. See `task`.

        Raises:
            ValueError: the file leaves open where the domain's certificate is from.
        """
        values = self._file.options(self.stage)
        options = on_top(api_options(values, self._imports), explicit)
        self._check_certificate(values, options)
        if "domain_name" not in options:
            # A stage without a domain needs none of what others have for theirs.
            unused = {"certificate", "hosted_zone"} - explicit.keys()
            options = {name: value for name, value in options.items() if name not in unused}
        return cast("ApiOptions", options)

    def _check_certificate(self, values: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        if "hosted_zone_name" in values and "hosted_zone_id" not in values:
            raise ValueError(f"{self._file.name}: hosted_zone_name needs hosted_zone_id: add it")
        automatic = values.get("auto_create_acm_certificate")
        if automatic is None or "domain_name" not in options or "certificate" in options:
            return
        if not automatic:
            raise ValueError(
                f"{self._file.name}: auto_create_acm_certificate is false, and {options['domain_name']} has no "
                "certificate: add certificate_arn, or let one be made"
            )
        if "hosted_zone" not in options:
            raise ValueError(
                f"{self._file.name}: auto_create_acm_certificate is true, and {options['domain_name']} has no hosted "
                "zone in which a certificate can be validated: add hosted_zone_id"
            )

    def _values(self, task: str, *kinds: Kind) -> dict[str, Any]:
        self._asked.add(task, kinds)
        values = self._file.options(self.stage, task)
        return {name: value for name, value in values.items() if OPTIONS[name].kind in kinds}


class _Asked(Construct):
    """Knows at synthesis which tasks of a file the code has asked for, in any stage and stack."""

    def __init__(self, scope: Construct, construct_id: str, file: StageFile) -> None:
        super().__init__(scope, construct_id)
        self._file = file
        self._kinds: dict[str, set[Kind]] = {}
        check_at_synth(self, self._check)

    @classmethod
    def of(cls, scope: Construct, file: StageFile) -> "_Asked":
        root = cdk.Stage.of(scope) or scope
        path = str(Path(file.name).resolve())
        construct_id = f"TaskConfiguration{sha256(path.encode()).hexdigest()[:8]}"
        existing = root.node.try_find_child(construct_id)
        return existing if isinstance(existing, cls) else cls(root, construct_id, file)

    def add(self, task: str, kinds: Sequence[Kind]) -> None:
        self._kinds.setdefault(task, set()).update(kinds)

    def _check(self) -> list[str]:
        for task in self._file.tasks:
            if task not in self._kinds:
                near = nearest(task, self._kinds)
                self._warn(
                    f"{self._file.name} has options for task {task!r}, which no construct asked for: "
                    + (f"did you mean {near!r}?" if near else "remove them, or use config.task() for its construct")
                )
        return [
            f"{self._file.name}: {path} applies to what config.{OPTIONS[option].kind.value} is asked for, and "
            f"{task!r} is asked for otherwise: remove it, or ask for the options of the construct that has it"
            for task, kinds in self._kinds.items()
            for option, path in self._file.own_options(task).items()
            if OPTIONS[option].kind not in kinds
        ]

    def _warn(self, message: str) -> None:
        # Warnings are shown for stacks, and the file may be that of the whole app.
        scope = self.node.scope
        stack = next((one for one in scope.node.find_all() if isinstance(one, cdk.Stack)), None) if scope else None
        if stack is not None:
            warn(stack, "stage-config-task", message)
