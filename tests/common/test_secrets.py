"""Secret files: 0600 and ours, or refused with the fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ConfigError
from common.secrets import SECRET_MAX, read_secret, read_secret_buffer, write_secret


def test_a_written_secret_is_private_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "wallet.key"
    write_secret(path, b"0xabc\n")
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_secret(path, field="wallet key") == b"0xabc"


def test_replacing_leaves_nothing_else_behind(tmp_path: Path) -> None:
    path = tmp_path / "k"
    write_secret(path, b"one")
    write_secret(path, b"two")
    assert read_secret(path, field="key") == b"two"
    assert [file.name for file in tmp_path.iterdir()] == ["k"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_others_can_read_is_refused_with_the_fix(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "k"
    write_secret(path, b"one")
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_secret(path, field="wallet key")


def test_a_missing_or_empty_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="wallet key") as refused:
        read_secret(tmp_path / "none", field="wallet key")
    assert refused.value.key.endswith("none")
    write_secret(tmp_path / "empty", b" \n")
    with pytest.raises(ConfigError, match="empty"):
        read_secret(tmp_path / "empty", field="wallet key")


def test_a_key_is_read_into_a_buffer_that_can_be_overwritten(tmp_path: Path) -> None:
    write_secret(tmp_path / "k", b" 0xabc\n")
    content = read_secret_buffer(tmp_path / "k", field="wallet key")
    assert content == bytearray(b" 0xabc\n")
    content[:] = bytes(len(content))


def test_what_cannot_be_a_secret_file_is_refused_by_name(tmp_path: Path) -> None:
    write_secret(tmp_path / "long", b"0" * (SECRET_MAX + 1))
    with pytest.raises(ConfigError, match="longer than") as refused:
        read_secret(tmp_path / "long", field="wallet key")
    assert refused.value.key.endswith("long")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="unreadable"):
        read_secret(tmp_path / "folder", field="wallet key")
