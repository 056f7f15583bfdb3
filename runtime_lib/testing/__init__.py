"""For tests of tasks and of handlers: events as their triggers deliver them, the context of an invocation, what ran.

Account, region and names are made up; what a test does not give has a value that AWS could have sent.
"""

from runtime_lib.testing.api import api_event
from runtime_lib.testing.context import MockLambdaContext
from runtime_lib.testing.events import bus_event, invocation_event, s3_event, scheduled_event
from runtime_lib.testing.queues import dead_letter_event, sqs_event, sqs_record
from runtime_lib.testing.streaming import RecordedResponse, function_url_event
from runtime_lib.testing.streams import stream_event, stream_record
from runtime_lib.testing.workflows import RecordedRun, RecordedWorkflows, record_workflows

__all__ = [
    "MockLambdaContext",
    "RecordedResponse",
    "RecordedRun",
    "RecordedWorkflows",
    "api_event",
    "bus_event",
    "dead_letter_event",
    "function_url_event",
    "invocation_event",
    "record_workflows",
    "s3_event",
    "scheduled_event",
    "sqs_event",
    "sqs_record",
    "stream_event",
    "stream_record",
]
