"""A task's arguments from a request.

- A parameter that the API's path names is taken from the path.
- If exactly one of the others is a type with named fields (a dataclass, a struct, a model, a TypedDict), it takes the
  whole body, which is JSON.
- Any other is taken from the query, and if it is not there from the body's field of its name. One in both is refused.
- A repeated name in the query is a list. Text becomes what its parameter is annotated with where that loses nothing.
- A name that no parameter has is refused, unless the task takes ``**kwargs`` (then it is in there) or the ``ApiEvent``
  (then the task can see for itself).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from runtime_lib.arguments import Parameter, Signature
from runtime_lib.envelope import decode_json
from runtime_lib.errors import HttpError
from runtime_lib.events.api import ApiEvent
from runtime_lib.json_arguments import Mismatch, json_converter

if TYPE_CHECKING:
    from runtime_lib.task import Task

__all__ = ["WITHOUT_BODY", "Binding", "Places", "binding_of"]

WITHOUT_BODY = {"DELETE", "GET", "HEAD", "OPTIONS"}
"""Methods whose requests mostly have no body: what is missing was looked for in the query."""
_IN_PATH = re.compile(r"{([^{}+]+)\+?}")
_SHOWN_CHARACTERS = 50
"""Of what a client sent."""
_PROBLEM_CHARACTERS = 500
"""Of a name or a message, in which there may be names that a client sent."""
_SHOWN_PROBLEMS = 50


class Places(NamedTuple):
    """Where a task's parameters are in a request."""

    path: list[Parameter]
    body: Parameter | None
    """The one that takes the whole body."""
    others: list[Parameter]
    """Those in the query, or in the body's fields."""


def _places_of(signature: Signature, path: str) -> Places:
    """Where the parameters of a task are, behind a path of an API such as ``/orders/{id}``.

    Raises:
        TaskDefinitionError: an annotation cannot be read.
    """
    named = set(_IN_PATH.findall(path))
    in_path = [one for one in signature.parameters if one.name in named]
    others = [one for one in signature.parameters if one.name not in named]
    whole = [one for one in others if _is_body(signature.annotation(one.name))]
    if len(whole) != 1:
        return Places(in_path, None, others)
    return Places(in_path, whole[0], [one for one in others if one is not whole[0]])


def _is_body(annotation: Any) -> bool:
    if json_converter(annotation) is not None:
        return False  # and what knows the other types need not be loaded
    from runtime_lib.api.problems import body_type

    return body_type(annotation) is not None


@cache
def binding_of(task: "Task[..., Any]", path: str) -> "Binding":
    """How a task's arguments are taken from the requests for a path of the API.

    Raises:
        TaskDefinitionError: an annotation of the task cannot be read.
    """
    return Binding(task.signature, path)


class _UnfitError(HttpError):
    """A request that does not fit; as text, which is logged, without the values that a client sent."""

    def __str__(self) -> str:
        return f"{self.status} for " + ", ".join(
            f"{one['name']} ({one['in']})".strip() for one in self.details["errors"]
        )


class _Problem(NamedTuple):
    where: str
    name: str
    message: str

    def __str__(self) -> str:
        return f"{self.name} ({self.where}) {self.message}" if self.name else f"the {self.where} {self.message}"


class Binding:
    """Takes the arguments of one task from requests for one path of the API."""

    def __init__(self, signature: Signature, path: str) -> None:
        self._signature = signature
        self.places = _places_of(signature, path)
        """Where the task's parameters are in a request."""
        self.is_given_event = signature.asks_for(ApiEvent.__name__)
        """Whether the task gets the request itself as well."""

    def bind(self, request: ApiEvent) -> tuple[list[Any], dict[str, Any]]:
        """The positional and the named arguments.

        Raises:
            HttpError: (400) the body is no JSON; or ``errors`` of the answer lists all that is wrong.
        """
        reading = _Reading(self._signature)
        path, query = request.path_params, request.multi_value_querystring_params
        whole, fields = self._body(request, reading)
        for parameter in self.places.path:
            texts = [path[parameter.name]] if parameter.name in path else None
            reading.take(parameter, "path", texts, in_texts=True)
        for parameter in self.places.others:
            name = parameter.name
            texts, in_body = query.pop(name, None), name in fields
            value = fields.pop(name, None)
            if texts is not None and in_body:
                reading.problems.append(_Problem("query and body", name, "is given twice"))
            elif in_body:
                reading.take(parameter, "body", [value])
            else:
                nowhere_else = self.places.body or request.method in WITHOUT_BODY
                where = "query" if nowhere_else or texts is not None else "query or body"
                reading.take(parameter, where, texts, in_texts=True)
        if self.places.body:
            reading.take(self.places.body, "body", whole)
        for where, unknown in (("query", query), ("body", fields)):
            self._rest(where, unknown, reading)
        return reading.arguments()

    def _body(self, request: ApiEvent, reading: "_Reading") -> tuple[list[Any] | None, dict[str, Any]]:
        """The body for the parameter that takes it whole, if it has one; else its fields."""
        if not request.raw.get("body"):
            return None, {}
        if self.places.body:
            return [request.json()], {}
        if self.is_given_event and not (self.places.others and _is_json(request)):
            return None, {}  # it is the task's own business
        body = request.json()
        if not isinstance(body, dict):
            reading.problems.append(_Problem("body", "", f"takes an object, given {_kind(body)}"))
            return None, {}
        return None, body

    def _rest(self, where: str, unknown: dict[str, Any], reading: "_Reading") -> None:
        """What no parameter is called."""
        for name, value in unknown.items():
            if self._signature.takes_any_name and name not in self._signature.injected:
                if name in reading.values:
                    reading.problems.append(_Problem(where, name, "is given twice"))
                else:
                    taken = Parameter(name, required=True, default=None, positional_only=False)
                    is_text = where == "query"
                    reading.take(taken, where, value if is_text else [value], in_texts=is_text)
            elif not self.is_given_event:
                if len(reading.problems) > _SHOWN_PROBLEMS:
                    return
                reading.problems.append(_Problem(where, name[:_SHOWN_CHARACTERS], self._unknown(name)))

    def _unknown(self, name: str) -> str:
        from difflib import get_close_matches

        known = [one.name for one in (*self.places.path, *self.places.others)]
        near = get_close_matches(name[:_SHOWN_CHARACTERS], known, 1)
        return "is not known" + (f": did you mean {near[0]}?" if near and near[0] != name else " here")


class _Reading:
    """The arguments that are found, and what is wrong with the others."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self.values: dict[str, Any] = {}
        self.problems: list[_Problem] = []

    def take(self, parameter: Parameter, where: str, given: list[Any] | None, *, in_texts: bool = False) -> None:
        """Convert what is given for a parameter: the texts of the query or the path, or one value of the body."""
        name = parameter.name
        if given is None:
            if parameter.required:
                self.problems.append(_Problem(where, name, "is missing"))
            return
        accept = partial(self._signature.accept_one, name)
        try:
            self.values[name] = _from_texts(accept, given) if in_texts else accept(given[0])
        except Mismatch as mismatch:
            if in_texts:
                shown = f"{len(given)} values" if len(given) > 1 else f"{given[0][:_SHOWN_CHARACTERS]!r}"
                self.problems.append(_Problem(where, name, f"takes {mismatch.expected}, given {shown}"))
            else:
                self.problems += self._in_body(name, given[0], mismatch)
        except RecursionError:
            self.problems.append(_Problem(where, name, "is nested too deeply"))

    def _in_body(self, name: str, value: Any, mismatch: Mismatch) -> Iterable[_Problem]:
        annotation = self._signature.annotation(name)
        if json_converter(annotation) is None:
            from runtime_lib.api.problems import problems

            found = [
                _Problem("body", name + path, message) for path, message in problems(annotation, value, _SHOWN_PROBLEMS)
            ]
            if found:
                return found
        path = re.sub(r"\['([^\]]*)'\]", r".\1", mismatch.path)
        given = _KINDS.get(mismatch.given, mismatch.given)
        return [_Problem("body", name + path, f"takes {mismatch.expected}, given {given}")]

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """The arguments, if nothing is wrong.

        Raises:
            HttpError: (400) something is.
        """
        if self.problems:
            shown = [
                _Problem(one.where, one.name[:_PROBLEM_CHARACTERS], one.message[:_PROBLEM_CHARACTERS])
                for one in self.problems[:_SHOWN_PROBLEMS]
            ]
            more = "; and more" if len(self.problems) > len(shown) else ""
            raise _UnfitError(
                400,
                "; ".join(map(str, shown)) + more,
                details={"errors": [{"in": one.where, "name": one.name, "message": one.message} for one in shown]},
            )
        positional = [one for one in self._signature.parameters if one.positional_only]
        while positional and positional[-1].name not in self.values:
            positional.pop()
        return [self.values.pop(one.name, one.default) for one in positional], self.values


def _from_texts(accept: Callable[[Any], Any], texts: list[str]) -> Any:
    """What is written as one text, or as several: the first reading of it that is accepted.

    Raises:
        Mismatch: none is; of the one that came closest.
    """
    refused: Mismatch | None = None
    for reading in _readings(texts):
        try:
            if not _is_number_too(reading, accept):
                return accept(reading)
        except Mismatch as mismatch:
            if refused is None or (mismatch.path and not refused.path):
                refused = mismatch
    assert refused is not None
    raise refused


def _readings(texts: list[str]) -> Iterator[Any]:
    literals = [_literal(text) for text in texts]
    if len(texts) == 1:
        yield from dict.fromkeys((texts[0], literals[0]))
    yield texts
    if literals != texts:
        yield literals


def _is_number_too(reading: Any, accept: Callable[[Any], Any]) -> bool:
    """Whether a number would be taken in place of a boolean: Python's booleans are numbers, JSON's are not."""
    if isinstance(reading, bool):
        reading = int(reading)
    elif isinstance(reading, list) and any(isinstance(one, bool) for one in reading):
        reading = [int(one) if isinstance(one, bool) else one for one in reading]
    else:
        return False
    try:
        accept(reading)
    except Mismatch:
        return False
    return True


def _literal(text: str) -> Any:
    """The boolean or number that a text is in JSON; else the text."""
    if text in {"true", "false"} or _NUMBER.fullmatch(text):
        try:
            return decode_json(text)
        except ValueError:  # too large, or more digits than Python reads
            return text
    return text


_NUMBER = re.compile(r"-?\d[\d.eE+-]*", re.ASCII)


def _is_json(request: ApiEvent) -> bool:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return content_type == "application/json" or content_type.endswith("+json")


_KINDS = {"str": "a string", "dict": "an object", "list": "an array", "bool": "a boolean", "NoneType": "null"}
_KINDS |= {"int": "a number", "float": "a number"}


def _kind(value: object) -> str:
    return _KINDS[type(value).__name__]
