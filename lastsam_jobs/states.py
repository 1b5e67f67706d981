"""The states of a job and the one table of legal transitions; nothing else decides what may follow what."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["ACTIONS", "ACTIVE", "SENTENCES", "TERMINAL", "TRANSITIONS", "Action", "Stage", "Status", "allowed_actions"]


class Status(StrEnum):
    """Where a job stands; SENTENCES says each in words."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    STOPPING = "stopping"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


SENTENCES = {
    Status.QUEUED: "Accepted; waits for a free worker.",
    Status.STARTING: "A worker has claimed it and starts its trainer.",
    Status.RUNNING: "The trainer is at work; `stage` says on what.",
    Status.PAUSING: "The trainer has been asked for a snapshot, to free the device.",
    Status.PAUSED: "Holds no device; continues from its snapshot when resumed.",
    Status.STOPPING: "The trainer has been asked to finish now and keep the result.",
    Status.CANCELLING: "The trainer is being ended.",
    Status.SUCCEEDED: "Refined weights and receipt can be downloaded.",
    Status.FAILED: "Ended without a result; `error` says why.",
    Status.CANCELLED: "Ended on request; snapshots are kept until it is deleted.",
}

_S = Status

# A lost or stopped worker puts a job back to `queued` (or where it was going: `paused`, `cancelled`).
TRANSITIONS: dict[Status, frozenset[Status]] = {
    _S.QUEUED: frozenset({_S.STARTING, _S.PAUSED, _S.CANCELLED, _S.FAILED}),
    _S.STARTING: frozenset({_S.RUNNING, _S.QUEUED, _S.PAUSING, _S.STOPPING, _S.CANCELLING, _S.FAILED}),
    _S.RUNNING: frozenset({_S.SUCCEEDED, _S.FAILED, _S.QUEUED, _S.PAUSING, _S.STOPPING, _S.CANCELLING}),
    _S.PAUSING: frozenset({_S.PAUSED, _S.SUCCEEDED, _S.FAILED, _S.CANCELLING}),
    _S.PAUSED: frozenset({_S.QUEUED, _S.CANCELLED}),
    _S.STOPPING: frozenset({_S.SUCCEEDED, _S.FAILED, _S.QUEUED, _S.CANCELLING}),
    _S.CANCELLING: frozenset({_S.CANCELLED}),
    _S.SUCCEEDED: frozenset(),
    _S.FAILED: frozenset({_S.QUEUED}),
    _S.CANCELLED: frozenset({_S.QUEUED}),
}

TERMINAL = frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELLED})
# States in which a worker holds a lease.
ACTIVE = frozenset({_S.STARTING, _S.RUNNING, _S.PAUSING, _S.STOPPING, _S.CANCELLING})


class Action(StrEnum):
    """What a person may ask of a job."""

    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    RETRY = "retry"


# action -> state -> where it leads. A state that maps to itself has what was asked for already: asking again changes
# nothing and is no error.
ACTIONS: dict[Action, dict[Status, Status]] = {
    Action.CANCEL: {
        _S.QUEUED: _S.CANCELLED,
        _S.STARTING: _S.CANCELLING,
        _S.RUNNING: _S.CANCELLING,
        _S.PAUSING: _S.CANCELLING,
        _S.PAUSED: _S.CANCELLED,
        _S.STOPPING: _S.CANCELLING,
        _S.CANCELLING: _S.CANCELLING,
        _S.CANCELLED: _S.CANCELLED,
    },
    Action.PAUSE: {
        _S.QUEUED: _S.PAUSED,
        _S.STARTING: _S.PAUSING,
        _S.RUNNING: _S.PAUSING,
        _S.PAUSING: _S.PAUSING,
        _S.PAUSED: _S.PAUSED,
    },
    Action.RESUME: {
        _S.PAUSED: _S.QUEUED,
        _S.QUEUED: _S.QUEUED,
        _S.STARTING: _S.STARTING,
        _S.RUNNING: _S.RUNNING,
    },
    Action.STOP: {
        _S.STARTING: _S.STOPPING,
        _S.RUNNING: _S.STOPPING,
        _S.STOPPING: _S.STOPPING,
        _S.PAUSED: _S.QUEUED,
        _S.SUCCEEDED: _S.SUCCEEDED,
    },
    Action.RETRY: {_S.FAILED: _S.QUEUED, _S.CANCELLED: _S.QUEUED, _S.QUEUED: _S.QUEUED},
}


class Stage(StrEnum):
    """What a running job is doing."""

    LOADING = "loading"
    BASELINE = "baseline"
    TRAINING = "training"
    FLATNESS = "flatness"
    EXPORTING = "exporting"


def allowed_actions(status: Status) -> list[str]:
    """The actions that would change a job in `status`."""
    return [action.value for action, moves in ACTIONS.items() if moves.get(status, status) != status]
