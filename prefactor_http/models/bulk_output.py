"""Output of one call of a bulk request (contract §9)."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Raw, Struct

from prefactor_http._values.plain import plain
from prefactor_http.exceptions import PrefactorApiError, PrefactorResponseContractError

T = TypeVar("T")

_BULK_HTTP_STATUS = 200


class BulkOutput:
    """Output of one call of a bulk request.

    The fields that the API sent are available as attributes, such as ``output.details``.

    Args:
        status: ``success`` or ``error``.
        **fields: The other fields, such as ``details``, or ``code`` and ``message``.

    Raises:
        TypeError: A field has no JSON form.
        ValueError: ``status`` is neither ``success`` nor ``error``.
    """

    def __init__(self, *, status: Literal["success", "error"], **fields: Any) -> None:
        if status not in {"success", "error"}:
            raise ValueError(f"status must be 'success' or 'error', not {status!r:.60}")
        self._raw: bytes | Raw = msgspec.json.encode({"status": status, **fields}, enc_hook=plain)
        self._read: OutputReader = read_untyped

    # Not a `cached_property`, which holds a lock while it decodes on Python 3.11.
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
        """``success`` or ``error``."""
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
        """The API's error code; None if the call succeeded."""
        return self._outcome.code

    @property
    def message(self) -> str | None:
        """The API's error message; None if the call succeeded."""
        return self._outcome.message

    @property
    def errors(self) -> Any:
        """Problems by field, as the API sent them; None if it sent none."""
        return self._outcome.errors

    def decode(self) -> Any:
        """Decode the result of the call.

        Returns:
            The result of the direct call, such as an ``AgentInstance``; the output as a dict if the
            client does not know the type of the call.

        Raises:
            PrefactorApiError: The call failed.
            PrefactorResponseContractError: The output breaks the API's contract.
        """
        return self._read(self)

    @property
    def _outcome(self) -> "_Outcome":
        known = self._known
        if known is None:
            known = self._known = _decode(self._raw, _read_outcome)
        return known

    def __getattr__(self, name: str) -> Any:
        # `copy` and `pickle` look up private names before the fields exist.
        if not name.startswith("_"):
            fields = self.fields
            if name in fields:
                return fields[name]
        raise AttributeError(f"the output has no {name!r}", name=name, obj=self)

    def __eq__(self, other: object) -> bool:
        return self.fields == other.fields if isinstance(other, BulkOutput) else NotImplemented

    __hash__: ClassVar[None] = None  # type: ignore[assignment] # as of `BulkItem`

    def __repr__(self) -> str:
        return f"BulkOutput({', '.join(f'{k}={v!r}' for k, v in self.fields.items())})"


OutputReader: TypeAlias = Callable[[BulkOutput], Any]
"""Decodes the result of a call from its output, or raises the error in it."""


class ReceivedOutput(BulkOutput):
    """An output as the API sent it, decoded on access.

    Access raises `PrefactorResponseContractError` if the output breaks the API's contract.

    Args:
        raw: The encoded output.
        read: Decodes the result of the call; None if the type of the call is unknown.
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
    """Read the output of a call of an unknown type.

    Args:
        output: The output.

    Returns:
        The fields of the output.

    Raises:
        PrefactorApiError: The call failed.
    """
    if output.failed:
        code = output.code or "unknown"
        raise PrefactorApiError(output.message or code, code, _BULK_HTTP_STATUS, output.errors)
    return output.fields


def _decode(raw: bytes | Raw, read: Callable[[bytes | Raw], T]) -> T:
    try:
        return read(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        problem = f"a bulk output breaks the API's contract: {exc}"
    error = PrefactorResponseContractError(problem, status_code=_BULK_HTTP_STATUS)
    error.outcome_unknown = True  # the output does not say whether the call was applied
    raise error


__all__ = ["BulkOutput", "OutputReader", "ReceivedOutput", "read_untyped"]
