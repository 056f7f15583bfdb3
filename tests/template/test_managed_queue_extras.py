"""Resources beside the queue of a ManagedAsyncTask, and the alarm of its age."""

import copy
import json
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk.assertions import Template
from cfnlint.api import lint

from tests.apps import add_invoice, new_stack, only

QUEUE = "InvoiceQueue8BDFD809"
ALARM = {
    "Type": "AWS::CloudWatch::Alarm",
    "DeletionPolicy": "Retain",
    "UpdateReplacePolicy": "Retain",
    "Properties": {
        "Namespace": "AWS/SQS",
        "MetricName": "ApproximateNumberOfMessagesVisible",
        "Dimensions": [{"Name": "QueueName", "Value": {"Fn::GetAtt": ["$QUEUEID", "QueueName"]}}],
        "Statistic": "Maximum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 100.5,
        "ComparisonOperator": "GreaterThanThreshold",
        "AlarmActions": [{"Ref": "$EXTRA1"}],
    },
}
TOPIC = {"Type": "AWS::SNS::Topic", "Properties": {"KmsMasterKeyId": "alias/aws/sns"}}


def _extras(*extras: Any) -> tuple[cdk.Stack, list[dict[str, Any]]]:
    stack = new_stack()
    task = add_invoice(stack, managed_queue_extras=extras)
    template = Template.from_stack(stack).to_json()["Resources"]
    return stack, [template[stack.resolve(extra.logical_id)] for extra in task.managed_queue_extras]


def test_extras_are_resources_that_refer_to_the_queue_and_to_each_other() -> None:
    stack, [alarm, topic] = _extras(ALARM, TOPIC)
    assert topic == TOPIC
    topic_id = next(iter(Template.from_stack(stack).find_resources("AWS::SNS::Topic")))
    expected = copy.deepcopy(ALARM)
    expected["Properties"]["Dimensions"][0]["Value"] = {"Fn::GetAtt": [QUEUE, "QueueName"]}
    expected["Properties"]["AlarmActions"] = [{"Ref": topic_id}]
    assert alarm == expected


def test_a_template_with_extras_is_valid() -> None:
    stack, _ = _extras(ALARM, TOPIC)
    assert lint(json.dumps(Template.from_stack(stack).to_json()), regions=["us-east-1"]) == []


def test_the_first_extra_is_not_the_beginning_of_the_eleventh() -> None:
    stack = new_stack()
    parameter = {"Type": "AWS::SSM::Parameter", "Properties": {"Value": "$EXTRA1 $EXTRA10 $EXTRA0"}}
    task = add_invoice(stack, managed_queue_extras=[*[TOPIC] * 10, parameter])
    ids = [stack.resolve(extra.logical_id) for extra in task.managed_queue_extras]
    assert only(stack, "AWS::SSM::Parameter")["Value"] == f"{ids[1]} {ids[10]} {ids[0]}"


def test_placeholders_are_replaced_wherever_they_stand() -> None:
    _, [found, topic] = _extras(
        {
            "Type": "Custom::Report",
            "DependsOn": ["$QUEUEID", "$EXTRA1"],
            "Metadata": {"of": "$QUEUEID"},
            "Properties": {
                "Arn": {"Fn::Sub": "${$QUEUEID.Arn}/x"},
                "Deep": [
                    {"Pairs": [["$QUEUEID"]], "$QUEUEID": 1, "Dollar": "$QUEUE $EXTRA $1", "Number": 2, "Flag": True}
                ],
            },
        },
        TOPIC,
    )
    assert topic == TOPIC
    assert found["DependsOn"][0] == QUEUE
    assert found["DependsOn"][1].startswith("InvoiceQueueExtra1")
    assert found["Metadata"] == {"of": QUEUE}
    assert found["Properties"] == {
        "Arn": {"Fn::Sub": f"${{{QUEUE}.Arn}}/x"},
        "Deep": [{"Pairs": [[QUEUE]], QUEUE: 1, "Dollar": "$QUEUE $EXTRA $1", "Number": 2, "Flag": True}],
    }


def test_extras_are_not_changed_by_their_use() -> None:
    extra = copy.deepcopy(ALARM)
    _extras(extra, TOPIC)
    assert extra == ALARM


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({}, "managed_queue_extras[1] is of Type None, allowed is a complete CloudFormation resource: give it a Type"),
        ("x", "managed_queue_extras[1] is of Type None"),
        ({"Type": "Alarm"}, "managed_queue_extras[1] is of Type 'Alarm'"),
        (
            {"Type": "AWS::SNS::Topic", "Propertys": {}},
            "managed_queue_extras[1]['Propertys'] is no attribute of a resource, allowed is Type, Properties, Condition",
        ),
        (
            {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "$EXTRA2"}},
            "managed_queue_extras[1] is referring to $EXTRA2, allowed is $EXTRA0 to $EXTRA1: extras count from 0",
        ),
        ({"Type": "AWS::SQS::QueuePolicy"}, "managed_queue_extras[1] is a queue policy, allowed is any other resource"),
    ],
)
def test_what_is_no_extra_is_refused(extra: Any, message: str) -> None:
    stack = new_stack()
    with pytest.raises(ValueError) as error:
        add_invoice(stack, managed_queue_extras=[TOPIC, extra])
    assert str(error.value).startswith(f"Shop/Invoice: {message}")


def test_a_queue_that_waits_too_long_sets_off_the_age_alarm() -> None:
    stack = new_stack()
    task = add_invoice(stack, queue_age_alarm=cdk.Duration.minutes(10))
    alarm = only(stack, "AWS::CloudWatch::Alarm", under="InvoiceAgeAlarm")
    assert alarm["MetricName"] == "ApproximateAgeOfOldestMessage"
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": {"Fn::GetAtt": [QUEUE, "QueueName"]}}]
    assert (alarm["Threshold"], alarm["Period"], alarm["Statistic"]) == (600, 60, "Maximum")
    assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
    assert [one.node.path for one in task.alarms] == ["Shop/TaskDeadLetters/Alarm", "Shop/Invoice/AgeAlarm"]


@pytest.mark.parametrize(
    ("age", "message"),
    [
        (cdk.Duration.days(5), "queue_age_alarm is 432000 seconds, allowed is 1 to 345,600 seconds: SQS deletes"),
        (600, "queue_age_alarm is 600, allowed is a Duration: write Duration.seconds(600)"),
    ],
)
def test_an_age_that_no_message_reaches_is_refused(age: Any, message: str) -> None:
    with pytest.raises(ValueError) as error:
        add_invoice(new_stack(), queue_age_alarm=age)
    assert str(error.value).startswith(f"Shop/Invoice: {message}")
