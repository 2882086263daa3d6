"""What became of one item of a bulk request: the result or the error of its call (contract §9)."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from prefactor_http import _api
from prefactor_http._redaction import Redactor
from prefactor_http._wire import ERROR_BY_STATUS, IDEMPOTENCY_IN_PROGRESS, UNREADABLE, snippet
from prefactor_http.exceptions import (
    PrefactorApiError,
    PrefactorHttpError,
    PrefactorResponseContractError,
)
from prefactor_http.models.agent_span import AgentSpanReply
from prefactor_http.models.bulk_output import BulkOutput

E = TypeVar("E", bound=PrefactorHttpError)

# An item's error comes in a reply of status 200: it has the code, not the status, that its call
# made on its own would have been refused with (contract §3).
_STATUS_BY_CODE = {
    "bad_request": 400,
    "bad_authtoken": 401,
    "forbidden": 403,
    "not_found": 404,
    "invalid_action": 409,
    "idempotency_conflict": 409,
    IDEMPOTENCY_IN_PROGRESS: 409,
    "validation_errors": 422,
    "rate_limited": 429,
    "internal_server_error": 500,
    "service_unavailable": 503,
}
_STATUS_OF_THE_REPLY = 200
_UNKNOWN_CODE = "unknown"


class ItemReader:
    """Reads an item's output as its call's reply would be read.

    Args:
        key: The item's idempotency key.
        type: Its call, such as ``agent_instances/register``.
    """

    def __init__(self, key: str, type: str) -> None:
        self._key = key
        self._type = type

    def __call__(self, output: BulkOutput) -> Any:
        """Read the output.

        Args:
            output: What became of the item.

        Returns:
            The call's result; the output as a dict where the call is not known here.

        Raises:
            PrefactorApiError: The call failed; the subclass is the one of the call on its own.
            PrefactorResponseContractError: The output is not what the API promises.
        """
        if output.failed:
            raise self._refusal(output)
        # Looked up, not kept: an output can be pickled, an operation cannot.
        operation = _api.BY_BULK_TYPE.get(self._type)
        if operation is None:
            return output.fields
        try:
            result = operation.decode(output.raw)
        except UNREADABLE as exc:
            problem = f"{self._type}: the output breaks the API's contract: {exc}"
        else:
            # The signal beside a span stays readable as `output.control`.
            return result.details if isinstance(result, AgentSpanReply) else result
        raise self._in_bulk(
            PrefactorResponseContractError(
                problem,
                status_code=_STATUS_OF_THE_REPLY,
                body_snippet=snippet(output.raw, Redactor()),
            )
        )

    def _refusal(self, output: BulkOutput) -> PrefactorApiError:
        code = output.code or _UNKNOWN_CODE
        status = _STATUS_BY_CODE.get(code, _STATUS_OF_THE_REPLY)
        errors = output.errors
        error = ERROR_BY_STATUS.get(status, PrefactorApiError)(
            output.message or f"{self._type}: {code}",
            code,
            status,
            cast("dict[str, Any]", errors) if isinstance(errors, dict) else None,
        )
        # Everything else was answered, and an item that failed was rolled back.
        error.outcome_unknown = code == IDEMPOTENCY_IN_PROGRESS
        return self._in_bulk(error)

    def _in_bulk(self, error: E) -> E:
        error.method = _api.BULK.method
        error.path = _api.BULK.path_for(None)
        error.idempotency_key = self._key
        return error
