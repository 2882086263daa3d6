"""The account of an outbox: the host of its API, and the partition of its ids."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from prefactor_http._pfid import encode, generate, is_valid, partition_of
from prefactor_http._values.plain import as_text
from prefactor_http.exceptions import PrefactorHttpError
from prefactor_http.outbox.errors import OutboxError

_PARTITION = slice(10, 16)


class Account:
    """Generates ids with the partition of the account, and checks those that are passed.

    Args:
        partition: The partition in the file, if it has one.
        claim: Stores a partition in the file; raises if the file has another one.
        generate_ids: Asks the API for an id.
    """

    def __init__(
        self,
        partition: int | None,
        claim: Callable[[int], Awaitable[object]],
        generate_ids: Callable[[], Awaitable[list[str]]],
    ) -> None:
        self._partition = partition
        self._digits = "" if partition is None else _digits_of(partition)
        self._claim = claim
        self._generate_ids = generate_ids

    async def id_for(self, given: str | None, *related: str | None) -> str:
        """Return the id of a new resource.

        Args:
            given: The caller's, or None to generate one.
            related: Other ids that the caller has passed.

        Returns:
            The id.

        Raises:
            OutboxFileError: The file belongs to another account than the ids.
            OutboxError: The partition is not known, and the API cannot be asked.
        """
        for each in (given, *related):
            if each is not None and not (type(each) is str and each[_PARTITION] == self._digits):
                await self._check(each)
        if given is not None:
            return given
        partition = self._partition
        return generate(await self._ask() if partition is None else partition)

    async def _check(self, given: str) -> None:
        """Check that an id belongs to the account. The first id that is passed determines it."""
        text = as_text(given)
        if text is not None and text[_PARTITION] != self._digits and is_valid(text):
            partition = partition_of(text)
            await self._claim(partition)
            self._set(partition)

    async def _ask(self) -> int:
        try:
            [pfid] = await self._generate_ids()
        except PrefactorHttpError as exc:
            raise OutboxError(
                "the outbox cannot generate an id: it is new, and the API cannot be asked for the "
                "partition of the account. Pass agent_id or an id from new_id once. The API: "
                f"{exc}"
            ) from exc
        partition = partition_of(pfid)
        await self._claim(partition)
        self._set(partition)
        return partition

    def _set(self, partition: int) -> None:
        self._partition = partition
        self._digits = _digits_of(partition)


def _digits_of(partition: int) -> str:
    return encode(0, partition, 0)[_PARTITION]
