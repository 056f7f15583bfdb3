"""What the runs of a graph are called: their ids, their records and the states of a state machine have these names."""

__all__ = ["NodeNames"]

_MAX_CHARACTERS = 50
"""A state's name has 80 at most, and there are states around a run that are called after it."""
_HASH_CHARACTERS = 8


class NodeNames:
    """Names the runs of one graph: each after its function, a second run of one function is ``load (2)``.

    A graph is named depth first: for each task first what runs before it, then the task itself, then what runs after it
    edge by edge (of a `for_each` its task, then its ``then``), and last what runs on its failure.
    """

    def __init__(self) -> None:
        self._runs: dict[str, int] = {}

    def of(self, function_name: str) -> str:
        """The name of the next run of a function, which is shortened where it is long."""
        name = _short(function_name)
        number = self._runs[name] = self._runs.get(name, 0) + 1
        return name if number == 1 else f"{name} ({number})"


def _short(name: str) -> str:
    if len(name) <= _MAX_CHARACTERS:
        return name
    from hashlib import sha256

    digest = sha256(name.encode()).hexdigest()[:_HASH_CHARACTERS]
    return f"{name[: _MAX_CHARACTERS - _HASH_CHARACTERS - 1]}-{digest}"
