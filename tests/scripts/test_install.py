"""When an install happens, what it is told, and what it never passes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import install
from scripts.install import DEV_LOCK, RUNTIME_LOCK, InstallError

LOCK = """\
aiohttp==3.14.5 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
uv==0.13.8 \\
    --hash=sha256:cc \\
    --hash=sha256:dd
uvloop==0.23.0 ; sys_platform != 'win32' \\
    --hash=sha256:ee
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with both locks and a venv whose interpreter is ours."""
    (tmp_path / RUNTIME_LOCK).write_text("a==1 \\\n    --hash=sha256:00\n")
    (tmp_path / DEV_LOCK).write_text(LOCK)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    return tmp_path


def stamp(root: Path, lock: str) -> None:
    (root / ".venv" / install.STAMP).write_text(install.stamp_text(root, lock))


def test_a_pin_is_cut_out_with_all_its_hashes_and_no_neighbour() -> None:
    assert install.pin_with_hashes(LOCK, "uv") == ("uv==0.13.8 \\\n    --hash=sha256:cc \\\n    --hash=sha256:dd\n")


def test_a_pin_that_is_missing_is_said() -> None:
    with pytest.raises(InstallError, match="does not pin pip"):
        install.pin_with_hashes(LOCK, "pip")


def test_nothing_is_installed_without_a_stamp(root: Path) -> None:
    assert not install.is_installed(root, RUNTIME_LOCK)


def test_a_stamp_of_this_lock_is_enough(root: Path) -> None:
    stamp(root, RUNTIME_LOCK)

    assert install.is_installed(root, RUNTIME_LOCK)
    assert not install.is_installed(root, DEV_LOCK)


def test_the_dev_lock_satisfies_the_runtime_lock(root: Path) -> None:
    stamp(root, DEV_LOCK)

    assert install.is_installed(root, RUNTIME_LOCK)
    assert install.is_installed(root, DEV_LOCK)


def test_a_changed_lock_is_installed_again(root: Path) -> None:
    stamp(root, RUNTIME_LOCK)
    (root / RUNTIME_LOCK).write_text("a==2 \\\n    --hash=sha256:01\n")

    assert not install.is_installed(root, RUNTIME_LOCK)


def test_a_venv_whose_interpreter_is_gone_is_made_again(root: Path) -> None:
    stamp(root, RUNTIME_LOCK)
    (root / ".venv" / "bin" / "python").unlink()
    (root / ".venv" / "bin" / "python").symlink_to("/nonexistent/python")

    assert not install.is_installed(root, RUNTIME_LOCK)


def test_secrets_are_not_passed_to_installers() -> None:
    env = install.child_environment({"PATH": "/bin", "POLYMARKET_PRIVATE_KEY": "secret", "PIP_CERT": "/ca.pem"})

    assert "POLYMARKET_PRIVATE_KEY" not in env
    assert (env["PATH"], env["PIP_CERT"]) == ("/bin", "/ca.pem")


@pytest.mark.parametrize(
    ("env", "name", "value"),
    [
        ({"PIP_INDEX_URL": "file:///mirror"}, "UV_DEFAULT_INDEX", "file:///mirror"),
        ({"PIP_INDEX_URL": "file:///mirror", "UV_DEFAULT_INDEX": "file:///own"}, "UV_DEFAULT_INDEX", "file:///own"),
        ({"PIP_INDEX_URL": "file:///mirror", "PIP_CERT": "/ca.pem"}, "SSL_CERT_FILE", "/ca.pem"),
    ],
)
def test_uv_is_given_the_registry_and_certificate_of_pip(
    root: Path, env: dict[str, str], name: str, value: str
) -> None:
    assert install.uv_environment(root, env)[name] == value


@pytest.mark.parametrize(
    ("listing", "value"),
    [("global.cert='/ca.pem'\nglobal.index-url='x'\n", "/ca.pem"), (":env:.cert='/ca.pem'\n", ""), ("", "")],
)
def test_pips_own_listing_is_read(listing: str, value: str) -> None:
    assert install.setting_of(listing, "cert") == value


def test_a_failing_step_shows_the_end_of_what_it_printed() -> None:
    code = "print('first'); import sys; sys.exit('no such package: nonesuch')"

    with pytest.raises(InstallError, match=r"(?s)making failed \(exit 1\).*nonesuch"):
        install.run([sys.executable, "-c", code], dict(os.environ), "making")


def test_pip_takes_over_where_uv_cannot(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[object], _env: object, what: str) -> None:
        commands.append([str(part) for part in command])
        if what == "uv":
            raise InstallError("uv failed (exit 2): no route")

    monkeypatch.setattr(install, "run", run)
    monkeypatch.setattr(install, "install_uv", lambda _root, _env: root / "uv")

    install.sync(root, DEV_LOCK, {})

    assert [part for part in commands[0] if part.startswith("--")] == [
        "--quiet",
        "--python",
        "--require-hashes",
        "--compile-bytecode",
    ]
    assert "pip" in commands[1]
    assert "--require-hashes" in commands[1]


def test_an_unknown_lock_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert install.main(["other.lock"]) == 2
    assert "usage" in capsys.readouterr().err


def test_the_script_needs_only_the_standard_library() -> None:
    """It runs before anything is installed: isolated, without site-packages."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(Path(install.__file__)), "other.lock"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 2, done.stderr
