"""`tasks worker`."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tasks_cli import output
from tasks_cli.target import Aws, Namespace, PriorityName, Stack, choose_cloud, priority_of

Modules = Annotated[list[str], typer.Argument(help="Modules that have the tasks; found from the current folder, too.")]
QueueName = Annotated[
    str | None, typer.Option("--queue", metavar="NAME", help="Name or URL of the queue, instead of a namespace's.")
]
Concurrency = Annotated[int, typer.Option("--concurrency", min=1, help="How many tasks run at a time.")]


def worker(
    modules: Modules,
    *,
    priority: PriorityName = "default",
    namespace: Namespace = None,
    queue: QueueName = None,
    concurrency: Concurrency = 1,
    stack: Stack = None,
    aws: Aws = False,
) -> None:
    """Poll a queue and run its tasks in this process, until SIGTERM or Ctrl-C; what runs then is finished first.

    The queue is that of the modules' namespace and the priority. On AWS the routes are those of --stack, or the
    TASK_ROUTE__... variables of the environment, as `dispatch_environment` of a construct gives them.

    \b
    Examples:
      tasks worker shop.mail --priority high
      tasks worker shop.images --queue images --concurrency 4
      tasks worker shop.mail --aws --stack Shop
    """
    import logging  # noqa: PLC0415

    from runtime_lib.contract import DEFAULT_NAMESPACE, ENV_LOG_LEVEL  # noqa: PLC0415
    from runtime_lib.worker import listen_for_messages  # noqa: PLC0415
    from tasks_cli import deployed  # noqa: PLC0415

    wanted = priority_of(priority)
    cloud = choose_cloud(aws=aws)
    if queue is None and (stack is not None or cloud.is_local):
        functions = deployed.targets(cloud, deployed.stack_names(cloud, stack))
        namespace = namespace or deployed.find_namespace(functions, modules[0])
        os.environ.update(deployed.routes(functions))
    cloud.use_in_this_process()
    logging.basicConfig(level=os.environ.get(ENV_LOG_LEVEL, "INFO"), format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("botocore").setLevel(logging.WARNING)
    what = queue or f"the namespace {namespace or DEFAULT_NAMESPACE} at priority {wanted.value}"
    output.say(f"Working on {what}; Ctrl-C ends it when what runs is finished.")
    sys.path.insert(0, str(Path.cwd()))
    listen_for_messages(
        wanted, modules=modules, namespace=namespace or DEFAULT_NAMESPACE, queue=queue, concurrency=concurrency
    )
