"""Redaction: removes the API token from errors, logs and results files.

The client decides on the values that the server sent. Redaction is the last step. It works on
decoded strings, so that no escape sequence hides the token.
"""

from __future__ import annotations

import re
from typing import Any, cast

MIN_SECRET_LENGTH = 8
"""Shorter tokens, which tests use, may be part of ordinary words and are not redacted."""

REDACTED = "[token]"

MAX_NESTING = 32
"""More levels than an API error has, and far fewer than Python's recursion limit."""

# Error codes and field names of the API: constants that cannot contain the secret.
_CONTRACT_WORDS = frozenset(
    {
        "bad_authtoken",
        "bad_request",
        "details",
        "details.id",
        "external_identifier",
        "forbidden",
        "idempotency_conflict",
        "idempotency_in_progress",
        "idempotency_key",
        "internal_server_error",
        "invalid_action",
        "not_found",
        "rate_limited",
        "service_unavailable",
        "timestamp",
        "unknown",
        "validation_errors",
    }
)
# Of JSON and of Python's repr. Several backslashes: text that was escaped more than once.
_ESCAPE = re.compile(r"\\{1,8}(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([/']))")
_MAX_ESCAPE_LENGTH = 13


class Redactor:
    """Replaces secrets in text.

    Args:
        secrets: Text to replace. Values shorter than `MIN_SECRET_LENGTH` are ignored.
    """

    def __init__(self, *secrets: str) -> None:
        self._secrets: tuple[str, ...] = ()
        for secret in secrets:
            self.add(secret)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._secrets)} secrets>"

    def add(self, secret: str) -> None:
        """Redact another secret from now on."""
        if len(secret) >= MIN_SECRET_LENGTH and secret not in self._secrets:
            # Messages quote text with Python's repr, which may escape single quotes.
            forms = {*self._secrets, secret, secret.replace("'", r"\'")}
            # The longest first: one secret may contain another.
            self._secrets = tuple(sorted(forms, key=len, reverse=True))

    @property
    def max_length(self) -> int:
        """Length of the longest secret when every character of it is escaped."""
        return len(self._secrets[0]) * _MAX_ESCAPE_LENGTH if self._secrets else 0

    def text(self, text: str) -> str:
        """Return the text without secrets. Error codes and field names of the API stay."""
        if text in _CONTRACT_WORDS:
            return text
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return text

    def json(self, value: Any, max_nesting: int = MAX_NESTING) -> Any:
        """Return a JSON value without secrets in its strings and keys.

        Args:
            value: The value.
            max_nesting: Levels to keep. Deeper ones are replaced by an ellipsis.
        """
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, (dict, list)) and not max_nesting:
            return "…"
        if isinstance(value, dict):
            items = cast("dict[str, object]", value)
            return {self.text(key): self.json(item, max_nesting - 1) for key, item in items.items()}
        if isinstance(value, list):
            values = cast("list[object]", value)
            return [self.json(item, max_nesting - 1) for item in values]
        return value

    def source(self, text: str) -> str:
        r"""Return undecoded text without secrets, also if they are escaped.

        Escapes are those of JSON (``\uXXXX``, ``\/``) and of Python's repr (``\xXX``, ``\'``).
        """
        plain = self.text(text)
        unescaped = _ESCAPE.sub(_unescape, plain)
        return plain if self.text(unescaped) == unescaped else self.text(unescaped)


def _unescape(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    return match[3] if code is None else chr(int(code, 16))
