"""Handlers that tests run on Lambda's own runtime client, in the folder of a function's code."""

import json
from pathlib import Path

import msgspec

from runtime_lib import contract

ROOT = Path(__file__).parents[1]

URL_EVENT = {
    "version": "2.0",
    "rawPath": "/",
    "headers": {},
    "requestContext": {"http": {"method": "GET", "path": "/"}, "domainName": "x.lambda-url.us-east-1.on.aws"},
    "isBase64Encoded": False,
}
"""A request of a function URL."""

SHOP = '''
import asyncio, contextvars, ctypes, os, sys, threading, time
from dataclasses import dataclass
from decimal import Decimal
from runtime_lib import (
    ApiEvent, BackgroundTimeoutError, HttpError, JsonResponse, ResponseRefusedError, ResponseStateError, ResponseWriter,
    StreamingContext, after_response, background_handler, streaming_handler,
)

print("loading")
seen = contextvars.ContextVar("seen", default="nothing")

@dataclass
class Greeting:
    message: str
    times: int = 1

@background_handler
def greet(event: Greeting, output: ResponseWriter, context) -> None:
    output.respond({"echoedMessage": event.message})
    print("slow work begins")
    time.sleep(0.2)
    print("slow work ends")

@background_handler
def returning(event):
    return Greeting("hello", 2)

def audit(what):
    print("audit", what)

async def audit_async(what):
    await asyncio.sleep(0.01)
    print("audit async", what)

@streaming_handler
def do(event, output: ResponseWriter, context: StreamingContext) -> None:
    what = event["do"] if "do" in event else event["headers"]["do"]
    if what == "rows":
        output.start(status=201, headers={"content-type": "text/csv", "x-shop": "1"}, cookies=["a=1", "b=2; Secure"])
        for number in range(3):
            output.write(f"{number}\\n")
            time.sleep(0.15)
        output.finish()
        time.sleep(0.2)
        print("work after the rows")
    elif what == "raise before":
        output.start(headers={"x-shop": "1"})
        raise LookupError("no such order: größe")
    elif what == "raise during":
        output.write("first")
        raise LookupError("no such order: größe")
    elif what == "raise after":
        output.write("all")
        output.finish()
        raise LookupError("the audit failed")
    elif what == "exit after":
        output.respond("ok")
        sys.exit(3)
    elif what == "nothing":
        pass
    elif what == "head alone":
        output.start(status=204)
    elif what == "finish twice":
        output.respond("ok")
        try:
            output.finish()
        except ResponseStateError as error:
            print("refused:", error)
        try:
            output.write("more")
        except ResponseStateError as error:
            print("refused:", error)
    elif what == "start late":
        output.write("first")
        output.start(status=404)
    elif what == "empty writes":
        output.write("")
        output.write(b"")
        output.write("one")
        output.write("")
        output.write(b"two")
    elif what == "stream on":
        for _ in range(2000):
            output.write(b"x" * 70_000)
        print("nobody stopped it")
    elif what == "write on after refusal":
        try:
            output.respond("ok")
        except ResponseRefusedError as error:
            print("first:", error)
        output.write("more")
    elif what == "fail after refusal":
        try:
            output.respond("ok")
        except ResponseRefusedError:
            raise LookupError("no such order") from None
    elif what == "queue":
        seen.set("queue")
        after_response(audit, 1)
        after_response(audit_async, 2)
        after_response(lambda: 1 / 0)
        after_response(lambda: after_response(audit, "later"))
        output.respond("ok")
        print("still in the handler")
    elif what == "queue and fail":
        after_response(audit, "failed")
        raise LookupError("no such order")
    elif what == "http error":
        raise HttpError(404, "there is no such order", {"X-Shop": "1"})
    elif what == "leave a thread":
        threading.Thread(target=answer_late, args=(output,)).start()
        raise LookupError("no such order")
    elif what == "no text":
        output.write(3)
    elif what == "one cookie":
        output.start(cookies="a=1")
    elif what == "cancelled queue":
        after_response(cancel_itself)
        after_response(audit, "the rest")
        output.respond("ok")
    elif what == "queued cleanup":
        after_response(clean_up_slowly)
        output.respond("ok")
    elif what == "json response":
        output.respond(JsonResponse({"ok": True}, 202))
    elif what == "proxy dict":
        output.respond({"statusCode": 302, "headers": {"location": "/"}, "cookies": ["a=1"], "body": "b\\u00e4"})
    elif what == "several":
        several = {"Vary": ["a", "b"], "Set-Cookie": ["c=1", "d=2"]}
        output.respond({"statusCode": 200, "multiValueHeaders": several, "body": "ok"})
    elif what == "bytes":
        output.respond(b"\\x89PNG")
    elif what == "text":
        output.respond("größe")
    elif what == "context":
        context.logger.debug("a debug line")
        output.respond({
            "request_id": context.request_id, "trace_id": context.trace_id, "tenant_id": context.tenant_id,
            "left": context.remaining_seconds(), "until": context.deadline - time.time(),
            "client": context.lambda_context.client_context and context.lambda_context.client_context.custom,
            "seen": seen.get(),
        })
        seen.set("context")
    elif what == "sleep on":
        output.respond("ok")
        try:
            time.sleep(30)
        finally:
            print("cleaned up")
    elif what == "ignore Exception":
        output.respond("ok")
        while True:
            try:
                time.sleep(30)
            except Exception:
                pass
    elif what == "blocked":
        output.respond("ok")
        blocked()
    elif what == "queued sleep":
        after_response(time.sleep, 30)
        after_response(audit, "too late")
        output.respond("ok")
    elif what == "pid":
        time.sleep(0.2)
        output.respond({"pid": os.getpid(), "id": context.request_id})
    else:
        raise ValueError(what)

def answer_late(output):
    time.sleep(0.2)
    try:
        output.respond("of another invocation")
    except ResponseRefusedError:
        print("too late")

def blocked():
    """A wait that no signal interrupts, as one of a database's library."""
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(mutex)
    threading.Timer(2.5, libc.pthread_mutex_unlock, (mutex,)).start()
    libc.pthread_mutex_lock(mutex)

@streaming_handler
def generated(event):
    try:
        for row in event["rows"]:
            yield row
            time.sleep(0.15)
        if event.get("fail"):
            raise LookupError("no such row")
    finally:
        print("closed")

@streaming_handler
async def generated_async(event, output):
    if event["rows"]:
        output.start(headers={"content-type": "text/csv"})
    for row in event["rows"]:
        yield row
        await asyncio.sleep(0.15)

async def outlast(seconds):
    try:
        await asyncio.sleep(seconds)
        print("outlasted the handler")
    except asyncio.CancelledError:
        print("cancelled")
        raise

async def cancel_itself():
    raise asyncio.CancelledError

async def exit_soon():
    sys.exit(3)

async def clean_up_slowly():
    """Fails, while what it has started takes longer to clean up than there is time."""
    async def stubborn():
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0.6)
            print("cleaned up")
    asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    raise LookupError("no such order")

async def fail_soon():
    await asyncio.sleep(0.01)
    raise LookupError("in a task")

@background_handler
async def work_async(event, output):
    print("seen:", seen.get())
    seen.set("async")
    if event["do"] == "outlast":
        asyncio.create_task(outlast(0.2))
        asyncio.create_task(fail_soon())
        output.respond("ok")
    elif event["do"] == "sleep on":
        output.respond("ok")
        await outlast(30)
    elif event["do"] == "raise":
        asyncio.create_task(outlast(30))
        await asyncio.sleep(0)
        raise LookupError("no such order")
    elif event["do"] == "queue":
        after_response(audit_async, seen.get())
        output.respond("ok")
    elif event["do"] == "cancelled":
        await cancel_itself()
    elif event["do"] == "cancelled after":
        output.respond("ok")
        await cancel_itself()
    elif event["do"] == "swallow":
        output.respond("ok")
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            print("swallowed")
    elif event["do"] == "exit in a task":
        output.respond("ok")
        asyncio.create_task(exit_soon())
        try:
            await asyncio.sleep(0.2)
            print("this is not of the next invocation")
        finally:
            print("ended")
'''

PLAIN = """
import logging, os
logging.getLogger().setLevel("INFO")

def answered(event, context):
    logging.getLogger("shop").info("an order", extra={"order": 7})
    print("printed")
    if event == "raise":
        raise LookupError("no such order: größe")
    client = context.client_context
    return {
        "event": event, "tenant": context.tenant_id, "custom": client and client.custom, "trace": os.environ.get("_X_AMZN_TRACE_ID"),
        "identity": context.identity.cognito_identity_id, "arn": context.invoked_function_arn, "name": context.function_name,
        "text": "größe", "number": 1.50, "nothing": None,
    }
"""

HOOKED = """
import plain
from runtime_lib import background_handler

@background_handler
def handle(event, output, context):
    output.respond(plain.answered(event, context.lambda_context))
"""


def write_code(root: Path) -> Path:
    """Write the modules, and the library, into the folder of a function's code."""
    (root / "shop.py").write_text(SHOP)
    (root / "plain.py").write_text(PLAIN)
    (root / "hooked.py").write_text(HOOKED)
    (root / "broken.py").write_text("import numpy_is_not_in_the_asset\n")
    (root / "runtime_lib").symlink_to(ROOT / "runtime_lib")
    (root / "msgspec").symlink_to(Path(msgspec.__file__).parent)
    return root


def environment(handler: str, **more: str) -> dict[str, str]:
    """The variables of a function whose handler this is: ``shop:do``."""
    return {contract.ENV_STREAMING_HANDLER: handler, **more}


def counted(output: str) -> list[str]:
    """The metrics that CloudWatch would read, each 1."""
    lines = [json.loads(line) for line in output.splitlines() if line.startswith('{"_aws"')]
    found = [metric["Name"] for line in lines for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]]
    assert all(line[name] == 1 for line, name in zip(lines, found, strict=True))
    assert all(line["FunctionName"] == "function" for line in lines)
    return found
