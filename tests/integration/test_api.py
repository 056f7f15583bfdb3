"""APIs over HTTP: by their domain's Host header and at their stage, with keys, authorizers and other origins."""

import http.client
import json
import sys
import threading
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import aws_cdk as cdk
import pytest
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_lambda as lambda_

from constructs_lib import ApiTask, ManagedAsyncTask, TaskApi, TaskStore
from tasks_cli.local.api_proxy import ApiProxy, mounts
from tasks_cli.local.apis import deployed_apis
from tasks_cli.local.process import LocalCloud
from tests.deployed import Field, field, wait_for

pytestmark = [
    pytest.mark.xdist_group("local_cloud"),
    pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric is Linux's"),
]

CERTIFICATE = "arn:aws:acm:us-east-1:000000000000:certificate/0123"
SHOP, OFFICE = "shop.example.com", "office.example.com"
ORIGIN = "https://page.example"
KEY = "a-key-of-at-least-twenty-characters"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: Any


def _build(app: cdk.App, environment: dict[str, str]) -> None:
    stack = cdk.Stack(app, "Shop")
    code, store = field(), TaskStore(stack, "Store")
    api = TaskApi(
        stack,
        "Api",
        store=store,
        domain_name=SHOP,
        certificate=CERTIFICATE,
        base_path="v1",
        authorization="none",
        cloud_watch_role=False,
        cors=apigateway.CorsOptions(allow_origins=[ORIGIN]),
    )
    orders = ManagedAsyncTask(
        stack, "Orders", code=code, task="field.web:place_order", store=store, environment=environment
    )
    ApiTask(stack, "Get", code=code, task="field.web:get_order", api=api, path="/orders/{order_id}")
    ApiTask(
        stack,
        "Place",
        code=code,
        task="field.web:place_order",
        api=api,
        path="/orders",
        method="POST",
        respond="accepted",
        target=orders,
    )
    ApiTask(stack, "Echo", code=code, task="field.web:echo", api=api, path="/files/{proxy+}", method="ANY")

    office = TaskApi(stack, "Office", domain_name=OFFICE, certificate=CERTIFICATE, cloud_watch_role=False)
    authorizer = apigateway.TokenAuthorizer(
        stack,
        "Words",
        handler=lambda_.Function(
            stack,
            "Authorize",
            runtime=lambda_.Runtime.PYTHON_3_13,
            handler="field.web.authorize",
            code=code.for_stack(stack),
        ),
    )
    options: dict[str, Any] = {"code": code, "task": "field.web:echo", "api": office}
    ApiTask(stack, "Signed", path="/signed", **options)
    ApiTask(stack, "Word", path="/word", authorization=authorizer, **options)
    ApiTask(stack, "Keyed", path="/keyed", authorization="none", api_key_required=True, **options)
    office.add_usage_plan(
        "Partners",
        api_keys=[apigateway.ApiKey(stack, "Partner", value=KEY)],
        quota=apigateway.QuotaSettings(limit=2, period=apigateway.Period.DAY),
    )


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    with LocalCloud() as cloud:
        yield Field(cloud, tmp_path_factory.mktemp("api"), _build)


@pytest.fixture(scope="module")
def proxy(app: Field) -> Iterator[ApiProxy]:
    """Both APIs at a port of this machine, as `tasks local serve` has them."""
    with ApiProxy(app.cloud, mounts(deployed_apis(app.cloud, app.stacks))) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield proxy
        proxy.shutdown()
        thread.join()


def ask(
    app: Field | ApiProxy, verb: str, path: str, *, host: str | None = SHOP, body: object = None, **headers: str
) -> Answer:
    url = app.cloud.url if isinstance(app, Field) else app.url
    assert url
    connection = http.client.HTTPConnection(url.partition("//")[2], timeout=30)
    try:
        names = {name.replace("_", "-"): value for name, value in headers.items()} | ({"Host": host} if host else {})
        connection.request(verb, path, None if body is None else json.dumps(body), names)
        response = connection.getresponse()
        text = response.read().decode()
        return Answer(response.status, dict(response.getheaders()), json.loads(text) if text else None)
    finally:
        connection.close()


def test_an_api_answers_behind_its_domain_name(app: Field) -> None:
    answer = ask(app, "GET", "/v1/orders/7?verbose=true")
    assert (answer.status, answer.body) == (200, {"id": 7, "verbose": True})


def test_what_is_wrong_is_told_to_the_client(app: Field) -> None:
    assert ask(app, "GET", "/v1/orders/seven").status == 400
    assert ask(app, "POST", "/v1/orders", body={"article": 1}).status == 400
    assert ask(app, "GET", "/v1/nothing").status == 403


def test_any_method_and_the_rest_of_the_path_arrive(app: Field) -> None:
    answer = ask(app, "PATCH", "/v1/files/a/b.txt")
    assert (answer.status, answer.headers["X-Echo"]) == (203, "yes")
    assert answer.body == {
        "method": "PATCH",
        "path": "/v1/files/a/b.txt",
        "params": {"proxy": "a/b.txt"},
        "url": f"http://{SHOP}/v1/x",
    }


def test_an_accepted_task_is_followed_to_its_result(app: Field) -> None:
    accepted = ask(app, "POST", "/v1/orders", body={"article": "tea", "count": 2})
    assert accepted.status == 202
    task_id, url = accepted.body["id"], accepted.body["status_url"]
    assert url == f"http://{SHOP}/v1/tasks/{task_id}"
    assert accepted.headers["Location"] == url

    def done() -> Any:
        status = ask(app, "GET", url.removeprefix(f"http://{SHOP}"))
        assert status.status == 200
        return status.body if status.body["status"] == "succeeded" else None

    found = wait_for(done)
    assert found["id"] == task_id
    assert found["result"] == {"article": "tea", "count": 2}
    assert [each["id"] for each in app.marks("placed")].count(task_id) == 1
    assert ask(app, "GET", f"/v1/tasks/{uuid.uuid4()}").status == 404


def test_other_origins_are_told_that_they_may_call_and_read(app: Field) -> None:
    preflight = ask(app, "OPTIONS", "/v1/orders/7", Origin=ORIGIN, Access_Control_Request_Method="GET")
    assert preflight.status == 204
    for answer in (preflight, ask(app, "GET", "/v1/orders/7", Origin=ORIGIN), ask(app, "GET", "/v1/no", Origin=ORIGIN)):
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "GET" in preflight.headers["Access-Control-Allow-Methods"]


def test_who_signs_nothing_is_refused(app: Field) -> None:
    assert ask(app, "GET", "/signed", host=OFFICE).status == 403


def test_an_authorizer_decides(app: Field) -> None:
    assert ask(app, "GET", "/word", host=OFFICE).status == 401
    assert ask(app, "GET", "/word", host=OFFICE, Authorization="open").status == 403
    assert ask(app, "GET", "/word", host=OFFICE, Authorization="sesame").status == 203


def test_a_key_opens_until_its_quota_is_used_up(app: Field) -> None:
    assert ask(app, "GET", "/keyed", host=OFFICE).status == 403
    assert ask(app, "GET", "/keyed", host=OFFICE, X_Api_Key="another-key-of-twenty-characters").status == 403
    statuses = [ask(app, "GET", "/keyed", host=OFFICE, X_Api_Key=KEY).status for _ in range(3)]
    assert statuses == [203, 203, 429]


def test_several_apis_are_served_below_their_names(proxy: ApiProxy) -> None:
    assert [mount.prefix for mount in proxy.mounted] == ["/Api", "/Office"]
    answer = ask(proxy, "GET", "/Api/orders/7?verbose=true", host=None)
    assert (answer.status, answer.body) == (200, {"id": 7, "verbose": True})
    assert ask(proxy, "GET", "/Office/keyed", host=None).status == 403
    assert ask(proxy, "GET", "/orders/7", host=None).body == {"message": "no API is here; they are at /Api/, /Office/"}


def test_addresses_that_are_answered_lead_through_the_proxy(proxy: ApiProxy) -> None:
    accepted = ask(proxy, "POST", "/Api/orders", host=None, body={"article": "tea", "count": 2})
    url = accepted.headers["Location"]
    assert url == f"{proxy.url}/Api/tasks/{accepted.body['id']}"
    assert ask(proxy, "GET", url.removeprefix(proxy.url), host=None).status == 200


def test_proxy_passes_domain_names_on(proxy: ApiProxy) -> None:
    for host in (SHOP, SHOP.upper()):
        assert ask(proxy, "GET", "/v1/orders/7", host=host).body == {"id": 7, "verbose": False}


def test_clients_do_not_say_where_the_proxy_has_an_api(proxy: ApiProxy) -> None:
    answer = ask(proxy, "GET", "/v1/files/a", X_Forwarded_Prefix="/elsewhere")
    assert answer.body["url"] == f"http://{SHOP}/v1/x"


def test_proxy_passes_every_method_on(proxy: ApiProxy) -> None:
    for verb in ("DELETE", "PATCH", "POST", "PUT"):
        assert ask(proxy, verb, "/Api/files/a", host=None).body["method"] == verb
    head = ask(proxy, "HEAD", "/Api/files/a", host=None)
    assert (head.status, head.body) == (203, None)
    preflight = ask(proxy, "OPTIONS", "/Api/orders/7", host=None, Origin=ORIGIN, Access_Control_Request_Method="GET")
    assert preflight.status == 204


def test_one_api_is_served_at_the_root(app: Field) -> None:
    [api] = [api for api in deployed_apis(app.cloud, app.stacks) if api.construct == "Shop/Api"]
    assert [mount.prefix for mount in mounts([api])] == [""]
    assert [(route.method, route.path, route.construct) for route in api.routes] == [
        ("ANY", "/files/{proxy+}", "Shop/Echo"),
        ("POST", "/orders", "Shop/Place"),
        ("GET", "/orders/{order_id}", "Shop/Get"),
        ("GET", "/tasks/{id}", "Shop/Api/Status"),
    ]
    assert (api.domain_name, api.base_path) == (SHOP, "v1")
