"""The `polyexec` command: see commands.py."""

from __future__ import annotations

import sys
from io import TextIOWrapper

from services.cli.commands import main

if __name__ == "__main__":
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a venue's words must not end us on a terminal without Unicode
    sys.exit(main(sys.argv[1:]))
