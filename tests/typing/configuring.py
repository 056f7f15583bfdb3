"""What type checkers say of stacks that use a configuration file: each `ignore` here has to be needed.

Checked by `make types`; nothing imports it.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from typing import assert_type

import aws_cdk as cdk

from constructs_lib import (
    BackgroundTaskFunction,
    FunctionOptions,
    ManagedAsyncTask,
    ScheduledTask,
    ScheduleOptions,
    StageConfig,
    TaskApi,
    TaskCode,
    TaskOptions,
)


def shop(stack: cdk.Stack) -> None:
    config = StageConfig.from_file("stages.toml", stack, stage="prod")
    code = TaskCode.from_package("shop", requirements="requirements.txt", environment=config.environment)

    assert_type(config.stage, str | None)
    assert_type(config.task("Resize"), TaskOptions)
    assert_type(config.function("Receipts"), FunctionOptions)
    assert_type(config.schedule("Nightly"), ScheduleOptions)

    resize = ManagedAsyncTask(
        stack,
        "Resize",
        code=code,
        task="shop.images:resize",
        batch_size=1,
        **config.task("Resize", memory_size=512, max_concurrency=5, queue_age_alarm=cdk.Duration.minutes(5)),
    )
    BackgroundTaskFunction(stack, "Receipts", code=code, modules=["shop"], **config.function("Receipts", memory_size=1))
    ScheduledTask(stack, "Nightly", task="shop.reports:nightly", code=code, **config.schedule("Nightly"))
    ScheduledTask(stack, "Hourly", task="shop.images:resize", **config.schedule("Hourly", target=resize, enabled=True))
    TaskApi(stack, "Api", **config.api(domain_name="api.example.com", stage_name="v1"))

    config.task("Resize", memory_size="512")  # type: ignore[arg-type]
    config.task("Resize", memory=512)  # type: ignore[call-arg]
    config.function("Receipts", max_concurrency=5)  # type: ignore[call-arg]
    config.api(memory_size=512)  # type: ignore[call-arg]
