"""The OpenAPI 3.1 document of an API's methods, whose tasks are registered.

(https://spec.openapis.org/oas/v3.1.0)
"""

import re
import typing
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib import import_module
from inspect import getdoc
from math import isfinite
from types import UnionType
from typing import Any

from runtime_lib import registry
from runtime_lib.api.binding import WITHOUT_BODY, Binding, Places, binding_of
from runtime_lib.arguments import Parameter
from runtime_lib.contract import ENV_STREAMING_HANDLER
from runtime_lib.events.api import ApiResponse, JsonResponse
from runtime_lib.json_arguments import ANY
from runtime_lib.task import Task
from runtime_lib.task_record import TaskStatus
from tasks_cli.openapi.methods import ApiMethod
from tasks_cli.openapi.schemas import Described, Schema, refuse_same_names, schemas_of

__all__ = ["document_of"]

_VERBS_OF_ANY = ("GET", "POST", "PUT", "PATCH", "DELETE")
_TEXT, _BYTES, _JSON = "text/plain", "application/octet-stream", "application/json"


def document_of(methods: Iterable[ApiMethod]) -> dict[str, Any]:
    """The document of one API.

    Raises:
        TaskDefinitionError: the annotations of a task cannot be read, or two types have the same name.
    """
    methods = list(methods)
    described = _Annotations()
    operations = [
        (_path(one), verb.lower(), _operation(one, verb, described))
        for one in methods
        for verb in (_VERBS_OF_ANY if one.method == "ANY" else (one.method,))
    ]
    names = Counter(operation["operationId"] for _, _, operation in operations)
    paths: dict[str, dict[str, Any]] = {}
    for path, verb, operation in operations:
        if names[operation["operationId"]] > 1:
            operation["operationId"] += f"_{verb}" + re.sub(r"\W+", "_", path).rstrip("_")
        paths.setdefault(path, {})[verb] = operation
    document = {
        "openapi": "3.1.0",
        "info": {"title": methods[0].api, "version": "1"},
        "paths": paths,
        "components": {
            "schemas": described.resolve(),
            "responses": _ERRORS,
            "securitySchemes": _schemes(methods),
        },
    }
    found: dict[str, Any] = _in_json(document)
    return found


def _in_json(value: Any) -> Any:
    """Without what JSON has no form for: a default may be infinite."""
    match value:
        case dict():
            return {name: _in_json(one) for name, one in value.items() if not isinstance(one, float) or isfinite(one)}
        case list():
            return [_in_json(one) for one in value]
        case _:
            return value


class _Annotations:
    """Schemas that are filled in at the end, together: so each type is described once."""

    def __init__(self) -> None:
        self._described: list[Described] = []
        self._schemas: list[Schema] = []

    def schema(self, annotation: Any, *, of_answer: bool = False) -> Schema:
        schema: Schema = {}
        self._described.append(Described(annotation, "answer" if of_answer else "request"))
        self._schemas.append(schema)
        return schema

    def resolve(self) -> dict[str, Schema]:
        """Fill them in; the components that they refer to."""
        found, components = schemas_of(self._described)
        for schema, filling in zip(self._schemas, found, strict=True):
            # What stands there already, as a default, goes with it.
            schema |= {**filling, **schema}
        refuse_same_names(components, _SCHEMAS)
        return components | _SCHEMAS


def _path(method: ApiMethod) -> str:
    return method.path.replace("+}", "}")


def _operation(method: ApiMethod, verb: str, described: _Annotations) -> dict[str, Any]:
    if method.respond == "status":
        operation = _status_operation()
    elif method.respond == "stream":
        operation = _stream_operation(method, verb)
    else:
        operation = _task_operation(method, verb, registry.resolve(method.task), described)
    security: dict[str, list[str]] = {}
    if method.authorization != "NONE":
        security[method.authorization] = []
    if method.api_key:
        security["API_KEY"] = []
    return operation | {"security": [security] if security else []}


def _task_operation(method: ApiMethod, verb: str, task: Task[..., Any], described: _Annotations) -> dict[str, Any]:
    binding = binding_of(task, method.path)
    operation = _introduced(task.name, task.definition)
    in_query, in_body = _query_and_body(binding, verb)
    operation["parameters"] = [
        *_path_parameters(method.path, binding.places, task, described),
        *(_parameter(one, "query", task, described) for one in in_query),
    ]
    body = _request_body(binding, in_body, task, described)
    if body:
        operation["requestBody"] = body
    responses: dict[str, Any] = {}
    if operation["parameters"] or body:
        responses["400"] = {"$ref": "#/components/responses/BadRequest"}
    if method.respond == "accepted":
        responses |= {"202": _ACCEPTED, "413": _error("TooLarge"), "503": _error("Unavailable")}
    else:
        responses |= _answers(task, described)
    responses["500"] = _error("InternalError")
    return operation | {"responses": dict(sorted(responses.items()))}


def _stream_operation(method: ApiMethod, verb: str) -> dict[str, Any]:
    """What is known of a function that reads its requests itself."""
    module, _, name = method.environment[ENV_STREAMING_HANDLER].partition(":")
    operation = _introduced(f"{module}.{name}", getattr(import_module(module), name))
    operation["parameters"] = [_text_in_path(name) for name in _names_in(method.path)]
    if verb not in WITHOUT_BODY:
        operation["requestBody"] = {"required": False, "content": {"*/*": {}}}
    answers = {"200": {"description": "What is written, as it is written.", "content": {"*/*": {}}}}
    return operation | {"responses": answers}


def _introduced(name: str, definition: object) -> dict[str, Any]:
    summary, _, description = (getdoc(definition) or "").partition("\n")
    operation: dict[str, Any] = {"operationId": re.sub(r"\W", "_", name)}
    operation |= {"summary": summary} if summary else {}
    operation |= {"description": description.strip()} if description.strip() else {}
    return operation


# --- Requests --------------------------------------------------------------------------------------------------------


def _query_and_body(binding: Binding, verb: str) -> tuple[list[Parameter], list[Parameter]]:
    """What is in the query, and in the body's fields where there are both ways: a client is told of one."""
    if binding.places.body or binding.is_given_event or verb in WITHOUT_BODY:
        return binding.places.others, []
    return [], binding.places.others


def _path_parameters(
    path: str, places: Places, task: Task[..., Any], described: _Annotations
) -> Iterator[dict[str, Any]]:
    by_name = {one.name: one for one in places.path}
    for name in _names_in(path):
        yield _parameter(by_name[name], "path", task, described) if name in by_name else _text_in_path(name)


def _names_in(path: str) -> list[str]:
    return re.findall(r"{(\w+)\+?}", path)


def _text_in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _parameter(parameter: Parameter, where: str, task: Task[..., Any], described: _Annotations) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": where,
        "required": where == "path" or parameter.required,
        "schema": _schema(parameter, task, described),
    }


def _schema(parameter: Parameter, task: Task[..., Any], described: _Annotations) -> Schema:
    schema = described.schema(task.signature.annotation(parameter.name))
    if type(parameter.default) in ANY.exact - {type(None)}:
        schema["default"] = parameter.default
    return schema


def _request_body(
    binding: Binding, fields: list[Parameter], task: Task[..., Any], described: _Annotations
) -> dict[str, Any] | None:
    if binding.places.body:
        whole = binding.places.body
        return {"required": whole.required, "content": {_JSON: {"schema": _schema(whole, task, described)}}}
    if fields:
        required = [one.name for one in fields if one.required]
        schema: Schema = {
            "type": "object",
            "properties": {one.name: _schema(one, task, described) for one in fields},
            "additionalProperties": task.signature.takes_any_name,
        }
        if required:
            schema["required"] = required
        return {"required": bool(required), "content": {_JSON: {"schema": schema}}}
    return {"required": False, "content": {"*/*": {}}} if binding.is_given_event else None


# --- Answers ---------------------------------------------------------------------------------------------------------


def _answers(task: Task[..., Any], described: _Annotations) -> dict[str, Any]:
    """The answers that a task's return annotation promises."""
    try:
        hints = typing.get_type_hints(task.definition, include_extras=True)
    except NameError:  # of what is imported for a type checker alone
        hints = {}
    returned = hints.get("return", Any)
    while typing.get_origin(returned) is typing.Annotated:
        returned = returned.__origin__
    members = typing.get_args(returned) if typing.get_origin(returned) in {typing.Union, UnionType} else (returned,)
    answers: dict[str, Any] = {}
    if type(None) in members:
        answers["204"] = {"description": "Done; there is nothing to tell."}
    if set(members) != {type(None)}:
        answers["200"] = {"description": "The result.", "content": _content(returned, members, described)}
    return answers


def _content(returned: Any, members: tuple[Any, ...], described: _Annotations) -> dict[str, Any]:
    responses = [one for one in members if isinstance(one, type) and issubclass(one, ApiResponse)]
    if responses:
        return {_JSON if all(issubclass(one, JsonResponse) for one in responses) else "*/*": {}}
    content: dict[str, Any] = {}
    if str in members:
        content[_TEXT] = {"schema": {"type": "string"}}
    if bytes in members:
        content[_BYTES] = {}
    if not content:
        return {_JSON: {"schema": described.schema(returned, of_answer=True)}}
    if set(members) - {str, bytes, type(None)}:
        content[_JSON] = {}
    return content


def _error(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/responses/{name}"}


def _status_operation() -> dict[str, Any]:
    schema = {"type": "string", "format": "uuid"}
    return {
        "operationId": "task_status",
        "summary": "What became of a task.",
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": schema}],
        "responses": {
            "200": {
                "description": "Its record; with Retry-After while it has not finished.",
                "headers": {"Retry-After": {"schema": {"type": "integer"}}},
                "content": {_JSON: {"schema": {"$ref": "#/components/schemas/TaskApiRecord"}}},
            },
            "400": _error("BadRequest"),
            "404": _error("NotFound"),
            "503": _error("Unavailable"),
        },
    }


_TIME = {"type": ["string", "null"], "format": "date-time"}
_SCHEMAS: dict[str, Schema] = {
    "TaskApiError": {
        "type": "object",
        "properties": {
            "message": {"type": "string"},
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "in": {"type": "string"},
                        "name": {"type": "string"},
                        "message": {"type": "string"},
                    },
                    "required": ["in", "name", "message"],
                },
            },
            "line": {"type": "integer"},
            "column": {"type": "integer"},
            "id": {"type": "string"},
        },
        "required": ["message"],
    },
    "TaskApiAccepted": {
        "type": "object",
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "status_url": {"type": "string", "format": "uri"},
        },
        "required": ["id"],
    },
    "TaskApiRecord": {
        "type": "object",
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "task": {"type": "string"},
            "status": {"enum": [one.value for one in TaskStatus]},
            "attempts": {"type": "integer"},
            "queued_at": _TIME,
            "started_at": _TIME,
            "finished_at": _TIME,
            "result": {},
            "result_missing": {"type": "string"},
            "error": {
                "type": "object",
                "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
                "required": ["type", "message"],
            },
        },
        "required": ["id", "task", "status", "attempts", "queued_at", "started_at", "finished_at"],
    },
}
_ACCEPTED = {
    "description": "The task is dispatched.",
    "headers": {"Location": {"schema": {"type": "string", "format": "uri"}}},
    "content": {_JSON: {"schema": {"$ref": "#/components/schemas/TaskApiAccepted"}}},
}
_ERRORS = {
    name: {"description": text, "content": {_JSON: {"schema": {"$ref": "#/components/schemas/TaskApiError"}}}}
    for name, text in {
        "BadRequest": "The request does not fit; errors lists all that is wrong.",
        "NotFound": "There is no such task, or it is too long ago.",
        "TooLarge": "The request is larger than the message of a task may be.",
        "InternalError": "Something failed; id leads to the log.",
        "Unavailable": "Try again after Retry-After seconds.",
    }.items()
}


# --- Security --------------------------------------------------------------------------------------------------------

_API_KEY = {"type": "apiKey", "name": "x-api-key", "in": "header"}
_AUTHTYPES = {"AWS_IAM": "awsSigv4", "COGNITO_USER_POOLS": "cognito_user_pools", "CUSTOM": "custom"}


def _schemes(methods: list[ApiMethod]) -> dict[str, Any]:
    """How callers say who they are, spelled as API Gateway's own export does."""
    asked = {one.authorization for one in methods} - {"NONE"}
    schemes: dict[str, Any] = {
        name: {
            "type": "apiKey",
            "name": "Authorization",
            "in": "header",
            "x-amazon-apigateway-authtype": _AUTHTYPES[name],
        }
        for name in sorted(asked)
    }
    return schemes | ({"API_KEY": _API_KEY} if any(one.api_key for one in methods) else {})
