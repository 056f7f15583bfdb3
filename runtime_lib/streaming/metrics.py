"""Counts of what nobody but the log sees, as CloudWatch reads them from the log.

(https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html)
"""

import json
import os
import time

from runtime_lib.contract import METRICS_DIMENSION, METRICS_NAMESPACE

__all__ = ["count"]


def count(metric: str, request_id: str) -> None:
    """Count one, for the function."""
    directive = {
        "Namespace": METRICS_NAMESPACE,
        "Dimensions": [[METRICS_DIMENSION]],
        "Metrics": [{"Name": metric, "Unit": "Count"}],
    }
    line = {
        "_aws": {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": [directive]},
        METRICS_DIMENSION: os.environ.get("AWS_LAMBDA_FUNCTION_NAME", ""),
        metric: 1,
        "requestId": request_id,
    }
    # One write, so that a thread's line is not inside another's.
    print(json.dumps(line) + "\n", end="", flush=True)  # noqa: T201  (standard output is what CloudWatch reads)
