"""The decorators of streaming handlers, and the shapes that a handler may have."""

import json
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextvars import copy_context
from types import AsyncGeneratorType, CoroutineType, FunctionType, GeneratorType
from typing import Any, Generic, Literal, ParamSpec, TypeVar

from runtime_lib.arguments import Signature, unwrapped
from runtime_lib.errors import ArgumentError, TaskDefinitionError
from runtime_lib.json_arguments import json_converter
from runtime_lib.streaming.background import Work, run_supervised
from runtime_lib.streaming.context import StreamingContext
from runtime_lib.streaming.forms import is_http
from runtime_lib.streaming.writer import ResponseWriter

__all__ = ["StreamingHandler", "background_handler", "streaming_handler"]

P = ParamSpec("P")
R = TypeVar("R")
_Role = Literal["event", "output", "context"]
_NAMES: dict[str, _Role] = {"output": "output", "context": "context"}
_TYPES: dict[str, _Role] = {"ResponseWriter": "output", "StreamingContext": "context", "LambdaContext": "context"}
_GENERATOR, _ASYNC_GENERATOR, _VARIADIC = 0x20, 0x200, 0x04 | 0x08
"""Flags of code objects. (https://docs.python.org/3/library/inspect.html#code-objects-bit-flags)"""
_WHOLE_REQUEST = {"requestContext", "request_context"}
"""Fields by which a type tells that it describes a request, and not the body of one."""


def background_handler(function: Callable[P, R]) -> "StreamingHandler[P, R]":
    """Make a function ``(event, output, context)`` one that answers early, and works on.

    It may leave out parameters, be ``async def``, and return its answer instead of giving it to ``output``.

    Raises:
        TaskDefinitionError: its parameters are others, or it is a generator, which `streaming_handler` takes.
    """
    handler = StreamingHandler(function)
    if handler.is_generator:
        raise TaskDefinitionError(
            f"{handler.name} is a generator, whose parts are a stream: decorate it with @streaming_handler"
        )
    return handler


def streaming_handler(function: Callable[P, R]) -> "StreamingHandler[P, R]":
    """Make a function ``(event, output, context)`` one whose answer is sent in parts, as they are written or yielded.

    It may leave out parameters, and be ``def`` or ``async def``, a generator or none.

    Raises:
        TaskDefinitionError: its parameters are others.
    """
    return StreamingHandler(function)


class StreamingHandler(Generic[P, R]):
    """A function that a StreamingLambda calls; a plain call is one of the function itself."""

    def __init__(self, function: Callable[P, R]) -> None:
        if not isinstance(function, FunctionType):
            raise TaskDefinitionError(f"a streaming handler is a function, given a {type(function).__name__}")
        self.function: Callable[P, R] = function
        self.__wrapped__ = function
        self.__doc__, self.__module__, self.__qualname__ = function.__doc__, function.__module__, function.__qualname__
        self.name = f"{function.__module__}.{function.__qualname__}"
        """``shop.export.export``"""
        definition = unwrapped(function)
        code = definition.__code__
        self.is_generator = bool(code.co_flags & (_GENERATOR | _ASYNC_GENERATOR))
        """Whether what it yields is its answer."""
        if code.co_kwonlyargcount or code.co_flags & _VARIADIC:
            raise self._wrong("has keyword-only or variadic ones")
        self._roles = self._assigned(definition, code.co_varnames[: code.co_argcount])
        self._event = (
            _EventParameter(definition, code.co_varnames[self._roles.index("event")])
            if ("event" in self._roles)
            else None
        )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function, here and now."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<StreamingHandler {self.name}>"

    def given(self, event: Any, output: ResponseWriter, context: Any) -> list[Any]:
        """The arguments for an event and the context of the runtime client.

        Raises:
            ArgumentError: the event does not fit the annotation of its parameter.
        """
        given: list[Any] = []
        for role in self._roles:
            if role == "output":
                given.append(output)
            elif role == "context":
                given.append(StreamingContext(context, self.function.__module__))
            else:
                assert self._event is not None
                given.append(self._event.accept(event))
        return given

    def run(self, given: Sequence[Any], output: ResponseWriter, work: Work, done: Callable[[Any], None]) -> None:
        """Call the function, write what it yields, and call ``done`` with what it returns.

        Raises:
            Exception: what the function or ``done`` raised.
        """
        copy_context().run(self._run, given, output, work, done)

    def _run(self, given: Sequence[Any], output: ResponseWriter, work: Work, done: Callable[[Any], None]) -> None:
        result: Any = self.function(*given)  # type: ignore[call-arg]
        if isinstance(result, GeneratorType):
            done(_write_all(result, output))
            return
        if isinstance(result, AsyncGeneratorType):
            result = _write_all_async(result, output)
        if isinstance(result, CoroutineType):
            run_supervised(result, work, done)
            return
        done(result)

    def _assigned(self, definition: FunctionType, names: Sequence[str]) -> list[_Role]:
        """What each parameter gets: by its annotation, else by its name; any other name is the event's."""
        roles: list[_Role] = []
        for name in names:
            annotation = definition.__annotations__.get(name, "")
            written = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
            role = _TYPES.get(written.rpartition(".")[2]) or _NAMES.get(name, "event")
            if role in roles:
                raise self._wrong(f"has two for the {role}")
            roles.append(role)
        return roles

    def _wrong(self, what: str) -> TaskDefinitionError:
        return TaskDefinitionError(
            f"{self.name}: the parameters of a streaming handler are 'event' (of any name), 'output' (or annotated "
            f"ResponseWriter) and 'context' (or annotated StreamingContext), each or none of them; it {what}"
        )


def _write_all(parts: Generator[Any, Any, Any], output: ResponseWriter) -> Any:
    try:
        while True:
            output.write(next(parts))
    except StopIteration as end:
        if output.state == "new":
            output.start()  # a stream of nothing is an answer
        return end.value
    finally:
        parts.close()


async def _write_all_async(parts: AsyncGenerator[Any, Any], output: ResponseWriter) -> None:
    try:
        async for part in parts:
            output.write(part)
    finally:
        await parts.aclose()
    if output.state == "new":
        output.start()


class _EventParameter:
    """The parameter that takes the event, converted as a task's arguments are."""

    def __init__(self, definition: FunctionType, name: str) -> None:
        self._name = name
        one = FunctionType(
            _one_parameter.__code__.replace(co_varnames=(name,), co_name=definition.__name__),
            definition.__globals__,
        )
        one.__annotations__ = {key: value for key, value in definition.__annotations__.items() if key == name}
        self._signature = Signature(one, definition.__qualname__)
        self._is_any = name not in definition.__annotations__ and not self._signature.injected
        self._is_body: bool | None = None

    def accept(self, event: Any) -> Any:
        """The event as its annotation wants it: of a request its JSON body, if that is what the annotation describes.

        Raises:
            ArgumentError: it does not fit.
        """
        if self._is_any:
            return event
        if self._signature.injected:
            from runtime_lib.events.api import ApiEvent

            return ApiEvent(event) if self._signature.asks_for("ApiEvent") else event
        if is_http(event):
            if self._is_body is None:
                self._is_body = self._describes_a_body()
            if self._is_body:
                event = self._body(event)
        [accepted], _ = self._signature.accept([event], {})
        return accepted

    def _describes_a_body(self) -> bool:
        annotation = self._signature.annotation(self._name)
        fields = getattr(annotation, "__annotations__", {})
        return json_converter(annotation) is None and _WHOLE_REQUEST.isdisjoint(fields)

    def _body(self, request: dict[str, Any]) -> Any:
        body = request.get("body") or ""
        try:
            if request.get("isBase64Encoded"):
                from base64 import b64decode

                body = b64decode(body)
            return json.loads(body)
        except (ValueError, RecursionError) as error:  # (a client may nest it as deep as it likes)
            raise ArgumentError(f"the body of the request is no JSON: {error}") from None


def _one_parameter(event: Any) -> None:
    """Its code is that of a function which takes the event alone."""
