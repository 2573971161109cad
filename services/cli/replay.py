"""`polyexec replay`: starts market_data's replay as a child; words, output and exit code are the child's."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence

MODULE = "services.market_data.replay"


def replay(paths: Sequence[str], speed: str, market: str, *, publish: bool, as_json: bool) -> int:
    """Play recordings; returns the exit code."""
    flags = [flag for flag, wanted in (("--publish", publish), ("--json", as_json)) if wanted]
    command = [sys.executable, "-m", MODULE, f"--speed={speed}", f"--market={market}", *flags, "--", *paths]
    with subprocess.Popen(command) as child:
        while True:
            try:
                code = child.wait()
            except KeyboardInterrupt:
                continue  # the terminal interrupted the child too: it says so and ends
            return code if code >= 0 else 128 + signal.Signals(-code)
