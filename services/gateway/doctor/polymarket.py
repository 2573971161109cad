"""What the venue's answers mean for one Polymarket wallet, in plain words. Pure; each function makes its findings.

In: what was read (settings, addresses, answers of the venue). Out: findings. Nothing here asks or signs; texts of the
venue are quoted, never the wallet's secrets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from common.errors import Refusal
from common.fixed import MICROS_MAX, format_micros
from common.messages import VenuePosition
from common.reasons import Reason
from common.types import ONE, Outcome
from common.venues.polymarket.contracts import CHAIN_ID_AMOY, CHAIN_ID_POLYGON, exchange_address
from common.venues.polymarket.errors import CancelVerdict, PlaceVerdict
from common.venues.polymarket.orders import EOA, POLY_1271, POLY_GNOSIS_SAFE, POLY_PROXY
from common.venues.polymarket.signing import checksum_address
from common.venues.polymarket.wallets import wallets_of
from common.venues.polymarket.wire import Balance, decode_json, parse_balance
from services.gateway.doctor.findings import About, Code, Finding
from services.gateway.polymarket import NOBODYS_ID, Answer

CLOCK_WARN_NS: Final = 2_000_000_000
CLOCK_FAIL_NS: Final = 10_000_000_000
TYPE_NAMES: Final = {
    EOA: "the key's own address",
    POLY_PROXY: "the key's proxy wallet",
    POLY_GNOSIS_SAFE: "the key's Safe",
    POLY_1271: "the key's deposit wallet",
}
NEG_RISK_ADAPTER: Final = "0xd91E80cF2E7be2e162c6513ceD06f1dD0dA35296"
DERIVE: Final = "scripts/polyexec doctor --derive --wallet {wallet}"
ELSEWHERE: Final = "look at GEOBLOCK above; try another network"
DEPOSIT_FLOW: Final = "deposit wallet flow"
MODES: Final = frozenset(
    {
        Reason.VENUE_RESTARTING,
        Reason.VENUE_DISABLED,
        Reason.VENUE_CANCEL_ONLY,
        Reason.VENUE_POST_ONLY,
        Reason.VENUE_UNAVAILABLE,
    }
)
HARMLESS: Final = frozenset(
    {Reason.BAD_EXPIRY, Reason.SIZE_TOO_SMALL, Reason.NOTIONAL_TOO_SMALL, Reason.BAD_SIZE, Reason.BAD_TICK}
)
"""What an order that ended in 1970 and is too small may be refused for, once its signature was believed."""


class Identity(NamedTuple):
    """A wallet as settings and key say it."""

    name: str
    signer: str
    funder: str
    signature_type: int
    chain_id: int


# --- what needs no venue ---


def funder_finding(own: Identity) -> Finding:
    """Key, address, funder and signature type must name one wallet (protocol section 3.2)."""
    about = About(own.name)
    funder = checksum_address(own.funder) if own.funder else own.signer
    derived = wallets_of(own.signer)
    if funder in derived[own.signature_type]:
        return about.ok(
            Code.FUNDER, f"signature type {own.signature_type}: {funder} is {TYPE_NAMES[own.signature_type]}"
        )
    belongs = next((kind for kind, wallets in derived.items() if funder in wallets), None)
    if belongs is not None:
        text = (
            f"{funder} is {TYPE_NAMES[belongs]}, which trades with signature type {belongs}, not {own.signature_type}"
        )
        return about.fail(Code.FUNDER, text, f"set signature_type = {belongs} for wallet {own.name!r} in the settings")
    if own.signature_type == EOA:
        text = f"signature type 0 trades from {own.signer} itself, but funder names {funder}"
        fix = f"leave funder empty; if {funder} holds the money, use its key and signature type"
        return about.fail(Code.FUNDER, text, fix)
    wanted = derived[own.signature_type][0]
    text = f"funder is {funder}, but {TYPE_NAMES[own.signature_type]} is {wanted}: {own.signer} cannot trade for it"
    return about.fail(
        Code.FUNDER, text, f"set funder = {wanted!r}, or put the key of {funder}'s owner into the key file"
    )


def address_finding(wallet: str, signer: str, credentials: str, file: str) -> Finding:
    """The API credentials must be those of the key's address."""
    about = About(wallet)
    if signer == credentials:
        return about.ok(Code.CREDENTIALS, f"the key and the API credentials belong to {signer}")
    text = f"{file} is of {credentials}, the key is of {signer}"
    return about.fail(Code.CREDENTIALS, text, DERIVE.format(wallet=wallet))


# --- what the venue says to anybody ---


def venue_finding(answer: Answer, url: str) -> Finding:
    about = About()
    if answer.status == 200:
        return about.ok(Code.VENUE, f"{url} answers")
    if not answer.status:
        fix = "is the group running (scripts/start_all.sh)? else look at the network, and at polymarket.clob_url"
        return about.fail(Code.VENUE, f"{url} cannot be reached ({answer.text})", fix)
    if answer.status == 425:
        return about.fail(Code.VENUE, "the venue's matching engine restarts", "wait: it takes about 90 s")
    text = f"{url} answers GET /ok with HTTP {answer.status}: {_excerpt(answer)}"
    return about.fail(Code.VENUE, text, _fix_of_status(answer.status))


def _fix_of_status(status: int) -> str:
    if status in (403, 451):
        return "something in front of the venue refuses this machine's address: another network, or its support"
    return "wait, and look at the venue's status page"


def clock_finding(clock_ns: int, now_ns: int) -> Finding:
    """The venue counts in seconds, and refuses requests whose time is too far from its own."""
    about = About()
    skew_ns = clock_ns - now_ns
    size = abs(skew_ns)
    text = f"this machine's clock is {size // 1_000_000} ms {'behind' if skew_ns > 0 else 'ahead of'} the venue's"
    fix = "switch on time synchronisation (timedatectl set-ntp true)"
    if size >= CLOCK_FAIL_NS:
        return about.fail(Code.CLOCK, text + ": signed requests are refused", fix)
    if size >= CLOCK_WARN_NS:
        return about.warn(Code.CLOCK, text, fix)
    return about.ok(Code.CLOCK, text)


def unread(code: Code, subject: str, what: str, answer: Answer) -> Finding:
    """A question whose answer says nothing about what was asked."""
    about = About(subject)
    if answer.status == 404:
        return about.skipped(code, f"the venue does not have {what}")
    why = f"HTTP {answer.status} {_excerpt(answer)}" if answer.status else answer.text
    return about.warn(code, f"{what} could not be read ({why})", "try again in a minute")


def version_finding(answer: Answer, wanted: int) -> Finding:
    about = About()
    value = _decoded(answer)
    version = value.get("version") if isinstance(value, Mapping) else None
    if answer.status != 200 or not isinstance(version, int):
        return unread(Code.VERSION, "", "GET /version", answer)
    if version == wanted:
        return about.ok(Code.VERSION, f"orders are signed for exchange V{version}, as the venue wants them")
    text = f"the venue takes orders of exchange V{version}, the settings sign for V{wanted}"
    return about.fail(Code.VERSION, text, f"set polymarket.protocol_version = {version}")


def geoblock_finding(answer: Answer) -> Finding:
    about = About()
    value = _decoded(answer)
    blocked = value.get("blocked") if isinstance(value, Mapping) else None
    if answer.status != 200 or not isinstance(value, Mapping) or not isinstance(blocked, bool):
        return unread(Code.GEOBLOCK, "", "the geo-block answer", answer)
    place = " ".join(str(value.get(name) or "") for name in ("country", "region")).strip()[:40] or "an unknown place"
    if not blocked:
        return about.ok(Code.GEOBLOCK, f"orders from here ({place}) are not blocked")
    text = f"the venue takes no orders from here ({place}); what is open can be cancelled"
    return about.fail(Code.GEOBLOCK, text, "run polyexec where the venue takes orders; see its geographic restrictions")


# --- what it says to this key ---


def api_key_finding(wallet: str, answer: Answer, key: str) -> Finding:
    about = About(wallet)
    fix = DERIVE.format(wallet=wallet)
    if answer.status == 403 and _decoded(answer) is None:
        text = f"something in front of the venue refuses us: HTTP 403 with a web page ({_excerpt(answer)})"
        return about.fail(Code.API_KEY, text, ELSEWHERE)
    if answer.status in (401, 403):
        return about.fail(Code.API_KEY, f"the venue refuses the API credentials ({_excerpt(answer)})", fix)
    value = _decoded(answer)
    keys = value.get("apiKeys") if isinstance(value, Mapping) else None
    if answer.status != 200 or not isinstance(keys, Sequence):
        return unread(Code.API_KEY, wallet, "the list of API keys", answer)
    if key in keys:
        return about.ok(Code.API_KEY, "the venue accepts the API credentials")
    return about.warn(Code.API_KEY, "the venue answers, but does not list this API key", fix)


def closed_only_finding(wallet: str, answer: Answer) -> Finding:
    about = About(wallet)
    value = _decoded(answer)
    closed = value.get("closed_only") if isinstance(value, Mapping) else None
    if answer.status != 200 or not isinstance(closed, bool):
        return unread(Code.CLOSED_ONLY, wallet, "the ban status", answer)
    if not closed:
        return about.ok(Code.CLOSED_ONLY, "the account may open positions")
    text = "the account is in closed-only mode: it may sell what it holds, and open nothing"
    return about.fail(Code.CLOSED_ONLY, text, "ask the venue's support why; until then only SELL what is held")


def tier_finding(wallet: str, answer: Answer) -> Finding:
    value = _decoded(answer)
    tier = value.get("tier") if isinstance(value, Mapping) else None
    if answer.status != 200 or not isinstance(tier, str):
        return unread(Code.RATE_TIER, wallet, "the rate-limit tier", answer)
    return About(wallet).ok(Code.RATE_TIER, f"rate-limit tier {tier[:40]}")


def money_findings(
    wallet: str, answer: Answer, held: Sequence[VenuePosition] | None, spenders: Mapping[str, str], fund: str
) -> list[Finding]:
    """Balance, then each contract that may take money of it; `held` None: not known. `fund`: where money goes."""
    balance = _balance(answer)
    if balance is None:
        return [unread(Code.MONEY, wallet, "the balance", answer)]
    return [
        _money(wallet, balance.balance, held, fund),
        *(_allowance(wallet, balance, address, name) for address, name in spenders.items()),
    ]


def _money(wallet: str, cash: int, held: Sequence[VenuePosition] | None, fund: str) -> Finding:
    about = About(wallet)
    if cash >= ONE:
        return about.ok(Code.MONEY, f"{format_micros(min(cash, MICROS_MAX))} pUSD")
    fix = f"send pUSD to {fund} (or deposit on the venue's site)"
    if held:
        text = f"{format_micros(cash)} pUSD: too little to buy anything; {len(held)} positions can be sold"
        return about.warn(Code.MONEY, text, fix)
    return about.fail(Code.MONEY, f"{format_micros(cash)} pUSD: there is nothing to trade with", fix)


def _allowance(wallet: str, balance: Balance, address: str, name: str) -> Finding:
    """The first contract takes every ordinary order; without one of the others only their markets are closed."""
    about = About(wallet)
    given = {spender.lower(): amount for spender, amount in balance.allowances.items()}
    amount = given.get(address.lower(), given.get(""))
    if amount is None:
        return about.skipped(Code.ALLOWANCE, f"the venue does not show what {name} ({address}) may take")
    fix = f"approve pUSD for {address} from the wallet (ERC-20 approve; the venue's site does it with one click)"
    if amount >= balance.balance and amount:
        return about.ok(Code.ALLOWANCE, f"{name} may take the money ({address})")
    if amount:
        text = f"{name} may take {format_micros(amount)} pUSD only: orders above it are refused"
        return about.warn(Code.ALLOWANCE, text, fix)
    text = f"{name} may take no money: every BUY there is refused"
    make = about.fail if name == ORDINARY else about.warn
    return make(Code.ALLOWANCE, text, fix)


def selling_finding(wallet: str, answer: Answer, spender: str) -> Finding:
    """Shares are another contract: it must let the exchange move them (setApprovalForAll)."""
    about = About(wallet)
    balance = _balance(answer)
    if balance is None:
        return unread(Code.SELLING, wallet, "the approval of shares", answer)
    given = {address.lower(): amount for address, amount in balance.allowances.items()}
    amount = given.get(spender.lower(), given.get(""))
    if amount is None:
        return about.skipped(Code.SELLING, "the venue does not show whether shares may be moved")
    if amount:
        return about.ok(Code.SELLING, "shares may be sold")
    text = f"the exchange ({spender}) may not move shares: every SELL is refused"
    return about.warn(Code.SELLING, text, f"setApprovalForAll of {spender} on the conditional tokens contract")


ORDINARY: Final = "the exchange of ordinary markets"


def spenders_of(version: int, chain_id: int) -> dict[str, str]:
    """Address and name of each contract that takes money (protocol section 9), the one nobody can do without first."""
    known = {
        exchange_address(version, chain_id, False): ORDINARY,
        exchange_address(version, chain_id, True): "the exchange of neg-risk markets",
    }
    known.setdefault(exchange_address(3, chain_id, False), "the exchange of position markets (V3)")
    if chain_id in (CHAIN_ID_POLYGON, CHAIN_ID_AMOY):
        known.setdefault(NEG_RISK_ADAPTER, "the neg-risk adapter")
    return known


# --- the signed no-ops ---


def signature_finding(wallet: str, signer: str, recovered: str, signature_type: int) -> Finding:
    """An order signed here, and the address its signature leads back to."""
    about = About(wallet)
    if recovered == signer:
        how = " inside the deposit wallet's wrapper" if signature_type == POLY_1271 else ""
        return about.ok(Code.SIGNATURE, f"a signature{how} leads back to {signer}")
    text = f"a signature leads back to {recovered}, not to {signer}"
    return about.fail(Code.SIGNATURE, text, "reinstall (scripts/start_all.sh): the signing library is broken")


def cancel_finding(wallet: str, verdict: CancelVerdict) -> Finding:
    """DELETE /order of an order that cannot be: full authentication of a cancel, and nothing changes."""
    about = About(wallet)
    if verdict.outcome is Outcome.DONE:
        if NOBODYS_ID in verdict.canceled:
            text = "the venue claims to have cancelled an order that cannot exist"
            return about.warn(Code.CANCEL, text, "run scripts/polyexec venue check polymarket")
        return about.ok(Code.CANCEL, "a signed cancel of an order nobody has was answered as it should be")
    return _refused(about, Code.CANCEL, "a signed cancel", verdict.reason, verdict.message)


def order_finding(own: Identity, verdict: PlaceVerdict, *, deposit_wallet: str) -> Finding:
    """POST /order of an order that ended in 1970 and is below every minimum.

    A refusal for its end or its size proves that the signature was believed only where the venue looks at the signature
    first: our simulator does, of the real venue it is not documented. A complaint about key, owner, maker or signature
    is proof of the contrary everywhere.
    """
    about = About(own.name)
    if verdict.outcome is Outcome.DONE:
        text = "the venue accepted an order that ended in 1970; it was cancelled at once"
        return about.warn(Code.ORDER, text, "scripts/polyexec orders shows what is open; tell the venue")
    if verdict.reason in HARMLESS:
        return about.ok(Code.ORDER, f"a signed order that had to be refused was: {_cut(verdict.message)}")
    if verdict.reason is Reason.INSUFFICIENT_BALANCE:
        return about.ok(Code.ORDER, f"a signed order was refused for money alone: {_cut(verdict.message)}")
    if DEPOSIT_FLOW in verdict.message:
        text = f"the venue lets this account trade through its deposit wallet only ({_cut(verdict.message)})"
        fix = (
            f'set signature_type = 3 and funder = "{deposit_wallet}" for wallet {own.name!r}, and move the money there'
        )
        return about.fail(Code.ORDER, text, fix)
    if "order_version_mismatch" in verdict.message:
        text = "the venue wants orders of another exchange version"
        return about.fail(Code.ORDER, text, "set polymarket.protocol_version as GET /version says")
    return _refused(about, Code.ORDER, "a signed order", verdict.reason, verdict.message)


def _refused(about: About, code: Code, what: str, reason: Reason, message: str) -> Finding:
    said = _cut(message)
    if reason in MODES:
        text = f"{what} was refused because of what the venue is doing now ({reason.value}: {said})"
        return about.fail(code, text, "wait: polyexec goes on by itself when the venue does")
    if reason is Reason.VENUE_BLOCKED:
        text = f"something in front of the venue answered {what} ({said})"
        return about.fail(code, text, ELSEWHERE)
    if reason is Reason.VENUE_RATE_LIMIT:
        return about.warn(code, f"{what} was refused: too many requests ({said})", "wait a minute")
    if reason is Reason.VENUE_AUTH:
        return about.fail(code, f"{what} was refused ({said})", _fix_of_auth(message, about.subject))
    return about.warn(code, f"{what} was answered with something unexpected ({reason.value}: {said})", "try again")


def _fix_of_auth(message: str, wallet: str) -> str:
    """The venue's words for who may not, and what helps (protocol section 3.7)."""
    told = message.lower()
    if "banned" in told or "closed only" in told:
        return "the venue has restricted this account: ask its support"
    if "invalid signature" in told:
        return "signature_type, funder, polymarket.chain_id and protocol_version must fit: see FUNDER and VERSION above"
    if "region" in told:
        return "run polyexec where the venue takes orders: see GEOBLOCK above"
    return DERIVE.format(wallet=wallet)


# --- reading ---


def _decoded(answer: Answer) -> object:
    try:
        return decode_json(answer.body)
    except Refusal:
        return None


def _balance(answer: Answer) -> Balance | None:
    if answer.status != 200:
        return None
    try:
        return parse_balance(answer.body)
    except Refusal:
        return None


def _excerpt(answer: Answer) -> str:
    return _cut(answer.body.decode("utf-8", "replace"))


def _cut(text: str) -> str:
    return " ".join(text.split())[:160]
