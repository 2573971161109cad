"""The lock files: hashed, without any address, in step with pyproject.toml and with each other."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common.settings import ROOT
from scripts.install import DEV_LOCK, RUNTIME_LOCK, child_environment, uv_environment

COMPILE = [
    "pip",
    "compile",
    "--quiet",
    "--universal",
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-header",
    "--no-annotate",
    "--python-version",
    "3.11",
]
UNREACHABLE = re.compile(r"Failed to fetch|error sending request|dns error|tcp connect|timed out|offline|certificate")


def pins(lock: str) -> set[str]:
    """Package and version of every entry, with its marker."""
    lines = (ROOT / lock).read_text().splitlines()
    return {line.removesuffix(" \\") for line in lines if line and not line.startswith((" ", "#"))}


@pytest.mark.parametrize("lock", [RUNTIME_LOCK, DEV_LOCK])
def test_a_lock_names_no_registry(lock: str) -> None:
    text = (ROOT / lock).read_text()

    assert "://" not in text
    assert " @ " not in text
    assert "index" not in re.sub(r"(?m)^[\w.-]+==", "", text)


@pytest.mark.parametrize("lock", [RUNTIME_LOCK, DEV_LOCK])
def test_every_entry_is_pinned_and_hashed(lock: str) -> None:
    entries = re.split(r"\n(?=\S)", (ROOT / lock).read_text().strip())

    for entry in entries:
        assert re.match(r"[a-z0-9][\w.-]*==\S+", entry), entry.splitlines()[0]
        assert "--hash=sha256:" in entry, entry.splitlines()[0]


def test_the_dev_lock_holds_every_pin_of_the_runtime_lock() -> None:
    """So that an environment for tests is also one to run with (scripts/install.py relies on it)."""
    assert pins(RUNTIME_LOCK) <= pins(DEV_LOCK)


def test_the_tool_that_installs_is_pinned() -> None:
    assert any(pin.startswith("uv==") for pin in pins(DEV_LOCK))


@pytest.mark.parametrize(("lock", "group"), [(RUNTIME_LOCK, []), (DEV_LOCK, ["--group", "dev"])])
def test_a_lock_is_what_pyproject_compiles_to(tmp_path: Path, lock: str, group: list[str]) -> None:
    """Compiled onto a copy, so that newer releases elsewhere change nothing; only pyproject.toml can."""
    uv = Path(sys.executable).parent / "uv"
    if not uv.exists():
        pytest.skip("uv is not beside this Python")
    copy = tmp_path / lock
    shutil.copy(ROOT / lock, copy)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    env = uv_environment(ROOT, child_environment(os.environ))

    done = subprocess.run(
        [uv, *COMPILE, *group, "pyproject.toml", "-o", lock],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    if done.returncode and UNREACHABLE.search(done.stderr):
        pytest.skip("the package registry cannot be reached")
    assert done.returncode == 0, done.stderr
    assert copy.read_text() == (ROOT / lock).read_text(), f"compile {lock} again"
