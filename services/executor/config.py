"""The part of the settings that the executor decides with, read from the journaled Configured input. Pure.

In: the JSON text of all settings. Out: one frozen Config; everything else in the text is ignored here.
"""

from __future__ import annotations

import msgspec

from common.venues.capabilities import DuplicateRefused, VenueKind, capabilities_of


class Execution(msgspec.Struct, frozen=True):
    """The values are those of common/settings.py, which checks them; 0 here (for tests) switches a timer off."""

    place_deadline_ms: int = 5000
    request_life_ms: int = 30_000
    lookup_after_ms: int = 500
    idempotency_max: int = 2_000_000
    open_orders_max: int = 10_000
    order_history_max: int = 200_000
    enable_validation: bool = True
    enable_risk_checks: bool = True
    enable_metrics: bool = True
    max_slippage_bps: int = 50
    warn_slippage_bps: int = 25
    order_timeout_ms: int = 30_000
    cancel_timeout_ms: int = 10_000
    max_retry_attempts: int = 3
    retry_base_delay_ms: int = 100
    reconcile_interval_sec: int = 60
    reconcile_incremental_sec: int = 5
    position_tolerance: str = "0.01"
    on_gap: str = "keep"
    wind_down_ms: int = 30_000
    wallet_cancel: bool = True


class PolicyConfig(msgspec.Struct, frozen=True):
    """One risk policy as common/settings.py checked it."""

    type: str
    account: str = ""
    market_id: str = ""
    cap: bool = False
    enabled: bool = True
    max_size: str = ""
    max_value_usd: str = ""
    max_orders: int = 0
    per_s: int = 1
    max_bps: int = 0
    max_age_ms: int = 0
    before_end_s: int = 0
    max_rejects: int = 0


class RiskConfig(msgspec.Struct, frozen=True):
    policies: tuple[PolicyConfig, ...] = ()


class Polymarket(msgspec.Struct, frozen=True):
    chain_id: int = 137
    protocol_version: int = 2
    duplicate_refused: DuplicateRefused = DuplicateRefused.FOREVER


class UserData(msgspec.Struct, frozen=True):
    dead_after_s: int = 30


class WalletConfig(msgspec.Struct, frozen=True):
    name: str
    venue: str = "polymarket"


class AccountConfig(msgspec.Struct, frozen=True):
    name: str
    wallet: str


class Config(msgspec.Struct, frozen=True):
    execution: Execution = Execution()
    polymarket: Polymarket = Polymarket()
    user_data: UserData = UserData()
    wallets: tuple[WalletConfig, ...] = ()
    accounts: tuple[AccountConfig, ...] = ()
    risk: RiskConfig = RiskConfig()

    def wallet_of(self, account: str) -> WalletConfig | None:
        """The wallet an account trades with; None for an unknown account."""
        name = next((row.wallet for row in self.accounts if row.name == account), None)
        return next((row for row in self.wallets if row.name == name), None)

    def may_resend(self, venue: str) -> bool:
        """Whether the same bytes may go out again after an unknown outcome: only where no id is ever taken twice."""
        refused = self.polymarket.duplicate_refused
        if venue != VenueKind.POLYMARKET:
            refused = capabilities_of(venue).duplicate_refused
        return refused is DuplicateRefused.FOREVER


_decoder = msgspec.json.Decoder(Config)


def read_config(settings: str) -> Config:
    """Raises msgspec.DecodeError for text that is not the settings of this program."""
    return _decoder.decode(settings)
