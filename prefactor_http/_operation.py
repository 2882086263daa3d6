"""The calls of the API: each is declared here, once, and this file is the API at a glance."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import quote

from msgspec.json import Decoder

PREFIX = "/api/v1"

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)


class Envelope(Protocol[R_co]):
    """A reply's outer shape, which knows what in it is the result."""

    @property
    def result(self) -> R_co:
        """What the caller of the operation gets."""
        ...


class Settlement(Generic[T]):
    """How a 409 is settled when an earlier attempt of the same call may have caused it.

    Attributes:
        read: The call that reads the resource, by the same ids.
        took_effect: Given the request and the resource: True if the resource is as the call
            would have left it, False if the call cannot have happened, None if nobody can tell.
    """

    def __init__(self, read: Operation[T], took_effect: Callable[[Any, T], bool | None]) -> None:
        self.read = read
        self.took_effect = took_effect


class Operation(Generic[T]):
    """One call of the API.

    Attributes:
        name: The client's name of it, such as ``agent_instances.start``.
        method: HTTP verb.
        path: Path, with ids in braces.
        reply: What a successful reply decodes into; its ``result`` is the call's.
        bulk: Its ``_type`` in a bulk request, where it has one (contract §9).
        settlement: How a 409 after an unknown outcome is settled, where it can be.
        carries_items: Whether its body is calls, each with a key and an outcome of its own.
    """

    def __init__(
        self,
        name: str,
        method: str,
        path: str,
        reply: type[Envelope[T]],
        *,
        bulk: str | None = None,
        settlement: Settlement[T] | None = None,
        carries_items: bool = False,
    ) -> None:
        self.name = name
        self.method = method
        self.path = path
        self.reply = reply
        self.bulk = bulk
        self.settlement = settlement
        self.carries_items: bool = carries_items
        self._before, brace, rest = (PREFIX + path).partition("{")
        self._after = rest.partition("}")[2] if brace else None

    @cached_property
    def _decoder(self) -> Decoder[Envelope[T]]:
        # Made with the first reply: start-up pays for none.
        return Decoder(self.reply)

    def decode(self, body: bytes) -> T:
        """Read a successful reply.

        Args:
            body: The reply, as it came.

        Returns:
            The call's result.

        Raises:
            msgspec.DecodeError: The reply breaks the contract; the message names the field.
        """
        return self._decoder.decode(body).result

    def path_for(self, resource_id: str | None) -> str:
        """Fill in the id that the path needs.

        Args:
            resource_id: The id, in any characters; None where the path needs none.

        Returns:
            The path, percent-encoded.

        Raises:
            TypeError: The id is not a str.
            ValueError: The id is empty, or would be taken for a step in the path.
        """
        if self._after is None:
            return self._before
        if not isinstance(resource_id, str):
            raise TypeError(f"{self.name}: an id must be a str, not {type(resource_id).__name__}")
        if resource_id in {"", ".", ".."}:
            raise ValueError(f"{self.name}: {resource_id!r} is not an id")
        # The API's own ids need no quoting, which takes 1 % of a call.
        if not (resource_id.isascii() and resource_id.isalnum()):
            resource_id = quote(resource_id, safe="")
        return self._before + resource_id + self._after


class RawOperation(Operation[dict[str, Any]]):
    """A call by verb and path, whose result is the reply as it is: any JSON object."""

    def __init__(self, name: str, method: str, path: str) -> None:
        self.name = name
        self.method = method
        self.path = path
        self.bulk = None
        self.settlement = None
        self.carries_items = False

    @cached_property
    def _object_decoder(self) -> Decoder[dict[str, Any]]:
        return Decoder(dict[str, Any])

    def decode(self, body: bytes) -> dict[str, Any]:
        """Read a successful reply: any JSON object."""
        return self._object_decoder.decode(body)
