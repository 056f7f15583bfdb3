"""The APIs of the local cloud, and where they are on this machine."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from runtime_lib.contract import METADATA_KEY
from tasks_cli import stacks
from tasks_cli.cloud import Cloud

_EXECUTE_API = re.compile(r"https://(?P<id>[a-z0-9]+)\.execute-api\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?(?=/|$)")
_FUNCTION_URL = re.compile(
    r"https://(?P<id>[a-z0-9]+)\.lambda-url\.[a-z0-9-]+\.on\.(?:aws|amazonwebservices\.com\.cn)(?=/|$)"
)


class Route(NamedTuple):
    """A method of a path, and the construct that answers it."""

    method: str
    path: str
    construct: str
    authorization: str
    api_key: bool


class Api(NamedTuple):
    """A deployed TaskApi."""

    id: str
    stage: str
    construct: str
    """Path of the construct."""
    domain_name: str | None
    base_path: str | None
    routes: tuple[Route, ...]

    @property
    def stage_path(self) -> str:
        """Where the local cloud has it, whatever the request's host is."""
        return f"/_aws/execute-api/{self.id}/{self.stage}"

    def url(self, cloud: Cloud) -> str:
        """Where it answers on this machine."""
        return f"{cloud.url}{self.stage_path}"


def deployed_apis(cloud: Cloud, stack_names: Iterable[str]) -> list[Api]:
    """The TaskApis of stacks and of their nested stacks, by their constructs' paths."""
    resources = [resource for name in stack_names for resource in stacks.resources(cloud, name)]
    routes: dict[str, list[Route]] = {}
    for resource in resources:
        described = resource.metadata.get(METADATA_KEY, {})
        if resource.kind == "AWS::Lambda::Function" and "api" in described:
            api = described["api"]
            route = Route(
                api["method"], api["path"], described["path"], api.get("authorization", ""), api.get("api_key", False)
            )
            routes.setdefault(api["api"], []).append(route)
    found = [
        _api(resource.physical_id, described, routes)
        for resource in resources
        if resource.kind == "AWS::ApiGateway::RestApi" and (described := resource.metadata.get(METADATA_KEY))
    ]
    return sorted(found, key=lambda api: api.construct)


def local_text(cloud: Cloud, value: str) -> str:
    """The value of an output, with the address on this machine for each that API Gateway or Lambda would have."""
    value = _FUNCTION_URL.sub(lambda match: f"{cloud.url}/_aws/lambda-url/{match['id']}", value)
    return _EXECUTE_API.sub(lambda match: f"{cloud.url}/_aws/execute-api/{match['id']}", value)


class FunctionUrl(NamedTuple):
    """A function that has a URL."""

    function: str
    url: str
    """On this machine."""
    streams: bool
    authorization: str


def function_urls(cloud: Cloud, stack_names: Iterable[str]) -> list[FunctionUrl]:
    """The functions of stacks and of their nested stacks that have a URL, by name."""
    names = {
        resource.physical_id
        for stack in stack_names
        for resource in stacks.resources(cloud, stack)
        if resource.kind == "AWS::Lambda::Url"
    }
    found = []
    for name in sorted(names):
        # The emulator calls a URL as it calls the function, with its alias.
        config = cloud.client("lambda").get_function_url_config(FunctionName=name)
        streams = config.get("InvokeMode") == "RESPONSE_STREAM"
        found.append(FunctionUrl(name, local_text(cloud, config["FunctionUrl"]), streams, config["AuthType"]))
    return found


def _api(api_id: str, described: dict[str, str], routes: dict[str, list[Route]]) -> Api:
    path = described["path"]
    return Api(
        api_id,
        described["stage"],
        path,
        _known(described.get("domain_name")),
        _known(described.get("base_path")),
        tuple(sorted(routes.get(path, ()), key=lambda route: (route.path, route.method))),
    )


def _known(value: object) -> str | None:
    """A name, unless only CloudFormation knows it."""
    return value if isinstance(value, str) else None
