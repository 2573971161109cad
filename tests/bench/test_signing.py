"""The signing benchmark keeps its promises on this machine too (ratios of one interleaved run, not absolute times)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_signing_is_8_times_faster_than_the_official_client_and_60_times_without_libsecp256k1() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "scripts.bench.signing", "--rounds", "5"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    result = json.loads(run.stdout.splitlines()[-1])
    assert set(result) == {"ours_us", "v2_us", "v2_pure_us", "ratio", "ratio_pure"}
    assert result["ratio"] >= 8
    assert result["ratio_pure"] >= 60
