"""What became of one call of a bulk request (contract §9)."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Raw, Struct

from prefactor_http._values import plain
from prefactor_http.exceptions import PrefactorApiError, PrefactorResponseContractError

T = TypeVar("T")

_HTTP_STATUS_OF_BULK_REPLIES = 200


class BulkOutput:
    """What became of one call of a bulk request.

    Whatever the API sent can be read as an attribute: ``output.details``, ``output.control``.

    Args:
        status: ``success`` or ``error``.
        **fields: The rest, such as ``details``, or ``code`` and ``message``.

    Raises:
        TypeError: A field has no JSON form.
        ValueError: ``status`` is neither.
    """

    def __init__(self, *, status: Literal["success", "error"], **fields: Any) -> None:
        if status not in {"success", "error"}:
            raise ValueError(f"status must be 'success' or 'error', not {status!r:.60}")
        self._raw: bytes | Raw = msgspec.json.encode({"status": status, **fields}, enc_hook=plain)
        self._read: OutputReader = read_untyped

    # Kept by hand: `cached_property` takes a lock on Python 3.11, for as long as the decoding.
    _fields: dict[str, Any] | None = None
    _known: "_Outcome | None" = None

    @property
    def fields(self) -> dict[str, Any]:
        """The output as a dict."""
        fields = self._fields
        if fields is None:
            fields = self._fields = _decode(self._raw, _read_fields)
        return fields

    @property
    def raw(self) -> bytes:
        """The output as JSON."""
        return bytes(self._raw)

    @property
    def status(self) -> Literal["success", "error"]:
        """How the call ended."""
        return self._outcome.status

    @property
    def ok(self) -> bool:
        """Whether the call succeeded."""
        return self._outcome.status == "success"

    @property
    def failed(self) -> bool:
        """Whether the call failed."""
        return self._outcome.status == "error"

    @property
    def code(self) -> str | None:
        """The API's error code; None where the call succeeded."""
        return self._outcome.code

    @property
    def message(self) -> str | None:
        """What went wrong, for a person; None where the call succeeded."""
        return self._outcome.message

    @property
    def errors(self) -> Any:
        """Problems by field, as the API sent them; None where it sent none."""
        return self._outcome.errors

    def decode(self) -> Any:
        """Read the call's result.

        Returns:
            What the call returns when it is made on its own, such as an ``AgentInstance``; the
            output as a dict where nothing is known about the call.

        Raises:
            PrefactorApiError: The call failed.
            PrefactorResponseContractError: The output is not what the API promises.
        """
        return self._read(self)

    @property
    def _outcome(self) -> "_Outcome":
        known = self._known
        if known is None:
            known = self._known = _decode(self._raw, _read_outcome)
        return known

    def __getattr__(self, name: str) -> Any:
        # A copy that is being built has no fields yet, and is asked for names like these.
        if not name.startswith("_"):
            fields = self.fields
            if name in fields:
                return fields[name]
        raise AttributeError(f"the output has no {name!r}", name=name, obj=self)

    def __eq__(self, other: object) -> bool:
        return self.fields == other.fields if isinstance(other, BulkOutput) else NotImplemented

    __hash__: ClassVar[None] = None  # type: ignore[assignment] # equal today is not equal for ever

    def __repr__(self) -> str:
        return f"BulkOutput({', '.join(f'{k}={v!r}' for k, v in self.fields.items())})"


OutputReader: TypeAlias = Callable[[BulkOutput], Any]
"""Reads the result of a call from its output, or raises the error that the output tells of."""


class ReceivedOutput(BulkOutput):
    """An output as the API sent it, decoded when it is looked at.

    Looking at it raises `PrefactorResponseContractError` where it is not what the API promises.

    Args:
        raw: The output, encoded.
        read: How its call's result is read; None where nothing is known about the call.
    """

    def __init__(self, raw: bytes | Raw, read: OutputReader | None = None) -> None:
        self._raw = raw
        self._read = read or read_untyped


class _Outcome(Struct, frozen=True, kw_only=True):
    status: Literal["success", "error"]
    code: str | None = None
    message: str | None = None
    errors: Any = None


_read_outcome = msgspec.json.Decoder(_Outcome).decode
_read_fields = msgspec.json.Decoder(dict[str, Any]).decode


def read_untyped(output: BulkOutput) -> dict[str, Any]:
    """Read an output where nothing is known about its call.

    Args:
        output: The output.

    Returns:
        Its fields.

    Raises:
        PrefactorApiError: The call failed.
    """
    if output.failed:
        code = output.code or "unknown"
        raise PrefactorApiError(
            output.message or code, code, _HTTP_STATUS_OF_BULK_REPLIES, output.errors
        )
    return output.fields


def _decode(raw: bytes | Raw, read: Callable[[bytes | Raw], T]) -> T:
    try:
        return read(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        problem = f"a bulk output breaks the API's contract: {exc}"
    error = PrefactorResponseContractError(problem, status_code=_HTTP_STATUS_OF_BULK_REPLIES)
    error.outcome_unknown = True  # nothing is known about the call
    raise error


__all__ = ["BulkOutput", "OutputReader", "ReceivedOutput", "read_untyped"]
