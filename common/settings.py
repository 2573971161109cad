"""Settings: one complete TOML file per mode, every key overridable by POLYEXEC_<SECTION>__<KEY>.

In: `deploy/config/<mode>.toml` (or the file named by POLYEXEC_CONFIG) and the environment. Out: one frozen
Settings. Unknown keys, wrong types and broken relations are refused with the key's name. Secrets are never settings:
they are 0600 files in `paths.secrets_dir` (common/secrets.py).
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from common.errors import ConfigError
from common.fixed import parse_micros
from common.policies import Risk, checked_decimal, read_policy_file
from common.topology import processes_of
from common.venues.polymarket.limits import DEFAULT_TIER, TIERS

ROOT = Path(__file__).resolve().parent.parent
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""Names of wallets and accounts: they become file names and are typed on command lines."""

OUR_VENUES = ("polymarket", "exchange")
"""Venues that need no entry: Polymarket (or its simulator) and our own exchange."""


class Mode(StrEnum):
    DEMO = "demo"
    PAPER = "paper"
    LIVE = "live"


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Paths(Section):
    """Relative paths are relative to the project's root."""

    run_dir: Path = Path("run")
    data_dir: Path = Path("data")
    log_dir: Path = Path("logs")
    secrets_dir: Path = Path("secrets")

    @field_validator("run_dir", "data_dir", "log_dir", "secrets_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value if value.is_absolute() else ROOT / value


class Journal(Section):
    segment_mb: int = Field(default=64, ge=1, le=1024)
    keep_segments: int = Field(default=4, ge=2, le=10_000)
    checkpoint_every_s: int = Field(default=30, ge=1, le=3600)


class VenuePolymarket(Section):
    """Where Polymarket (or its simulator) is. Off loopback every URL must use TLS.

    market_data reads `market_ws_url`, `gamma_url` and `feed_clob_url` ("": the same as `clob_url`); orders go to
    `clob_url`, `user_ws_url` and `data_url`. In paper mode these are two places. `duplicate_refused` is how long
    the venue refuses an order id it has seen (forever, while_open, never): only at forever is a place of unknown
    outcome ever sent again.
    """

    clob_url: str
    market_ws_url: str
    user_ws_url: str
    gamma_url: str
    data_url: str
    feed_clob_url: str = ""
    chain_id: int = 137
    protocol_version: int = Field(default=2, ge=1, le=3)
    duplicate_refused: str = Field(default="forever", pattern="^(forever|while_open|never)$")

    @field_validator("clob_url", "market_ws_url", "user_ws_url", "gamma_url", "data_url", "feed_clob_url")
    @classmethod
    def _tls_off_loopback(cls, value: str, info: ValidationInfo) -> str:
        return value if not value and info.field_name == "feed_clob_url" else _checked_url(value)


class Wallet(Section):
    """A venue identity. `signature_type` as protocol section 3.2; `funder` "" means the signer's own address."""

    name: str = Field(pattern=NAME)
    venue: str = Field(default="polymarket", pattern=NAME)
    signature_type: int = Field(default=0, ge=0, le=3)
    funder: str = Field(default="", pattern="^(0x[0-9a-fA-F]{40})?$")

    @model_validator(mode="after")
    def _funded(self) -> Wallet:
        if self.signature_type and not self.funder:
            raise ValueError(f"signature_type {self.signature_type} needs a funder")
        return self


class CcxtVenue(Section):
    """A centralised exchange spoken to through the ccxt library. `name` is how wallets and orders name the venue.

    `url` "" means the exchange's own; `symbols` are ccxt's unified words, such as BTC/USDT.
    """

    name: str = Field(default="ccxt", pattern=NAME)
    exchange: str = Field(default="binance", pattern="^[a-z0-9]{2,40}$")
    url: str = ""
    symbols: tuple[str, ...] = ("BTC/USDT",)
    poll_ms: int = Field(default=1000, ge=50, le=60_000)

    @field_validator("url")
    @classmethod
    def _tls_off_loopback(cls, value: str) -> str:
        return value and _checked_url(value)

    @field_validator("name")
    @classmethod
    def _free(cls, value: str) -> str:
        if value in OUR_VENUES:
            raise ValueError(f"{value!r} is the name of a venue of its own")
        return value


class Account(Section):
    """Ours: a strategy or client. Several may share a wallet."""

    name: str = Field(pattern=NAME)
    wallet: str


class Exchange(Section):
    mined_delay_ms: int = Field(default=400, ge=0, le=3_600_000)
    confirmed_delay_ms: int = Field(default=1200, ge=0, le=3_600_000)
    orders_max: int = Field(default=2_000_000, ge=1000)
    trades_per_account_max: int = Field(default=10_000, ge=100)
    open_orders_per_account_max: int = Field(default=10_000, ge=10)
    grant_cash: int = Field(
        default=10_000, ge=0, le=1_000_000_000, description="whole dollars given to a new wallet of ours there"
    )


class PolymarketSim(Section):
    host: str = "127.0.0.1"
    port: int = Field(default=8090, ge=1, le=65535)
    control_port: int = Field(default=8091, ge=1, le=65535)
    accept_v1: bool = False
    grant_cash: int = Field(default=10_000, ge=0, le=1_000_000_000, description="whole pUSD given to a new address")
    request_timeout_ms: int = Field(default=5000, ge=100, le=60_000)
    clock_window_s: int = Field(default=60, ge=1, le=3600)
    enforce_limits: bool = Field(default=False, description="refuse what is above a signer's limits, not only warn")
    limits_tier: str = Field(default=DEFAULT_TIER, pattern=f"^({'|'.join(TIERS)})$")

    @field_validator("host")
    @classmethod
    def _loopback(cls, value: str) -> str:
        if not is_loopback(value):
            raise ValueError(f"{value!r} is not a loopback address: the simulator has no TLS")
        return value


class Mirror(Section):
    """`source` "market_data" is paper mode: books, markets and fees are the live ones.

    Then a print and the change of the book it caused find each other within `match_window_ms`, and the liquidity of a
    book that was not LIVE for `withdraw_after_ms` is withdrawn. The other keys are for the recording.
    """

    source: str = Field(default="recording", pattern="^(recording|market_data)$")
    speed: float = Field(default=1.0, gt=0, le=1000)
    lead_in_s: int = Field(default=30, ge=0, le=3600)
    market_count: int = Field(default=18, ge=1, le=18)
    fee_rate: str = "0.07"
    match_window_ms: int = Field(default=250, ge=0, le=5_000)
    withdraw_after_ms: int = Field(default=1_000, ge=0, le=60_000)


class MarketData(Section):
    """Connections, how long silence is trusted, what is published, and what is followed.

    `watch` entries are slugs, condition ids, token ids, `query:WORDS`, or `*`: the busiest up to `markets_max`.
    """

    ping_interval_s: int = Field(default=10, ge=1, le=60)
    dead_after_s: int = Field(default=30, ge=2, le=300)
    tokens_per_connection: int = Field(default=200, ge=2, le=500)
    rotate_after_s: int = Field(default=21_600, ge=5, le=86_400)
    custom_features: bool = False
    first_book_ms: int = Field(default=5_000, ge=100, le=60_000)
    quiet_ms: int = Field(default=5_000, ge=100, le=600_000)
    audit_ms: int = Field(default=10_000, ge=100, le=3_600_000)
    witness_grace_ms: int = Field(default=1_000, ge=50, le=30_000)
    witness_requests_per_s: int = Field(default=5, ge=1, le=50)
    witness_batch: int = Field(default=100, ge=1, le=500)
    late_after_ms: int = Field(default=10_000, ge=100, le=600_000)
    depth_levels: int = Field(default=20, ge=1, le=500)
    depth_updates_per_s: int = Field(default=20, ge=1, le=1_000)
    refresh_s: int = Field(default=60, ge=1, le=3600)
    markets_max: int = Field(default=200, ge=1, le=10_000)
    watch: tuple[str, ...] = ("*",)


class Recorder(Section):
    """Raw market-channel frames on disk: rotated by size and age, the oldest file removed above `total_mb`."""

    enabled: bool = True
    file_mb: int = Field(default=64, ge=1, le=4096)
    rotate_after_s: int = Field(default=3600, ge=1, le=86_400)
    total_mb: int = Field(default=1024, ge=2, le=1_000_000)
    queue_max: int = Field(default=50_000, ge=100, le=1_000_000)
    flush_s: int = Field(default=5, ge=1, le=300)


class UserData(Section):
    ping_interval_s: int = Field(default=10, ge=1, le=60)
    dead_after_s: int = Field(default=30, ge=2, le=300)


class Gateway(Section):
    """`signer` says where wallet keys are: "inside" the gateway, or in a "process" of their own (docs/signer.md)."""

    signer: str = Field(default="inside", pattern="^(inside|process)$")
    connect_timeout_ms: int = Field(default=2000, ge=10, le=60_000)
    request_timeout_ms: int = Field(default=5000, ge=10, le=60_000)
    in_flight_max: int = Field(default=64, ge=1, le=10_000)
    queue_max: int = Field(default=1000, ge=1, le=100_000)
    dead_man: bool = Field(default=True, description="beat, so that the venue cancels everything when we are gone")
    on_shutdown: str = Field(default="leave", pattern="^(leave|cancel_all)$")
    post_only_s: int = Field(default=120, ge=1, le=3600, description="takers wait so long after a venue's restart")


class Limits(Section):
    """How much of what venues allow is ours.

    Polymarket: `share_percent` of what it allows an address (other programs may share it), `signer_percent` of what it
    allows an API key, at `default_tier` until it names one; `reserve_percent` is kept for urgent cancels. Venues whose
    limits are unknown get the default rate and burst (rate 0: no limit).
    """

    share_percent: int = Field(default=80, ge=10, le=100)
    signer_percent: int = Field(default=90, ge=10, le=100)
    reserve_percent: int = Field(default=25, ge=0, le=90)
    default_tier: str = DEFAULT_TIER
    default_rate_per_s: int = Field(default=10, ge=0, le=100_000)
    default_burst: int = Field(default=20, ge=1, le=100_000)

    @field_validator("default_tier")
    @classmethod
    def _known_tier(cls, value: str) -> str:
        if value not in TIERS:
            raise ValueError(f"{value!r} is not a tier: one of {', '.join(TIERS)}")
        return value


class Signer(Section):
    """For `gateway.signer = "process"`: dollars of orders signed for each wallet in any 60 seconds ("0": no limit)."""

    notional_per_minute: str = "0"

    @field_validator("notional_per_minute")
    @classmethod
    def _decimal(cls, value: str) -> str:
        return checked_decimal(value)

    @property
    def limit(self) -> int:
        """The same in micros."""
        return parse_micros(self.notional_per_minute)


class Execution(Section):
    """`[execution]` keeps the names of spec 4 section 7.

    `on_gap` is what happens to open orders when the user channel of their wallet was lost.
    """

    enable_validation: bool = True
    enable_risk_checks: bool = True
    enable_metrics: bool = True
    max_slippage_bps: int = Field(default=50, ge=1, le=10_000)
    warn_slippage_bps: int = Field(default=25, ge=0, le=10_000)
    order_timeout_ms: int = Field(default=30_000, ge=1000, le=600_000)
    cancel_timeout_ms: int = Field(default=10_000, ge=100, le=600_000)
    max_retry_attempts: int = Field(default=3, ge=0, le=20)
    retry_base_delay_ms: int = Field(default=100, ge=1, le=60_000)
    reconcile_interval_sec: int = Field(default=60, ge=1, le=86_400)
    reconcile_incremental_sec: int = Field(default=5, ge=1, le=3600)
    position_tolerance: str = "0.01"
    on_gap: str = Field(default="keep", pattern="^(keep|cancel_all)$")
    wind_down_ms: int = Field(default=30_000, ge=1000, le=600_000)
    wallet_cancel: bool = True
    depth_tokens_max: int = Field(default=1_000, ge=2, le=20_000)
    place_deadline_ms: int = Field(default=5000, ge=100, le=600_000)
    request_life_ms: int = Field(default=30_000, ge=1000, le=600_000)
    lookup_after_ms: int = Field(default=500, ge=10, le=60_000)
    idempotency_max: int = Field(default=2_000_000, ge=1000)
    open_orders_max: int = Field(default=10_000, ge=1, le=90_000, description="the cancels lane takes 100,000")
    order_history_max: int = Field(default=200_000, ge=1000)

    @field_validator("position_tolerance")
    @classmethod
    def _decimal(cls, value: str) -> str:
        return checked_decimal(value)


class Settings(BaseSettings):
    """All settings of one mode; every process reads the whole and uses its part."""

    model_config = SettingsConfigDict(
        env_prefix="POLYEXEC_", env_nested_delimiter="__", frozen=True, extra="forbid", toml_file=None
    )
    file: ClassVar[Path]

    mode: Mode
    paths: Paths = Paths()
    journal: Journal = Journal()
    polymarket: VenuePolymarket
    wallets: tuple[Wallet, ...]
    accounts: tuple[Account, ...]
    ccxt: tuple[CcxtVenue, ...] = ()
    exchange: Exchange = Exchange()
    polymarket_sim: PolymarketSim = PolymarketSim()
    mirror: Mirror = Mirror()
    market_data: MarketData = MarketData()
    recorder: Recorder = Recorder()
    user_data: UserData = UserData()
    gateway: Gateway = Gateway()
    signer: Signer = Signer()
    limits: Limits = Limits()
    execution: Execution = Execution()
    risk: Risk = Risk()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file; nothing else is read."""
        return (env_settings, init_settings)

    @model_validator(mode="after")
    def _relations(self) -> Settings:
        wallets = [wallet.name for wallet in self.wallets]
        if len(set(wallets)) != len(wallets):
            raise ValueError("wallets: two wallets have one name")
        names = [account.name for account in self.accounts]
        if not names or len(set(names)) != len(names):
            raise ValueError("accounts: at least one account, each with a name of its own")
        for account in self.accounts:
            if account.wallet not in wallets:
                raise ValueError(f"accounts: account {account.name!r} names the unknown wallet {account.wallet!r}")
        if self.exchange.confirmed_delay_ms < self.exchange.mined_delay_ms:
            raise ValueError("exchange.confirmed_delay_ms: must not be below exchange.mined_delay_ms")
        if self.polymarket_sim.port == self.polymarket_sim.control_port:
            raise ValueError("polymarket_sim.control_port: must differ from polymarket_sim.port")
        if self.market_data.quiet_ms > self.market_data.audit_ms:
            raise ValueError("market_data.audit_ms: must not be below market_data.quiet_ms")
        if self.recorder.total_mb < self.recorder.file_mb:
            raise ValueError("recorder.total_mb: must not be below recorder.file_mb")
        for section, keys in (("market_data", self.market_data), ("user_data", self.user_data)):
            if keys.dead_after_s <= keys.ping_interval_s:
                raise ValueError(f"{section}.dead_after_s: must be above {section}.ping_interval_s")
        return self

    @model_validator(mode="after")
    def _known_venues(self) -> Settings:
        venues = [*OUR_VENUES, *(venue.name for venue in self.ccxt)]
        if len(set(venues)) != len(venues):
            raise ValueError("ccxt: two venues have one name")
        for wallet in self.wallets:
            if wallet.venue not in venues:
                raise ValueError(f"wallets: wallet {wallet.name!r} names the unknown venue {wallet.venue!r}")
            if wallet.signature_type == 3 and self.polymarket.protocol_version == 1:
                raise ValueError(
                    f"wallets: wallet {wallet.name!r}: signature_type 3 needs polymarket.protocol_version 2"
                )
            if wallet.venue == "exchange" and self.mode is Mode.LIVE:
                raise ValueError(f"wallets: wallet {wallet.name!r}: our own exchange does not run in live mode")
        return self

    @model_validator(mode="after")
    def _safe_execution(self) -> Settings:
        if self.execution.warn_slippage_bps > self.execution.max_slippage_bps:
            raise ValueError("execution.warn_slippage_bps: must not be above execution.max_slippage_bps")
        if self.mode is Mode.LIVE and not (self.execution.enable_validation and self.execution.enable_risk_checks):
            raise ValueError("execution.enable_risk_checks: validation and risk checks cannot be off in live mode")
        names = {account.name for account in self.accounts}
        for position, policy in enumerate(self.risk.policies):
            if policy.account and policy.account not in names:
                raise ValueError(f"risk.policies.{position}.account: {policy.account!r} is no account")
        return self

    @property
    def processes(self) -> tuple[str, ...]:
        """Every process that runs with these settings, in data-flow order."""
        return processes_of(self.mode.value, ("signer",) if self.gateway.signer == "process" else ())

    def wallet_of(self, account: str) -> Wallet | None:
        """The wallet an account trades with; None for an unknown account."""
        name = next((row.wallet for row in self.accounts if row.name == account), None)
        return next((row for row in self.wallets if row.name == name), None)


def config_file(environ: dict[str, str] | os._Environ[str] = os.environ) -> Path:
    """The settings file in force: POLYEXEC_CONFIG, else deploy/config/<POLYEXEC_MODE or demo>.toml."""
    named = environ.get("POLYEXEC_CONFIG")
    if named:
        return Path(named)
    return ROOT / "deploy" / "config" / f"{environ.get('POLYEXEC_MODE', 'demo')}.toml"


_NOT_SETTINGS = frozenset({"POLYEXEC_CONFIG", "POLYEXEC_MODE"})


def load_settings(file: Path | None = None) -> Settings:
    """Read and check the settings in force. Raises ConfigError naming the key and what to do."""
    path = file or config_file()
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read ({error.strerror}); name a file with POLYEXEC_CONFIG") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"is not valid TOML: {error}") from None
    _check_variables(os.environ)
    _add_policy_file(values, path)
    try:
        return Settings(**values)
    except SettingsError as error:
        section = str(error).partition('"')[2].partition('"')[0]
        raise ConfigError(f"POLYEXEC_{section.upper()}", "a whole section must be JSON; name one key with __") from None
    except ValidationError as error:
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        key = ".".join(str(part) for part in first["loc"])
        message = _in_words(first["type"], first.get("ctx", {}), first["msg"])
        if not key:
            key, _, message = message.partition(": ")
        if first["type"] == "extra_forbidden":
            message = f"no such setting (in {path.name} or the environment)"
        raise ConfigError(key, message) from None


def _in_words(kind: str, context: dict[str, Any], message: str) -> str:
    """A pattern that is a list of words is shown as that list."""
    words = str(context.get("pattern", "")).removeprefix("^(").removesuffix(")$")
    if kind == "string_pattern_mismatch" and re.fullmatch(r"\w+(\|\w+)+", words):
        return f"must be one of {', '.join(words.split('|'))}"
    return message.removeprefix("Value error, ")


def _add_policy_file(values: dict[str, Any], settings_file: Path) -> None:
    """Append the policies of `risk.policy_file` to those of the settings file. Raises ConfigError naming both."""
    named = os.environ.get("POLYEXEC_RISK__POLICY_FILE", values.get("risk", {}).get("policy_file", ""))
    if not named:
        return
    path = Path(named) if Path(named).is_absolute() else ROOT / named
    values["risk"]["policies"] = [*values["risk"].get("policies", ()), *read_policy_file(path)]


def _check_variables(environ: Iterable[str]) -> None:
    """A variable that looks like ours and is not would be a setting somebody believes in."""
    known = {f"POLYEXEC_{name.upper()}" for name in Settings.model_fields}
    for name in environ:
        if not name.upper().startswith("POLYEXEC_") or name in _NOT_SETTINGS:
            continue
        if name != name.upper():
            raise ConfigError(name, f"write it in capitals: {name.upper()}")
        if name.split("__")[0] not in known:
            raise ConfigError(name, "no such setting; POLYEXEC_<SECTION>__<KEY> overrides a key of the settings file")


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _port_is_valid(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


def _checked_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname or not _port_is_valid(parts):
        raise ValueError(f"{value!r} is not an http(s) or ws(s) URL")
    if parts.scheme in ("http", "ws") and not is_loopback(parts.hostname):
        raise ValueError(f"{value!r} is off loopback without TLS: use {parts.scheme}s://")
    return value.rstrip("/")
