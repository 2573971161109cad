"""Every message on the bus: frozen, tagged, array-like structs; one encoder, one decoder.

Commands are imperative and may be refused; events are past tense and cannot be; actions are asked of the gateway
and come back as results; reports and answers reply to one request. New fields go at the end with a default and a
tag (the class name) is never reused, so old frames decode for ever. Prices, sizes and money are micros, times are
nanoseconds. Nothing in here decides.
"""

from __future__ import annotations

from typing import TypeAlias, Union

import msgspec

from common.instruments import Market
from common.reasons import Reason
from common.types import (
    FeedState,
    Lifecycle,
    OrderType,
    Outcome,
    RetryClass,
    Settlement,
    Side,
    Status,
    TimeInForce,
)

Level: TypeAlias = tuple[int, int]
"""(price, size), both micros."""


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=True):
    """Base of all bus messages."""


# --- process life ---


class Heartbeat(Message, frozen=True):
    """Telemetry: a process says it is alive, how ready it is, and what it has counted since it started."""

    process: str
    pid: int
    state: str  # STARTING | READY | STOPPING | CANCEL_ONLY
    detail: str
    started_ns: int
    at_ns: int
    counters: dict[str, int]


class Configured(Message, frozen=True):
    """A heart's settings as an input, so that a replay reads what the run read (architecture section 3)."""

    settings: str  # JSON text


class TimerFired(Message, frozen=True):
    """Time passed for a heart: due work inside the core is done against the step's clocks."""


class SnapshotWanted(Message, frozen=True):
    """A stream reader saw a gap or has just joined: publish the snapshot of `topic`."""

    topic: str


class Violation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One risk policy that an order breaks: what it allows, what the order would come to, and in which words."""

    policy: str
    code: Reason
    field: str
    limit: str
    value: str
    text: str


class Refused(Message, frozen=True):
    """The answer to a command or query that was not carried out. Nothing changed.

    `violations` names every risk policy the order breaks, in the order they are evaluated; the code is the first one's.
    """

    command_id: str
    code: Reason
    text: str
    field: str = ""
    duplicate: bool = False
    violations: list[Violation] = []


class Accepted(Message, frozen=True):
    """The answer to a command that has nothing else to say."""

    command_id: str
    duplicate: bool = False


# --- our own exchange: commands ---


class OpenMarket(Message, frozen=True):
    """List a market; the same market again is accepted and changes nothing."""

    command_id: str
    market: Market


class OpenAccount(Message, frozen=True):
    """Create an account with a first deposit; an account that exists is accepted and changes nothing.

    A `liquidity` account (the mirror's) is exempt from the minimum size and keeps no history.
    """

    command_id: str
    account: str
    cash: int
    liquidity: bool = False


class Deposit(Message, frozen=True):
    """Credit `amount` of `asset` ("" is cash, else a token id). The command id makes it happen once."""

    command_id: str
    account: str
    asset: str
    amount: int


class SetTick(Message, frozen=True):
    """Change a market's price grid; resting orders off the new grid are cancelled."""

    command_id: str
    condition_id: str
    tick: int


class SubmitOrder(Message, frozen=True):
    """Place one order. `venue_order_id` is the caller's id and is refused for ever after its first use; with `reuse`
    it is taken again once the order it named is over (a venue that forgets).

    `price` is the worst price the signed amounts allow (BUY rounded down, SELL rounded up to micros); `owner` and
    `expiration` are kept as given and reported back; `expire_ns` 0 means never.
    """

    command_id: str
    account: str
    venue_order_id: str
    token_id: str
    side: Side
    price: int
    size: int
    tif: TimeInForce
    post_only: bool = False
    expire_ns: int = 0
    owner: str = ""
    expiration: str = "0"
    reuse: bool = False


class CancelOrders(Message, frozen=True):
    command_id: str
    account: str
    venue_order_ids: list[str]


class CancelScope(Message, frozen=True):
    """Cancel every resting order of an account: all, of one market, or of one token. `owner` narrows to one key."""

    command_id: str
    account: str
    condition_id: str = ""
    token_id: str = ""
    owner: str = ""


class QuoteLadder(Message, frozen=True):
    """Mass quote: after this, the account's resting orders in the market equal these levels (outcome 0 terms).

    One atomic batch, cancels before places. Size removed from a level leaves its newest orders first, size added
    is a new order at the back of the queue. Of a level that would cross another account's resting order the
    crossing part trades and only the rest stays, until the next ladder.
    """

    command_id: str
    account: str
    condition_id: str
    bids: list[Level]
    asks: list[Level]


class PlanSettlement(Message, frozen=True):
    """Coming trades settle another way than MINED, CONFIRMED: `life` holds their stages, an empty one ends the plan.

    `times` trades (0: every one), of those `percent` of a hundred; which ones follows from `seed`. A trade that comes
    to FAILED is taken back; what cannot be taken back any more is confirmed.
    """

    command_id: str
    life: list[Settlement]
    times: int = 0
    percent: int = 100
    seed: int = 0


# --- our own exchange: queries ---


class GetExchangeMarkets(Message, frozen=True):
    request_id: str


class GetExchangeOrder(Message, frozen=True):
    request_id: str
    venue_order_id: str


class GetExchangeOrders(Message, frozen=True):
    """Open orders of an account, oldest first."""

    request_id: str
    account: str
    condition_id: str = ""
    token_id: str = ""


class GetExchangeTrades(Message, frozen=True):
    """Trades of an account, newest first, at most `limit` after skipping `offset`. Empty filters match all."""

    request_id: str
    account: str
    trade_id: str = ""
    condition_id: str = ""
    token_id: str = ""
    after_ns: int = 0
    before_ns: int = 0
    offset: int = 0
    limit: int = 500


class GetBalances(Message, frozen=True):
    request_id: str
    account: str


# --- our own exchange: data, answers, events ---


class ExchangeOrder(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An order as the exchange knows it. `status`: LIVE, MATCHED, CANCELED, EXPIRED, KILLED (FAK and FOK)."""

    venue_order_id: str
    account: str
    owner: str
    condition_id: str
    token_id: str
    outcome: str
    side: Side
    price: int
    size: int
    filled_size: int
    tif: TimeInForce
    post_only: bool
    expiration: str
    status: str
    reason: str
    created_ns: int
    updated_ns: int
    trade_ids: tuple[str, ...] = ()


class MakerFill(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One maker leg of a trade, in the maker's own token, side and price."""

    venue_order_id: str
    account: str
    owner: str
    token_id: str
    outcome: str
    side: Side
    size: int
    price: int


class ExchangeTrade(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One taker order against the makers of one price level, so `price` is exact (in the taker's token)."""

    trade_id: str
    condition_id: str
    taker_order_id: str
    taker_account: str
    taker_owner: str
    token_id: str
    outcome: str
    side: Side
    size: int
    price: int
    fee: int
    fee_rate: int
    settlement: Settlement
    tx_hash: str
    matched_ns: int
    updated_ns: int
    makers: tuple[MakerFill, ...]


class OrderAnswer(Message, frozen=True):
    """What became of a SubmitOrder: `status` live | matched | unmatched; amounts given and received at once."""

    command_id: str
    venue_order_id: str
    status: str
    making: int
    taking: int
    trade_ids: list[str]
    duplicate: bool = False


class CancelAnswer(Message, frozen=True):
    command_id: str
    canceled: list[str]
    not_canceled: dict[str, str]
    duplicate: bool = False


class ExchangeMarketsReport(Message, frozen=True):
    request_id: str
    markets: list[Market]


class ExchangeOrdersReport(Message, frozen=True):
    """Also the answer to GetExchangeOrder: none or one order."""

    request_id: str
    orders: list[ExchangeOrder]


class ExchangeTradesReport(Message, frozen=True):
    request_id: str
    trades: list[ExchangeTrade]
    more: bool = False


class BalancesReport(Message, frozen=True):
    """`reserved` by asset ("" is cash): what open orders hold back. Balances include it."""

    request_id: str
    account: str
    known: bool
    cash: int
    tokens: dict[str, int]
    reserved: dict[str, int]


class MarketOpened(Message, frozen=True):
    market: Market


class TickChanged(Message, frozen=True):
    condition_id: str
    old_tick: int
    new_tick: int
    at_ns: int


class LevelsChanged(Message, frozen=True):
    """New totals of the levels one step changed, outcome 0 terms; size 0 removes the level. 0 best means none."""

    condition_id: str
    bids: list[Level]
    asks: list[Level]
    best_bid: int
    best_ask: int
    at_ns: int


class BookState(Message, frozen=True):
    """A whole book in outcome 0 terms, bids and asks best first. 0 last_price means no trade yet."""

    condition_id: str
    bids: list[Level]
    asks: list[Level]
    tick: int
    last_price: int
    last_side: str
    at_ns: int


class OrderPlaced(Message, frozen=True):
    """A new order rests. `account_seq` is the exchange's journaled account-event number (all three below)."""

    account_seq: int
    order: ExchangeOrder


class OrderMatched(Message, frozen=True):
    account_seq: int
    order: ExchangeOrder


class OrderCanceled(Message, frozen=True):
    account_seq: int
    order: ExchangeOrder


class TradeMade(Message, frozen=True):
    """A trade was matched; `settlement` is MATCHED."""

    account_seq: int
    trade: ExchangeTrade


class TradeSettled(Message, frozen=True):
    """A trade moved on towards CONFIRMED or FAILED."""

    account_seq: int
    trade: ExchangeTrade


class StepCompleted(Message, frozen=True):
    """Last event of an exchange step: everything before it belongs together."""

    step: int
    at_ns: int


# --- mirror: playback of the recorded books ---


class HoldPlayback(Message, frozen=True):
    """Stop following the wall clock (`stepped`), or follow it again from where playback stands."""

    command_id: str
    stepped: bool


class StepPlayback(Message, frozen=True):
    """Play on by one step: to the furthest moment up to which no market changes twice.

    Only while playback is held.
    """

    command_id: str


class ShownBook(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One market's place in its recording, acknowledged by the exchange."""

    condition_id: str
    slug: str
    loop: int
    at: int
    recorded_ms: int


class PlaybackStepped(Message, frozen=True):
    """What one step showed: the markets whose snapshot changed, in the recording's order of markets."""

    command_id: str
    playback_ns: int
    shown: list[ShownBook]
    skipped: int


# --- market data ---


class MarketListed(Message, frozen=True):
    """A market was discovered or changed (tick, minimum, accepting)."""

    market: Market


class BookSnapshot(Message, frozen=True):
    """A whole book of one token, best first on both sides, and how far it can be trusted.

    `epoch` grows whenever continuity was lost, also over restarts of market_data; `seq` counts the changes within an
    epoch, so (epoch, seq) says which version of the book this is. `confirmed_ns` is when the venue last showed a
    whole book that was this one.
    """

    token_id: str
    bids: list[Level]
    asks: list[Level]
    tick: int
    state: FeedState
    venue_ns: int
    received_ns: int
    epoch: int = 0
    seq: int = 0
    reason: str = ""
    confirmed_ns: int = 0


class BookDelta(Message, frozen=True):
    """New totals of changed levels of one token; size 0 removes the level. Follows `seq` - 1 of the same epoch.

    Without levels it says that the venue has just confirmed the book.
    """

    token_id: str
    bids: list[Level]
    asks: list[Level]
    venue_ns: int
    received_ns: int
    epoch: int = 0
    seq: int = 0


class BookTop(Message, frozen=True):
    """The best level of each side, sent when it changed; price and size 0 for an empty side.

    A book that is not LIVE has no top: then `state` says so and all four are 0.
    """

    token_id: str
    bid: int
    bid_size: int
    ask: int
    ask_size: int
    epoch: int
    seq: int
    venue_ns: int
    received_ns: int
    state: FeedState = FeedState.LIVE


class BookDepth(Message, frozen=True):
    """The best levels of a book, conflated: the newest state, at most so many times a second, only when changed.

    `whole_bids` and `whole_asks` say that the list is the whole side, so that a reader who walks past its end knows
    whether the book or the frame ended.
    """

    token_id: str
    bids: list[Level]
    asks: list[Level]
    whole_bids: bool
    whole_asks: bool
    tick: int
    state: FeedState
    reason: str
    epoch: int
    seq: int
    venue_ns: int
    received_ns: int


class TradePrint(Message, frozen=True):
    """What the market saw: one public trade of a token; `side` is the taker's."""

    token_id: str
    side: Side
    price: int
    size: int
    venue_ns: int
    received_ns: int


class FeedStatus(Message, frozen=True):
    """How far the feed of one token ("" is all of them) can be trusted, and why.

    `received_ns` and `venue_ns` are the times of the last event of this token (0: none yet).
    """

    token_id: str
    state: FeedState
    reason: str
    at_ns: int
    epoch: int = 0
    seq: int = 0
    venue_ns: int = 0
    received_ns: int = 0


class FeedFrame(Message, frozen=True):
    """One raw frame of a market-channel connection as it was received, for the recorder."""

    connection: int
    received_ns: int
    raw: bytes


class FeedMark(Message, frozen=True):
    """What happened to a market-channel connection between its frames, for the recorder.

    `kind`: OPENED (a new connection, carrying `token_ids`), ADDED or REMOVED (tokens on an open connection), LOST.
    """

    connection: int
    at_ns: int
    kind: str
    token_ids: list[str]
    text: str = ""


class WatchMarkets(Message, frozen=True):
    """Follow more markets; each entry is a slug, condition id, token id, `query:WORDS` or `*` (the busiest)."""

    command_id: str
    entries: list[str]


class UnwatchMarkets(Message, frozen=True):
    """Stop following what these entries named."""

    command_id: str
    entries: list[str]


class GetWatchList(Message, frozen=True):
    request_id: str


class WatchedEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One line of the watch list: whose it is, what it came to, and what to do when it came to nothing.

    `markets` is how many it led to; `slugs` names the first hundred. Neither slugs nor problem: not looked for yet.
    """

    entry: str
    from_settings: bool
    slugs: list[str]
    problem: str
    markets: int = 0


class WatchReport(Message, frozen=True):
    """The watch list after a command, or as asked for."""

    request_id: str
    entries: list[WatchedEntry]
    duplicate: bool = False


class GetMarkets(Message, frozen=True):
    """Markets whose slug, question, condition or token ids contain `query`; all for ""."""

    request_id: str
    query: str = ""


class GetBook(Message, frozen=True):
    request_id: str
    market: str  # slug, condition id or token id
    outcome: str = ""


class MarketView(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A market with the top of each outcome's book; 0 means that side is empty."""

    market: Market
    best_bids: tuple[int, int]
    best_asks: tuple[int, int]
    state: FeedState


class MarketsReport(Message, frozen=True):
    """Two-sided markets first."""

    request_id: str
    markets: list[MarketView]


class BookReport(Message, frozen=True):
    request_id: str
    market: Market
    outcome: str
    book: BookSnapshot


# --- executor: commands and queries ---


class PlaceOrder(Message, frozen=True):
    """A client wants an order. `market` is a slug or condition id, `outcome` a word, index or token id.

    `expire_ns` is the wall time a GTD order ends; `deadline_ns` the wall time after which it must not be sent
    (0: the executor's default). A MARKET order gives its worst price, or 0 for the worst the slippage limit allows;
    a MARKET BUY may give `quote`, the money to spend, instead of a size. `max_slippage_bps` 0 is the settings' limit.
    """

    command_id: str
    account: str
    client_order_id: str
    venue: str
    market: str
    outcome: str
    side: Side
    order_type: OrderType
    tif: TimeInForce
    post_only: bool
    price: int
    size: int
    expire_ns: int = 0
    deadline_ns: int = 0
    quote: int = 0
    max_slippage_bps: int = 0


class ReplaceOrder(Message, frozen=True):
    """Cancel an open order and, once it is proven gone, place its successor at `price`.

    `size` is what both orders together may fill, so a fill that wins the race against the cancel is never bought
    twice. The successor has an order id and its idempotency key at once and waits as Pending.
    """

    command_id: str
    account: str
    order_id: str
    client_order_id: str
    price: int
    size: int
    deadline_ns: int = 0


class BookView(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The bounded view of one book that a place is judged by, as it is journaled with it (architecture section 3).

    Best levels first. `whole_*` says that the side ends with the list; `age_ms` is how long ago market_data was last
    heard.
    """

    token_id: str
    bids: list[Level]
    asks: list[Level]
    whole_bids: bool
    whole_asks: bool
    tick: int
    state: FeedState
    reason: str
    epoch: int
    seq: int
    age_ms: int


class Judged(Message, frozen=True):
    """A place or replace with the book it is judged by: what the executor's shell journals. Never on the bus."""

    command: PlaceOrder | ReplaceOrder
    view: BookView | None


class Mark(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The best prices of one token's live book; 0 for an empty side."""

    token_id: str
    bid: int
    ask: int


class Marked(Message, frozen=True):
    """What holdings are valued by, once a second (architecture section 3). Never on the bus."""

    marks: list[Mark]


class CancelOrder(Message, frozen=True):
    """Cancel by `order_id`, `client_order_id` or `venue_order_id`, whichever `order_id` is."""

    command_id: str
    account: str
    order_id: str


class CancelAll(Message, frozen=True):
    """Cancel all orders of `account` ("" is every account), of one market or of all."""

    command_id: str
    account: str = ""
    market: str = ""


class Halt(Message, frozen=True):
    """Take no more places from `account` ("" is everybody); with `reduce_only` those that reduce a holding are taken.

    A halt of everybody is durable: gateway and executor both refuse until Resume, over restarts of each.
    """

    command_id: str
    reason: str
    account: str = ""
    reduce_only: bool = False


class Resume(Message, frozen=True):
    """End the halt of `account`, or the halt of everybody ("")."""

    command_id: str
    account: str = ""


class HaltFound(Message, frozen=True):
    """The durable halt marker says something else than the journal at start: a journal failure, or the watchdog.

    Outstanding places are looked up, never resent. `cancel`: the process ended by cancelling everything, of which its
    journal knows nothing.
    """

    reason: str
    cancel: bool = False


class Reconcile(Message, frozen=True):
    """Compare orders, trades, positions and balances of `wallet` ("" is all) with the venue now."""

    command_id: str
    wallet: str = ""


class GetReconciliation(Message, frozen=True):
    request_id: str


class GetSweep(Message, frozen=True):
    """How far the cancel-all with the command id `of_command` is; "" is the newest one."""

    request_id: str
    of_command: str = ""


class GetAccounts(Message, frozen=True):
    request_id: str
    account: str = ""


class GetOrder(Message, frozen=True):
    request_id: str
    account: str
    order_id: str


class GetOrders(Message, frozen=True):
    """Newest first."""

    request_id: str
    account: str = ""
    open_only: bool = True
    market: str = ""
    limit: int = 200


class GetFills(Message, frozen=True):
    """Newest first."""

    request_id: str
    account: str = ""
    market: str = ""
    limit: int = 200


class GetPositions(Message, frozen=True):
    request_id: str
    account: str = ""


# --- executor: data, answers, events ---


class Fill(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What happened to our order, once: identity is (trade id, own order id)."""

    trade_id: str
    order_id: str
    venue_order_id: str
    account: str
    condition_id: str
    token_id: str
    outcome: str
    side: Side
    price: int
    size: int
    cash: int
    fee: int
    is_taker: bool
    settlement: Settlement
    tx_hash: str
    matched_ns: int


class OrderView(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An order as clients see it; `size` is what was signed. Times are 0 until they happened."""

    order_id: str
    client_order_id: str
    venue_order_id: str
    account: str
    venue: str
    market: str
    condition_id: str
    token_id: str
    outcome: str
    side: Side
    order_type: OrderType
    tif: TimeInForce
    post_only: bool
    price: int
    size: int
    filled_size: int
    avg_price: int
    status: Status
    lifecycle: Lifecycle
    reject_reason: str
    reject_text: str
    created_ns: int
    placed_ns: int
    matched_ns: int
    confirmed_ns: int
    fills: list[Fill]
    asked_size: int = 0  # before a policy capped it; 0: the same as `size`
    replaces: str = ""  # the order id this one is the successor of
    quote: int = 0


class Position(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Holding of one account in one token. `size` counts every fill that has not FAILED, `confirmed` only final.

    `reserved` is in open sell orders; `sellable` is what settled on chain and is free; `mark` is the last mid price
    (0: none) that `unrealised` is counted with.
    """

    account: str
    venue: str
    market: str
    condition_id: str
    token_id: str
    outcome: str
    size: int
    confirmed: int
    cost: int
    avg_price: int
    realised: int
    fees: int
    reserved: int = 0
    sellable: int = 0
    mark: int = 0
    unrealised: int = 0


class AccountView(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One account as it stands. Money in micros.

    `cash` is the wallet's balance at the venue as far as known (None: not asked yet), shared by all its accounts;
    `reserved` is what this account's open buys hold back, `spendable` what is free of every reservation.
    `trading` is ACTIVE, REDUCE_ONLY or HALTED.
    """

    account: str
    wallet: str
    venue: str
    trading: str
    reason: str
    cash: int | None
    reserved: int
    spendable: int | None
    inventory: int
    realised: int
    unrealised: int
    fees: int
    day_pnl: int
    open_orders: int
    rejects_in_row: int


class AccountsReport(Message, frozen=True):
    request_id: str
    accounts: list[AccountView]


class Difference(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One thing we and the venue do not agree on. `kind`: ORDER_MISSING, ORDER_UNEXPECTED, FILL_MISSING, POSITION,
    BALANCE. `resolution`: LOOKED_UP, BOOKED, ADJUSTED (each with evidence), or ALERT.
    """

    at_ns: int
    wallet: str
    kind: str
    subject: str
    ours: str
    theirs: str
    explanation: str
    resolution: str


class Reconciliation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How far one wallet agrees with its venue."""

    venue: str
    wallet: str
    running: bool
    last_full_ns: int
    last_incremental_ns: int
    rounds: int
    incomplete: int
    differences: int
    recent: list[Difference]


class ReconciliationReport(Message, frozen=True):
    request_id: str
    wallets: list[Reconciliation]


class PlaceAnswer(Message, frozen=True):
    """The order was journaled (or had been: `duplicate`). Its later life comes as OrderUpdated."""

    command_id: str
    order: OrderView
    duplicate: bool = False


class CancelAccepted(Message, frozen=True):
    """The cancel was journaled for these orders; `in_doubt` names orders whose place is not answered yet."""

    command_id: str
    order_ids: list[str]
    in_doubt: list[str]
    duplicate: bool = False


class SweepDoubt(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An order whose place is not answered yet: the venue may have it until `until_ns`."""

    order_id: str
    until_ns: int


class SweepView(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What became of one accepted cancel-all so far (ADR 26). Times are wall nanoseconds, 0 until they happened.

    `phase`: CANCELLING; ZERO, no known order of the scope is open at the venue (`zero_ns`), only places in doubt are
    left; FINAL, nothing of it can come any more; DROPPED, too many others began since and this report ends.
    `first_sent_ns` is when the first cancel was handed to the socket. `known` orders ended as `cancelled`, `filled` or
    `rejected` (never accepted), or are among the `open_count` and `doubt_count` ones, of which the first are named.
    `foreign` orders were cancelled and `foreign_open` are open that polyexec did not place.
    """

    sweep_id: str
    command_id: str
    account: str
    market: str
    phase: str
    accepted_ns: int
    first_sent_ns: int
    zero_ns: int
    final_ns: int
    known: int
    cancelled: int
    filled: int
    rejected: int
    open_count: int
    doubt_count: int
    open_orders: list[str]
    in_doubt: list[SweepDoubt]
    turned_up: int = 0
    """Orders that were in doubt or over and turned out to be open: they were cancelled again."""
    repeats: int = 0
    """Cancels that were sent again because they were refused or their outcome was unknown."""
    wallet_cancels: int = 0
    foreign: int = 0
    foreign_open: int = 0


class SweepReport(Message, frozen=True):
    """The answer to GetSweep: none when no such cancel-all was accepted lately."""

    request_id: str
    sweep: SweepView | None


class SweepChanged(Message, frozen=True):
    """A cancel-all was accepted or reached another phase; on the executor's topic `sweeps`."""

    sweep: SweepView


class OrdersReport(Message, frozen=True):
    request_id: str
    orders: list[OrderView]


class FillsReport(Message, frozen=True):
    request_id: str
    fills: list[Fill]


class PositionsReport(Message, frozen=True):
    request_id: str
    positions: list[Position]


class OrderUpdated(Message, frozen=True):
    """An order changed. `account_seq` is journaled per executor and survives restarts."""

    account_seq: int
    order: OrderView


# --- executor -> gateway: actions; gateway -> executor: results ---


class Place(Message, frozen=True):
    """Sign and send exactly `pinned` (a venue-specific struct in msgpack); the digest must be `venue_order_id`.

    Past `deadline_ns` (wall) it must not be sent. A repeat first looks the order up by its id.
    """

    action_id: str
    venue: str
    wallet: str
    venue_order_id: str
    deadline_ns: int
    pinned: bytes


class PlaceBatch(Message, frozen=True):
    """Several places of one wallet in one request, at most what the venue takes. Every leg is judged alone."""

    action_id: str
    venue: str
    wallet: str
    places: list[Place]


class Cancel(Message, frozen=True):
    action_id: str
    venue: str
    wallet: str
    venue_order_ids: list[str]


class CancelWallet(Message, frozen=True):
    """Cancel every open order of the wallet, also such we do not know; `condition_id` or `token_id` narrow it.

    Only for a command whose scope is the whole wallet (architecture section 5): accounts share wallets.
    """

    action_id: str
    venue: str
    wallet: str
    condition_id: str = ""
    token_id: str = ""


class QueryOrder(Message, frozen=True):
    action_id: str
    venue: str
    wallet: str
    venue_order_id: str


class QueryOpenOrders(Message, frozen=True):
    action_id: str
    venue: str
    wallet: str


class QueryTrades(Message, frozen=True):
    """All own trades at or after `after_ns` (the venue's clock, seconds resolution)."""

    action_id: str
    venue: str
    wallet: str
    after_ns: int


class QueryPositions(Message, frozen=True):
    """What the wallet holds of every token, settled on chain."""

    action_id: str
    venue: str
    wallet: str


class QueryBalances(Message, frozen=True):
    """The wallet's money as the venue counts it, and what it may spend of it."""

    action_id: str
    venue: str
    wallet: str


class WalletReady(Message, frozen=True):
    """The gateway holds the key of this wallet; the executor pins orders for these addresses."""

    venue: str
    wallet: str
    signer: str
    maker: str
    signature_type: int
    chain_id: int
    api_key: str


class Timings(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Monotonic-free stage times of one request, wall nanoseconds; 0 means the stage was not reached."""

    received_ns: int = 0
    signed_ns: int = 0
    sent_ns: int = 0
    answered_ns: int = 0
    first_byte_ns: int = 0


class PlaceResult(Message, frozen=True):
    """`status`: live, matched, delayed, unmatched, or the venue's own word; amounts given and received at once."""

    action_id: str
    venue_order_id: str
    outcome: Outcome
    code: Reason
    text: str
    status: str = ""
    making: int = 0
    taking: int = 0
    retry_after_ms: int = 0
    timings: Timings = Timings()
    retry: RetryClass = RetryClass.NEVER


class PlaceBatchResult(Message, frozen=True):
    """One result for each leg, in the order of the batch, whatever became of the whole."""

    action_id: str
    results: list[PlaceResult]


class CancelResult(Message, frozen=True):
    """`not_canceled` maps a venue order id to a reason word and the venue's text."""

    action_id: str
    outcome: Outcome
    code: Reason
    text: str
    canceled: list[str] = []
    not_canceled: dict[str, str] = {}
    timings: Timings = Timings()
    retry: RetryClass = RetryClass.NEVER
    retry_after_ms: int = 0


class VenueOrder(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An order as a venue's REST answer describes it; `status` LIVE, MATCHED, CANCELED..., prefix cut."""

    venue_order_id: str
    status: str
    token_id: str
    side: Side
    price: int
    size: int
    filled_size: int
    created_ns: int


class OrderLookup(Message, frozen=True):
    """Answer to QueryOrder. `found` is only meaningful when `outcome` is DONE; `asked_ns` is when the request began."""

    action_id: str
    venue_order_id: str
    outcome: Outcome
    code: Reason
    text: str
    asked_ns: int
    found: bool = False
    order: VenueOrder | None = None


class VenueFill(Message, frozen=True):
    """One own leg of a venue trade at one settlement stage; comes from the user channel and from trade queries."""

    venue: str
    wallet: str
    trade_id: str
    venue_order_id: str
    token_id: str
    side: Side
    size: int
    price: int
    cash: int
    is_taker: bool
    settlement: Settlement
    tx_hash: str
    matched_ns: int


class OpenOrdersResult(Message, frozen=True):
    """`complete` is False when any page was missing: then it proves nothing."""

    action_id: str
    outcome: Outcome
    code: Reason
    text: str
    asked_ns: int
    complete: bool
    orders: list[VenueOrder]


class TradesResult(Message, frozen=True):
    action_id: str
    outcome: Outcome
    code: Reason
    text: str
    asked_ns: int
    complete: bool
    fills: list[VenueFill]


class VenuePosition(msgspec.Struct, frozen=True, array_like=True, gc=False):
    token_id: str
    size: int


class PositionsResult(Message, frozen=True):
    action_id: str
    outcome: Outcome
    code: Reason
    text: str
    asked_ns: int
    complete: bool
    positions: list[VenuePosition]


class BalancesResult(Message, frozen=True):
    """`allowance` is the largest any spender has: an order above it cannot be taken."""

    action_id: str
    outcome: Outcome
    code: Reason
    text: str
    asked_ns: int
    cash: int = 0
    allowance: int = 0


class ActionRefused(Message, frozen=True):
    """The gateway cannot read an action (a kind it does not know, a field that is missing): nothing was done for it.

    UNKNOWN for one that came again: an earlier life of the gateway may have been able to read it.
    """

    action_id: str
    outcome: Outcome
    code: Reason
    text: str


class VenueModeChanged(Message, frozen=True):
    """What a venue takes now. `mode`: NORMAL, RESTARTING, POST_ONLY, CANCEL_ONLY, DISABLED, DEGRADED, BLOCKED."""

    venue: str
    mode: str
    reason: str
    at_ns: int


# --- gateway -> signer, when keys live in a process of their own ---


class GetSigner(Message, frozen=True):
    """Whether the signer holds the key of this wallet, and whose key it is."""

    request_id: str
    wallet: str


class SignerReady(Message, frozen=True):
    """`address` is the key's own; what the wallet's orders are signed as follows from its signature type."""

    request_id: str
    wallet: str
    address: str


class SignOrder(Message, frozen=True):
    """Sign exactly `pinned`, whose digest must be `venue_order_id`. The same order again gives the same signature."""

    request_id: str
    wallet: str
    pinned: bytes
    venue_order_id: str


class SignedOrder(Message, frozen=True):
    """The signature as it is posted, wrapped where the wallet is a deposit wallet."""

    request_id: str
    signature: bytes


# --- user_data -> executor ---


class VenueOrderChanged(Message, frozen=True):
    """The user channel spoke of an order of this wallet. `kind`: PLACEMENT, UPDATE, CANCELLATION or another word."""

    venue: str
    wallet: str
    venue_order_id: str
    kind: str
    status: str
    text: str
    filled_size: int
    at_ns: int


class UserFeedChanged(Message, frozen=True):
    """The user channel of a wallet is LIVE again, or was lost: everything in between must be caught up."""

    venue: str
    wallet: str
    state: FeedState
    reason: str
    at_ns: int


MESSAGES: tuple[type[Message], ...] = tuple(
    cls for cls in list(globals().values()) if isinstance(cls, type) and issubclass(cls, Message) and cls is not Message
)
"""Every message, in the order of this file."""

_encoder = msgspec.msgpack.Encoder()


_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Union[MESSAGES])  # noqa: UP007 (a tuple has no |)


def encode(message: Message) -> bytes:
    return _encoder.encode(message)


def decode(body: bytes | msgspec.Raw | memoryview) -> Message:
    """The message in one body. Raises msgspec.DecodeError for an unknown tag or a bad shape."""
    return _decoder.decode(body)
