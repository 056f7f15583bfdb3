"""The shop's API: where orders are placed one at a time, and asked for."""

from typing import Final

from constructs import Construct

from constructs_lib import ApiTask, DispatchTarget, ManagedAsyncTask, StageConfig, TaskApi, TaskCode, TaskStore
from sample_app.bucket import FilesBucket

__all__ = ["Web"]


class Web(Construct):
    """``POST /orders``, ``GET /orders/{order_id}``, and ``GET /tasks/{id}`` for what becomes of an order placed.

    Args:
        code: the asset.
        config: the options of the stage.
        files: the bucket with the orders and invoices.
        intake: where an order that was placed goes on.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        code: TaskCode,
        config: StageConfig,
        files: FilesBucket,
        intake: DispatchTarget,
    ) -> None:
        super().__init__(scope, construct_id)
        self.store: Final = TaskStore(self, "Store")
        self.place: Final = ManagedAsyncTask(
            self,
            "Place",
            code=code,
            task="sample_app.storefront:place",
            store=self.store,
            **config.task("Place", memory_size=256),
        )
        intake.grant_dispatch(self.place.function)
        self.api: Final = TaskApi(
            self,
            "Api",
            store=self.store,
            # Everybody may order; the role for access logs is the account's, and made for all of its APIs.
            **config.api(authorization="none", cloud_watch_role=True),
        )
        self.place_order: Final = ApiTask(
            self,
            "PlaceOrder",
            api=self.api,
            code=code,
            task="sample_app.storefront:place",
            method="POST",
            path="/orders",
            respond="accepted",
            target=self.place,
            **config.function("PlaceOrder", memory_size=256),
        )
        self.show_order: Final = ApiTask(
            self,
            "ShowOrder",
            api=self.api,
            code=code,
            task="sample_app.storefront:show",
            path="/orders/{order_id}",
            **config.function(
                "ShowOrder",
                memory_size=256,
                environment=files.environment,
                policy_statements=[files.may_list("orders/*", "invoices/*")],
            ),
        )
