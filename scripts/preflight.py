"""What must hold before anything is spawned: each check is one function that raises ConfigError naming the thing.

In: settings and the environment. Out: nothing, or a ConfigError whose sentence says what to do. Starts and writes
nothing but the private folders.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
from pathlib import Path
from urllib.parse import urlsplit

from common.errors import ConfigError
from common.process import private_folder
from common.secrets import read_secret
from common.settings import ROOT, Mode, PolymarketSim, Settings, config_file, is_loopback
from common.topology import ALL_PROCESSES, INBOXES, inbox_address, out_address
from common.venues.capabilities import VenueKind, kind_of

MINFDS = 65_536

FEED_URLS = ("market_ws_url", "gamma_url", "feed_clob_url")
"""What market_data reads; the other URLs are where orders go."""


def check_mode(mode: str) -> None:
    """A mode needs its settings file."""
    if mode not in set(Mode):
        raise ConfigError("mode", f"no mode {mode!r}: demo, paper or live")
    file = config_file()
    if not file.exists() and "POLYEXEC_CONFIG" not in os.environ:
        raise ConfigError("mode", f"there is no {file.relative_to(ROOT)}: restore it, or name a file: POLYEXEC_CONFIG")


def check_same_mode(settings: Settings, mode: str) -> None:
    if settings.mode != mode:
        raise ConfigError(
            "mode", f"the settings in force are for {settings.mode.value}, not {mode}: see POLYEXEC_CONFIG"
        )


def check_venue_urls(settings: Settings) -> None:
    """Against the local venue every URL must name the address and port it serves on; but what is mirrored must not be
    the mirror's own image."""
    if settings.mode is Mode.LIVE:
        return
    venue = settings.polymarket
    mirrors_live = settings.mirror.source == "market_data"
    for key, url in venue.model_dump().items():
        if not key.endswith("_url"):
            continue
        if mirrors_live and key in FEED_URLS:
            _check_elsewhere(f"polymarket.{key}", url or venue.clob_url, settings.polymarket_sim)
        elif url:
            _check_local(f"polymarket.{key}", url, settings.polymarket_sim)


def _check_local(key: str, url: str, sim: PolymarketSim) -> None:
    if urlsplit(url).port != sim.port:
        raise ConfigError(key, f"{url} does not name port {sim.port} of polymarket_sim.port")
    if urlsplit(url).hostname not in (sim.host, "localhost"):
        raise ConfigError(key, f"{url} does not name {sim.host} of polymarket_sim.host")


def _check_elsewhere(key: str, url: str, sim: PolymarketSim) -> None:
    host = urlsplit(url).hostname or ""
    if is_loopback(host) and urlsplit(url).port == sim.port:
        raise ConfigError(key, f"{url} is the local venue: with mirror.source = market_data it must name the real one")


def check_run_dir(settings: Settings) -> None:
    """Every socket of the group must fit into a socket address. Raises ConfigError(paths.run_dir)."""
    for process in ALL_PROCESSES:
        out_address(settings.paths.run_dir, process)
    for inbox in INBOXES:
        inbox_address(settings.paths.run_dir, inbox.name)


def make_folders(settings: Settings) -> None:
    """The run, data, log and secrets folders: ours alone."""
    paths = settings.paths
    private_folder(paths.run_dir, "paths.run_dir")
    private_folder(paths.data_dir, "paths.data_dir")
    private_folder(paths.log_dir, "paths.log_dir")
    private_folder(paths.secrets_dir, "paths.secrets_dir")


def check_ports(settings: Settings) -> None:
    """Every port we are going to serve on is free."""
    if settings.mode is Mode.LIVE:
        return  # no local venue
    sim = settings.polymarket_sim
    check_port(sim.host, sim.port, "polymarket_sim.port", " and every POLYEXEC_POLYMARKET__..._URL")
    check_port(sim.host, sim.control_port, "polymarket_sim.control_port")


def check_port(host: str, port: int, key: str, also: str = "") -> None:
    """Raises ConfigError naming the port, the setting that changes it, and what must `also` change."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            variable = "POLYEXEC_" + key.upper().replace(".", "__")
            taken = (
                "is taken by another program"
                if error.errno == errno.EADDRINUSE
                else f"cannot be used ({error.strerror})"
            )
            raise ConfigError(key, f"port {port} on {host} {taken}: free it, or set {variable}{also}") from None


def secret_files(settings: Settings) -> list[tuple[Path, str]]:
    """The secret files this configuration needs, with what each one is."""
    folder = settings.paths.secrets_dir
    files = []
    for wallet in settings.wallets:
        kind = kind_of(wallet.venue)
        if kind is VenueKind.EXCHANGE:
            continue  # over the bus: there is no key
        if kind is VenueKind.POLYMARKET:
            files.append((folder / f"{wallet.name}.key", f"private key of wallet {wallet.name}"))
        files += [
            (
                folder / f"{wallet.name}.{process}.creds",
                f"file of API credentials of wallet {wallet.name} for {process}",
            )
            for process in ("gateway", "user_data")
        ]
    if settings.mode is not Mode.LIVE:
        files.append((folder / "polymarket_sim.secret", "secret the local venue derives API keys from"))
    return files


def check_secrets(settings: Settings) -> None:
    """Every secret file is there, ours, private and not empty. Raises ConfigError naming the file and the fix."""
    for path, field in secret_files(settings):
        read_secret(path, field=field)


def file_limit() -> int:
    """What supervisord may ask for: its minfds above the hard limit would refuse to start."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return MINFDS if hard == resource.RLIM_INFINITY else min(MINFDS, hard)
