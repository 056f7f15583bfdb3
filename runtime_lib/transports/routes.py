"""Routing: each task to its own queue, else to what serves its namespace, as the environment says."""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from runtime_lib import registry
from runtime_lib.contract import (
    ENV_FOPS_FUNCTION_NAME,
    ENV_SCHEDULES,
    MESSAGE_MAX_BYTES,
    SQS_MAX_DELAY_SECONDS,
    WORKFLOW_INPUT_MAX_BYTES,
    Route,
    is_fifo,
    lane_route_variable,
    namespace_route_variable,
    task_route_variable,
)
from runtime_lib.errors import DispatchError, NoRouteError, PayloadTooLargeError
from runtime_lib.transports import Transport, send_all

if TYPE_CHECKING:
    from runtime_lib.task import Call

__all__ = ["RouteTransport", "find_route"]


class RouteTransport:
    """Sends each task where its ``TASK_ROUTE__…`` variable says; without one, runs it now, except inside Lambda."""

    def __init__(self) -> None:
        self._transports: dict[Route, Transport] = {}
        self._told = False

    def send(self, calls: "Sequence[Call]") -> None:
        """Send each call along its route.

        Raises:
            NoRouteError: this is a Lambda function and has no route to one of them; nothing is sent.
            PayloadTooLargeError: one is too large for a message, and its server has no payload bucket; nothing is sent.
            DispatchError: some were not sent; ``failed`` says which and why.
        """
        groups: dict[tuple[Route | None, bool], list[Call]] = {}
        for call in calls:
            route = find_route(call)
            groups.setdefault((route, _is_later(call, route)), []).append(call)
        send_all([(self._sending(route, group), group) for (route, _), group in groups.items()])

    def _sending(self, route: Route | None, calls: "Sequence[Call]") -> "Callable[[Sequence[Call]], None]":
        send = self._transport(route, calls[0]).send
        if route and not route.payloads:
            _refuse_large(calls, route)  # there may be a bucket, for another server
        if route is None or not route.stored:
            return send
        from functools import partial

        from runtime_lib.tracked_send import send_recorded

        return partial(send_recorded, send)

    def _transport(self, route: Route | None, example: "Call") -> Transport:
        if route is None:
            return self._eager(example)
        if _is_later(example, route):
            from runtime_lib.one_shot import OneShotTransport

            return OneShotTransport(route, example)
        if route not in self._transports:
            if route.kind == "lambda":
                from runtime_lib.transports.lambda_invoke import LambdaTransport

                self._transports[route] = LambdaTransport(function_name=route.target)
            elif route.kind == "states":
                from runtime_lib.transports.states import StatesTransport

                self._transports[route] = StatesTransport(route.target)
            else:
                from runtime_lib.transports.sqs import SqsTransport

                self._transports[route] = SqsTransport(route.target)
        return self._transports[route]

    def _eager(self, example: "Call") -> Transport:
        task, namespace = example.envelope.task, example.namespace
        function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
        if function:
            known = registry.find(task)
            if known and known.edges:
                raise NoRouteError(
                    f"the function {function!r} has no route to {task!r}, which starts a workflow: "
                    f"{task_route_variable(task)} is not set. Call grant_dispatch(function) on the TaskWorkflow that "
                    "starts with it"
                )
            raise NoRouteError(
                f"the function {function!r} has no route to {task!r}: neither {task_route_variable(task)} nor "
                f"{namespace_route_variable(namespace)} is set. Call grant_dispatch(function) on the ManagedAsyncTask "
                f"of {task!r}, or on the construct that serves the namespace {namespace!r}"
            )
        from runtime_lib.transports.eager import EagerTransport

        if not self._told:
            self._told = True
            from runtime_lib.log import logger

            logger.warning(
                "no route to %s and this is no Lambda function: running tasks here and now (set_transport, or %s, "
                "sends them elsewhere)",
                task,
                task_route_variable(task),
            )
        return EagerTransport()


def _is_later(call: "Call", route: Route | None) -> bool:
    """Whether it waits in a schedule: for longer than a queue delays it, or for what cannot delay it at all.

    A retry of the task that dispatches decides as its first run did, which may have made the schedule.
    """
    if route is None:
        return False
    if ENV_SCHEDULES not in os.environ or is_fifo(route.target):
        return call.delay > SQS_MAX_DELAY_SECONDS
    delay = max(call.delay, call.first_delay)
    return delay > SQS_MAX_DELAY_SECONDS or (delay > 0 and route.kind != "sqs")


def _refuse_large(calls: "Sequence[Call]", route: Route) -> None:
    limit = WORKFLOW_INPUT_MAX_BYTES if route.kind == "states" else MESSAGE_MAX_BYTES
    for call in calls:
        if len(call.body) > limit:
            raise PayloadTooLargeError.of(call.envelope.task, len(call.body), limit)


def find_route(call: "Call") -> Route | None:
    """A task's own route, else its namespace's for the priority, else its namespace's, else fops' function.

    Its own is that of its lane, where it has that lane, else its only one.

    Raises:
        DispatchError: a variable holds something that is no route.
    """
    task, lane = call.envelope.task, call.envelope.metadata.get("lane")
    for variable in (
        *([lane_route_variable(task, lane)] if lane else ()),
        task_route_variable(task),
        namespace_route_variable(call.namespace, call.envelope.priority),
        namespace_route_variable(call.namespace),
    ):
        value = os.environ.get(variable)
        if value:
            try:
                return Route.parse(value, variable=variable)
            except ValueError as error:
                raise DispatchError(str(error)) from None
    function = os.environ.get(ENV_FOPS_FUNCTION_NAME)
    return Route("lambda", function) if function else None
