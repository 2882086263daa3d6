"""The API without HTTP: requests in, replies out, state in between."""

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
from prefactor_http.testing.server.request import Work

_canonical = msgspec.json.Encoder(order="sorted").encode


@dataclass(slots=True)
class Answer:
    """What goes back over the wire.

    Attributes:
        status: HTTP status.
        body: The JSON body.
        retry_after: Seconds for the header of that name.
        carried: Action and key of the writes whose success the body reports.
    """

    status: int
    body: bytes
    retry_after: int | None = None
    carried: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


def refusal(error: ApiError) -> Answer:
    """Answer a request that is refused as a whole."""
    return Answer(error.status, encode(error.envelope()), error.retry_after)


class Api:
    """Runs what requests ask for, each write once."""

    def __init__(
        self, account: Account, keys: KeyStore, ledger: Ledger, item_faults: ItemFaults
    ) -> None:
        self.account = account
        self._keys = keys
        self._ledger = ledger
        self._item_faults = item_faults

    def reached(self, works: Iterable[Work]) -> None:
        """Note the writes of a request in the ledger, before anything can go wrong."""
        for work in works:
            if not isinstance(work.action, ApiError) and work.action.writes:
                self._ledger.reached(work.action.name, work.key, work.raw)
                self._ledger.flat_items += work.flat

    def run_single(self, context: Context, work: Work) -> Answer:
        """Run a single call."""
        try:
            success = self._perform(context, work)
        except ApiError as error:
            return refusal(error)
        return Answer(200, encode(self._envelope(success)), carried=writes_of([work]))

    def run_bulk(self, context: Context, works: Sequence[Work]) -> Answer:
        """Run the items of a bulk call in order, up to the first that fails (contract §9)."""
        self._ledger.largest_bulk = max(self._ledger.largest_bulk, len(works))
        outputs: dict[str, JsonObject] = {}
        done: list[Work] = []
        for work in works:
            try:
                self._item_faults.strike(work.key)
                success = self._perform(context, work)
            except ApiError as error:
                outputs[str(work.key)] = error.envelope()
                break
            outputs[str(work.key)] = self._envelope(success)
            done.append(work)
        return Answer(
            200, encode({"status": "success", "outputs": outputs}), carried=writes_of(done)
        )

    def _perform(self, context: Context, work: Work) -> Success:
        action = work.action
        if isinstance(action, ApiError):
            raise action
        try:
            if action.account_only and context.token.deployment is not None:
                raise bad_token()
            if action.writes:
                return self._write_once(context, action, work)
            return action.run(context, Fields(work.fields))
        except ApiError as error:
            if action.writes and error.is_final:
                self._ledger.refused(action.name, work.key)
            raise

    def _write_once(self, context: Context, action: Action, work: Work) -> Success:
        key = work.key
        if key is None:
            success = action.run(context, Fields(work.fields))
            self._ledger.took_effect(action.name, None, success.resource_id)
            return success
        digest = digest_of(_canonical(work.fields))
        kept = self._keys.find(action.name, key)
        if kept is not None:
            if kept.digest != digest:
                self._ledger.reused(action.name, key)
                if self._keys.policy.mismatch is OnMismatch.CONFLICT:
                    message = "This idempotency key was used for another request."
                    raise ApiError(409, "idempotency_conflict", message)
            self._ledger.replays += 1
            if isinstance(kept.answer, ApiError):
                raise kept.answer
            return kept.answer
        try:
            success = action.run(context, Fields(work.fields))
        except ApiError as error:
            self._keys.keep(action.name, key, digest, error)
            raise
        self._ledger.took_effect(action.name, key, success.resource_id)
        self._keys.keep(action.name, key, digest, success)
        return success

    def _envelope(self, success: Success) -> JsonObject:
        envelope = success.envelope()
        if success.control_of is not None:
            instance = self.account.instances[success.control_of]
            if instance["status"] == "terminated":
                reason = instance["termination_reason"]
                envelope["control"] = {"terminate": True, "reason": reason}
        return envelope


def writes_of(works: Iterable[Work]) -> list[tuple[str, str]]:
    """Return action and key of the keyed writes."""
    return [
        (work.action.name, work.key)
        for work in works
        if work.key is not None and not isinstance(work.action, ApiError) and work.action.writes
    ]
