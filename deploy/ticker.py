"""Wakes supervisord ten times a second, so that it notices a dead child at once (it polls once a second otherwise).

One byte to standard output per tick; supervisord reads and drops it. Ends by itself when supervisord is gone: the
pipe breaks. Knows nothing else.
"""

from __future__ import annotations

import os
import signal
import time

TICK_S = 0.1


def main() -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    while True:
        os.write(1, b".")
        time.sleep(TICK_S)


if __name__ == "__main__":
    main()
