from __future__ import annotations

import pytest

from lastsam_jobs.states import (
    ACTIONS,
    ACTIVE,
    SENTENCES,
    TERMINAL,
    TRANSITIONS,
    Action,
    Status,
    allowed_actions,
)


def test_every_state_has_a_sentence_and_a_row_in_the_table() -> None:
    assert set(SENTENCES) == set(TRANSITIONS) == set(Status)
    assert all(sentence.endswith(".") for sentence in SENTENCES.values())


def test_the_states_are_the_ones_the_contract_names() -> None:
    assert [status.value for status in Status] == (
        [
            "queued",
            "starting",
            "running",
            "pausing",
            "paused",
            "stopping",
            "cancelling",
            "succeeded",
            "failed",
            "cancelled",
        ]
    )


def test_every_action_leads_along_a_legal_transition_or_nowhere() -> None:
    for action, moves in ACTIONS.items():
        for source, target in moves.items():
            assert source is target or target in TRANSITIONS[source], (action, source, target)


def test_no_state_follows_itself_and_only_a_retry_leaves_a_terminal_one() -> None:
    assert all(status not in following for status, following in TRANSITIONS.items())
    for status in TERMINAL:
        assert TRANSITIONS[status] <= {Status.QUEUED}
        changing = {action for action, moves in ACTIONS.items() if moves.get(status, status) is not status}
        assert changing <= {Action.RETRY}
    assert TRANSITIONS[Status.SUCCEEDED] == frozenset()


def test_every_state_can_be_left_for_an_end_and_reached_from_the_queue() -> None:
    def reachable(start: Status) -> set[Status]:
        seen, todo = {start}, [start]
        while todo:
            for following in TRANSITIONS[todo.pop()] - seen:
                seen.add(following)
                todo.append(following)
        return seen

    assert reachable(Status.QUEUED) == set(Status)
    assert all(reachable(status) & TERMINAL for status in Status)


def test_a_lost_worker_has_somewhere_to_go_from_every_active_state() -> None:
    # leases._take_back: cancelled, paused, failed or queued.
    for status in ACTIVE:
        expected = {Status.CANCELLING: {Status.CANCELLED}, Status.PAUSING: {Status.PAUSED}}.get(
            status, {Status.QUEUED, Status.FAILED}
        )
        assert expected <= TRANSITIONS[status]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (Status.QUEUED, ["cancel", "pause"]),
        (Status.STARTING, ["cancel", "pause", "stop"]),
        (Status.RUNNING, ["cancel", "pause", "stop"]),
        (Status.PAUSED, ["cancel", "resume", "stop"]),
        (Status.CANCELLING, []),
        (Status.SUCCEEDED, []),
        (Status.FAILED, ["retry"]),
        (Status.CANCELLED, ["retry"]),
    ],
)
def test_allowed_actions_are_those_that_would_change_something(status: Status, expected: list[str]) -> None:
    assert sorted(allowed_actions(status)) == expected
