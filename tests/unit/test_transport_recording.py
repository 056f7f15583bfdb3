"""Dispatches that are remembered, for tests."""

from runtime_lib import RecordingTransport, task, using_transport


@task
def send(number: int) -> None:
    raise AssertionError("it must not run")


def test_dispatches_are_remembered_in_order_and_do_not_run() -> None:
    with using_transport(RecordingTransport()) as recording:
        handles = [send.dispatch(1), *send.dispatch_many([send.call(2), send.call(3)])]
    assert [call.envelope.args for call in recording.sent] == [[1], [2], [3]]
    assert [call.handle for call in recording.sent] == handles
