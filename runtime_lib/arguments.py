"""A task's arguments: bound to its signature, checked by its annotations, and turned into JSON and back.

JSON types are handled by `json_arguments`; dataclasses, datetime and the like by `typed_arguments`, which loads
msgspec or pydantic.
"""

import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from runtime_lib.context import INJECTED_TYPES, Injected, TaskContext
from runtime_lib.errors import ArgumentError, TaskDefinitionError
from runtime_lib.json_arguments import ANY, DICTS, Converter, Mismatch, json_converter, optional

__all__ = ["Injection", "Parameter", "Signature", "check_json", "unwrapped"]

Injection = Callable[[TaskContext], Any]

_VARARGS, _VARKEYWORDS = 0x04, 0x08  # code flags; https://docs.python.org/3/library/inspect.html

# Stands for an annotation whose names are not defined yet, as while its module is being imported: resolved when used.
_UNRESOLVED = Converter("", frozenset(), lambda value: value, lambda value: value)


class Parameter(NamedTuple):
    """One that a message fills; not ``*args`` or ``**kwargs``, and none that the library passes."""

    name: str
    required: bool
    default: Any
    positional_only: bool


class Signature:
    """What a task's function takes.

    Read from its code object rather than with `inspect`, which would add a third to the import time of this library.
    """

    __slots__ = (
        "_bind",
        "_by_position",
        "_converters",
        "_function",
        "_name",
        "_none",
        "_positional",
        "_spelled",
        "injected",
    )

    def __init__(self, function: types.FunctionType, name: str) -> None:
        self._function, self._name = function, name
        code = function.__code__
        count, posonly, end = code.co_argcount, code.co_posonlyargcount, code.co_argcount + code.co_kwonlyargcount
        names = code.co_varnames[:end]
        variadic = iter(code.co_varnames[end:])
        var_positional = next(variadic) if code.co_flags & _VARARGS else None
        var_keyword = next(variadic) if code.co_flags & _VARKEYWORDS else None
        defaults = _defaults(function)
        self._none = {name for name, default in defaults.items() if default is None}

        # Where a converter is found: by the parameter's name, or "*" and "**".
        self._spelled = {name: name for name in names}
        self._spelled |= {"*": var_positional} if var_positional else {}
        self._spelled |= {"**": var_keyword} if var_keyword else {}
        self.injected: dict[str, Injection] = dict(_BY_NAME) if var_keyword else {}
        """What the library passes: a function of the task's context, by the parameter's name."""
        self._converters: dict[str, Converter] = {}
        for key in self._spelled:
            injection = self._injection(key)
            if injection:
                self.injected[key] = injection
            else:
                self._converters[key] = self._converter(key)

        self._positional = tuple(parameter for parameter in names[:count] if parameter not in self.injected)
        # Arguments behind the first one that the library passes cannot keep their position.
        self._by_position = next((at for at, name in enumerate(names[:count]) if name in self.injected), count)
        if self._by_position < posonly or (self._by_position < count and var_positional):
            raise TaskDefinitionError(
                f"{name}: the library passes {names[self._by_position]!r} by keyword: move it behind "
                + (f"'*{var_positional}'" if var_positional else "the '/'")
            )

        def spelled(names: Sequence[str]) -> list[str]:
            passed = [name for name in names if name not in self.injected]
            return [f"{name}=None" if name in defaults else name for name in passed]

        keyword_only = spelled(names[count:])
        before = [f"*{var_positional}"] if var_positional else ["*"] if keyword_only else []
        parameters = [*spelled(names[:posonly]), *(["/"] if posonly else []), *spelled(names[posonly:count])]
        parameters += [*before, *keyword_only, *([f"**{var_keyword}"] if var_keyword else [])]
        self._bind = _binder(code.co_name, parameters)

    @property
    def parameters(self) -> list[Parameter]:
        """What a message fills, in order."""
        code = self._function.__code__
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        defaults = _defaults(self._function)
        return [
            Parameter(name, name not in defaults, defaults.get(name), index < code.co_posonlyargcount)
            for index, name in enumerate(names)
            if name not in self.injected
        ]

    @property
    def takes_any_name(self) -> bool:
        """Whether it has ``**kwargs``."""
        return "**" in self._spelled

    def asks_for(self, injected: str) -> bool:
        """Whether the library passes an object of the injected type of this name."""
        named = re.compile(rf"\b{injected}\b")
        for key in self.injected.keys() & self._spelled.keys():  # (not what `**kwargs` gets)
            try:
                annotation = self._annotation(key)
            except NameError:
                annotation = self._written(key)
            if named.search(getattr(annotation, "__name__", None) or str(annotation)):
                return True
        return False

    def annotation(self, name: str) -> Any:
        """The annotation of a parameter, or of ``**kwargs`` for a name that is none's; Any without one.

        Raises:
            TaskDefinitionError: its module does not define every name in it.
        """
        try:
            return self._annotation(self._key(name))
        except NameError:
            raise self._unresolvable(self._key(name)) from None

    def accept_one(self, name: str, value: Any) -> Any:
        """One argument of a message, converted as `accept` does.

        Raises:
            Mismatch: it cannot be converted without loss.
            TaskDefinitionError: its annotation cannot be read.
        """
        return self._resolved(self._key(name)).accept(value)

    def _key(self, name: str) -> str:
        return name if name in self._converters else "**"

    def to_wire(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments as JSON values, checked strictly.

        Raises:
            ArgumentError: they do not fit the signature, or an argument is not of its parameter's type.
            TaskDefinitionError: a parameter's annotation cannot be read.
        """
        for name in self.injected:
            if name in kwargs:
                raise ArgumentError(f"{self._name}() gets {name!r} from the library: do not pass it to dispatch")
        return self._convert(args, kwargs, strict=True)

    def accept(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of a message, converted to their parameters' types where that loses nothing.

        Raises:
            ArgumentError: they do not fit the signature, or an argument cannot be converted without loss.
            TaskDefinitionError: a parameter's annotation cannot be read.
        """
        converted, by_keyword = self._convert(args, kwargs, strict=False)
        if self._by_position < len(self._positional):
            at = self._by_position
            by_keyword |= zip(self._positional[at:], converted[at:], strict=False)
            del converted[at:]
        return converted, by_keyword

    def _convert(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], *, strict: bool
    ) -> tuple[list[Any], dict[str, Any]]:
        try:
            self._bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentError(str(error)) from None
        converters, positional = self._converters, self._positional
        converted_args = list(args)
        for index, value in enumerate(args):
            key = positional[index] if index < len(positional) else "*"
            if type(value) not in converters[key][1]:
                converted_args[index] = self._one(key, self._spelled[key], value, strict=strict)
        converted_kwargs = dict(kwargs)
        for name, value in kwargs.items():
            key = name if name in converters else "**"
            if type(value) not in converters[key][1]:
                converted_kwargs[name] = self._one(key, name, value, strict=strict)
        return converted_args, converted_kwargs

    def _one(self, key: str, name: str, value: Any, *, strict: bool) -> Any:
        converter = self._resolved(key)
        return _checked(f"{self._name}() argument {name!r}", converter.wire if strict else converter.accept, value)

    def _resolved(self, key: str) -> Converter:
        if self._converters[key] is _UNRESOLVED:
            self._converters[key] = self._converter(key)
            if self._converters[key] is _UNRESOLVED:
                raise self._unresolvable(key)
        return self._converters[key]

    def _unresolvable(self, key: str) -> TaskDefinitionError:
        return TaskDefinitionError(
            f"{self._name}: parameter {self._spelled[key]!r} is annotated {self._written(key)!r}, of which its "
            "module does not define every name when it runs: import them outside 'if TYPE_CHECKING'"
        )

    def _written(self, key: str) -> Any:
        return self._function.__annotations__.get(self._spelled[key], Any)

    def _annotation(self, key: str) -> Any:
        """The annotation itself, whether it is written as text or not; NameError where a name is not defined (yet)."""
        annotation = self._written(key)
        if type(annotation) is type:
            return annotation
        holder = types.SimpleNamespace(__annotations__={key: annotation})
        try:
            return typing.get_type_hints(holder, self._function.__globals__, include_extras=True)[key]
        except NameError:
            raise
        except AttributeError as error:
            raise NameError(*error.args) from None
        except Exception as error:  # noqa: BLE001  (whatever evaluating it raises)
            raise TaskDefinitionError(
                f"{self._name}: parameter {self._spelled[key]!r} is annotated {annotation!r}, which is no type: {error}"
            ) from None

    def _injection(self, key: str) -> Injection | None:
        """What the library passes for a parameter; None for one that the message has."""
        if key in {"*", "**"}:
            return None
        try:
            annotation = self._annotation(key)
        except NameError:  # imported under TYPE_CHECKING, as linters ask for
            named = _INJECTED_NAME.search(str(self._written(key)))
            return _injected_later(named[0]) if named else _BY_NAME.get(key)
        for one in (annotation, *typing.get_args(annotation)):
            if isinstance(one, type) and issubclass(one, Injected):
                return one.of
        if key not in _BY_NAME:
            return None
        members = typing.get_args(annotation) if typing.get_origin(annotation) in _UNIONS else (annotation,)
        if all(member in _ANYTHING or (typing.get_origin(member) or member) in DICTS for member in members):
            return _BY_NAME[key]
        raise TaskDefinitionError(
            f"{self._name}: the library passes a dict for a parameter called {key!r}, but it is annotated "
            f"{getattr(annotation, '__name__', annotation)}: annotate it 'dict', or rename it"
        )

    def _converter(self, key: str) -> Converter:
        try:
            annotation = self._annotation(key)
            converter = json_converter(annotation)
            if converter is None:
                from runtime_lib.typed_arguments import typed_converter

                converter = typed_converter(annotation, parameter=self._spelled[key], task=self._name)
        except NameError:
            return _UNRESOLVED
        return optional(converter) if key in self._none else converter


_BY_NAME: dict[str, Injection] = {"metadata": TaskContext.metadata, "headers": lambda context: context.headers}
_INJECTED_NAME = re.compile(rf"\b({'|'.join(INJECTED_TYPES)})\b")
_UNIONS = (typing.Union, types.UnionType)
_ANYTHING = (Any, object, type(None))


def _defaults(function: types.FunctionType) -> dict[str, Any]:
    positional = function.__code__.co_varnames[: function.__code__.co_argcount]
    defaults = dict(zip(reversed(positional), reversed(function.__defaults__ or ()), strict=False))
    return defaults | (function.__kwdefaults__ or {})


def _injected_later(name: str) -> Injection:
    """What is passed for a parameter whose annotation is not imported when the task is decorated."""

    def inject(context: TaskContext) -> Any:
        from importlib import import_module

        injected: type[Injected] = getattr(import_module(INJECTED_TYPES[name]), name)
        return injected.of(context)

    return inject


def check_json(where: str, value: Any) -> None:
    """Refuse what JSON cannot bring back as it is; ``where`` names the value.

    Raises:
        ArgumentError: says where and what.
    """
    if type(value) not in ANY.exact:
        _checked(where, ANY.wire, value)


def _checked(where: str, convert: Callable[[Any], Any], value: Any) -> Any:
    try:
        return convert(value)
    except Mismatch as mismatch:
        raise ArgumentError(f"{where}{mismatch.path} takes {mismatch.expected}, given {mismatch.given}") from None
    except RecursionError:
        raise ArgumentError(f"{where} is nested too deeply, or holds itself") from None


def unwrapped(function: types.FunctionType) -> types.FunctionType:
    """The function below all decorators that were written with `functools.wraps`."""
    found: Any = function
    while (found := getattr(found, "__wrapped__", None)) is not None:
        if isinstance(found, types.FunctionType):
            function = found
    return function


def _binder(name: str, parameters: Sequence[str]) -> Callable[..., None]:
    """A function of the same signature that does nothing: calling it checks arguments as Python itself does.

    Ten times as quick as `inspect.Signature.bind`, and its TypeErrors are those of a plain call.
    """
    namespace: dict[str, Any] = {}
    name = name if name.isidentifier() else "task"
    # Only names that the compiler already took as identifiers are in this source.
    exec(f"def {name}({', '.join(parameters)}): pass", namespace)  # noqa: S102
    binder: Callable[..., None] = namespace[name]
    return binder
