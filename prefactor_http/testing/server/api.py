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
from prefactor_http.testing.server.key_store import KeyStore, OnMismatch
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
        writes: Action and key of each write that the body reports as successful.
    """

    status: int
    body: bytes
    retry_after: int | None = None
    writes: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


def error_response(error: ApiError) -> ApiResponse:
    return ApiResponse(error.status, encode(error.envelope()), error.retry_after)


class Api:
    """Runs invocations; a keyed write takes effect once."""

    def __init__(
        self, account: Account, keys: KeyStore, ledger: Ledger, item_faults: ItemFaults
    ) -> None:
        self.account = account
        self._keys = keys
        self._ledger = ledger
        self._item_faults = item_faults

    def record_received(self, invocations: Iterable[Invocation]) -> None:
        """Record the writes of a request in the ledger before any of them can fail."""
        for invocation in invocations:
            action = invocation.action
            if not isinstance(action, ApiError) and action.writes:
                self._ledger.record_received(action.name, invocation.key, invocation.raw)
                self._ledger.flat_items += invocation.flat

    def run_single(self, context: Context, invocation: Invocation) -> ApiResponse:
        try:
            success = self._run(context, invocation)
        except ApiError as error:
            return error_response(error)
        body = encode(self._envelope(success))
        return ApiResponse(200, body, writes=keyed_writes([invocation]))

    def run_bulk(self, context: Context, invocations: Sequence[Invocation]) -> ApiResponse:
        """Run the items of a bulk request in order and stop at the first error (contract §9)."""
        self._ledger.largest_bulk = max(self._ledger.largest_bulk, len(invocations))
        outputs: dict[str, JsonObject] = {}
        succeeded: list[Invocation] = []
        for invocation in invocations:
            try:
                self._item_faults.raise_next(invocation.key)
                success = self._run(context, invocation)
            except ApiError as error:
                outputs[str(invocation.key)] = error.envelope()
                break
            outputs[str(invocation.key)] = self._envelope(success)
            succeeded.append(invocation)
        body = encode({"status": "success", "outputs": outputs})
        return ApiResponse(200, body, writes=keyed_writes(succeeded))

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
        digest = digest_of(_canonical(invocation.fields))
        stored = self._keys.find(action.name, key)
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
            self._keys.store(action.name, key, digest, error)
            raise
        self._ledger.record_effect(action.name, key, success.resource_id)
        self._keys.store(action.name, key, digest, success)
        return success

    def _envelope(self, success: Success) -> JsonObject:
        envelope = success.envelope()
        if success.control_of is not None:
            instance = self.account.instances[success.control_of]
            if instance["status"] == "terminated":
                reason = instance["termination_reason"]
                envelope["control"] = {"terminate": True, "reason": reason}
        return envelope


def keyed_writes(invocations: Iterable[Invocation]) -> list[tuple[str, str]]:
    """Return action and key of each write that has a key."""
    return [
        (invocation.action.name, invocation.key)
        for invocation in invocations
        if invocation.key is not None
        and not isinstance(invocation.action, ApiError)
        and invocation.action.writes
    ]
