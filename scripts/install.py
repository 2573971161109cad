"""Make `.venv` hold exactly what a lock file says; nothing happens when it already does.

In: the name of a lock file (pins with hashes, no addresses). Out: `.venv` with bytecode, and a stamp naming what is
in it. Standard library only, any Python >= 3.11. Which registry is asked is the machine's own pip and uv
configuration. Secrets in the environment are not passed on. Progress goes to standard error.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNTIME_LOCK = "requirements.lock"
DEV_LOCK = "requirements-dev.lock"
STAMP = "polyexec-installed"
SECRET_PREFIX = "POLYMARKET_"
EXIT_CONFIG = 78


class InstallError(Exception):
    """The environment could not be made; the text says why and what to do."""


def lock_digest(root: Path, lock: str) -> str:
    """What a stamp says of a lock: its name and the hash of its bytes."""
    return f"{lock} {hashlib.sha256((root / lock).read_bytes()).hexdigest()}"


def stamp_text(root: Path, lock: str) -> str:
    """What is installed after `lock` was. The dev lock holds every pin of the runtime lock, so it satisfies both."""
    locks = (RUNTIME_LOCK, DEV_LOCK) if lock == DEV_LOCK else (lock,)
    return "".join(f"{lock_digest(root, name)}\n" for name in locks)


def is_installed(root: Path, lock: str) -> bool:
    """Whether the stamp names this very lock and the interpreter of the venv still starts."""
    try:
        stamped = (root / ".venv" / STAMP).read_text().splitlines()
    except OSError:
        return False
    return lock_digest(root, lock) in stamped and interpreter_works(root, "")


def interpreter_works(root: Path, code: str) -> bool:
    python = root / ".venv" / "bin" / "python"
    if not python.exists():
        return False
    return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0


def pin_with_hashes(lock_text: str, package: str) -> str:
    """The lines of one package of a lock: its pin and every hash."""
    found = re.search(rf"^{re.escape(package)}==[^\n]*\\\n(?:    --hash=[^\n]*\n?)+", lock_text, re.MULTILINE)
    if found is None:
        raise InstallError(f"{DEV_LOCK} does not pin {package}: compile the locks again (docs/development.md)")
    return found[0]


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Our environment without secrets, and with what pip and uv would otherwise ask or print."""
    kept = {name: value for name, value in environ.items() if not name.startswith(SECRET_PREFIX)}
    return kept | {"PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}


def run(command: Sequence[str | Path], env: Mapping[str, str], what: str) -> None:
    """Run one step quietly. Raises InstallError with the end of what it printed."""
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise InstallError(f"{what} failed (exit {done.returncode}):\n  " + "\n  ".join(lines[-8:]))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def make_venv(root: Path, env: Mapping[str, str]) -> None:
    if interpreter_works(root, "import pip"):
        return
    say(f"making .venv with Python {sys.version.split()[0]}")
    run([sys.executable, "-m", "venv", "--clear", root / ".venv"], env, "making .venv")


def install_uv(root: Path, env: Mapping[str, str]) -> Path:
    """The pinned uv in a folder of its own, so that synchronising the venv cannot remove it."""
    pin = pin_with_hashes((root / DEV_LOCK).read_text(), "uv")
    folder = root / ".venv" / ("uv-" + hashlib.sha256(pin.encode()).hexdigest()[:12])
    binary = folder / "bin" / "uv"
    if binary.exists():
        return binary
    say(f"installing {pin.split(maxsplit=1)[0]}")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write(pin)
        requirements.flush()
        pip: list[str | Path] = [root / ".venv" / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps"]
        run([*pip, "--require-hashes", "--target", folder, "-r", requirements.name], env, "installing uv")
    return binary


def pip_setting(root: Path, env: Mapping[str, str], key: str) -> str:
    """A setting of pip as this machine has it: the environment, else pip's configuration files, else ""."""
    given = env.get(f"PIP_{key.upper().replace('-', '_')}", "")
    python = root / ".venv" / "bin" / "python"
    if given or not python.exists():
        return given
    # `config list`, as `config get` looks into one file only.
    asked: list[str | Path] = [python, "-m", "pip", "config", "list"]
    done = subprocess.run(asked, env=env, capture_output=True, text=True, check=False)
    return setting_of(done.stdout, key)


def setting_of(listing: str, key: str) -> str:
    """The value of `global.<key>` in what `pip config list` prints, one name='value' a line."""
    found = re.search(rf"^global\.{re.escape(key)}=(['\"])(.*)\1$", listing, re.MULTILINE)
    return found[2] if found else ""


def uv_environment(root: Path, env: Mapping[str, str]) -> dict[str, str]:
    """uv does not read pip's configuration: hand it the registry and certificate this machine gave to pip."""
    merged = dict(env)
    for key, names in (("index-url", ("UV_DEFAULT_INDEX", "UV_INDEX_URL")), ("cert", ("SSL_CERT_FILE",))):
        if not any(name in env for name in names):
            value = pip_setting(root, env, key)
            if value:
                merged[names[0]] = value
    return merged


def sync(root: Path, lock: str, env: Mapping[str, str]) -> None:
    """Make the venv equal the lock: uv, or pip where uv cannot."""
    count = sum(1 for line in (root / lock).read_text().splitlines() if "==" in line and not line.startswith(" "))
    python = root / ".venv" / "bin" / "python"
    say(f"installing {count} packages of {lock}")
    try:
        command: list[str | Path] = [
            install_uv(root, env),
            "pip",
            "sync",
            "--quiet",
            "--python",
            python,
            "--require-hashes",
        ]
        run([*command, "--compile-bytecode", root / lock], uv_environment(root, env), "uv")
    except InstallError as error:
        say(f"{error}\nuv could not install: trying pip, which is slower")
        pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
        run([*pip, "-r", root / lock], env, f"installing {lock}")


def install(root: Path, lock: str) -> None:
    """Bring the venv to `lock` and stamp it. Only one install runs at a time; the others wait for it."""
    folder = os.open(root, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another install is at work: waiting for it")
            fcntl.flock(folder, fcntl.LOCK_EX)
        if is_installed(root, lock):
            return
        began = time.monotonic()
        env = child_environment(os.environ)
        make_venv(root, env)
        stamp = root / ".venv" / STAMP
        stamp.unlink(missing_ok=True)
        sync(root, lock, env)
        stamp.write_text(stamp_text(root, lock))
        say(f"installed in {time.monotonic() - began:.0f} s")
    finally:
        os.close(folder)


def main(argv: Sequence[str]) -> int:
    if len(argv) != 1 or argv[0] not in (RUNTIME_LOCK, DEV_LOCK):
        say(f"usage: install.py {RUNTIME_LOCK}|{DEV_LOCK}")
        return 2
    try:
        if not is_installed(ROOT, argv[0]):
            install(ROOT, argv[0])
    except (InstallError, OSError) as error:
        say(f"error: {error}")
        return EXIT_CONFIG
    except KeyboardInterrupt:
        say("interrupted: run it again, it goes on where it was")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
