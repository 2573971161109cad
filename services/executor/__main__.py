"""The executor process: orders, positions and their journal as a heart."""

from __future__ import annotations

import sys

from common.service import run_heart
from common.settings import Settings
from services.executor.core import ExecutorCore


def _core(_settings: Settings) -> ExecutorCore:
    """The core reads its settings from the journaled Configured input."""
    return ExecutorCore()


def main() -> int:
    return run_heart("executor", _core, follows=[("market_data", "instruments")])


if __name__ == "__main__":
    sys.exit(main())
