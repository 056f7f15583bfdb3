"""A configuration file by itself: what is refused in it, and how its levels are merged."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constructs_lib._stage_file import StageFile, merged

LAYER = "arn:aws:lambda:eu-west-1:123456789012:layer:{}:1"


def _read(tmp_path: Path, content: str, name: str = "stages.json") -> StageFile:
    file = tmp_path / name
    file.write_text(content)
    return StageFile.read(file)


# --- Merging ---------------------------------------------------------------------------------------------------------

_NAMES = st.sampled_from(["a", "b", "c", "d"])
_TEXTS = st.text(max_size=3)
_LEVELS = st.fixed_dictionaries(
    {},
    optional={
        "environment_variables": st.dictionaries(_NAMES, _TEXTS | st.builds(lambda name: {"Ref": name}, _NAMES)),
        "tags": st.dictionaries(_NAMES, _TEXTS),
        "logging": st.dictionaries(st.sampled_from(["level", "retention"]), st.integers()),
        "layers": st.lists(_TEXTS, max_size=4),
        "policies": st.lists(_TEXTS | st.dictionaries(_NAMES, _TEXTS, max_size=2), max_size=4),
        "managed_queue_extras": st.lists(st.dictionaries(_NAMES, st.lists(_TEXTS, max_size=2), max_size=2), max_size=3),
        "memory": st.integers(),
        "paused": st.booleans(),
        "domain_name": _TEXTS,
    },
)


@settings(deadline=None)
@given(_LEVELS, _LEVELS, _LEVELS)
def test_merging_is_associative(one: Any, two: Any, three: Any) -> None:
    assert merged([merged([one, two]), three]) == merged([one, merged([two, three])]) == merged([one, two, three])


@settings(deadline=None)
@given(st.lists(_LEVELS, max_size=5))
def test_merging_never_changes_what_is_merged(levels: Any) -> None:
    before = copy.deepcopy(levels)
    result = merged(levels)
    for value in result.values():
        if isinstance(value, dict):
            value["added"] = "later"
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, dict):
                    item["added"] = "later"
            value.append("later")
    assert levels == before


@settings(deadline=None)
@given(st.lists(_LEVELS, max_size=5))
def test_lists_are_put_one_after_the_other_in_the_order_of_the_levels(levels: Any) -> None:
    for name in ("layers", "policies", "managed_queue_extras"):
        everything = [item for level in levels for item in level.get(name, [])]
        assert merged(levels).get(name, []) == everything


@settings(deadline=None)
@given(st.lists(_LEVELS, max_size=5))
def test_the_last_level_that_says_something_counts(levels: Any) -> None:
    result = merged(levels)
    for name in ("memory", "paused", "domain_name"):
        said = [level[name] for level in levels if name in level]
        assert ([result[name]] if name in result else []) == said[-1:]
    for name in ("environment_variables", "tags", "logging"):
        for key, value in result.get(name, {}).items():
            assert value == [level[name][key] for level in levels if key in level.get(name, {})][-1]


@settings(deadline=None)
@given(_LEVELS)
def test_a_level_without_options_changes_nothing(level: Any) -> None:
    assert merged([level, {}]) == merged([{}, level]) == level


# --- Reading ---------------------------------------------------------------------------------------------------------


def test_json_and_toml_say_the_same(tmp_path: Path) -> None:
    toml = """
        memory = 256

        [environment_variables]
        CURRENCY = "EUR"

        [stages.prod]
        domain_name = "api.example.com"

        [tasks.Resize]
        layers = ["arn:aws:lambda:eu-west-1:123456789012:layer:a:1"]

        [[tasks.Resize.stages.prod.managed_queue_extras]]
        Type = "AWS::SNS::Topic"
    """
    data = {
        "memory": 256,
        "environment_variables": {"CURRENCY": "EUR"},
        "stages": {"prod": {"domain_name": "api.example.com"}},
        "tasks": {
            "Resize": {
                "layers": [LAYER.format("a")],
                "stages": {"prod": {"managed_queue_extras": [{"Type": "AWS::SNS::Topic"}]}},
            }
        },
    }
    options = _read(tmp_path, toml, "stages.toml").options("prod", "Resize")
    assert options == _read(tmp_path, json.dumps(data)).options("prod", "Resize")
    assert options.keys() == {
        *("memory", "environment_variables", "domain_name", "layers", "managed_queue_extras"),
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("stages.yaml", "", "stages.yaml is a .yaml, allowed is .json or .toml: rename it"),
        ("stages", "", "stages is a file without a suffix, allowed is .json or .toml"),
        ("stages.json", '{"memory": }', "stages.json cannot be read: Expecting value: line 1 column 12"),
        ("stages.toml", "memory = ", "stages.toml cannot be read: Invalid value (at end of document)"),
        ("stages.json", '{"memory": 1, "memory": 2}', "stages.json cannot be read: 'memory' stands twice in one table"),
        (
            "stages.json",
            '{"method_settings": [1e999]}',
            "stages.json cannot be read: 1e999 is no number that CloudForm",
        ),
        (
            "stages.json",
            '{"method_settings": [NaN]}',
            "stages.json cannot be read: NaN is no number that CloudFormation",
        ),
        (
            "stages.toml",
            "method_settings = [-inf]",
            "stages.toml cannot be read: -inf is no number that CloudFormation",
        ),
        ("stages.json", "[]", "stages.json: the file is a list, allowed is a table: write a table"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        _read(tmp_path, content, name)
    assert str(error.value).replace(f"{tmp_path}/", "").startswith(message)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        StageFile.read(tmp_path / "nowhere.json")


STATEMENT = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        # Names
        ({"memroy": 1}, "memroy is no option, allowed is environment_variables, policies,"),
        ({"memroy": 1}, ": did you mean memory?"),
        ({"environment": {}}, ": did you mean environment_variables?"),
        ({"qqq": {}}, ": remove it"),
        ({"stages": {"prod": {"tag": {}}}}, "stages.prod.tag is no option"),
        ({"tasks": {"Resize": {"layer": []}}}, "tasks.Resize.layer is no option"),
        ({"logging": {"levle": "INFO"}}, "logging.levle is no entry of logging, allowed is level, retention: did you"),
        # Places
        (
            {"tasks": {"Resize": {"domain_name": "x"}}},
            "tasks.Resize.domain_name is misplaced, allowed is domain_name at the top or in stages.<stage>: move it",
        ),
        ({"tasks": {"A": {"stages": {"p": {"tls_version": "x"}}}}}, "tasks.A.stages.p.tls_version is misplaced"),
        ({"tasks": {"A": {"certificate_arn": "x"}}}, "tasks.A.certificate_arn is misplaced"),
        (
            {"stages": {"prod": {"tasks": {}}}},
            "stages.prod.tasks is misplaced, allowed is tasks at the top: write tasks.<task>.stages.<stage>",
        ),
        ({"stages": {"prod": {"stages": {}}}}, "stages.prod.stages is misplaced, allowed is stages at the top or in"),
        (
            {"stages": {"prod": {}, "dev": {}}, "tasks": {"A": {"stages": {"prdo": {}}}}},
            "tasks.A.stages.prdo is no stage of this file, allowed is prod, dev: did you mean prod?",
        ),
        (
            {"stages": {"prod": {}}, "tasks": {"A": {"stages": {"canary": {}}}}},
            "tasks.A.stages.canary is no stage of this file, allowed is prod: add an empty table stages.canary",
        ),
        # Types
        ({"memory": "512"}, "memory is '512', allowed is a whole number: write a whole number"),
        ({"memory": 1.5}, "memory is 1.5, allowed is a whole number"),
        ({"memory": True}, "memory is true, allowed is a whole number"),
        ({"memory": None}, "memory is null, allowed is a whole number: leave it out for its default"),
        ({"paused": "yes"}, "paused is 'yes', allowed is true or false"),
        ({"environment_variables": []}, "environment_variables is a list, allowed is a table"),
        ({"environment_variables": {"PORT": 80}}, 'environment_variables.PORT is 80, allowed is a string: write "80"'),
        ({"environment_variables": {"X": {}}}, "environment_variables.X is a table, allowed is a string"),
        ({"tags": {"cost center": 1}}, 'tags["cost center"] is 1, allowed is a string'),
        ({"stages": []}, "stages is a list, allowed is a table"),
        ({"stages": {"prod": 1}}, "stages.prod is 1, allowed is a table"),
        ({"tasks": {"A": []}}, "tasks.A is a list, allowed is a table"),
        ({"tasks": {"A": {"stages": 5}}}, "tasks.A.stages is 5, allowed is a table"),
        ({"tasks": {"A": {"stages": {"p": 5}}}}, "tasks.A.stages.p is 5, allowed is a table"),
        (
            {"logging": {"level": "LOUD"}},
            "logging.level is 'LOUD', allowed is one of DEBUG, INFO, WARNING, ERROR, CRITI",
        ),
        ({"logging": {"retention": 2}}, "logging.retention is 2, allowed is one of 1, 3, 5, 7, 14, 30"),
        ({"layers": "x"}, "layers is 'x', allowed is a list"),
        (
            {"stages": {"p": {}}, "tasks": {"A": {"stages": {"p": {"layers": [LAYER.format("a")] * 2 + [7]}}}}},
            "tasks.A.stages.p.layers[2] is 7, allowed is a string",
        ),
        ({"layers": ["name"]}, "layers[0] is 'name', allowed is the ARN of a layer's version"),
        ({"subnet_ids": "subnet-1"}, "subnet_ids is 'subnet-1', allowed is a list"),
        ({"managed_queue_extras": ["x"]}, "managed_queue_extras[0] is 'x', allowed is a table"),
        ({"domain_name": ""}, "domain_name is '', allowed is a string that is not empty"),
        # Policies
        ({"policies": ["ReadOnly"]}, "policies[0] is 'ReadOnly', allowed is an ARN such as arn:aws:iam::aws:policy/"),
        ({"policies": [7]}, "policies[0] is 7, allowed is the ARN of a policy, or a statement"),
        (
            {"policies": [{"Action": "*", "Resource": "*"}]},
            "policies[0] is without Effect, allowed is one with Effect: add it",
        ),
        ({"policies": [{**STATEMENT, "Efect": "Allow"}]}, "policies[0].Efect is no entry of a statement"),
        (
            {"policies": [{**STATEMENT, "Effect": "allow"}]},
            "policies[0].Effect is 'allow', allowed is one of Allow, Deny",
        ),
        (
            {"policies": [{**STATEMENT, "NotAction": "x"}]},
            "policies[0] is with Action and NotAction, allowed is Action or",
        ),
        ({"policies": [{"Effect": "Allow", "Action": "x"}]}, "policies[0] is without Resource, allowed is Resource or"),
        ({"policies": [{"Statement": [STATEMENT, {}]}]}, "policies[0].Statement[1] is without Effect"),
        # Method settings
        ({"method_settings": [{"HttpMethod": "GET"}]}, "method_settings[0] is without ResourcePath"),
        ({"method_settings": [{"ThrottlingRate": 1}]}, "method_settings[0].ThrottlingRate is no method setting"),
        (
            {"method_settings": [{"HttpMethod": "*", "ResourcePath": "/*", "ThrottlingRateLimit": "1"}]},
            "method_settings[0].ThrottlingRateLimit is '1', allowed is a number",
        ),
    ],
)
def test_what_is_unknown_misplaced_or_of_a_wrong_type_is_refused_with_its_path(
    tmp_path: Path, data: Any, message: str
) -> None:
    with pytest.raises(ValueError) as error:
        _read(tmp_path, json.dumps(data))
    assert message in str(error.value)
    assert str(error.value).startswith(f"{tmp_path}/stages.json: ")


def test_every_stage_is_checked_whichever_is_chosen(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"stages\.prod\.memory"):
        _read(tmp_path, json.dumps({"stages": {"dev": {}, "prod": {"memory": "x"}}}))
