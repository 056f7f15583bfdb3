"""A task's arguments: bound to its signature, checked by its annotations, and turned into JSON and back.

JSON types are handled here; dataclasses, datetime and the like in `typed_arguments`, which loads msgspec or pydantic.
"""

import types
import typing
from collections import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from runtime_lib.context import TaskContext
from runtime_lib.errors import ArgumentError, TaskDefinitionError

__all__ = ["Converter", "Mismatch", "Signature"]

_VARARGS, _VARKEYWORDS = (
    0x04,
    0x08,
)  # code flags; https://docs.python.org/3/library/inspect.html#inspect-module-co-flags
_SCALARS: frozenset[type] = frozenset({str, int, float, bool, type(None)})
_DICTS = (dict, abc.Mapping, abc.MutableMapping)
_LISTS = (list, abc.Sequence, abc.MutableSequence, abc.Iterable, abc.Collection)


class Mismatch(Exception):  # noqa: N818  (always turned into an ArgumentError)
    """A value that its annotation does not allow; ``path`` leads to it inside the argument: ``['rows'][3]``."""

    def __init__(self, expected: str, given: object, path: str = "") -> None:
        super().__init__(expected, type(given).__name__, path)
        self.expected, self.given, self.path = expected, type(given).__name__, path

    def below(self, key: object) -> "Mismatch":
        """The same, seen from the container that has the value at ``key``."""
        self.path = f"[{key!r}]{self.path}"
        return self


class Converter(NamedTuple):
    """What one annotation allows: ``wire`` is strict and gives JSON, ``accept`` converts what came where lossless.

    Values whose type is in ``exact`` pass either way as they are.
    """

    expected: str
    exact: frozenset[type]
    wire: Callable[[Any], Any]
    accept: Callable[[Any], Any]


# --- JSON types ------------------------------------------------------------------------------------------------------


def _refuse_what_json_changes(value: object) -> object:
    """Keys that are not strings would come back as strings; other types would not come back at all."""
    if isinstance(value, str | int | float) or value is None:
        return value
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise Mismatch("a dict with str keys (JSON knows no others)", key)
            if type(item) not in _SCALARS:
                _inside(key, item, _refuse_what_json_changes)
        return value
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            if type(item) not in _SCALARS:
                _inside(index, item, _refuse_what_json_changes)
        return value
    raise Mismatch("a JSON value (annotate the parameter to send a dataclass, datetime, …)", value)


def _inside(key: object, item: Any, convert: Callable[[Any], Any]) -> Any:
    try:
        return convert(item)
    except Mismatch as mismatch:
        raise mismatch.below(key) from None


_ANY = Converter("any JSON value", _SCALARS, _refuse_what_json_changes, lambda value: value)


def _scalar(expected: str, allowed: tuple[type, ...], lossless: Callable[[Any], Any]) -> Converter:
    def wire(value: Any) -> Any:
        if isinstance(value, allowed):
            return value
        raise Mismatch(expected, value)

    def accept(value: Any) -> Any:
        try:
            return wire(value)
        except Mismatch:
            converted = lossless(value)
            if converted is None:
                raise
            return converted

    return Converter(expected, frozenset(allowed[:1]), wire, accept)


def _to_str(value: Any) -> str | None:
    return str(value) if type(value) is int else None


def _to_int(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.lstrip("-").isdecimal() and str(int(value)) == value:
        return int(value)
    return None


def _to_float(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return None
        return number if repr(number) == value or _to_int(value) is not None else None
    return None


_CONVERTERS: dict[Any, Converter] = {
    Any: _ANY,
    object: _ANY,
    str: _scalar("str", (str,), _to_str),
    int: _scalar("int", (int,), _to_int),
    float: _scalar("float", (float, int), _to_float),
    bool: _scalar("bool", (bool,), lambda _: None),
    None: _scalar("None", (type(None),), lambda _: None),
    type(None): _scalar("None", (type(None),), lambda _: None),
}


def _array(item: Converter) -> Converter:
    expected = f"list[{item.expected}]" if item is not _ANY else "list"

    def each(convert: Callable[[Any], Any], value: Any) -> list[Any]:
        if not isinstance(value, list | tuple):
            raise Mismatch(expected, value)
        exact = item.exact
        return [
            element if type(element) in exact else _inside(index, element, convert)
            for index, element in enumerate(value)
        ]

    return Converter(
        expected, frozenset(), lambda value: each(item.wire, value), lambda value: each(item.accept, value)
    )


def _object(item: Converter) -> Converter:
    expected = f"dict[str, {item.expected}]" if item is not _ANY else "dict"

    def each(convert: Callable[[Any], Any], value: Any) -> dict[str, Any]:
        if not isinstance(value, abc.Mapping):
            raise Mismatch(expected, value)
        exact = item.exact
        found = {}
        for key, element in value.items():
            if not isinstance(key, str):
                raise Mismatch(f"{expected} with str keys", key)
            found[key] = element if type(element) in exact else _inside(key, element, convert)
        return found

    return Converter(
        expected, frozenset(), lambda value: each(item.wire, value), lambda value: each(item.accept, value)
    )


def _union(members: Sequence[Converter]) -> Converter:
    expected = " | ".join(member.expected for member in members)

    def first(conversions: Sequence[Callable[[Any], Any]], value: Any) -> Any:
        for convert in conversions:
            try:
                return convert(value)
            except Mismatch:
                continue
        raise Mismatch(expected, value)

    strict = [member.wire for member in members]
    lossless = [*strict, *(member.accept for member in members)]
    return Converter(
        expected,
        frozenset().union(*(member.exact for member in members)),
        lambda value: first(strict, value),
        lambda value: first(lossless, value),
    )


def _literal(values: tuple[Any, ...]) -> Converter:
    expected = " or ".join(map(repr, values))

    def one_of(value: Any) -> Any:
        if any(value == allowed and type(value) is type(allowed) for allowed in values):
            return value
        raise Mismatch(expected, value)

    return Converter(expected, frozenset(), one_of, one_of)


def _json_converter(annotation: Any) -> Converter | None:
    """The converter of a type that JSON has, or None for any other type."""
    try:
        if annotation in _CONVERTERS:
            return _CONVERTERS[annotation]
    except TypeError:  # an unhashable annotation is no type that JSON has
        return None
    if isinstance(annotation, typing.TypeVar):
        return _ANY
    for alias_of in ("__supertype__", "__value__"):  # NewType, and a `type` statement's alias
        if hasattr(annotation, alias_of):
            return _json_converter(getattr(annotation, alias_of))
    origin, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if not arguments and origin in _LISTS:
        return _array(_ANY)
    if not arguments and origin in _DICTS:
        return _object(_ANY)
    if origin is typing.Union or origin is types.UnionType:
        members = [_json_converter(argument) for argument in arguments]
        return None if None in members else _union([member for member in members if member])
    if origin is typing.Literal:
        return _literal(arguments) if all(isinstance(value, str | int | None) for value in arguments) else None
    if origin in _LISTS and len(arguments) == 1:
        item = _json_converter(arguments[0])
        return item and _array(item)
    if origin in _DICTS and arguments[0] is str:
        item = _json_converter(arguments[1])
        return item and _object(item)
    return None


# --- Signatures ------------------------------------------------------------------------------------------------------


# Stands for an annotation whose names are not defined yet, as while its module is being imported: resolved when used.
_UNRESOLVED = Converter("", frozenset(), lambda value: value, lambda value: value)


class Signature:
    """What a task's function takes.

    Read from its code object rather than with `inspect`, which would add a third to the import time of this library.
    """

    __slots__ = ("_all_by_keyword", "_bind", "_converters", "_function", "_name", "_positional", "_spelled", "injected")

    def __init__(self, function: types.FunctionType, name: str) -> None:
        while hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        self._function, self._name = function, name
        code = function.__code__
        count, posonly, end = code.co_argcount, code.co_posonlyargcount, code.co_argcount + code.co_kwonlyargcount
        names = code.co_varnames[:end]
        variadic = iter(code.co_varnames[end:])
        var_positional = next(variadic) if code.co_flags & _VARARGS else None
        var_keyword = next(variadic) if code.co_flags & _VARKEYWORDS else None

        # Where a converter is found: by the parameter's name, or "*" and "**".
        self._spelled = {name: name for name in names}
        self._spelled |= {"*": var_positional} if var_positional else {}
        self._spelled |= {"**": var_keyword} if var_keyword else {}
        self.injected: dict[str, str] = {}
        self._converters: dict[str, Converter] = {}
        for key in self._spelled:
            annotation = self._annotation(key)
            injection = _injection(key, annotation, name)
            if injection:
                self.injected[key] = injection
            else:
                self._converters[key] = self._converter(key, annotation)
        if var_keyword:
            self.injected |= {parameter: parameter for parameter in ("metadata", "headers")}

        self._positional = tuple(parameter for parameter in names[:count] if parameter not in self.injected)
        self._all_by_keyword = self._positional != names[: len(self._positional)]
        if self._all_by_keyword and (posonly or var_positional):
            raise TaskDefinitionError(
                f"{name}: the library passes {', '.join(self.injected)} by keyword: move it behind a '*'"
            )
        self._bind = _binder(
            function,
            names[:posonly],
            [parameter for parameter in names[posonly:count] if parameter not in self.injected],
            [parameter for parameter in names[count:] if parameter not in self.injected],
            var_positional,
            var_keyword,
        )

    def to_wire(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments as JSON values, checked strictly.

        Raises:
            ArgumentError: they do not fit the signature, or an argument is not of its parameter's type.
        """
        if self.injected:
            for name in self.injected:
                if name in kwargs:
                    raise ArgumentError(f"{self._name}() gets {name!r} from the library: do not pass it to dispatch")
        return self._convert(args, kwargs, strict=True)

    def accept(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of a message, converted to their parameters' types where that loses nothing.

        Raises:
            ArgumentError: they do not fit the signature, or an argument cannot be converted without loss.
        """
        args, kwargs = self._convert(args, kwargs, strict=False)
        if self._all_by_keyword:
            return [], {**dict(zip(self._positional, args, strict=False)), **kwargs}
        return args, kwargs

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
                converted_args[index] = self._one(key, key, value, strict=strict)
        converted_kwargs = dict(kwargs)
        for name, value in kwargs.items():
            key = name if name in converters else "**"
            if type(value) not in converters[key][1]:
                converted_kwargs[name] = self._one(key, name, value, strict=strict)
        return converted_args, converted_kwargs

    def _one(self, key: str, name: str, value: Any, *, strict: bool) -> Any:
        converter = self._converters[key]
        if converter is _UNRESOLVED:
            annotation = self._annotation(key)
            if annotation is _UNRESOLVED:
                raise TaskDefinitionError(
                    f"{self._name}: parameter {name!r} is annotated {self._function.__annotations__[name]!r}, which "
                    "its module does not define when it runs: import it outside 'if TYPE_CHECKING'"
                )
            converter = self._converters[key] = self._converter(key, annotation)
        try:
            return (converter.wire if strict else converter.accept)(value)
        except Mismatch as mismatch:
            raise ArgumentError(
                f"{self._name}() argument {name!r}{mismatch.path} takes {mismatch.expected}, given {mismatch.given}"
            ) from None

    def _annotation(self, key: str) -> Any:
        parameter = self._spelled[key]
        annotation = self._function.__annotations__.get(parameter, Any)
        if not isinstance(annotation, str):
            return annotation
        holder = types.SimpleNamespace(__annotations__={parameter: annotation})
        try:
            return typing.get_type_hints(holder, self._function.__globals__, include_extras=True)[parameter]
        except NameError:
            return _UNRESOLVED

    def _converter(self, key: str, annotation: Any) -> Converter:
        if annotation is _UNRESOLVED:
            return _UNRESOLVED
        converter = _json_converter(annotation)
        if converter:
            return converter
        from runtime_lib.typed_arguments import typed_converter

        return typed_converter(annotation, parameter=self._spelled[key], task=self._name)


def _injection(parameter: str, annotation: Any, task: str) -> str | None:
    """What the library passes for a parameter: "context", "metadata", "headers", or nothing (None)."""
    if annotation is TaskContext or TaskContext in typing.get_args(annotation):
        return "context"
    if parameter not in {"metadata", "headers"}:
        return None
    members = typing.get_args(annotation) if typing.get_origin(annotation) in {typing.Union, types.UnionType} else ()
    for member in members or (annotation,):
        if member in {Any, object, type(None)} or (typing.get_origin(member) or member) in _DICTS:
            continue
        raise TaskDefinitionError(
            f"{task}: the library passes a dict for a parameter called {parameter!r}, "
            f"but it is annotated {getattr(annotation, '__name__', annotation)}: annotate it 'dict', or rename it"
        )
    return parameter


def _binder(
    function: types.FunctionType,
    positional_only: Sequence[str],
    positional: Sequence[str],
    keyword_only: Sequence[str],
    var_positional: str | None,
    var_keyword: str | None,
) -> Callable[..., None]:
    """A function of the same signature that does nothing: calling it checks arguments as Python itself does.

    Ten times as quick as `inspect.Signature.bind`, and its TypeErrors are those of a plain call.
    """
    code = function.__code__
    defaults = set(code.co_varnames[code.co_argcount - len(function.__defaults__ or ()) : code.co_argcount])
    defaults |= set(function.__kwdefaults__ or ())

    def spelled(names: Sequence[str]) -> list[str]:
        return [f"{name}=None" if name in defaults else name for name in names]

    parts = [*spelled(positional_only), *(["/"] if positional_only else []), *spelled(positional)]
    if var_positional:
        parts.append(f"*{var_positional}")
    elif keyword_only:
        parts.append("*")
    parts += spelled(keyword_only)
    if var_keyword:
        parts.append(f"**{var_keyword}")
    namespace: dict[str, Any] = {}
    # Only names that the compiler already took as identifiers are in this source.
    name = code.co_name if code.co_name.isidentifier() else "task"
    exec(f"def {name}({', '.join(parts)}): pass", namespace)  # noqa: S102
    binder: Callable[..., None] = namespace[name]
    return binder
