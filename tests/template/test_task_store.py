"""TaskStore: its table, and what those who use it may do and know."""

import json
from typing import Any

import aws_cdk as cdk
import cdk_nag
import pytest
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk.assertions import Template
from cfnlint.api import lint

from constructs_lib import BackgroundTaskFunction, ManagedAsyncTask, PriorityTaskQueues, TaskStore
from runtime_lib import contract
from tests.apps import (
    add_invoice,
    add_mail,
    add_nightly,
    add_orders,
    add_plain_function,
    allowed,
    environment,
    literal,
    new_app,
    new_stack,
    only,
    resources,
    statements,
)
from tests.event_apps import add_changes, add_uploads
from tests.queue_apps import add_payments, add_quote

TABLE = "AWS::DynamoDB::Table"
ARN = "arn:<AWS::Partition>:dynamodb:<AWS::Region>:<AWS::AccountId>:table/Shop-Store-D083DEA0"


@pytest.fixture
def stack() -> cdk.Stack:
    return new_stack()


@pytest.fixture
def store(stack: cdk.Stack) -> TaskStore:
    return TaskStore(stack, "Store")


def actions(stack: cdk.Stack, under: str) -> set[str]:
    """What a role may do in DynamoDB."""
    found: set[str] = set()
    for statement in statements(stack, under=under):
        listed = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        ours = {action for action in listed if action.startswith("dynamodb:")}
        if ours:
            assert literal(statement["Resource"]) == ARN
            found |= ours
    return found


# --- The table -------------------------------------------------------------------------------------------------------


def test_records_expire_by_the_attribute_that_the_runtime_writes(stack: cdk.Stack, store: TaskStore) -> None:
    table = only(stack, TABLE)
    assert table["TableName"] == store.table_name
    assert table["KeySchema"] == [{"AttributeName": contract.STORE_KEY, "KeyType": "HASH"}]
    assert table["TimeToLiveSpecification"] == {"AttributeName": contract.STORE_EXPIRES_AT, "Enabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["BillingMode"] == "PAY_PER_REQUEST"


def test_the_table_is_deleted_with_its_stack_unless_it_is_to_stay(stack: cdk.Stack) -> None:
    TaskStore(stack, "Store")
    TaskStore(stack, "Kept", removal_policy=cdk.RemovalPolicy.RETAIN)
    tables = Template.from_stack(stack).find_resources(TABLE)
    assert {name[:4]: table["DeletionPolicy"] for name, table in tables.items()} == {"Stor": "Delete", "Kept": "Retain"}


def test_a_key_of_yours_encrypts_the_table_and_may_be_used_by_senders_and_servers(stack: cdk.Stack) -> None:
    store = TaskStore(stack, "Store", encryption_key=kms.Key(stack, "Key"))
    task = add_invoice(stack, store=store)
    orders = add_orders(stack)
    task.grant_dispatch(orders.function)
    encryption = only(stack, TABLE)["SSESpecification"]
    assert (encryption["SSEEnabled"], encryption["SSEType"]) == (True, "KMS")
    for role in ("Invoice", "Orders"):
        assert allowed(stack, "kms:Decrypt", under=role) == {literal(encryption["KMSMasterKeyId"])}
        [statement] = [one for one in statements(stack, under=role) if "kms:Decrypt" in one["Action"]]
        assert statement["Condition"] == {"StringLike": {"kms:ViaService": "dynamodb.*"}}


def test_cfn_lint_and_cdk_nag_find_nothing() -> None:
    stack = new_stack()
    cdk.Validations.of(stack.node.root).add_plugins(cdk_nag.AwsSolutionsChecks())
    key = kms.Key(stack, "Key", enable_key_rotation=True)
    store = TaskStore(stack, "Store", encryption_key=key, time_to_live=cdk.Duration.days(30))
    orders = add_orders(stack, store=store)
    add_invoice(stack, store=store).grant_dispatch(orders.function)
    store.grant_read(orders.function)
    stack.node.root.synth()
    assert lint(json.dumps(Template.from_stack(stack).to_json()), regions=["us-east-1"]) == []


# --- Servers and senders ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("add", [add_invoice, add_orders, add_mail])
def test_a_server_may_change_records_and_knows_that_it_does(stack: cdk.Stack, store: TaskStore, add: Any) -> None:
    server = add(stack, "Server", store=store)
    assert actions(stack, "Server") == {"dynamodb:UpdateItem"}
    variables = environment(stack, under="Server")
    assert variables[contract.ENV_STORE] == store.table_name
    assert variables[contract.ENV_TRACKED] == "1"
    assert contract.ENV_STORE_TTL not in variables
    assert all("+store:" in route for route in server.routes.values())


@pytest.mark.parametrize("add", [add_changes, add_nightly, add_payments, add_quote, add_uploads])
def test_what_a_trigger_starts_is_recorded_as_well(stack: cdk.Stack, store: TaskStore, add: Any) -> None:
    add(stack, "Server", store=store)
    assert ARN in allowed(stack, "dynamodb:UpdateItem", under="Server")
    variables = environment(stack, under="Server")
    assert variables[contract.ENV_STORE] == store.table_name
    assert variables[contract.ENV_TRACKED] == "1"


def test_a_sender_may_add_records_and_take_them_back(stack: cdk.Stack, store: TaskStore) -> None:
    task = add_invoice(stack, store=store)
    orders = add_orders(stack)
    task.grant_dispatch(orders.function)
    assert actions(stack, "Orders") == {"dynamodb:PutItem", "dynamodb:DeleteItem"}
    variables = environment(stack, under="Orders")
    assert variables[contract.ENV_STORE] == store.table_name
    assert contract.ENV_TRACKED not in variables
    assert (
        variables["TASK_ROUTE__BACK_OFFICE_INVOICES_RENDER"] == f"sqs+store:{task.queue.node.default_child.queue_name}"
    )  # type: ignore[union-attr]


def test_a_process_of_your_own_gets_the_store_with_the_routes(stack: cdk.Stack, store: TaskStore) -> None:
    task = add_invoice(stack, store=store)
    assert task.dispatch_environment.items() >= {contract.ENV_STORE: store.table_name}.items()
    assert store.environment == {contract.ENV_STORE: store.table_name}


def test_another_time_to_live_is_told_to_all_that_write(stack: cdk.Stack) -> None:
    store = TaskStore(stack, "Store", time_to_live=cdk.Duration.days(30))
    orders = add_orders(stack)
    add_invoice(stack, store=store).grant_dispatch(orders.function)
    for under in ("Invoice", "Orders"):
        assert environment(stack, under=under)[contract.ENV_STORE_TTL] == "2592000"


def test_without_a_store_nothing_is_said_or_allowed(stack: cdk.Stack) -> None:
    orders = add_orders(stack)
    add_invoice(stack).grant_dispatch(orders.function)
    for under in ("Invoice", "Orders"):
        assert actions(stack, under) == set()
        assert not {contract.ENV_STORE, contract.ENV_TRACKED} & environment(stack, under=under).keys()


def test_a_function_that_is_invoked_asynchronously_knows_how_often(stack: cdk.Stack, store: TaskStore) -> None:
    add_orders(stack, store=store, retry_attempts=1)
    add_orders(stack, "Untracked", namespace="other")
    assert environment(stack, under="Orders")[contract.ENV_MAX_RECEIVE_COUNT] == "2"
    assert contract.ENV_MAX_RECEIVE_COUNT not in environment(stack, under="Untracked")


@pytest.mark.parametrize(
    ("grant", "action"), [("grant_read", "dynamodb:GetItem"), ("grant_write", "dynamodb:UpdateItem")]
)
def test_a_function_is_granted_records_without_being_a_sender(
    stack: cdk.Stack, store: TaskStore, grant: str, action: str
) -> None:
    orders = add_orders(stack)
    getattr(store, grant)(orders.function)
    assert actions(stack, "Orders") == {action}
    assert environment(stack, under="Orders")[contract.ENV_STORE] == store.table_name


def test_a_function_and_a_role_of_yours_are_granted_records(stack: cdk.Stack, store: TaskStore) -> None:
    store.grant_read(add_plain_function(stack))
    store.grant_read(iam.Role(stack, "Reader", assumed_by=iam.AccountRootPrincipal()))
    policies = resources(stack, "AWS::IAM::Policy")
    assert len(policies) == 2
    for policy in policies:
        [statement] = policy["PolicyDocument"]["Statement"]
        assert (statement["Action"], literal(statement["Resource"])) == ("dynamodb:GetItem", ARN)
    assert environment(stack, under="Plain")[contract.ENV_STORE] == store.table_name


# --- Elsewhere -------------------------------------------------------------------------------------------------------


def test_a_store_in_another_stack_is_reached_by_its_name() -> None:
    app = new_app()
    here, there = cdk.Stack(app, "Here"), cdk.Stack(app, "There")
    store = TaskStore(there, "Store")
    task = add_invoice(here, store=store)
    task.grant_dispatch(task.function)
    store.grant_read(task.function)
    assert "Fn::ImportValue" not in json.dumps(Template.from_stack(here).to_json())
    assert "Outputs" not in Template.from_stack(there).to_json()


def test_tasks_deployed_elsewhere_are_recorded_in_a_store_deployed_elsewhere(stack: cdk.Stack) -> None:
    store = TaskStore.from_table_name(stack, "Store", table_name="Office-Store", time_to_live=cdk.Duration.days(1))
    targets = [
        ManagedAsyncTask.from_queue_name(stack, "Task", task="office.render", queue_name="render", store=store),
        BackgroundTaskFunction.from_function_name(stack, "Function", function_name="receipts", store=store),
        PriorityTaskQueues.from_queue_names(
            stack, "Queues", queue_names={contract.Priority.DEFAULT: "mail"}, namespace="mail", store=store
        ),
    ]
    for target in targets:
        target.grant_dispatch(add_plain_function(stack, f"To{target.node.id}"))
        assert all("+store:" in route for route in target.routes.values())
    for target in targets:
        variables = environment(stack, under=f"To{target.node.id}")
        assert variables[contract.ENV_STORE] == "Office-Store"
        assert variables[contract.ENV_STORE_TTL] == "86400"
    assert resources(stack, TABLE) == []


# --- Refused ---------------------------------------------------------------------------------------------------------


def test_two_stores_for_one_function_are_refused(stack: cdk.Stack, store: TaskStore) -> None:
    orders = add_orders(stack, store=store)
    task = add_invoice(stack, store=TaskStore(stack, "Other"))
    expected = "Shop/Orders/Function would use two task stores, Shop/Store and Shop/Other: give one to itself"
    with pytest.raises(ValueError, match=expected):
        task.grant_dispatch(orders.function)
    with pytest.raises(ValueError, match="would use two task stores"):
        task.address.store.grant_read(orders.function)  # type: ignore[union-attr]


def test_the_same_table_by_name_is_no_second_store(stack: cdk.Stack) -> None:
    one, same = (TaskStore.from_table_name(stack, name, table_name="Office-Store") for name in ("One", "Same"))
    orders = add_orders(stack, store=one)
    same.grant_read(orders.function)
    assert environment(stack, under="Orders")[contract.ENV_STORE] == "Office-Store"


def test_a_store_of_another_account_or_region_is_refused() -> None:
    app = new_app()
    here = cdk.Stack(app, "Here", env=cdk.Environment(account="1" * 12, region="eu-west-1"))
    there = cdk.Stack(app, "There", env=cdk.Environment(account="1" * 12, region="us-east-1"))
    with pytest.raises(ValueError, match="store is There/Store in region us-east-1, allowed is region eu-west-1"):
        add_invoice(here, store=TaskStore(there, "Store"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (cdk.Duration.minutes(5), "time_to_live is 300 seconds, allowed is 3,600 to 315,360,000 seconds"),
        (cdk.Duration.days(4_000), "allowed is 3,600 to"),
        (cdk.Duration.seconds(cdk.Token.as_number({"Ref": "Days"})), "known at deployment only"),
        (14, r"write Duration.seconds\(14\)"),
    ],
)
def test_a_time_to_live_that_makes_no_sense_is_refused(stack: cdk.Stack, given: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"^Shop/Store: .*{said}"):
        TaskStore(stack, "Store", time_to_live=given)


@pytest.mark.parametrize("name", [contract.ENV_STORE, contract.ENV_STORE_TTL, contract.ENV_TRACKED])
def test_the_stores_variables_cannot_be_set_beside_it(stack: cdk.Stack, name: str) -> None:
    with pytest.raises(ValueError, match="a variable that this construct sets"):
        add_invoice(stack, environment={name: "1"})
