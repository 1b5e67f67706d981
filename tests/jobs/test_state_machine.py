"""Whatever people, workers and clocks do in whatever order: the rules of docs/decisions/0001 hold."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from lastsam_jobs import leases, repository
from lastsam_jobs.database import Database
from lastsam_jobs.errors import Fenced, InvalidTransition
from lastsam_jobs.leases import Claim
from lastsam_jobs.states import ACTIVE, TERMINAL, TRANSITIONS, Action, Status
from lastsam_jobs.tables import Event, Job, Lease
from tests.jobs.conftest import add_job, put_lease_in_the_past

MAX_ATTEMPTS = 3


class Engine(RuleBasedStateMachine):
    """One SQLite database, a few jobs, any number of workers that come, stall and go."""

    template: Path
    jobs = Bundle("jobs")
    claims = Bundle("claims")

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lastsam-sm-"))
        shutil.copyfile(self.template, self.folder / "db")
        self.database = Database(f"sqlite:///{self.folder / 'db'}")
        self.seen: dict[str, Status] = {}
        self.epochs: dict[str, int] = {}
        self.retried: set[str] = set()
        self.made: list[Claim] = []

    def teardown(self) -> None:
        self.database.dispose()
        shutil.rmtree(self.folder)

    # Few jobs, so that they are lost and claimed again often.
    @precondition(lambda self: len(self.seen) < 2)
    @rule(target=jobs)
    def submit(self) -> str:
        with self.database.write() as session:
            return add_job(session).id

    @rule(job=jobs, action=st.sampled_from(Action))
    def ask(self, job: str, action: Action) -> None:
        try:
            with self.database.write() as session:
                _, changed = repository.request(session, job, action)
        except InvalidTransition:
            return
        if changed and action is Action.RETRY:
            self.retried.add(job)

    @rule(target=claims, worker=st.sampled_from(["w1", "w2", "w3"]))
    def claim(self, worker: str) -> Any:
        with self.database.write() as session:
            claim = leases.claim_next(session, worker=worker, lease_seconds=60)
        if claim is None:
            return multiple()
        self.made.append(claim)
        return claim

    @rule(claim=claims, to=st.sampled_from(Status), charge=st.booleans())
    def move(self, claim: Claim, to: Status, charge: bool) -> None:
        with self.database.read() as session:
            job = repository.job(session, claim.job_id)
            legal = job.epoch == claim.epoch and job.state in ACTIVE and to in TRANSITIONS[job.state]
        try:
            with self.database.write() as session:
                leases.move(session, claim, to, message="moved", charge=charge)
            assert legal
        except Fenced:
            assert not legal

    @rule()
    def everybody_reports(self) -> None:
        """Workers that were stalled come back too, and all believe that they still hold their job."""
        for claim in self.made:
            with self.database.read() as session:
                job = repository.job(session, claim.job_id)
            holds = job.epoch == claim.epoch and job.state in ACTIVE
            try:
                with self.database.write() as session:
                    leases.renew(session, claim, lease_seconds=60)
                    leases.put_metric(session, claim, 1, {"loss": 1.0})
                assert holds
            except Fenced:
                assert not holds

    @rule(job=jobs)
    def time_passes(self, job: str) -> None:
        with self.database.write() as session:
            put_lease_in_the_past(session, job)
            leases.expire(session, max_attempts=MAX_ATTEMPTS)

    @rule(worker=st.sampled_from(["w1", "w2", "w3"]))
    def worker_dies(self, worker: str) -> None:
        with self.database.write() as session:
            leases.expire_worker(session, worker, max_attempts=MAX_ATTEMPTS)

    @invariant()
    def rules_hold(self) -> None:
        with self.database.read() as session:
            jobs = session.scalars(select(Job)).all()
            events = session.execute(select(Event.job_id, Event.number).order_by(Event.job_id, Event.number)).all()
            open_leases = session.execute(select(Lease.job_id, Lease.epoch).where(Lease.ended_at.is_(None))).all()
        for job in jobs:
            before, now = self.seen.get(job.id, Status.QUEUED), job.state
            if before is not now:
                # A rule makes one step; resuming a stopped pause and the like are single steps too.
                assert now in TRANSITIONS[before], (before, now)
                if before in TERMINAL:
                    assert job.id in self.retried
            self.seen[job.id] = now
            assert job.epoch >= self.epochs.get(job.id, 0)
            self.epochs[job.id] = job.epoch
            mine = [number for id, number in events if id == job.id]
            assert mine == list(range(1, len(mine) + 1))
            held = [epoch for id, epoch in open_leases if id == job.id]
            assert held == ([job.epoch] if now in ACTIVE else []), (now, job.epoch, held)
            assert (job.lease_owner is not None) is (now in ACTIVE)
            assert (job.finished_at is not None) is (now in TERMINAL)
            assert job.attempt >= 0
        self.retried.clear()


def test_the_rules_hold_whatever_happens(sqlite_template: Path) -> None:
    Engine.template = sqlite_template
    run_state_machine_as_test(
        Engine,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
