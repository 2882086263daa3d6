"""The API without HTTP: runs parsed requests against the state and encodes the responses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from prefactor_http.testing.faults.item_faults import ItemFaults
from prefactor_http.testing.resources.account import Account
from prefactor_http.testing.resources.action import Action, Context
from prefactor_http.testing.resources.fields import Fields
from prefactor_http.testing.resources.response import (
    ApiError,
    JsonObject,
    Success,
    bad_token,
    encode,
)
from prefactor_http.testing.server.bulk_policy import BulkPolicy
from prefactor_http.testing.server.delays import Delays
from prefactor_http.testing.server.key_store import KeyedWrite, KeyStore, OnMismatch
from prefactor_http.testing.server.ledger import Ledger, digest_of
from prefactor_http.testing.server.request_parser import Invocation

_canonical = msgspec.json.Encoder(order="sorted").encode


@dataclass(slots=True)
class ApiResponse:
    """The response to a request.

    Attributes:
        status: HTTP status.
        body: The JSON body.
        retry_after: Seconds for the ``Retry-After`` header, or None.
        writes: The keyed writes that the body reports as successful.
    """

    status: int
    body: bytes
    retry_after: int | None = None
    writes: list[KeyedWrite] = field(default_factory=list[KeyedWrite])


def error_response(error: ApiError) -> ApiResponse:
    return ApiResponse(error.status, encode(error.envelope()), error.retry_after)


class Api:
    """Runs invocations; a keyed write takes effect once."""

    def __init__(
        self,
        *,
        account: Account,
        keys: KeyStore,
        ledger: Ledger,
        item_faults: ItemFaults,
        bulk_policy: BulkPolicy,
        service_time: float,
        delays: Delays,
    ) -> None:
        self.account = account
        self.bulk_policy = bulk_policy
        self.service_time = service_time
        self._keys = keys
        self._ledger = ledger
        self._item_faults = item_faults
        self._delays = delays

    def record_received(self, invocations: Iterable[Invocation]) -> None:
        """Record the writes of a request in the ledger before any of them can fail."""
        for invocation in invocations:
            action = invocation.action
            if not isinstance(action, ApiError) and action.writes:
                self._ledger.record_received(action.name, invocation.key, invocation.raw)
                self._ledger.flat_items += invocation.flat

    async def run_single(self, context: Context, invocation: Invocation) -> ApiResponse:
        try:
            success = await self._serve(context, invocation)
        except ApiError as error:
            return error_response(error)
        body = encode(self._envelope(success))
        return ApiResponse(200, body, writes=keyed_writes([invocation]))

    async def run_bulk(self, context: Context, invocations: Sequence[Invocation]) -> ApiResponse:
        """Run the items of a bulk request in order and stop at the first error (contract §9)."""
        self._ledger.largest_bulk = max(self._ledger.largest_bulk, len(invocations))
        outputs: dict[str, JsonObject] = {}
        succeeded: list[Invocation] = []
        for invocation in invocations:
            try:
                self._item_faults.raise_next(invocation.key)
                success = await self._serve(context, invocation)
            except ApiError as error:
                outputs[str(invocation.key)] = error.envelope()
                break
            outputs[str(invocation.key)] = self._envelope(
                success, has_control=self.bulk_policy.has_control
            )
            succeeded.append(invocation)
        body = encode({"status": "success", "outputs": outputs})
        return ApiResponse(200, body, writes=keyed_writes(succeeded))

    async def _serve(self, context: Context, invocation: Invocation) -> Success:
        """Work on an invocation for the service time, then run it."""
        if self.service_time:
            writes = keyed_writes([invocation])
            await self._keys.wait_for_concurrent(writes)
            for write in writes:
                self._keys.check_free(write)
            with self._keys.in_progress(writes):
                await self._delays.wait(self.service_time)
        return self._run(context, invocation)

    def _run(self, context: Context, invocation: Invocation) -> Success:
        action = invocation.action
        if isinstance(action, ApiError):
            raise action
        try:
            if action.account_only and context.token.deployment is not None:
                raise bad_token()
            if action.writes:
                return self._write_once(context, action, invocation)
            return action.run(context, Fields(invocation.fields))
        except ApiError as error:
            if action.writes and error.is_final:
                self._ledger.record_refusal(action.name, invocation.key)
            raise

    def _write_once(self, context: Context, action: Action, invocation: Invocation) -> Success:
        key = invocation.key
        if key is None:
            success = action.run(context, Fields(invocation.fields))
            self._ledger.record_effect(action.name, None, success.resource_id)
            return success
        write = KeyedWrite(action.name, key, invocation.in_bulk)
        digest = digest_of(_canonical(invocation.fields))
        stored = self._keys.find(write)
        if stored is not None:
            if stored.digest != digest:
                self._ledger.record_key_reuse(action.name, key)
                if self._keys.policy.mismatch is OnMismatch.CONFLICT:
                    message = "This idempotency key was used for another request."
                    raise ApiError(409, "idempotency_conflict", message)
            self._ledger.replays += 1
            if isinstance(stored.result, ApiError):
                raise stored.result
            return stored.result
        try:
            success = action.run(context, Fields(invocation.fields))
        except ApiError as error:
            self._keys.store(write, digest, error)
            raise
        self._ledger.record_effect(action.name, key, success.resource_id)
        self._keys.store(write, digest, success)
        return success

    def _envelope(self, success: Success, *, has_control: bool = True) -> JsonObject:
        envelope = success.envelope()
        if has_control and success.control_of is not None:
            instance = self.account.instances[success.control_of]
            if instance["status"] == "terminated":
                reason = instance["termination_reason"]
                envelope["control"] = {"terminate": True, "reason": reason}
        return envelope


def keyed_writes(invocations: Iterable[Invocation]) -> list[KeyedWrite]:
    """Return the writes that have a key."""
    return [
        KeyedWrite(invocation.action.name, invocation.key, invocation.in_bulk)
        for invocation in invocations
        if invocation.key is not None
        and not isinstance(invocation.action, ApiError)
        and invocation.action.writes
    ]
