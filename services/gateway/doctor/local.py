"""What stands in the way on this machine: folders, the halt marker, the disk, and each wallet's secret files.

In: settings. Out: findings, and the keys and credentials that could be read. Changes nothing, not even what is missing.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import NamedTuple

from common.errors import ConfigError
from common.halt import FILE, HaltMarker
from common.secrets import read_secret, read_secret_buffer
from common.settings import Mode, Settings, Wallet
from common.venues.polymarket.auth import L2Credentials
from common.venues.polymarket.credentials import parse_credentials, parse_wallet_key
from common.venues.polymarket.signing import Signer
from services.gateway.doctor.findings import About, Code, Finding
from services.gateway.doctor.polymarket import DERIVE, address_finding

CREDS_READERS = ("gateway", "user_data")
"""The processes that hold a copy of a wallet's API credentials of their own."""
MB = 1 << 20
SEGMENTS_FREE = 4
"""A journal that cannot prewrite its next segments halts; below this many it is close."""


class Files(NamedTuple):
    """What could be read of one wallet's files; None for what could not."""

    row: Wallet
    findings: list[Finding]
    signer: Signer | None
    creds: L2Credentials | None


def machine_findings(settings: Settings) -> list[Finding]:
    return [*_folders(settings), _halt(settings), _disk(settings)]


def _folders(settings: Settings) -> list[Finding]:
    """They hold sockets, journals and keys: of this user alone."""
    about = About()
    wrong = [found for name in ("run_dir", "data_dir", "secrets_dir") if (found := _folder(settings, name))]
    if wrong:
        return wrong
    return [about.ok(Code.FOLDERS, "run, data and secrets folders belong to this user alone")]


def _folder(settings: Settings, name: str) -> Finding | None:
    path: Path = getattr(settings.paths, name)
    about = About()
    try:
        info = path.stat()
    except FileNotFoundError:
        text = f"paths.{name} {path} does not exist yet"
        return about.warn(Code.FOLDERS, text, "scripts/start_all.sh makes it")
    except OSError as error:
        return about.fail(Code.FOLDERS, f"paths.{name} {path} cannot be used ({error.strerror})", "name another folder")
    if info.st_uid == os.geteuid() and not stat.S_IMODE(info.st_mode) & 0o077:
        return None
    text = f"paths.{name} {path} is open to others: every process refuses to start"
    return about.fail(Code.FOLDERS, text, f"chown it to this user and chmod 700 {path}")


def _halt(settings: Settings) -> Finding:
    about = About()
    path = settings.paths.data_dir / FILE
    if not path.exists():
        return about.ok(Code.HALT, "trading is not halted")
    try:
        marker = HaltMarker(settings.paths.data_dir)
    except OSError as error:
        return about.warn(Code.HALT, f"the halt marker {path} cannot be read ({error.strerror})", "chown it")
    try:
        reason = marker.read()
    finally:
        marker.close()
    if not reason:
        return about.ok(Code.HALT, "trading is not halted")
    return about.fail(Code.HALT, f"trading is halted: {reason}", "scripts/polyexec resume, once its cause is gone")


def _disk(settings: Settings) -> Finding:
    about = About()
    folder = settings.paths.data_dir
    while not folder.exists():
        folder = folder.parent
    free_mb = shutil.disk_usage(folder).free // MB
    segment_mb = settings.journal.segment_mb
    text = f"{free_mb} MB are free for journals in {settings.paths.data_dir}"
    if free_mb < segment_mb:
        text += f": less than one segment of {segment_mb} MB"
        return about.fail(Code.DISK, text, "free space, or name another paths.data_dir")
    if free_mb < SEGMENTS_FREE * segment_mb:
        return about.warn(Code.DISK, text, "free space soon: a full disk halts trading")
    return about.ok(Code.DISK, text)


# --- secret files ---


def wallet_files(settings: Settings, row: Wallet) -> Files:
    """Key and API credentials of one Polymarket wallet, each copy of them."""
    signer, about_key = _key(settings, row)
    creds, about_creds = _credentials(settings, row, signer)
    return Files(row, [about_key, *about_creds], signer, creds)


def _key(settings: Settings, row: Wallet) -> tuple[Signer | None, Finding]:
    about = About(row.name)
    file = settings.paths.secrets_dir / f"{row.name}.key"
    try:
        signer = parse_wallet_key(read_secret_buffer(file, field="wallet key"), str(file))
    except ConfigError as error:
        made = settings.mode is not Mode.LIVE
        fix = "scripts/start_all.sh makes one" if made else f"write the wallet's private key into {file}, chmod 600"
        return None, about.fail(Code.KEY, str(error), _said_fix(error) or fix)
    return signer, about.ok(Code.KEY, f"the key is that of {signer.address}")


def _credentials(settings: Settings, row: Wallet, signer: Signer | None) -> tuple[L2Credentials | None, list[Finding]]:
    """The gateway's copy is the one that trades; another copy that differs leaves its process deaf."""
    about = About(row.name)
    findings, found = [], {}
    for process in CREDS_READERS:
        file = settings.paths.secrets_dir / f"{row.name}.{process}.creds"
        try:
            creds, address = parse_credentials(read_secret(file, field="file of API credentials"), str(file))
        except ConfigError as error:
            fix = _said_fix(error) or DERIVE.format(wallet=row.name)
            findings.append(about.fail(Code.CREDENTIALS, str(error), fix))
            continue
        found[process] = creds
        if signer is not None:
            findings.append(address_finding(row.name, signer.address, address, file.name))
    mine = found.get("gateway")
    if any(creds != mine for creds in found.values()) and mine is not None:
        text = "the processes hold different API credentials: user_data may hear nothing of the gateway's orders"
        findings.append(about.warn(Code.CREDENTIALS, text, DERIVE.format(wallet=row.name)))
    return mine, list(dict.fromkeys(findings))


def _said_fix(error: ConfigError) -> str:
    """The command a message of common/secrets.py ends with; "" for those where it depends on the mode."""
    command = error.message.rpartition(": ")[2]
    return command if command.startswith(("chmod ", "chown ")) else ""
