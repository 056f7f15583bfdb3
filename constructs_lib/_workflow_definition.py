"""A workflow as Step Functions runs it: the states of the Amazon States Language that its graph becomes.

Each run of a task is a Task state of its name, with the states that belong to it behind that name and a colon. From
state to state goes ``{"run": …, "returned" or "result": {"answer": …}, "failure": …}``: what was dispatched, without
its arguments; what the first task of a scope returned, and the one before this; what has failed. A scope is the whole
state machine, a branch, or the work on one item of a list; it ends in one of two states, whatever happens inside, so
that a branch that fails does not end the others.

(https://docs.aws.amazon.com/step-functions/latest/dg/concepts-amazon-states-language.html)
"""

import json
from collections.abc import Sequence
from math import ceil
from typing import Any, Final

from constructs_lib._workflow_graph import Run
from constructs_lib._workflow_states import (
    State,
    broken,
    caught,
    fail,
    item_reader,
    recorded,
    retriers,
    task_state,
    told,
)
from runtime_lib import contract

__all__ = ["definition_of"]

_RUN: Final = {"run": {"id.$": "$.id", "headers.$": "$.headers", "metadata.$": "$.metadata"}}


def definition_of(root: Run, *, bucket: bool, table: str | None = None) -> dict[str, Any]:
    """The state machine, with placeholders: ``${QueueUrlPrefix}``, ``${PayloadBucket}``, and those of `INTEGRATIONS`.

    Args:
        root: the run that a dispatch starts.
        bucket: whether there is one for results that are too large for a state.
        table: the store in which the whole is recorded, of a state machine whose executions nobody can look at.
    """
    scope = _Scope(bucket=bucket, spreads=bucket and table is None)
    given = {"dispatched.$": "$$.Execution.Input", **({"inline": True} if table else {})}
    begun = scope.run(root, given, done=": done", failed=": failed", discarded=": discarded", returns=True)
    states: dict[str, State] = {
        ": begin": {"Type": "Pass", "Parameters": _RUN, "Next": ": recorded" if table else begun},
        **scope.states,
    }
    if table:
        states |= recorded(table, begun)
    else:
        states[": done"] = {"Type": "Pass", "InputPath": "$.returned.answer", "End": True}
        states[": discarded"] = {"Type": "Pass", "Result": {"value": None, "discarded": True}, "End": True}
        states[": failed"] = fail()
    return {"Comment": f"Starts with {root.task.name}", "StartAt": ": begin", "States": states}


class _Scope:
    """The states of one scope: the whole state machine, a branch, or the work on one item of a list.

    Args:
        bucket: whether there is one for large results.
        spreads: whether the items of a long list may be executions of their own.
        is_item: whether it is the work on one item, whose state has its ``index``.
        suffix: what stands behind the names of its states, which no others of the state machine have.
    """

    def __init__(self, *, bucket: bool, spreads: bool, is_item: bool = False, suffix: str = "") -> None:
        self.states: dict[str, State] = {}
        self._bucket = bucket
        self._spreads = spreads
        self._is_item = is_item
        self._suffix = suffix

    def run(
        self,
        run: Run,
        given: dict[str, Any],
        *,
        done: str,
        failed: str,
        discarded: str = "",
        returns: bool = False,
        claim: int = contract.RESULT_CLAIM_BYTES,
    ) -> str:
        """Add everything that belongs to one run, and return the state that it begins with.

        Args:
            run: the run.
            given: what it gets of those before it.
            done: the state that follows when it has succeeded, and all after it.
            failed: the state that follows a failure, which is ``$.failure`` then.
            discarded: the state that follows if it discards itself. Default: ``done``, with null for a result.
            returns: whether what it returns is the result of the scope.
            claim: bytes above which that goes to the bucket.
        """
        name = run.name + self._suffix
        result = "$.returned" if returns else "$.result"
        own_failure = self._on_failure(run, name, failed)
        if returns and not discarded:
            discarded = f"{name}: discarded"
            answer = {"answer": {"value": None}}
            self._add(discarded, {"Type": "Pass", "Result": answer, "ResultPath": result, "Next": done})
        following = self._after(run, name, f"{result}.answer", done=done, failed=failed)
        wanted = self._wanted(run, claim) if returns or run.after else {}
        self._add(
            name,
            {
                **task_state(run, {**self._said(run), **wanted, **given}),
                **({"ResultPath": result} if wanted else {"ResultPath": None}),
                "Retry": retriers(run),
                "Catch": [
                    {"ErrorEquals": [contract.NODE_DISCARDED], "ResultPath": "$.error", "Next": discarded or done},
                    *caught(f"{name}: failed"),
                ],
                "Next": following,
            },
        )
        self._add_failure(f"{name}: failed", told(run), own_failure)
        return self._before(run, name, own_failure)

    # --- Before and after --------------------------------------------------------------------------------------------

    def _before(self, run: Run, name: str, failed: str) -> str:
        """The state that a run begins with: what runs before it, side by side, if there is anything."""
        if not run.before:
            return name
        self._side_by_side(run, run.before, f"{name}: before", "$.before", following=f"{name}: ready", lost=failed)
        self._choose(f"{name}: ready", "$.before.errors[0]", f"{name}: not run", name)
        said = {"task": run.task.name, "node": run.name, "error": contract.PREREQUISITE_FAILED, "cause": ""}
        self._add_failure(f"{name}: not run", {**said, "prerequisite.$": "$.before.errors[0]"}, failed)
        return f"{name}: before"

    def _after(self, run: Run, name: str, answer: str, *, done: str, failed: str) -> str:
        """The state that follows a run's success; ``answer`` is where its answer is."""
        if not run.after:
            return done
        if len(run.after) == 1:
            return self.edge(run.after[0], answer, done=done, failed=failed)
        self._side_by_side(
            run, run.after, f"{name}: after", "$.after", following=f"{name}: followed", lost=failed, answer=answer
        )
        self._choose(f"{name}: followed", "$.after.errors[0]", f"{name}: unfollowed", done)
        self._add(
            f"{name}: unfollowed",
            {"Type": "Pass", "InputPath": "$.after.errors[0]", "ResultPath": "$.failure", "Next": failed},
        )
        return f"{name}: after"

    def edge(self, run: Run, answer: str, *, done: str, failed: str) -> str:
        """What follows a run with its answer: after a wait, and for each item, where the edge says so."""
        if run.each:
            first = self._each(run, answer, done=done, failed=failed)
        else:
            first = self.run(run, {"result.$": answer}, done=done, failed=failed)
        if not run.wait:
            return first
        wait = f"{run.name}{self._suffix}: wait"
        self._add(wait, {"Type": "Wait", "Seconds": ceil(run.wait), "Next": first})
        return wait

    def _on_failure(self, run: Run, name: str, failed: str) -> str:
        """The state that follows a failure of the run itself; what fails in its own scope changes nothing."""
        if run.failure is None:
            return failed
        branch = self._branch()
        end = f"{run.failure.name}{self._suffix}: told"
        begun = branch.run(run.failure, {"failed.$": "$.failure"}, done=end, failed=end)
        branch.end(end)
        self._add(
            f"{name}: on failure",
            {
                "Type": "Parallel",
                "Branches": [{"StartAt": begun, "States": branch.states}],
                "ResultPath": None,
                "Catch": caught(failed),
                "Next": failed,
            },
        )
        return f"{name}: on failure"

    def _side_by_side(
        self, around: Run, runs: Sequence[Run], name: str, path: str, *, following: str, lost: str, answer: str = ""
    ) -> None:
        """A Parallel state, each of whose branches ends by itself; ``path`` gets the failures.

        ``answer`` is where what its runs get is, if they follow another one. ``lost`` is the state that follows if the
        failures are too large together.
        """
        branches = []
        for run in runs:
            branch = self._branch()
            ended, failed = f"{run.name}{self._suffix}: ended", f"{run.name}{self._suffix}: broken"
            if answer:
                begun = branch.edge(run, answer, done=ended, failed=failed)
            else:
                begun = branch.run(run, {}, done=ended, failed=failed)
            branch.end(ended, failed)
            branches.append({"StartAt": begun, "States": branch.states})
        self._add(
            name,
            {
                "Type": "Parallel",
                "Branches": branches,
                "ResultSelector": {"errors.$": "$[*].failure"},
                "ResultPath": path,
                "Catch": caught(f"{name}: lost"),
                "Next": following,
            },
        )
        self._add_failure(f"{name}: lost", told(around), lost)

    # --- For each item -----------------------------------------------------------------------------------------------

    def _each(self, run: Run, answer: str, *, done: str, failed: str) -> str:
        """The states that map a run over a list: here, or with an execution for each item where the list is long."""
        assert run.each, "it is mapped"
        name = f"{run.name}{self._suffix}: each"
        then = run.each.then
        following = done
        if then:
            following = self.run(then, self._collected(run), done=done, failed=failed)
        self._add(name, self._map(run, answer, spread=False))
        first = name
        if self._spreads:
            first = f"{run.name}{self._suffix}: spread"
            self._choose(first, f"{answer}.key", f"{name} apart", name)
            self._add(f"{name} apart", self._map(run, answer, spread=True))
        checked, failing = f"{run.name}{self._suffix}: all", f"{run.name}{self._suffix}: some failed"
        self._choose(checked, "$.each.errors[0]", failing, following)
        self._add(failing, {"Type": "Pass", "InputPath": "$.each.errors[0]", "ResultPath": "$.failure", "Next": failed})
        self._add_failure(f"{run.name}{self._suffix}: none", told(run), failed)
        return first

    def _collected(self, run: Run) -> dict[str, Any]:
        """What all results of a mapped run are for the one that gets them."""
        if not self._bucket:
            return {"results.$": "$.each.results"}
        return {"each": {"node": run.name, "count.$": "$.each.count", **self._indexed()}}

    def _map(self, run: Run, answer: str, *, spread: bool) -> State:
        assert run.each, "it is mapped"
        suffix = self._suffix + (contract.SPREAD if spread else "")
        item = _Scope(bucket=self._bucket, spreads=False, is_item=True, suffix=suffix)
        ended, failed = f"{run.name}{suffix}: item done", f"{run.name}{suffix}: item failed"
        collects = run.each.then is not None
        # With a bucket all results go there: together they may be too large for a state, however small each is.
        claim = 0 if collects and self._bucket else contract.RESULT_CLAIM_BYTES
        given = {"result.$": "$.result.answer"}
        begun = item.run(run, given, done=ended, failed=failed, returns=collects, claim=claim)
        gives = collects and not self._bucket
        item.end(ended, gives="$.returned.answer" if gives else "")
        item.end_broken(f"{run.name}{suffix}", failed)
        number = "States.Format('{}', $$.Map.Item.Index)"
        if self._is_item:
            number = "States.Format('{}.{}', $.index, $$.Map.Item.Index)"
        results = {"results.$": "$[*].result"} if gives else {"count.$": "States.ArrayLength($)"} if collects else {}
        mode = {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"} if spread else {"Mode": "INLINE"}
        concurrency = run.each.max_concurrency
        return {
            "Type": "Map",
            **(item_reader(answer) if spread else {"ItemsPath": f"{answer}.value"}),
            "MaxConcurrency": concurrency if spread else min(concurrency, contract.INLINE_CONCURRENCY),
            "ItemSelector": {
                "run.$": "$.run",
                "index.$": number,
                "number.$": "$$.Map.Item.Index",
                "result": {"answer": {"value.$": "$$.Map.Item.Value"}},
            },
            "ItemProcessor": {"ProcessorConfig": mode, "StartAt": begun, "States": item.states},
            "ResultSelector": {"errors.$": "$[*].failure", **results},
            "ResultPath": "$.each",
            "Catch": caught(f"{run.name}{self._suffix}: none"),
            "Next": f"{run.name}{self._suffix}: all",
        }

    def end(self, ended: str, failed: str = "", *, gives: str = "") -> None:
        """Add the states in which a branch, or the work on an item, ends: with its result, if it ``gives`` one."""
        returned = {"Parameters": {"result.$": gives}} if gives else {"Result": {}}
        self._add(ended, {"Type": "Pass", **returned, "End": True})
        if failed:
            self._add(failed, broken())

    def end_broken(self, name: str, failed: str) -> None:
        """Add the states in which the work on an item ends that failed.

        Only the first items say how: together, what all of a list say would not fit into a state.
        """
        brief = f"{name}: item brief"
        cause = json.dumps({"errorMessage": f"{contract.LATER_ITEM}: `tasks runs show` tells how"})
        said = {"failure": {"task.$": "$.failure.task", "node.$": "$.failure.node", "error.$": "$.failure.error"}}
        said["failure"]["cause"] = cause
        told = {"Variable": "$.number", "NumericLessThan": contract.TELLING_ITEMS, "Next": f"{name}: item told"}
        self._add(failed, {"Type": "Choice", "Choices": [told], "Default": brief})
        self._add(f"{name}: item told", broken())
        self._add(brief, {"Type": "Pass", "Parameters": said, "End": True})

    # --- Parts -------------------------------------------------------------------------------------------------------

    def _add(self, name: str, state: State) -> None:
        assert name not in self.states, name
        self.states[name] = state

    def _add_failure(self, name: str, said: dict[str, str], following: str) -> None:
        self._add(name, {"Type": "Pass", "Parameters": said, "ResultPath": "$.failure", "Next": following})

    def _choose(self, name: str, present: str, then: str, otherwise: str) -> None:
        choice = {"Variable": present, "IsPresent": True, "Next": then}
        self._add(name, {"Type": "Choice", "Choices": [choice], "Default": otherwise})

    def _branch(self) -> "_Scope":
        return _Scope(bucket=self._bucket, spreads=self._spreads, is_item=self._is_item, suffix=self._suffix)

    def _indexed(self) -> dict[str, str]:
        return {"index.$": "$.index"} if self._is_item else {}

    def _said(self, run: Run) -> dict[str, Any]:
        """What the message of a run says of it: see `contract.NODE_KEY`."""
        return {
            "run.$": "$.run",
            "node": run.name,
            "task": run.task.name,
            "entered.$": "$$.State.EnteredTime",
            "retries.$": "$$.State.RetryCount",
            **self._indexed(),
        }

    def _wanted(self, run: Run, claim: int) -> dict[str, int | bool]:
        """What its result has to be: see `contract.NODE_KEY`."""
        wanted: dict[str, int | bool] = {"claim": claim}
        mapped = [one.each.max_concurrency for one in run.after if one.each]
        if mapped:
            is_spread = self._spreads and max(mapped) > contract.INLINE_CONCURRENCY
            wanted["items"] = 0 if is_spread else contract.INLINE_ITEMS
            if not self._spreads:
                wanted["inline"] = True
            if claim == 0:  # the map takes it from the state, and what gets all results from the bucket
                wanted |= {"claim": contract.RESULT_CLAIM_BYTES, "kept": True}
        return wanted
