"""Structured logs: one JSON object a line on standard output, process name bound; supervisord rotates.

Pure code never logs; shells do, one canonical line per input that mattered. Values whose key names a secret are
replaced however deep they lie, so that a careless bind cannot leak one.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

_SECRET_WORDS = (
    "secret",
    "passphrase",
    "password",
    "private",
    "wallet_key",
    "signature",
    "mnemonic",
    "authorization",
    "credential",
)
REDACTED = "[redacted]"
DEPTH_MAX = 6
ITEMS_MAX = 1_000
"""What lies deeper, or behind so many values, is not looked through: it is left out."""
LEFT_OUT = "[left out]"


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Structlog processor: blank every value whose key sounds like a secret. What callers passed is not changed."""
    left = [ITEMS_MAX]
    for key, value in event.items():
        event[key] = REDACTED if _sounds_secret(key) else _redacted(value, DEPTH_MAX, left)
    return event


def _sounds_secret(key: object) -> bool:
    text = key.decode(errors="replace") if isinstance(key, bytes) else str(key)
    text = text.lower()
    return any(word in text for word in _SECRET_WORDS)


def _redacted(value: Any, depth: int, left: list[int]) -> Any:
    """The value without what sounds secret in it; `left` counts down over the whole line."""
    if not isinstance(value, (Mapping, list, tuple, set, frozenset)):
        return value
    if depth <= 0 or len(value) > left[0]:
        return LEFT_OUT
    left[0] -= len(value)
    if isinstance(value, Mapping):
        return {key: REDACTED if _sounds_secret(key) else _redacted(one, depth - 1, left) for key, one in value.items()}
    if len(value) == 2 and isinstance(value, tuple) and isinstance(value[0], str) and _sounds_secret(value[0]):
        return [value[0], REDACTED]  # one header of a list of pairs
    return [_redacted(one, depth - 1, left) for one in value]


def set_up_logging(process: str) -> structlog.typing.FilteringBoundLogger:
    """Configure structlog for this process and return its logger."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.format_exc_info,
            redact,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
        cache_logger_on_first_use=True,
    )
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(process=process)
    return logger
