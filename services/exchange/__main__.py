"""The exchange process: our own matching engine as a heart."""

from __future__ import annotations

import sys

from common.service import run_heart
from common.settings import Settings
from services.exchange.core import ExchangeCore


def _core(_settings: Settings) -> ExchangeCore:
    """The core reads its settings from the journaled Configured input."""
    return ExchangeCore()


def main() -> int:
    return run_heart("exchange", _core)


if __name__ == "__main__":
    sys.exit(main())
