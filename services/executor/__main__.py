"""The executor process: orders, positions and their journal as a heart."""

from __future__ import annotations

import sys

from common.effects import Core, Sight
from common.service import run_heart
from common.settings import Settings
from services.executor.core import ExecutorCore
from services.executor.sight import DepthSight


def _core(_settings: Settings) -> ExecutorCore:
    """The core reads its settings from the journaled Configured input."""
    return ExecutorCore()


def _sight(core: Core, settings: Settings) -> Sight:
    assert isinstance(core, ExecutorCore)
    return DepthSight(core, settings.execution.depth_tokens_max)


def main() -> int:
    return run_heart("executor", _core, follows=[("market_data", "instruments")], make_sight=_sight, halts=True)


if __name__ == "__main__":
    sys.exit(main())
