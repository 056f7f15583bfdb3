"""The methods of the APIs in a synthesized app."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from runtime_lib.contract import ENV_MODULES, ENV_TASK, METADATA_KEY
from tasks_cli.errors import CliError, UsageError
from tasks_cli.templates import read_templates


class ApiMethod(NamedTuple):
    """One method of an API, as the metadata of its function describes it; see `contract.METADATA_KEY`."""

    api: str
    """The path of its TaskApi."""
    path: str
    method: str
    respond: str
    """``result`` or ``accepted``; ``stream`` of a StreamingLambda; ``status`` for the API's own function."""
    authorization: str
    api_key: bool
    task: str
    modules: str
    code: str
    """The folder of the function's code."""
    environment: dict[str, str]
    """The function's variables, without those that only CloudFormation knows."""


def read_methods(assembly: Path) -> list[ApiMethod]:
    """The methods of all APIs in an assembly, by API, path and method."""
    found = []
    for template in read_templates(assembly):
        for resource in template.resources.values():
            metadata = resource.get("Metadata", {})
            api = metadata.get(METADATA_KEY, {}).get("api")
            if api:
                environment = _literal(resource["Properties"].get("Environment", {}).get("Variables", {}))
                found.append(
                    ApiMethod(
                        api=api["api"],
                        path=api["path"],
                        method=api["method"],
                        respond=api["respond"],
                        authorization=api["authorization"],
                        api_key=api["api_key"],
                        task=environment.get(ENV_TASK, ""),
                        modules=environment.get(ENV_MODULES, ""),
                        code=str(template.folder / metadata["aws:asset:path"]),
                        environment=environment,
                    )
                )
    return sorted(found, key=lambda one: (one.api, one.path, one.method))


def methods_of(methods: Sequence[ApiMethod], api: str | None) -> list[ApiMethod]:
    """Those of one API: the one that is named, or the only one.

    Raises:
        CliError: there is no API.
        UsageError: there are several and none is named, or there is none of this name.
    """
    known = sorted({one.api for one in methods})
    if not known:
        raise CliError("the app has no TaskApi with an ApiTask: there is nothing to describe")
    if api is None and len(known) > 1:
        raise UsageError(f"the app has several APIs: choose one by --api {' or '.join(known)}")
    chosen = known[0] if api is None else api
    if chosen not in known:
        raise UsageError(f"there is no API {chosen!r}; there are {', '.join(known)}")
    return [one for one in methods if one.api == chosen]


def _literal(variables: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if isinstance(value, str)}
