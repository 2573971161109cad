"""The `polyexec` command: see commands.py."""

from __future__ import annotations

import sys

from services.cli.commands import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
