"""Random histories: whatever happens, the API has applied exactly what was recorded."""

import asyncio
import uuid
from collections import Counter

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from outbox_support import SCHEMA, VERSION, client_of
from unused_port import unused_port

from prefactor_http.outbox import Outbox, OutboxFullError
from prefactor_http.testing import FaultKind, LocalPrefactor

ACTIONS = (
    "agent_instances.register",
    "agent_instances.start",
    "agent_instances.finish",
    "agent_spans.create",
    "agent_spans.finish",
)
LOST = (FaultKind.APPLIED_THEN_RESET, FaultKind.CUT_IN_BODY, FaultKind.APPLIED_THEN_500)


class OutboxMachine(RuleBasedStateMachine):
    """Records writes, and loses answers, keys, the API and the process in between."""

    instances = Bundle("instances")
    active = Bundle("active")
    spans = Bundle("spans")
    path = None

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.recorded = []
        self.refused = set()
        self.is_up = True

    def run(self, work):
        return self.loop.run_until_complete(work)

    @initialize()
    def begin(self):
        self.file = self.path / f"{uuid.uuid4()}.db"
        self.api = LocalPrefactor(port=unused_port())
        self.run(self.api.start())
        self.client = client_of(self.api, request_timeout=0.5)
        self.open()

    def open(self):
        self.outbox = Outbox(self.file, self.client, max_items=12, poll_interval=0.02)
        self.run(self.outbox.open())

    def record(self, write):
        """Record a write; a full outbox does not."""
        try:
            receipt = self.run(write)
        except OutboxFullError:
            return None
        self.recorded.append(receipt)
        return receipt

    @rule(target=instances)
    def register(self):
        write = self.outbox.agent_instances.register(
            self.api.agent_id, VERSION, SCHEMA, environment_id=self.api.environment_id
        )
        return self.record(write)

    @rule(target=active, instance=consumes(instances))
    def start(self, instance):
        if instance is not None and self.record(self.outbox.agent_instances.start(instance.id)):
            return instance
        return None

    @rule(target=spans, instance=active)
    def create_span(self, instance):
        if instance is None:
            return None
        return self.record(self.outbox.agent_spans.create(instance.id, "tool", "active"))

    @rule(span=consumes(spans))
    def finish_span(self, span):
        if span is not None:
            self.record(self.outbox.agent_spans.finish(span.id))

    @rule(instance=consumes(instances))
    def finish_too_early(self, instance):
        """The API refuses it."""
        if instance is not None:
            receipt = self.record(self.outbox.agent_instances.finish(instance.id))
            if receipt is not None:
                self.refused.add(receipt.idempotency_key)

    @rule(number=st.integers(1, 3), kind=st.sampled_from(LOST))
    def lose_answers(self, number, kind):
        self.api.fail_next(*[kind] * number, path="/bulk")

    @rule()
    def forget_keys(self):
        self.api.forget_keys(ACTIONS)

    @rule()
    def stop_the_api(self):
        if self.is_up:
            self.is_up = False
            self.run(self.api.stop())

    @rule()
    def start_the_api(self):
        if not self.is_up:
            self.is_up = True
            self.run(self.api.start())

    @rule()
    def deliver(self):
        self.run(self.outbox.flush(0.02))

    @rule(drain_timeout=st.sampled_from([0.0, 0.01]))
    def restart(self, drain_timeout):
        self.run(self.outbox.close(drain_timeout))
        self.open()

    @invariant()
    def nothing_is_applied_twice(self):
        assert not self.recorded or self.api.doubled == []

    def teardown(self):
        try:
            if hasattr(self, "outbox"):
                self.run(self.check_the_end())
        finally:
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()

    async def check_the_end(self):
        self.api.calm()
        if not self.is_up:
            await self.api.start()
        assert await self.outbox.flush(60)
        dead = {letter.idempotency_key for letter in await self.outbox.dead_letters()}
        await self.outbox.close()
        await self.client.close()
        await self.api.stop()
        effects = Counter(effect.idempotency_key for effect in self.api.effects)
        keys = {receipt.idempotency_key for receipt in self.recorded}
        assert dead == self.refused
        assert effects == dict.fromkeys(keys - dead, 1)


def test_random_histories(tmp_path):
    machine = type("Machine", (OutboxMachine,), {"path": tmp_path})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=20,
            deadline=None,
            # The histories are the same in each run. They depend on time, so they cannot be shrunk.
            derandomize=True,
            phases=(Phase.generate,),
            database=None,
            suppress_health_check=[*HealthCheck],
        ),
    )
