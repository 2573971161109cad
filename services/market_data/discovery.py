"""Finding the markets of the watch list: Gamma names them, the CLOB says how they trade. One round of reads at a time.

In: two HTTP clients, the watch list, what is known. Out: Markets, what each entry came to, and what could not be read.
Gamma is cached and lags, so tick, minimum size, fees and acceptance come from /clob-markets, and a market the CLOB does
not know yet is left for later. An answer that cannot be used costs what was asked with it, never the round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec

from common.errors import Refusal
from common.http import HttpClient, HttpFailure, HttpReply
from common.instruments import Market, check_market
from common.reasons import Reason
from common.venues.polymarket.gamma import PAGE_MAX, GammaMarket, GammaPage, parse_gamma_page, parse_search_page
from common.venues.polymarket.wire import CompactMarket, parse_compact_market
from services.market_data.watchlist import Entry, Kind, Outcome, Resolution, WatchList, explain

VENUE = "polymarket"
AT_ONCE = 8
"""Requests under way at one service."""
PAGES_MAX = 200
SEARCH_PAGES_MAX = 20
SEARCH_PAGE = 50
QUERY_BYTES_MAX = 6_000
"""Of the ids of one request: servers refuse a request line above 8 KiB."""
TROUBLES_TOLD = 3

Pairs = list[tuple[str, str]]
Parsed = TypeVar("Parsed")

FILTERS: Final[dict[Kind, tuple[str, Callable[[GammaMarket], tuple[str, ...]]]]] = {
    Kind.SLUG: ("slug", lambda market: (market.slug,)),
    Kind.CONDITION: ("condition_ids", lambda market: (market.condition_id,)),
    Kind.TOKEN: ("clob_token_ids", lambda market: market.token_ids),
}
"""For each explicit kind of entry: Gamma's filter, and what a listed market has of it."""


class Found(NamedTuple):
    """One round. `trouble` is "" when everything could be read and every entry came to something."""

    markets: list[Market]
    by_entry: dict[str, Resolution]
    trouble: str = ""


class NoMarket(Refusal):
    """The CLOB says that it has no such market."""


class Service:
    """One of the venue's services, named in every complaint by the setting of its URL."""

    def __init__(self, client: HttpClient, setting: str) -> None:
        self._client = client
        self._setting = setting
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._unanswered = 0

    async def read(self, path: str, query: Pairs, parse: Callable[[bytes], Parsed]) -> Parsed:
        """What the answer says. Raises Refusal with one line: who, what came, what to look at."""
        async with self._gate:
            if self._unanswered >= AT_ONCE:
                raise Refusal(Reason.VENUE_UNAVAILABLE, self._line("gave no answer: asked again in the next round"))
            reply = await self._client.request("GET", path, query=query)
        self._unanswered = self._unanswered + 1 if isinstance(reply, HttpFailure) else 0
        body = self._body(reply)
        try:
            return parse(body)
        except Refusal as refusal:
            raise self._wrong(f"answered what cannot be read ({refusal.message})") from None

    def new_round(self) -> None:
        """A service that gave no answer is asked again."""
        self._unanswered = 0

    def _body(self, reply: HttpReply | HttpFailure) -> bytes:
        if isinstance(reply, HttpFailure):
            line = self._line(f"gave no answer ({reply.kind.value}: {reply.text})")
            raise Refusal(Reason.VENUE_UNAVAILABLE, line)
        if reply.status == 429 or reply.status >= 500:
            line = self._line(f"answered HTTP {reply.status}: asked again in the next round")
            raise Refusal(Reason.VENUE_UNAVAILABLE, line)
        if 300 <= reply.status < 400:
            raise self._wrong(f"redirects to {reply.headers.get('Location', 'nowhere')[:100]!r}")
        if _is_html(reply):
            raise self._wrong("answered HTML, not JSON")
        if reply.status == 404:
            raise NoMarket(Reason.UNKNOWN_MARKET, self._line(f"answered HTTP 404: is {self._setting} right?"))
        if reply.status != 200:
            raise self._wrong(f"answered HTTP {reply.status}")
        return reply.body

    def _wrong(self, what: str) -> Refusal:
        return Refusal(Reason.VENUE_UNAVAILABLE, self._line(f"{what}: is {self._setting} right?"))

    def _line(self, what: str) -> str:
        return f"{self._client.base_url} {what}"


class Discovery:
    """Rounds over one watch list, one at a time."""

    def __init__(
        self,
        gamma: HttpClient,
        clob: HttpClient,
        watch: WatchList,
        markets_max: int,
        clob_setting: str = "polymarket.clob_url",
    ) -> None:
        self._gamma = Service(gamma, "polymarket.gamma_url")
        self._clob = Service(clob, clob_setting)
        self._watch = watch
        self._markets_max = markets_max
        self._unfit: set[str] = set()

    async def round(self, known: Sequence[Market]) -> Found:
        """Look for every entry, refresh what is wanted of the `known` open markets, and settle the watch list."""
        self._gamma.new_round()
        self._clob.new_round()
        asked = _Round(self._gamma, self._watch, {m.condition_id: m for m in known}, self._markets_max, self._unfit)
        await asked.run()
        admitted = self._watch.admit(asked.found)
        wanted = dict.fromkeys(condition_id for one in admitted.values() for condition_id in one.condition_ids)
        seen = dict(zip(wanted, await asyncio.gather(*(self._seen(each, asked) for each in wanted)), strict=True))
        by_entry: dict[str, Resolution] = {}
        for entry in (entry for entry in asked.entries if entry.text in admitted):  # others were removed meanwhile
            room = admitted[entry.text]
            outcome = _outcome({each: seen[each] for each in room.condition_ids}, asked.known)
            problem = asked.problems.get(entry.text, "")
            by_entry[entry.text] = explain(entry, outcome, room.left_out, problem, self._markets_max)
        markets = [one for one in seen.values() if isinstance(one, Market)]
        trading = {market.condition_id for market in markets if market.accepting}
        self._unfit = {each for each in (*seen, *self._unfit & asked.listed.keys()) if each not in trading}
        self._watch.settle(by_entry, {market.condition_id: market.slug for market in markets})
        shown = [market for market in markets if market.accepting or market.condition_id in asked.known]
        return Found(shown, by_entry, self._trouble(asked, seen))

    def _trouble(self, asked: _Round, seen: Mapping[str, Market | Refusal]) -> str:
        """What could not be read, then what entries came to nothing for another reason."""
        refreshes = [one.message for each, one in seen.items() if isinstance(one, Refusal) and each in asked.known]
        lines = list(dict.fromkeys([*asked.troubles, *refreshes]))
        problems = self._watch.problems.items()
        lines += [f"{text}: {problem}" for text, problem in problems if problem not in lines]
        more = f"; and {len(lines) - TROUBLES_TOLD} more" if len(lines) > TROUBLES_TOLD else ""
        return "; ".join(lines[:TROUBLES_TOLD]) + more

    async def _seen(self, condition_id: str, asked: _Round) -> Market | Refusal:
        """The market as the CLOB has it now, or why that is not known."""
        known = asked.known.get(condition_id)
        try:
            compact = await self._clob.read(f"/clob-markets/{condition_id}", [], parse_compact_market)
            return _again(known, compact) if known else market_of(asked.listed[condition_id], compact)
        except NoMarket:
            if known:
                return msgspec.structs.replace(known, accepting=False)
            slug = asked.listed[condition_id].slug
            text = f"{slug} is not known to the CLOB yet: asked for again in every round"
            return Refusal(Reason.UNKNOWN_MARKET, text)
        except Refusal as refusal:
            return refusal


class _Round:
    """One round's questions to Gamma: `found` are the markets of each entry, what it has already led to first.

    `unfit` are markets Gamma shows as open that the CLOB did not trade last time: the rest gets room before them.
    """

    def __init__(
        self, gamma: Service, watch: WatchList, known: Mapping[str, Market], markets_max: int, unfit: set[str]
    ) -> None:
        self._gamma = gamma
        self._markets_max = markets_max
        self._unfit = unfit
        self._enough = markets_max + len(unfit)
        self.entries = watch.entries
        self.known = known
        held = {entry.text: watch.held(entry.text) for entry in self.entries}
        self.found = {text: [each for each in ids if each in known] for text, ids in held.items()}
        self.listed: dict[str, GammaMarket] = {}
        self.problems: dict[str, str] = {}
        self.troubles: list[str] = []

    async def run(self) -> None:
        questions = [self._matching(entry) for entry in self.entries if entry.kind is Kind.QUERY]
        questions += [self._busiest(entry) for entry in self.entries if entry.kind is Kind.BUSIEST]
        for kind in FILTERS:
            sought = {e.value: e for e in self.entries if e.kind is kind and not self.found[e.text]}
            questions += [self._named(kind, [sought[value] for value in part]) for part in batches(list(sought))]
        await asyncio.gather(*questions)

    async def _named(self, kind: Kind, entries: Sequence[Entry]) -> None:
        """Slugs or ids of one request; what is not open is looked for among the closed."""
        name, values_of = FILTERS[kind]
        unreadable: list[str] = []
        missing = {entry.value: entry for entry in entries}
        try:
            for closed in ("false", "true"):
                query = [("closed", closed), *((name, value) for value in missing)]
                listed = await self._pages(query, len(missing), unreadable=unreadable) if missing else []
                for market in listed:
                    for entry in [missing.pop(value) for value in values_of(market) if value in missing]:
                        self._found_named(entry, market)
        except Refusal as refusal:
            self._complain(missing.values(), refusal.message)
            return
        for value, entry in missing.items():
            lines = [line for line in unreadable if kind is not Kind.SLUG or line.startswith(f"{value}:")]
            nothing = f"no market has the {kind.word} {value}: see polyexec markets"
            self.problems[entry.text] = f"Gamma's market cannot be read: {lines[0]}" if lines else nothing

    def _found_named(self, entry: Entry, market: GammaMarket) -> None:
        problem = untradable(market)
        if problem:
            self.problems[entry.text] = f"{market.slug} {problem}"
        else:
            self._add(entry, [market])

    async def _matching(self, entry: Entry) -> None:
        """The search names markets, the list describes those not known yet."""
        found: dict[str, None] = {}
        try:
            for page in range(1, SEARCH_PAGES_MAX + 1):
                query = [("q", entry.value), ("limit_per_type", str(SEARCH_PAGE)), ("page", str(page))]
                query += [("events_status", "active"), ("keep_closed_markets", "0")]
                result = await self._gamma.read("/public-search", query, parse_search_page)
                found.update(dict.fromkeys(result.condition_ids))
                if not result.has_more or not result.condition_ids or len(found) >= self._enough:
                    break
            for part in batches([each for each in found if each not in self.known]):
                query = [("closed", "false"), *(("condition_ids", each) for each in part)]
                self._add(entry, [market for market in await self._pages(query, len(part)) if market.is_tradable])
        except Refusal as refusal:
            self._complain([entry], refusal.message)
        self.found[entry.text] += [each for each in found if each in self.known]

    async def _busiest(self, entry: Entry) -> None:
        if len(self.found[entry.text]) >= self._markets_max:
            return
        query = [("active", "true"), ("closed", "false"), ("order", "volume24hr"), ("ascending", "false")]
        try:
            self._add(entry, await self._pages(query, self._enough, lambda market: market.is_tradable))
        except Refusal as refusal:
            self._complain([entry], refusal.message)

    async def _pages(
        self,
        query: Pairs,
        enough: int,
        wanted: Callable[[GammaMarket], bool] = lambda _: True,
        unreadable: list[str] | None = None,
    ) -> list[GammaMarket]:
        """The first `enough` listed markets. Those that cannot be read are left out, and told in `unreadable`."""
        listed: dict[str, GammaMarket] = {}
        cursors = {""}
        cursor = ""
        for _ in range(PAGES_MAX):
            page = await self._page(query, cursor)
            (unreadable if unreadable is not None else []).extend(page.unreadable)
            listed.update((market.condition_id, market) for market in page.markets if wanted(market))
            cursor = page.next_cursor
            if len(listed) >= enough or cursor in cursors:
                break
            cursors.add(cursor)
        return list(listed.values())[:enough]

    async def _page(self, query: Pairs, cursor: str) -> GammaPage:
        paging = [("limit", str(PAGE_MAX))] + ([("after_cursor", cursor)] if cursor else [])
        return await self._gamma.read("/markets/keyset", [*paging, *query], parse_gamma_page)

    def _add(self, entry: Entry, markets: Iterable[GammaMarket]) -> None:
        for market in sorted(markets, key=lambda market: market.condition_id in self._unfit):
            self.listed[market.condition_id] = market
            self.found[entry.text].append(market.condition_id)

    def _complain(self, entries: Iterable[Entry], text: str) -> None:
        self.troubles.append(text)
        for entry in entries:
            self.problems[entry.text] = text


def batches(values: Sequence[str]) -> list[list[str]]:
    """The values in requests that Gamma takes (100 ids) and every server reads (bytes of the request line)."""
    parts: list[list[str]] = []
    size = 0
    for value in values:
        size += len(value) + len("&clob_token_ids=")
        if not parts or len(parts[-1]) == PAGE_MAX or size > QUERY_BYTES_MAX:
            parts.append([])
            size = len(value) + len("&clob_token_ids=")
        parts[-1].append(value)
    return parts


def untradable(listed: GammaMarket) -> str:
    """Why a named market cannot be followed, "" when only the CLOB can tell."""
    if listed.closed:
        return "is closed"
    if listed.placeholder:
        return "is the placeholder of outcomes to be named later: it is not traded"
    return "" if listed.has_books else "has no order book of two outcomes"


def market_of(listed: GammaMarket, compact: CompactMarket) -> Market:
    """One Market of what both services say. Raises Refusal when they contradict each other or nobody could trade it."""
    _check_tokens(listed.slug, listed.token_ids, compact)
    first, second = listed.token_ids
    market = Market(
        venue=VENUE,
        condition_id=listed.condition_id,
        slug=listed.slug,
        question=listed.question,
        outcomes=(listed.outcomes[0], listed.outcomes[1]),
        token_ids=(first, second),
        tick=compact.tick_size,
        min_size=compact.min_order_size,
        neg_risk=compact.neg_risk,
        fee_rate=compact.fee_rate,
        fee_exponent=compact.fee_exponent,
        accepting=compact.accepting_orders,
        start_ns=listed.start_ns,
        end_ns=listed.end_ns,
        category=listed.category,
        description=listed.description,
        event_id=listed.event_id,
    )
    return _checked(market)


def _again(known: Market, compact: CompactMarket) -> Market:
    """A known market with what can change of it."""
    _check_tokens(known.slug, known.token_ids, compact)
    market = msgspec.structs.replace(
        known,
        tick=compact.tick_size,
        min_size=compact.min_order_size,
        fee_rate=compact.fee_rate,
        fee_exponent=compact.fee_exponent,
        accepting=compact.accepting_orders,
    )
    return _checked(market)


def _check_tokens(slug: str, token_ids: tuple[str, ...], compact: CompactMarket) -> None:
    if compact.token_ids != token_ids:
        raise Refusal(Reason.BAD_REQUEST, f"{slug}: Gamma and the CLOB name different tokens", "token_ids")


def _checked(market: Market) -> Market:
    try:
        check_market(market)
    except Refusal as refusal:
        raise Refusal(refusal.code, f"{market.slug}: {refusal.message}", refusal.field) from None
    return market


def _outcome(seen: Mapping[str, Market | Refusal], known: Mapping[str, Market]) -> Outcome:
    """A known market is followed until the venue says that it is closed, whatever could not be read."""
    followed, pending, closed = [], [], []
    for condition_id, one in seen.items():
        if isinstance(one, Market) and not one.accepting:
            closed.append(f"{one.slug} is closed: the CLOB takes no orders for it")
        elif isinstance(one, Market) or condition_id in known:
            followed.append(condition_id)
        else:
            pending.append(one.message)
    return Outcome(tuple(followed), tuple(pending), tuple(closed))


def _is_html(reply: HttpReply) -> bool:
    return "html" in reply.headers.get("Content-Type", "").lower() or reply.body.lstrip()[:1] == b"<"
