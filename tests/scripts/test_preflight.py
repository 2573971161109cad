"""Each thing that would stop a start is one line that names it and what to do."""

from __future__ import annotations

import resource
import socket
from pathlib import Path

import pytest

from common.errors import ConfigError
from common.settings import ROOT, CcxtVenue, Mode, PolymarketSim, Wallet, load_settings
from scripts import preflight
from tests.scripts.conftest import MakeSettings


@pytest.fixture
def taken_port() -> object:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_taken_port_names_port_setting_and_variable(taken_port: int) -> None:
    with pytest.raises(ConfigError) as caught:
        preflight.check_port("127.0.0.1", taken_port, "polymarket_sim.port")

    assert str(caught.value) == (
        f"polymarket_sim.port: port {taken_port} on 127.0.0.1 is taken by another program:"
        " free it, or set POLYEXEC_POLYMARKET_SIM__PORT"
    )


def test_a_free_port_passes() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]

    preflight.check_port("127.0.0.1", port, "polymarket_sim.port")


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        preflight.check_port("192.0.2.1", 8090, "polymarket_sim.port")


def test_both_ports_of_the_venue_are_checked(make_settings: MakeSettings, taken_port: int) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        free = server.getsockname()[1]
    settings = make_settings(polymarket_sim=PolymarketSim(port=free, control_port=taken_port))

    with pytest.raises(ConfigError, match=r"polymarket_sim\.control_port"):
        preflight.check_ports(settings)


def test_a_run_folder_too_long_for_sockets_is_refused(make_settings: MakeSettings, tmp_path: Path) -> None:
    settings = make_settings()
    long = settings.model_copy(update={"paths": settings.paths.model_copy(update={"run_dir": tmp_path / ("x" * 90)})})

    with pytest.raises(ConfigError, match=r"paths\.run_dir: too long"):
        preflight.check_run_dir(long)


def test_folders_are_made_for_us_alone(make_settings: MakeSettings) -> None:
    settings = make_settings()

    preflight.make_folders(settings)

    for folder in (settings.paths.run_dir, settings.paths.data_dir, settings.paths.log_dir, settings.paths.secrets_dir):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_others_can_enter_is_refused(make_settings: MakeSettings) -> None:
    settings = make_settings()
    settings.paths.run_dir.mkdir(mode=0o755)
    settings.paths.run_dir.chmod(0o755)

    with pytest.raises(ConfigError, match="chmod 700"):
        preflight.make_folders(settings)


@pytest.mark.parametrize(
    ("mode", "word"), [("paper", "restore it"), ("live", "restore it"), ("prod", "demo, paper or live")]
)
def test_a_mode_that_is_not_there_says_what_there_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: str, word: str
) -> None:
    monkeypatch.delenv("POLYEXEC_CONFIG", raising=False)
    monkeypatch.setenv("POLYEXEC_MODE", mode)
    monkeypatch.setattr(preflight, "config_file", lambda: ROOT / "deploy" / "config" / "absent.toml")

    with pytest.raises(ConfigError, match=word):
        preflight.check_mode(mode)


def test_settings_of_another_mode_are_refused(make_settings: MakeSettings) -> None:
    with pytest.raises(ConfigError, match="settings in force are for live, not demo"):
        preflight.check_same_mode(make_settings(mode=Mode.LIVE), "demo")


@pytest.mark.parametrize(
    ("hard", "wanted"), [(resource.RLIM_INFINITY, preflight.MINFDS), (1024, 1024), (1 << 20, preflight.MINFDS)]
)
def test_supervisord_is_not_given_more_files_than_allowed(
    monkeypatch: pytest.MonkeyPatch, hard: int, wanted: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (256, hard))

    assert preflight.file_limit() == wanted


def test_a_venue_url_that_names_another_port_is_refused(make_settings: MakeSettings) -> None:
    settings = make_settings(polymarket_sim=PolymarketSim(port=8095))

    with pytest.raises(ConfigError, match=r"polymarket\.clob_url: .* does not name port 8095"):
        preflight.check_venue_urls(settings)
    preflight.check_venue_urls(make_settings())
    preflight.check_venue_urls(settings.model_copy(update={"mode": Mode.LIVE}))


def test_in_paper_mode_orders_stay_here_and_market_data_comes_from_elsewhere(
    make_settings: MakeSettings,
) -> None:
    make_settings()  # folders of this test's own
    paper = load_settings(ROOT / "deploy" / "config" / "paper.toml")
    preflight.check_venue_urls(paper)

    def refused(key: str, url: str) -> str:
        venue = paper.polymarket.model_copy(update={key: url})
        with pytest.raises(ConfigError) as caught:
            preflight.check_venue_urls(paper.model_copy(update={"polymarket": venue}))
        return str(caught.value)

    assert "does not name port 8090" in refused("clob_url", "https://clob.polymarket.com")
    assert "is the local venue" in refused("market_ws_url", "ws://127.0.0.1:8090/ws/market")
    assert "is the local venue" in refused("feed_clob_url", "")
    assert refused("gamma_url", "http://localhost:8090/gamma").startswith("polymarket.gamma_url: ")


def test_modes_share_the_run_folder_and_neither_journals_nor_secrets() -> None:
    paths = [load_settings(ROOT / "deploy" / "config" / f"{mode.value}.toml").paths for mode in Mode]
    assert len({one.run_dir for one in paths}) == 1
    assert len({one.data_dir for one in paths}) == len({one.secrets_dir for one in paths}) == len(paths)


def test_in_live_mode_no_port_is_served_and_no_local_secret_needed(
    make_settings: MakeSettings, taken_port: int
) -> None:
    make_settings()
    live = load_settings(ROOT / "deploy" / "config" / "live.toml")
    preflight.check_venue_urls(live)
    preflight.check_ports(live.model_copy(update={"polymarket_sim": PolymarketSim(port=taken_port)}))
    assert all("polymarket_sim" not in path.name for path, _ in preflight.secret_files(live))

    with pytest.raises(ConfigError, match=r"main\.key"):
        preflight.check_secrets(live)


def test_a_wallet_needs_the_files_of_its_venue_and_no_others(make_settings: MakeSettings) -> None:
    venues = {"main": "polymarket", "own": "exchange", "coins": "ccxt"}
    wallets = tuple(Wallet(name=name, venue=venue) for name, venue in venues.items())
    settings = make_settings(wallets=wallets, ccxt=(CcxtVenue(),))

    assert {path.name for path, _ in preflight.secret_files(settings)} == {
        "main.key",
        "main.gateway.creds",
        "main.user_data.creds",
        "coins.gateway.creds",
        "coins.user_data.creds",
        "polymarket_sim.secret",
    }


def test_a_venue_url_that_names_another_address_is_refused(make_settings: MakeSettings) -> None:
    settings = make_settings(polymarket_sim=PolymarketSim(host="::1"))

    with pytest.raises(ConfigError, match=r"polymarket\.clob_url: .* does not name ::1"):
        preflight.check_venue_urls(settings)
