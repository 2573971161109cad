"""What stands in the way on this machine, found without the group, without changing anything."""

from __future__ import annotations

import json
import shutil
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import NamedTuple

import pytest

from common.halt import FILE, HaltMarker
from common.secrets import write_secret
from common.settings import Mode, Settings, Wallet
from services.gateway.doctor.__main__ import check, main
from services.gateway.doctor.findings import Code, Finding, Level
from services.gateway.doctor.local import MB, machine_findings, wallet_files
from services.gateway.doctor.others import other_findings
from tests.services.fake_edge import settings_for
from tests.services.gateway.orders import ADDRESS, API_KEY, KEY

ROW = Wallet(name="main")
SECRET = urlsafe_b64encode(b"s" * 32).decode()
PASSPHRASE = "ff" * 32
STRANGER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    base = settings_for(tmp_path / "secrets")
    paths = {name: tmp_path / name.removesuffix("_dir") for name in ("run_dir", "data_dir", "secrets_dir")}
    for path in paths.values():
        path.mkdir(mode=0o700)
    return base.model_copy(update={"paths": base.paths.model_copy(update=paths)})


def write_files(settings: Settings, **changed: str) -> None:
    folder = settings.paths.secrets_dir
    write_secret(folder / "main.key", KEY.hex().encode())
    given = {"apiKey": API_KEY, "secret": SECRET, "passphrase": PASSPHRASE, "address": ADDRESS}
    write_secret(folder / "main.gateway.creds", json.dumps(given).encode())
    write_secret(folder / "main.user_data.creds", json.dumps(given | changed).encode())


def by_code(findings: list[Finding]) -> dict[Code, Finding]:
    return {row.code: row for row in findings}


def test_a_machine_in_order_has_nothing_to_fix(settings: Settings) -> None:
    found = machine_findings(settings)
    assert [(row.code, row.level) for row in found] == [
        (Code.FOLDERS, Level.OK),
        (Code.HALT, Level.OK),
        (Code.DISK, Level.OK),
    ]


def test_looking_makes_no_halt_marker(settings: Settings) -> None:
    machine_findings(settings)
    assert not (settings.paths.data_dir / FILE).exists()


def test_a_halt_is_told_with_its_reason(settings: Settings) -> None:
    marker = HaltMarker(settings.paths.data_dir)
    assert by_code(machine_findings(settings))[Code.HALT].level is Level.OK
    marker.set("lunch")
    marker.close()
    found = by_code(machine_findings(settings))[Code.HALT]
    assert (found.level, "lunch" in found.text, "resume" in found.fix) == (Level.FAIL, True, True)


@pytest.mark.parametrize("name", ["run_dir", "data_dir", "secrets_dir"])
def test_a_folder_open_to_others_is_named(settings: Settings, name: str) -> None:
    path: Path = getattr(settings.paths, name)
    path.chmod(0o755)
    found = by_code(machine_findings(settings))[Code.FOLDERS]
    assert found.level is Level.FAIL
    assert str(path) in found.text
    assert f"chmod 700 {path}" in found.fix


def test_folders_that_are_not_there_yet_are_no_failure(settings: Settings) -> None:
    for path in (settings.paths.run_dir, settings.paths.data_dir):
        path.rmdir()
    found = machine_findings(settings)
    assert {row.level for row in found} == {Level.OK, Level.WARN}


@pytest.mark.parametrize(("segments", "level"), [(100, Level.OK), (2, Level.WARN), (0, Level.FAIL)])
def test_a_disk_that_fills_is_told_before_it_halts(
    settings: Settings, segments: int, level: Level, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        free: int

    free = Usage(segments * settings.journal.segment_mb * MB)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: free)
    assert by_code(machine_findings(settings))[Code.DISK].level is level


# --- secret files ---


def test_files_in_order_give_key_and_credentials(settings: Settings) -> None:
    write_files(settings)
    files = wallet_files(settings, ROW)
    assert {row.level for row in files.findings} == {Level.OK}
    assert files.signer is not None
    assert files.signer.address == ADDRESS
    assert files.creds is not None


@pytest.mark.parametrize("name", ["main.key", "main.gateway.creds", "main.user_data.creds"])
@pytest.mark.parametrize(
    ("spoil", "fix"),
    [
        (lambda path: path.unlink(), ""),
        (lambda path: path.chmod(0o644), "chmod 600"),
        (lambda path: path.write_bytes(b""), ""),
        (lambda path: path.write_bytes(b"nonsense"), ""),
    ],
)
def test_a_file_that_cannot_be_used_is_one_finding_with_its_fix(
    settings: Settings, name: str, spoil: object, fix: str
) -> None:
    write_files(settings)
    assert callable(spoil)
    spoil(settings.paths.secrets_dir / name)
    failed = [row for row in wallet_files(settings, ROW).findings if row.level is Level.FAIL]
    assert len(failed) == 1
    assert name in failed[0].text
    assert failed[0].fix
    assert fix in failed[0].fix


def test_copies_that_differ_are_told(settings: Settings) -> None:
    write_files(settings, apiKey="another")
    levels = [row.level for row in wallet_files(settings, ROW).findings]
    assert Level.WARN in levels
    assert Level.FAIL not in levels


def test_credentials_of_another_address_fail(settings: Settings) -> None:
    write_files(settings, address=STRANGER)
    failed = [row for row in wallet_files(settings, ROW).findings if row.level is Level.FAIL]
    assert [row.code for row in failed] == [Code.CREDENTIALS]
    assert "--derive" in failed[0].fix


def test_a_missing_key_in_live_mode_asks_for_the_key(settings: Settings) -> None:
    live = settings.model_copy(update={"mode": Mode.LIVE})
    (found,) = [row for row in wallet_files(live, ROW).findings if row.code is Code.KEY]
    assert "private key" in found.fix
    assert "start_all" not in found.fix


# --- the whole ---


def test_settings_that_cannot_be_used_are_the_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "broken.toml"
    file.write_text("mode = 'demo'\nnonsense = 1\n")
    monkeypatch.setenv("POLYEXEC_CONFIG", str(file))
    (found,) = check("").findings
    assert (found.code, found.level) == (Code.SETTINGS, Level.FAIL)
    assert "nonsense" in found.text or "polymarket" in found.text


@pytest.fixture
def away(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A venue that is not there."""
    gone = settings.polymarket.model_copy(update={"clob_url": "http://127.0.0.1:9", "data_url": "http://127.0.0.1:9"})
    found = settings.model_copy(update={"polymarket": gone})
    monkeypatch.setattr("services.gateway.doctor.__main__.load_settings", lambda: found)
    monkeypatch.setattr("services.gateway.doctor.__main__.harden", lambda: None)
    return found


def test_one_failure_hides_no_later_finding_and_no_secret_is_shown(
    away: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(away)
    (away.paths.secrets_dir / "main.key").chmod(0o644)
    assert main([]) == 1
    output = capsys.readouterr().out
    report = json.loads(output)
    levels = {row["code"]: row["level"] for row in report["findings"]}
    assert (report["ok"], levels["KEY"], levels["VENUE"]) == (False, "FAIL", "FAIL")
    assert {code for code, level in levels.items() if level == "SKIPPED"} >= {"CLOCK", "FUNDER", "MONEY", "ORDER"}
    for secret in (KEY.hex(), SECRET, PASSPHRASE):
        assert secret not in output


def test_a_wallet_nobody_has_is_named_with_those_there_are(away: Settings) -> None:
    write_files(away)
    report = check("nobody")
    failed = [row for row in report.findings if row.level is Level.FAIL]
    assert [row.code for row in failed] == [Code.SETTINGS]
    assert "main" in failed[0].fix


async def test_a_wallet_of_an_exchange_that_is_not_there_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.gateway.adapters.exchange.HEALTH_TIMEOUT_S", 0.2)
    (found,) = await other_findings(settings, Wallet(name="own", venue="exchange"))
    assert (found.code, found.level, found.subject) == (Code.ADAPTER, Level.FAIL, "own")
    assert "start_all.sh" in found.fix


async def test_a_wallet_of_a_centralised_exchange_without_files_is_told(settings: Settings) -> None:
    (found,) = await other_findings(settings, Wallet(name="own", venue="nowhere"))
    assert (found.code, found.level) == (Code.ADAPTER, Level.FAIL)
    assert "nowhere" in found.text
