"""Deliveries of DynamoDB streams as Lambda makes them, in the process of the local cloud.

MiniStack takes no notice of what a function reports of a batch, does not halve one that fails, and delivers it for
ever. `emulator` runs this file by its path.

https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html
"""

import json
import threading
import time
from contextvars import copy_context
from typing import Any

PAUSE_SECONDS = 0.05
"""Between two deliveries of a batch; Lambda's grow with each."""

Batch = list[dict[str, Any]]


def deliver_streams_as_lambda_does() -> None:
    """Take the place of MiniStack's poller: each mapping has a thread while its stream has records for it."""
    from ministack.services import lambda_svc  # type: ignore[import-untyped]  # noqa: PLC0415

    at_work: set[str] = set()

    def poll() -> bool:
        for account, region, mapping in lambda_svc._iter_all_esms():  # noqa: SLF001
            if mapping["UUID"] not in at_work and ":dynamodb:" in mapping["EventSourceArn"]:
                at_work.add(mapping["UUID"])
                arguments = (work, account, region, mapping)
                threading.Thread(target=copy_context().run, args=arguments, daemon=True).start()
        return False

    def work(account: str, region: str, mapping: dict[str, Any]) -> None:
        lambda_svc._request_account_id.set(account)  # noqa: SLF001
        lambda_svc._request_region.set(region)  # noqa: SLF001
        positions = lambda_svc._dynamodb_stream_positions  # noqa: SLF001
        try:
            while batch := waiting(mapping):
                wanted = lambda_svc._apply_filter_criteria(batch, mapping)  # noqa: SLF001
                if wanted:
                    deliver(mapping, wanted)
                positions[mapping["UUID"]] += len(batch)
        finally:
            at_work.discard(mapping["UUID"])

    lambda_svc._poll_dynamodb_streams = poll  # noqa: SLF001


def waiting(mapping: dict[str, Any]) -> Batch:
    """The next records of a mapping's stream, as many as one delivery has."""
    from ministack.services import dynamodb, lambda_svc  # noqa: PLC0415

    table, stream = mapping["EventSourceArn"].split("/")[1], mapping["EventSourceArn"]
    if not is_active(mapping) or (dynamodb._tables.get(table) or {}).get("LatestStreamArn") != stream:  # noqa: SLF001
        return []
    lambda_svc._init_stream_position(mapping["UUID"], stream, mapping["StartingPosition"])  # noqa: SLF001
    positions = lambda_svc._dynamodb_stream_positions  # noqa: SLF001
    positions[mapping["UUID"]] = max(positions[mapping["UUID"]], dynamodb.stream_start_position(table))
    found: Batch = dynamodb.stream_records_since(table, positions[mapping["UUID"]], int(mapping["BatchSize"]))
    return found


def is_active(mapping: dict[str, Any]) -> bool:
    """Whether the mapping is still there, and enabled."""
    from ministack.services import lambda_svc  # noqa: PLC0415

    return mapping.get("Enabled", True) and lambda_svc._esms.get(mapping["UUID"]) is mapping  # noqa: SLF001


def deliver(mapping: dict[str, Any], batch: Batch) -> None:
    """Deliver a batch until all of it is done or dropped; what is dropped is told to the mapping's destination."""
    from ministack.services import lambda_svc  # noqa: PLC0415

    parts = [batch]
    retries = int(mapping.get("MaximumRetryAttempts", -1))
    oldest_age = int(mapping.get("MaximumRecordAgeInSeconds", -1))
    while parts and is_active(mapping):
        part, tries = parts.pop(0), 0
        while part and is_active(mapping):
            function, _ = lambda_svc._get_func_record_for_qualifier(  # noqa: SLF001
                mapping["FunctionName"], mapping.get("Qualifier")
            )
            if function is None:
                return
            result = lambda_svc._execute_function(function, {"Records": part})  # noqa: SLF001
            done = count_done(mapping, part, result)
            if done == 0 and result.get("error") and mapping.get("BisectBatchOnFunctionError") and len(part) > 1:
                middle = len(part) // 2
                parts[:0] = [part[:middle], part[middle:]]
                break
            part = part[done:]
            if not part:
                break
            tries += 1
            age = time.time() - part[0]["dynamodb"]["ApproximateCreationDateTime"]
            if 0 <= retries < tries or 0 <= oldest_age < age:
                condition = "RetryAttemptsExhausted" if 0 <= retries < tries else "MaxRecordAgeExceeded"
                lambda_svc._send_ddb_stream_failure_record(  # noqa: SLF001
                    mapping, function, part, mapping["EventSourceArn"], result, condition
                )
                break
            time.sleep(PAUSE_SECONDS)


def count_done(mapping: dict[str, Any], batch: Batch, result: dict[str, Any]) -> int:
    """How many records of the batch are done: all before the first that the function reports."""
    if result.get("error"):
        return 0
    if "ReportBatchItemFailures" not in mapping.get("FunctionResponseTypes", []):
        return len(batch)
    body = result.get("body")
    answer = json.loads(body) if isinstance(body, str | bytes) and body else body
    failures = answer.get("batchItemFailures", []) if isinstance(answer, dict) else []
    reported = {failure["itemIdentifier"] for failure in failures}
    numbers = [record["dynamodb"]["SequenceNumber"] for record in batch]
    return next((index for index, number in enumerate(numbers) if number in reported), len(batch))
