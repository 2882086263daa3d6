"""Idempotency keys: generates, derives and validates them; also generates resource ids.

A write with a key is applied once, however often it is sent (contract §10). An id that the caller
chooses has the same purpose: it is known before the API has answered (contract §4).
"""

from __future__ import annotations

import hashlib
import operator
import os
from collections.abc import Callable
from typing import cast

from prefactor_http._pfid import generate, partition_of
from prefactor_http._values.plain import as_text, check_unicode

MAX_LENGTH = 64
MIN_LENGTH_IN_BULK = 8

# Sets the two variant bits of a UUID in a random hex digit.
_VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
# Namespace of derived keys. Changing it would change every derived key.
_NAMESPACE = bytes.fromhex("6a1c3d4f8b9e5d2aa0c7e41f93b5d806")


def new_key() -> str:
    """Generate a new idempotency key.

    Returns:
        A random UUID (version 4) as text.
    """
    # Faster than str(uuid4()).
    return _as_uuid(os.urandom(16).hex(), "4")


def derive_key(*parts: str | int | bytes) -> str:
    """Derive an idempotency key from values that identify the write.

    The same parts give the same key on any machine, at any time. Different parts give different
    keys: ``("a", "bc")``, ``("ab", "c")``, ``(1,)`` and ``("1",)`` give four keys.

    Args:
        parts: Values that identify the write, such as the name of a job and the id of a row; at
            least one. Subclasses, enum members and numpy integers count as their plain values.

    Returns:
        A UUID (version 5) as text.

    Raises:
        ValueError: There are no parts, or a part is not Unicode text.
        TypeError: A part is not a str, int or bytes.
    """
    if not parts:
        raise ValueError("derive_key needs at least one part")
    text = b"".join([_NAMESPACE, *map(_tagged, parts)])
    return _as_uuid(hashlib.sha1(text, usedforsecurity=False).hexdigest(), "5")


def derive_from(*begin: str | int | bytes) -> Callable[..., str]:
    """Return a function that derives keys from these parts and its own; hashes these only once.

    Args:
        begin: The first parts.

    Returns:
        A function of the other parts: ``derive_from(a)(b, c)`` equals ``derive_key(a, b, c)``.
    """
    text = b"".join([_NAMESPACE, *map(_tagged, begin)])
    begun = hashlib.sha1(text, usedforsecurity=False)

    def derive(*parts: str | int | bytes) -> str:
        digest = begun.copy()
        digest.update(_tagged(parts[0]) if len(parts) == 1 else b"".join(map(_tagged, parts)))
        return _as_uuid(digest.hexdigest(), "5")

    return derive


def check_key(key: str, name: str = "idempotency_key", *, min_length: int = 1) -> str:
    """Validate the caller's idempotency key.

    Args:
        key: The key.
        name: Name of the key in error messages.
        min_length: Minimum number of characters: 1 in single calls, 8 in bulk items.

    Returns:
        The key as a plain str.

    Raises:
        TypeError: The key is not text.
        ValueError: Its length or one of its characters is not allowed.
    """
    if type(key) is not str:
        text = as_text(key)
        if text is None:
            raise TypeError(f"{name} must be a str, not {type(key).__name__}")
        key = text
    if not min_length <= len(key) <= MAX_LENGTH:
        raise ValueError(
            f"{name} must have {min_length} to {MAX_LENGTH} characters, got {len(key)}"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ValueError(f"{name} must be printable ASCII without spaces")
    return key


def new_id(related_to: str) -> str:
    """Generate the id of a new instance or span, to know it before the API answers (contract §4).

    Args:
        related_to: Any id of the same account, such as the agent's. The new id gets its partition.

    Returns:
        A partitioned id of 32 characters. Ids sort by the time of this call.

    Raises:
        TypeError: ``related_to`` is not text.
        ValueError: ``related_to`` is not a partitioned id.
    """
    text = as_text(related_to)
    if text is None:
        raise TypeError(f"related_to must be a str, not {type(related_to).__name__}")
    return generate(partition_of(text))


def _tagged(part: str | int | bytes) -> bytes:
    """Encode a part with its type and length, so that different parts have different encodings."""
    if isinstance(part, bytes):
        return b"b%d:%b" % (len(part), part)
    text = part if type(part) is str else None if type(part) is int else as_text(part)
    if text is not None:
        if not text.isascii():
            check_unicode(text, "a part of a key")
        data = text.encode()
        return b"s%d:%b" % (len(data), data)
    try:
        # Also accepts numpy integers.
        number = None if isinstance(part, bool) else operator.index(cast("int", part))
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"derive_key takes str, int or bytes, not {type(part).__name__}")
    data = b"%d" % number
    return b"i%d:%b" % (len(data), data)


def _as_uuid(digits: str, version: str) -> str:
    return (
        f"{digits[:8]}-{digits[8:12]}-{version}{digits[13:16]}-"
        f"{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:32]}"
    )


__all__ = ["derive_key", "new_id", "new_key"]
