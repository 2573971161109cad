"""Risk policies as settings: what may be written in TOML or YAML, and what is refused at start.

In: `[[risk.policies]]` items and the list `policies` of a YAML file as spec 3 writes it. Out: checked Policy models;
a ConfigError or ValueError that names the key otherwise. Limits are decimal text: they never pass through a float.
What a policy means is services/executor/risk.py.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from common.errors import ConfigError, Refusal
from common.fixed import parse_micros


def checked_decimal(value: str) -> str:
    """A plain decimal that is not negative, as text: money and sizes never pass through a float."""
    try:
        micros = parse_micros(value)
    except Refusal as refusal:
        raise ValueError(refusal.message) from None
    if micros < 0:
        raise ValueError(f"{value} is negative")
    return value


class Policy(BaseModel):
    """One risk policy (docs/risk.md): `type` says which, the other keys are its limits.

    A policy without `account` is for every account; `market_id` (slug, condition id or token id) narrows it to one
    market. With `cap` an order that is too large is made smaller instead of refused, where the policy can.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str
    account: str = ""
    market_id: str = ""
    cap: bool = False
    enabled: bool = True
    max_size: str = ""
    max_value_usd: str = ""
    max_orders: int = Field(default=0, ge=0, le=100_000)
    per_s: int = Field(default=1, ge=1, le=3600)
    max_bps: int = Field(default=0, ge=0, le=1_000_000)
    max_age_ms: int = Field(default=0, ge=0, le=3_600_000)
    before_end_s: int = Field(default=0, ge=0, le=31_536_000)
    max_rejects: int = Field(default=0, ge=0, le=100_000)

    @model_validator(mode="after")
    def _known(self) -> Policy:
        needed = POLICY_LIMITS.get(self.type)
        if needed is None:
            raise ValueError(f"{self.type!r} is no policy; known: {', '.join(POLICY_LIMITS)}")
        given = self.model_fields_set - {"type", "account", "market_id", "cap", "enabled"}
        for key in needed:
            if key not in given and key != "per_s":
                raise ValueError(f"a {self.type} needs {key}")
        for key in sorted(given - set(needed)):
            raise ValueError(f"a {self.type} has no {key}")
        if self.cap and self.type not in CAPPING:
            raise ValueError(f"a {self.type} cannot cap; those that can: {', '.join(sorted(CAPPING))}")
        for key in ("max_size", "max_value_usd"):
            if getattr(self, key):
                checked_decimal(getattr(self, key))
        return self


POLICY_LIMITS: dict[str, tuple[str, ...]] = {
    "KillSwitch": (),
    "PositionLimit": ("max_size",),
    "InventoryLimit": ("max_value_usd",),
    "OrderSizeLimit": ("max_size",),
    "OrderNotionalLimit": ("max_value_usd",),
    "OpenOrdersLimit": ("max_orders",),
    "OrderRateLimit": ("max_orders", "per_s"),
    "PriceCollar": ("max_bps",),
    "EventExposureLimit": ("max_value_usd",),
    "DailyLossLimit": ("max_value_usd",),
    "StaleData": ("max_age_ms",),
    "VenueMode": (),
    "NearResolutionBan": ("before_end_s",),
    "ConsecutiveRejects": ("max_rejects",),
}
"""Every policy and the keys it takes, in the order of evaluation."""
CAPPING = frozenset({"PositionLimit", "InventoryLimit", "OrderSizeLimit", "OrderNotionalLimit", "EventExposureLimit"})


class Risk(BaseModel):
    """Pre-trade policies; `policy_file` names a YAML file with a list `policies`, which are added to those here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy_file: str = ""
    policies: tuple[Policy, ...] = ()


def read_policy_file(path: Path) -> list[dict[str, str]]:
    """The policies of a YAML file as spec 3 writes it. Numbers stay text: they never pass through a float."""
    try:
        content = yaml.load(path.read_text(), Loader=yaml.BaseLoader)
    except OSError as error:
        raise ConfigError("risk.policy_file", f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError("risk.policy_file", f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    rows = content.get("policies") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError("risk.policy_file", f"{path} needs a list `policies`, each item with its `type`")
    return rows
