"""Makes text from the API and from files safe to print.

A terminal interprets control characters: an error message could clear the screen, set the title of
the window, or imitate another line. Each is printed as an escape sequence instead.
"""

from __future__ import annotations

import json
import re

import msgspec

# C0, DEL and C1; marks that change the direction of text; line and paragraph separators.
_DIRECTIONS = "\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f"
_UNSAFE = re.compile(f"[\x00-\x1f\x7f-\x9f{_DIRECTIONS}]")
# In JSON, the encoder has escaped C0 already.
_UNSAFE_IN_JSON = re.compile(f"[\x7f-\x9f{_DIRECTIONS}]")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_LAST_BYTE = 0xFF

_encode = msgspec.json.Encoder().encode


def escape(text: str) -> str:
    r"""Replace control characters, line breaks included, with escapes such as ``\x1b``."""
    return _UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number <= _LAST_BYTE else f"\\u{number:04x}"


def to_json(value: object, *, ascii_only: bool = False) -> str:
    """Encode a value as one line of JSON without control characters."""
    try:
        text = _encode(value).decode()
    except UnicodeEncodeError:  # a lone surrogate: a file name that is not UTF-8
        text = json.dumps(msgspec.to_builtins(value))
    if text.isascii() and "\x7f" not in text:
        return text
    text = _UNSAFE_IN_JSON.sub(_escaped_in_json, text)
    return _NOT_ASCII.sub(_escaped_in_json, text) if ascii_only else text


def _escaped_in_json(match: re.Match[str]) -> str:
    character = match[0]
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]
