"""Mistakes that a client could make, each with a test that detects it.

``python tests/mutation/seeded_mutants.py`` applies each one to a copy of the repository and runs
its test, which must fail. ``test_seeded_mutants.py`` does so with a few.
"""

# ruff: noqa: T201

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mutation_workspace import Workspace

_PACKAGE = "prefactor_http"
_TRUTH = (
    "tests/resilience/test_truth_under_faults.py::"
    "test_under_every_fault_callers_learn_the_true_outcome"
)
_RETRYING = "tests/resilience/test_retrying.py::"
_OUTBOX_RESTART = "tests/outbox/test_outbox_restart.py::"


@dataclass(frozen=True)
class Mutant:
    """One mistake.

    Attributes:
        name: What the client does wrong.
        file: The file in the package.
        old: The text to replace; it occurs once.
        new: The new text.
        test: The test that detects it.
        is_sample: Whether every run of the tests checks it.
    """

    name: str
    file: str
    old: str
    new: str
    test: str
    is_sample: bool = False

    def apply(self, workspace: Workspace) -> None:
        path = workspace.path / _PACKAGE / self.file
        path.write_text(self.mutated(path.read_text(encoding="utf-8")), encoding="utf-8")

    def mutated(self, text: str) -> str:
        """Return the mutated text of the file.

        Raises:
            ValueError: The text to replace does not occur once.
        """
        if text.count(self.old) != 1:
            raise ValueError(
                f"{self.name}: {text.count(self.old)} times in {self.file}: {self.old}"
            )
        return text.replace(self.old, self.new)


_ATTEMPT = "        prepared.attempts += 1\n"

MUTANTS = [
    Mutant(
        "each attempt has a new key",
        "_http/retry.py",
        _ATTEMPT,
        _ATTEMPT
        + """\
        if prepared.attempts > 1 and prepared.body and prepared.key:
            new = f"{prepared.key[:-1]}{prepared.attempts}"
            prepared.body = prepared.body.replace(prepared.key.encode(), new.encode())
""",
        f"{_TRUTH}[own-asyncio]",
    ),
    Mutant(
        "each attempt encodes the body again",
        "_http/retry.py",
        _ATTEMPT,
        _ATTEMPT
        + """\
        if prepared.attempts > 1 and prepared.body:
            fields = msgspec.json.decode(prepared.body)
            prepared.body = msgspec.json.encode(dict(sorted(fields.items())))
""",
        "tests/test_request.py::test_every_attempt_sends_the_same_bytes",
        is_sample=True,
    ),
    Mutant(
        "each attempt has a new timestamp",
        "_http/retry.py",
        _ATTEMPT,
        _ATTEMPT
        + """\
        if prepared.attempts > 1 and prepared.body and b'"timestamp":"' in prepared.body:
            fields = msgspec.json.decode(prepared.body)
            fields["timestamp"] = self.state.clock.utcnow().isoformat()
            prepared.body = msgspec.json.encode(fields)
""",
        f"{_TRUTH}[own-asyncio]",
    ),
    Mutant(
        "a cancelled attempt is retried",
        "_http/retry.py",
        "            response = await state.transport.attempt(prepared, config.request_timeout)\n",
        """\
            try:
                response = await state.transport.attempt(prepared, config.request_timeout)
            except asyncio.CancelledError:
                response = await state.transport.attempt(prepared, config.request_timeout)
""",
        "tests/resilience/test_cancellation_notes.py::"
        "test_a_cancelled_write_in_flight_may_have_been_applied",
    ),
    Mutant(
        "redirects are followed",
        "_http/transport.py",
        "allow_redirects=False",
        "allow_redirects=True",
        f"{_RETRYING}test_a_redirect_is_reported_and_not_followed",
    ),
    Mutant(
        "a refusal that may belong to another call counts as the API's",
        "_http/retry.py",
        "            failure.contradicts, failure.write_status = True, WriteStatus.UNKNOWN\n",
        "            pass\n",
        "tests/test_identity.py::test_an_error_after_a_response_to_another_call_is_confirmed",
    ),
    Mutant(
        "the status of an exception of aiohttp counts as a response",
        "_http/transport_errors.py",
        "        detail = self._quote(_text_of(exc))\n",
        "        detail = self._quote(_text_of(exc))\n"
        '        if getattr(exc, "status", None) == 400:\n'
        "            refused = PrefactorClientError(detail)\n"
        "            return Failure(refused, WriteStatus.ANSWERED, status=400)\n",
        f"{_TRUTH}[own-asyncio]",
    ),
    Mutant(
        "a 5xx counts as not applied",
        "_http/codec.py",
        "        status >= _SERVER_ERROR\n",
        "        status >= 600\n",
        f"{_TRUTH}[own-asyncio]",
    ),
    Mutant(
        "an incomplete response counts as not sent",
        "_http/transport_errors.py",
        '        "incomplete response from {server}: {detail}",\n',
        '        "incomplete response from {server}: {detail}",\n        WriteStatus.NOT_SENT,\n',
        f"{_TRUTH}[borrowed-asyncio]",
    ),
    Mutant(
        "a 409 after an unknown outcome is not verified",
        "_http/retry.py",
        "        if operation.reconciliation is None:\n            return None\n        fields",
        "        if operation.name:\n            return None\n        fields",
        "tests/resilience/test_reconciliation.py::"
        "test_a_start_whose_response_was_lost_returns_the_instance",
    ),
    Mutant(
        "the outcome of an earlier attempt is forgotten",
        "_http/retry.py",
        "        prepared.outcome_unknown |= (\n",
        "        prepared.outcome_unknown = (\n",
        f"{_RETRYING}test_the_outcome_stays_unknown_when_a_later_attempt_is_refused",
        is_sample=True,
    ),
    Mutant(
        "the rate limiter is not asked again after the wait for a slot",
        "_http/rate_limiter.py",
        "            if self.acquire_nowait(prepared):\n                return None\n",
        "            if self.acquire_nowait(prepared) or True:\n                return None\n",
        "tests/resilience/test_throttling.py::"
        "test_waiting_calls_fail_when_nothing_has_succeeded_for_a_minute",
    ),
    Mutant(
        "the throttle is not asked again after the wait for a slot",
        "_http/rate_limiter.py",
        "            if throttle.acquire_nowait(prepared, self._clock.monotonic()):\n",
        "            if throttle.acquire_nowait(prepared, self._clock.monotonic()) or True:\n",
        "tests/resilience/test_throttling.py::"
        "test_a_call_that_waits_for_a_slot_is_paused_by_a_rejection_meanwhile",
    ),
    Mutant(
        "Retry-After is no lower bound of the delay",
        "_http/retry_decisions.py",
        "max(backoff(config, retry), failure.retry_after or 0.0)",
        "backoff(config, retry)",
        f"{_RETRYING}test_retry_after_in_seconds_is_a_lower_bound_of_the_delay",
    ),
    Mutant(
        "a write without a key is retried",
        "_http/codec.py",
        "        return operation.repeatable and (\n"
        "            self.key is not None or operation.method == GET or operation.carries_items\n"
        "        )\n",
        "        return True\n",
        "tests/endpoints/test_api_tokens.py::"
        "test_an_error_of_the_creation_does_not_show_the_secret",
    ),
    Mutant(
        "the deadline does not include the wait for a retry",
        "_http/retry.py",
        "now + state.upcoming_sleep >= expires_at",
        "now >= expires_at",
        "tests/resilience/test_properties.py::test_a_delay_beyond_the_deadline_is_not_waited_for",
    ),
    Mutant(
        "the response is not compared with the call",
        "_http/codec.py",
        "        result if problem is None else contradiction_failure",
        "        result if True else contradiction_failure",
        f"{_TRUTH}[own-asyncio]",
    ),
    Mutant(
        "an item without an output ahead of a refused one counts as not attempted",
        "_bulk/chunk_result.py",
        "    before = {item.key for item in items[: items.index(first)]}\n",
        "    before = {item.key for item in items[: items.index(first) - 1]}\n",
        "tests/batch/test_batch_responses.py::"
        "test_an_item_without_an_output_ahead_of_a_refused_one_may_have_been_applied",
    ),
    Mutant(
        "the last item behind a refused one is lost",
        "_bulk/dispatcher.py",
        "        rest = [item for item in chunk.items if item.key in requeued]\n",
        "        rest = [item for item in chunk.items if item.key in requeued][:-1]\n",
        "tests/batch/test_batch_bounds.py::"
        "test_held_items_and_their_groups_have_outcomes_when_the_run_ends",
    ),
    Mutant(
        "outputs are matched by position",
        "_bulk/chunk_result.py",
        "            item.key: _read(item, response.outputs.get(item.key), redactor, result)\n"
        "            for item in items\n",
        "            item.key: _read(item, raw, redactor, result)\n"
        "            for item, raw in zip(items, response.outputs.values(), strict=False)\n",
        f"{_TRUTH}[own-asyncio]",
    ),
    Mutant(
        "registered instances are matched by position",
        "_bulk/chunk_result.py",
        "        output = register_output(key)\n",
        "        output = [*response.registers.values(), None][len(ok)]\n",
        f"{_TRUTH}[own-asyncio]",
    ),
    Mutant(
        "an item that failed with its request counts as not applied",
        "_bulk/dispatcher.py",
        "        state = State.UNKNOWN if item.history.outcome_unknown else State.FAILED\n",
        "        state = State.FAILED\n",
        f"{_TRUTH}[own-asyncio]",
    ),
    Mutant(
        "a row's key depends on its position, although it has a name",
        "_bulk/rows.py",
        "            return lambda _index, fields, _encoded: by_name(fields[identified_by])\n",
        "            return lambda index, _fields, encoded: by_position(index, encoded)\n",
        "tests/batch/test_row_identity.py::test_a_name_is_stripped_and_can_be_a_subclass_of_str",
    ),
    Mutant(
        "a row's key differs from run to run",
        "_bulk/rows.py",
        "        if row_keys is None:\n            return None\n        by_position",
        "        if row_keys:\n            return None\n        by_position",
        f"{_TRUTH}[own-asyncio]",
    ),
    Mutant(
        "a row's result is written before its response",
        "cli/register/job.py",
        '            yield cast("dict[str, Any]", row.fields if row.error is None else None)\n',
        "            self._write(Result(index=row.index, idempotency_key=None, ok=True))\n"
        '            yield cast("dict[str, Any]", row.fields if row.error is None else None)\n',
        "tests/cli/test_cli_job.py::"
        "test_killed_six_times_despite_faults_it_registers_and_reports_each_row_once",
    ),
    Mutant(
        "a forked child uses the keys of its parent",
        "_bulk/key_pool.py",
        " or self._fork_count != fork_count()",
        "",
        "tests/test_idempotency.py::test_a_forked_child_makes_other_keys_than_its_parent",
        is_sample=True,
    ),
    Mutant(
        "a forked child uses the connections of its parent",
        "_http/state.py",
        "            or self._fork_count != fork_count()\n",
        "",
        "tests/resilience/test_other_loops.py::TestInAChild::"
        "test_in_a_forked_child_calls_raise_and_close_leaves_connections_untouched",
    ),
    Mutant(
        "a call cancelled while it waits for a slot frees one",
        "_http/semaphore.py",
        "waiter.done() and not waiter.cancelled()",
        "waiter.done()",
        "tests/resilience/test_bounds.py::"
        "test_a_call_cancelled_while_it_waits_for_a_slot_frees_none",
    ),
    Mutant(
        "closing does not wait for calls in flight",
        "_http/state.py",
        "            await self.timeouts.wait_until_empty(drain_timeout)\n",
        "            await self.timeouts.wait_until_empty(0.0)\n",
        "tests/resilience/test_ending.py::test_closing_drains_calls_in_flight",
    ),
    Mutant(
        "a row of an outbox is deleted before the answer",
        "outbox/forwarder.py",
        "        if items:\n            self._engine.add(items)\n",
        "        if items:\n            self._engine.add(items)\n"
        "            self._writer.delete([self._rows[item.index] for item in items])\n",
        f"{_OUTBOX_RESTART}test_rows_that_were_applied_before_a_stop_are_not_applied_again",
    ),
    Mutant(
        "each delivery by an outbox has a new key",
        "outbox/forwarder.py",
        "        decode = self._options.decode\n        if decode is not None:\n",
        """\
        item.key = f"{row.key[:-2]}{self._taken_over % 90 + 10}"
        item.body = item.body.replace(row.key.encode(), item.key.encode())
        decode = self._options.decode
        if decode is not None:
""",
        f"{_OUTBOX_RESTART}test_rows_that_were_applied_before_a_stop_are_not_applied_again",
    ),
    Mutant(
        "a write that an earlier process may have delivered is not in doubt",
        "outbox/forwarder.py",
        "row.sequence <= self._taken_over or row.tries or row.sequence in self._doubtful",
        "row.sequence in self._doubtful",
        f"{_OUTBOX_RESTART}test_nothing_is_applied_twice_when_all_keys_were_forgotten",
    ),
    Mutant(
        "a refusal of a write in doubt counts although its resource could not be read",
        "outbox/forwarder.py",
        "        if not in_doubt:\n            return None\n",
        "        if in_doubt or not in_doubt:\n            return None\n",
        "tests/outbox/test_outbox_unknown.py::"
        "test_a_refused_register_in_doubt_waits_until_it_can_be_read",
    ),
    Mutant(
        "a payload that an earlier process may have delivered is sent without a look",
        "outbox/forwarder.py",
        "return item.index <= self._taken_over or age >= _KEY_SECONDS\n",
        "return age >= _KEY_SECONDS\n",
        "tests/outbox/test_outbox_unknown.py::"
        "test_a_quality_payload_in_doubt_is_not_sent_again_if_it_is_recorded",
    ),
    Mutant(
        "an outbox delivers the writes of an instance at the same time",
        "outbox/forwarder.py",
        "            group=group,\n",
        "            group=None,\n",
        "tests/outbox/test_outbox_unknown.py::test_an_instance_with_many_writes_waits_in_the_file",
    ),
    Mutant(
        "the end of a cancelled run does not wait for its start",
        "outbox/run.py",
        "        if start is None:\n",
        "        if start is None or not start.done():\n",
        "tests/outbox/test_outbox_run.py::test_no_cancellation_leaves_an_instance_active",
    ),
    Mutant(
        "a receipt is given before the write is in the file",
        "outbox/writer.py",
        "            self._schedule()\n        return recorded\n",
        "            self._schedule()\n        recorded.set_result(result)\n"
        "        return recorded\n",
        "tests/outbox/test_outbox_unknown.py::"
        "test_delivery_continues_when_the_file_can_be_read_again",
    ),
    Mutant(
        "the token is in errors",
        "_http/redaction.py",
        "        for secret in self._secrets:\n",
        "        for secret in ():\n",
        "tests/test_security.py::test_no_error_hook_or_log_shows_the_token",
    ),
]


def first_failure(mutant: Mutant) -> str | None:
    """Run the mutant's test with it, and return the id of the test if it detects the mutant."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        mutant.apply(workspace)
        return workspace.first_failure(mutant.test)


def main() -> int:
    chosen = [mutant for mutant in MUTANTS if all(word in mutant.name for word in sys.argv[1:])]
    alive = 0
    for mutant in chosen:
        failure = first_failure(mutant)
        alive += failure is None
        print(f"{'detected' if failure else 'ALIVE   '}  {mutant.name}  ({failure})", flush=True)
    print(f"{len(chosen) - alive} of {len(chosen)} mutants detected")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
