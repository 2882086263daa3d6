"""How the server treats bulk requests where the contract leaves it open (contract §9)."""

from __future__ import annotations

import enum
from collections.abc import Sized
from dataclasses import dataclass

from prefactor_http.testing.resources.response import ApiError, bad_request, invalid_field


class OnUnknownType(enum.StrEnum):
    """The response to a bulk item whose ``_type`` the server does not know."""

    ITEM_ERROR = "item error"
    REQUEST_ERROR = "request error"


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkPolicy:
    """How the server treats bulk requests where the contract leaves it open.

    Attributes:
        unknown_types: Types of items, such as ``agent_instances/start``, that the server does not
            know although it has the call. Every type that it never has, such as
            ``agents/dance``, is unknown as well.
        on_unknown_type: The response to an item of an unknown type: ``ITEM_ERROR`` for the item
            error ``bad_request``, ``REQUEST_ERROR`` for a 400 ``bad_request`` for the whole
            request, of which no item is run.
        max_items: Maximum number of items. A larger request gets a 422 ``validation_errors`` for
            ``items``, and no item is run. None for no limit.
        has_control: Whether the outputs of span items have the ``control`` signal of a terminated
            instance, as the responses to single calls have.
    """

    unknown_types: frozenset[str] = frozenset()
    on_unknown_type: OnUnknownType = OnUnknownType.ITEM_ERROR
    max_items: int | None = None
    has_control: bool = True

    def check_size(self, items: Sized) -> None:
        """Refuse a request without items or with too many.

        Raises:
            ApiError: 422.
        """
        if not items:
            raise invalid_field("items", "must have at least one item")
        if self.max_items is not None and len(items) > self.max_items:
            raise invalid_field("items", f"must have at most {self.max_items} items")

    def unknown_type(self, name: str) -> ApiError:
        """Return the error of an item of an unknown type, unless it fails the whole request.

        Raises:
            ApiError: 400, the policy is ``REQUEST_ERROR``.
        """
        error = bad_request(f"Unknown _type {name!r}.")
        if self.on_unknown_type is OnUnknownType.REQUEST_ERROR:
            raise error
        return error
