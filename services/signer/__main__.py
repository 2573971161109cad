"""signer: wallet keys in a process of their own. Pinned orders of the gateway in, signatures out."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable

from common.edge import Edge
from common.errors import ConfigError
from common.messages import Message
from common.secrets import read_secret_buffer
from common.service import run_edge
from common.settings import Wallet
from common.venues.polymarket.credentials import parse_wallet_key
from common.venues.polymarket.pinned import wallet_identity
from services.signer.core import SigningDesk, SigningWallet

VENUE = "polymarket"


def open_wallet(edge: Edge, row: Wallet) -> SigningWallet:
    settings = edge.settings
    file = settings.paths.secrets_dir / f"{row.name}.key"
    signer = parse_wallet_key(read_secret_buffer(file, field="wallet key"), str(file))
    chain_id = settings.polymarket.chain_id
    identity = wallet_identity(row.name, signer.address, row.funder, row.signature_type, chain_id)
    return SigningWallet(identity, signer, settings.signer.limit)


async def start(edge: Edge) -> Callable[[], Awaitable[None]] | None:
    settings = edge.settings
    if settings.gateway.signer != "process":
        raise ConfigError("gateway.signer", 'keys are inside the gateway: set it to "process" to run a signer')
    rows = [row for row in settings.wallets if row.venue == VENUE]
    if not rows:
        raise ConfigError("wallets", f"no wallet of the venue {VENUE}: the signer has nothing to do")
    desk = SigningDesk([open_wallet(edge, row) for row in rows], edge.counters)

    def answer(message: Message, sender: str) -> list[Message]:
        return [desk.answer(message, sender, time.monotonic_ns())]

    async def close() -> None:
        desk.close()

    edge.serve_asks(answer)
    limit = settings.signer.notional_per_minute
    edge.set_state("READY", f"at most {limit} dollars per minute and wallet" if settings.signer.limit else "")
    return close


def main() -> int:
    return run_edge("signer", start)


if __name__ == "__main__":
    sys.exit(main())
