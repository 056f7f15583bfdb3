"""Stubs of other applications' tasks."""

import pytest

from runtime_lib import (
    ArgumentError,
    EagerTransport,
    Priority,
    RecordingTransport,
    TaskDefinitionError,
    TaskError,
    UnknownTaskError,
    external_task,
    registry,
    using_transport,
)


@external_task(name="images.tasks.resize", namespace="images", priority=Priority.LOW, schema_version=2)
def resize(key: str, width: int = 100) -> None: ...


def test_a_stub_is_dispatched_as_the_task_that_it_stands_for() -> None:
    with using_transport(RecordingTransport()) as recording:
        handle = resize.with_headers(request="1").dispatch("a.png", width=2)
    [call] = recording.sent
    envelope = call.envelope
    assert (handle.id, handle.task, call.namespace) == (envelope.id, "images.tasks.resize", "images")
    assert (envelope.args, envelope.kwargs, envelope.headers) == (["a.png"], {"width": 2}, {"request": "1"})
    assert (envelope.priority, envelope.metadata["schema"]) == (Priority.LOW, 2)


def test_arguments_of_a_stub_are_checked_against_its_signature() -> None:
    with using_transport(RecordingTransport()) as recording:
        with pytest.raises(ArgumentError, match="takes str"):
            resize.dispatch(1)  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="missing 1 required positional argument"):
            resize.dispatch()  # type: ignore[call-arg]
    assert recording.sent == []


def test_a_stub_is_never_run_here() -> None:
    assert registry.find("images.tasks.resize") is None
    with pytest.raises(TaskError, match=r"images\.tasks\.resize runs in another application: dispatch it"):
        resize("a.png")
    with using_transport(EagerTransport()), pytest.raises(UnknownTaskError):
        resize.dispatch("a.png")


def test_a_stub_without_a_name_is_refused() -> None:
    with pytest.raises(TaskDefinitionError, match="name='<the task there>', given None"):
        external_task(name=None)  # type: ignore[arg-type]
