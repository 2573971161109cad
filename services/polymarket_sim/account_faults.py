"""What the faults say about the wallets that trade: banned, closed, empty, or allowing a spender too little.

In: the fault switch, and an order with its market or a question about balances. Out: the venue's refusal in its words,
or the allowances to show. Pure.
"""

from __future__ import annotations

from typing import Final

from common.types import Side
from common.venues.polymarket.contracts import exchange_address
from common.venues.polymarket.orders import EOA, PostedOrder
from services.polymarket_sim.denied import Denied
from services.polymarket_sim.faults import FaultSwitch

ALLOWANCE_MAX: Final = 2**256 - 1
NOT_ENOUGH: Final = "not enough balance / allowance"
COLLATERAL: Final = "COLLATERAL"
CONDITIONAL: Final = "CONDITIONAL"
DEPOSIT_WALLET: Final = "maker address not allowed, please use the deposit wallet flow"


def check_account(faults: FaultSwitch, posted: PostedOrder, chain_id: int, neg_risk: bool) -> None:
    """Raises Denied when the maker of this order may not place it."""
    order = posted.order
    if faults.use("address_banned") is not None:
        raise Denied(400, f"'{order.maker}' address banned")
    if posted.side is Side.BUY and faults.use("closed_only") is not None:
        raise Denied(400, f"'{order.maker}' address in closed only mode")
    if order.signature_type == EOA and faults.use("deposit_wallet_only") is not None:
        raise Denied(400, DEPOSIT_WALLET)
    if faults.use("no_balance") is not None:
        raise Denied(400, f"{NOT_ENOUGH}: balance is 0")
    if faults.is_on("allowance"):
        _check_allowance(faults, posted, chain_id, neg_risk)


def allowances(faults: FaultSwitch, asset: str, chain_id: int) -> dict[str, int]:
    """How much each spender may take of an asset, by its address."""
    spenders = sorted({exchange_address(version, chain_id, neg) for version in (2, 3) for neg in (False, True)})
    found = dict.fromkeys(spenders, ALLOWANCE_MAX)
    values = faults.values("allowance")
    if values is not None and values["asset"] in ("all", asset):
        for number, spender in enumerate(spenders):
            if str(values["spender"]).lower() in ("all", str(number), spender.lower()):
                found[spender] = int(values["amount"])
    return found


def spender_exists(text: str, chain_id: int) -> bool:
    """Whether a parameter names a spender: a misspelt one would be a fault that never strikes."""
    known = {exchange_address(version, chain_id, neg).lower() for version in (2, 3) for neg in (False, True)}
    return text.lower() in known | {"all"} | {str(number) for number in range(len(known))}


def _check_allowance(faults: FaultSwitch, posted: PostedOrder, chain_id: int, neg_risk: bool) -> None:
    spender = exchange_address(posted.version, chain_id, neg_risk)
    asset = COLLATERAL if posted.side is Side.BUY else CONDITIONAL
    allowance = allowances(faults, asset, chain_id).get(spender, ALLOWANCE_MAX)
    need = posted.order.maker_amount
    if need > allowance:
        faults.use("allowance")
        shown = (
            f"spender: {spender}, allowance: {allowance}, sum of matched orders: 0, order amount (inc. fees): {need}"
        )
        raise Denied(400, f"{NOT_ENOUGH}: the allowance is not enough -> {shown}")
