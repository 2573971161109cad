"""Discovery against servers on loopback that answer as Gamma and the CLOB do, and as things on the internet do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from common.http import HttpClient
from common.instruments import Market
from common.messages import UnwatchMarkets, WatchMarkets
from services.market_data import discovery as discovery_module
from services.market_data.discovery import QUERY_BYTES_MAX, Discovery, Found, batches
from services.market_data.watchlist import Saved, WatchList
from tests.services.market_data.markets import market

Broken = Callable[[], web.Response]
TIMEOUT_S = 1.0


def html(status: int = 200) -> web.Response:
    return web.Response(status=status, text="<!doctype html><title>Welcome</title>", content_type="text/html")


def listing(number: int, **changes: object) -> Market:
    """A market with ids as long as the venue's."""
    ids = {"condition_id": f"0x{number:064x}", "token_ids": (str(2**250 + number), str(2**251 + number))}
    return market(number, **(ids | changes))


class Venue:
    """Gamma and CLOB over `markets`, the busiest first; `pages` rows a page, `clob` is what the CLOB knows."""

    def __init__(self, *markets: Market) -> None:
        self.markets = list(markets)
        self.closed: set[str] = set()
        self.unknown: set[str] = set()
        self.members: dict[str, dict[str, object]] = {}
        self.page = 100
        self.cursor = ""
        self.gamma_broken: Broken | None = None
        self.search_broken: Broken | None = None
        self.clob_broken: dict[str, Broken] = {}
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self.longest = 0
        self.during: Callable[[], None] = lambda: None

    def paths(self, part: str) -> list[dict[str, list[str]]]:
        return [query for path, query in self.asked if part in path]

    def _heard(self, request: web.Request) -> dict[str, list[str]]:
        query = {name: request.query.getall(name) for name in request.query}
        self.asked.append((request.path, query))
        self.longest = max(self.longest, len(request.raw_path))
        self.during()
        return query

    def _row(self, one: Market) -> dict[str, object]:
        row: dict[str, object] = {
            "conditionId": one.condition_id,
            "slug": one.slug,
            "question": one.question,
            "outcomes": json.dumps(one.outcomes),
            "clobTokenIds": json.dumps(one.token_ids),
            "closed": one.slug in self.closed,
            "acceptingOrders": True,
        }
        return row | self.members.get(one.slug, {})

    async def keyset(self, request: web.Request) -> web.Response:
        query = self._heard(request)
        if self.gamma_broken:
            return self.gamma_broken()
        closed = query.get("closed", ["false"]) == ["true"]
        found = [one for one in self.markets if (one.slug in self.closed) is closed and _has(one, query)]
        start = int(request.query.get("after_cursor", "0"))
        page: dict[str, object] = {"markets": [self._row(one) for one in found[start : start + self.page]]}
        if start + self.page < len(found) or self.cursor:
            page["next_cursor"] = self.cursor or str(start + self.page)
        return web.json_response(page)

    async def search(self, request: web.Request) -> web.Response:
        query = self._heard(request)
        if self.search_broken:
            return self.search_broken()
        size, number = int(query["limit_per_type"][0]), int(query["page"][0])
        found = [one for one in self.markets if query["q"][0] in one.question.lower()]
        rows = found[(number - 1) * size : number * size]
        events = [{"markets": [{"conditionId": one.condition_id, "closed": one.slug in self.closed}]} for one in rows]
        pagination = {"hasMore": number * size < len(found), "totalResults": len(found)}
        return web.json_response({"events": events, "pagination": pagination})

    async def clob(self, request: web.Request) -> web.Response:
        self._heard(request)
        condition_id = request.match_info["condition"]
        broken = self.clob_broken.get(condition_id) or self.clob_broken.get("*")
        if broken:
            return broken()
        found = [one for one in self.markets if one.condition_id == condition_id and one.slug not in self.unknown]
        if not found:
            return web.json_response({"error": "market not found"}, status=404)
        [one] = found
        tokens = [{"t": token, "o": word} for token, word in zip(one.token_ids, one.outcomes, strict=True)]
        return web.json_response(
            {"c": condition_id, "t": tokens, "mts": one.tick / 10**6, "mos": 5, "ao": one.accepting, "fd": {"r": 0.07}}
        )


def _has(one: Market, query: dict[str, list[str]]) -> bool:
    filters = {"slug": {one.slug}, "condition_ids": {one.condition_id}, "clob_token_ids": set(one.token_ids)}
    return all(values & set(query[name]) for name, values in filters.items() if name in query)


class World:
    """One watch list over one venue; a board that follows what is found and wanted."""

    def __init__(self, venue: Venue, watch: WatchList, discovery: Discovery, url: str) -> None:
        self.venue = venue
        self.watch = watch
        self.discovery = discovery
        self.url = url
        self.known: dict[str, Market] = {}
        self.found = Found([], {})

    async def round(self) -> Found:
        self.found = await self.discovery.round([one for one in self.known.values() if one.accepting])
        self.known |= {one.condition_id: one for one in self.found.markets}
        return self.found

    def command(self, command: WatchMarkets | UnwatchMarkets) -> None:
        self.watch.commit(self.watch.plan(command))

    def follows(self) -> list[str]:
        """Slugs of the open markets that are wanted."""
        wanted = self.watch.wanted()
        return sorted(one.slug for one in self.known.values() if one.accepting and one.condition_id in wanted)


@asynccontextmanager
async def server(venue: Venue) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/gamma/markets/keyset", venue.keyset)
    app.router.add_get("/gamma/public-search", venue.search)
    app.router.add_get("/clob-markets/{condition}", venue.clob)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield "http://{}:{}".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client(url: str) -> AsyncIterator[HttpClient]:
    http = HttpClient(url, total_timeout_s=TIMEOUT_S, connect_timeout_s=TIMEOUT_S, connections=16)
    try:
        yield http
    finally:
        await http.close()


@asynccontextmanager
async def world(venue: Venue, *entries: str, markets_max: int = 50) -> AsyncIterator[World]:
    watch = WatchList(entries, Saved(), markets_max)
    async with server(venue) as url, client(url + "/gamma") as gamma, client(url) as clob:
        yield World(venue, watch, Discovery(gamma, clob, watch, markets_max), url)


async def test_every_form_of_entry_leads_to_its_market() -> None:
    venue = Venue(*(listing(number) for number in range(1, 7)))
    ids = venue.markets[1].condition_id, venue.markets[2].token_ids[1]
    async with world(venue, "market-1", *ids, "query:number 4") as at:
        found = await at.round()

        assert at.follows() == ["market-1", "market-2", "market-3", "market-4"]
        assert found.trouble == ""
        assert found.by_entry["market-1"] == ((venue.markets[0].condition_id,), "")


async def test_the_busiest_are_taken_in_gammas_order_up_to_the_limit() -> None:
    venue = Venue(*(listing(number) for number in range(1, 8)))
    venue.page = 2
    async with world(venue, "*", markets_max=5) as at:
        await at.round()

        assert at.follows() == [f"market-{number}" for number in range(1, 6)]
        [first, *_] = venue.paths("keyset")
        assert (first["order"], first["ascending"], first["closed"]) == (["volume24hr"], ["false"], ["false"])
        assert at.watch.problems == {}


async def test_how_a_market_trades_is_what_the_clob_says() -> None:
    venue = Venue(listing(1, tick=1_000))
    venue.members["market-1"] = {"orderPriceMinTickSize": 0.1, "acceptingOrders": False}
    async with world(venue, "market-1") as at:
        [one] = (await at.round()).markets

        assert (one.tick, one.min_size, one.fee_rate, one.accepting) == (1_000, 5_000_000, 70_000, True)

        venue.markets[0] = listing(1, tick=10_000)
        [one] = (await at.round()).markets
        assert one.tick == 10_000
        assert at.venue.paths("keyset")[1:] == []  # a market that is known is not asked for again


async def test_a_market_stays_wanted_although_it_is_not_among_the_busiest_any_more() -> None:
    venue = Venue(listing(1), listing(2))
    async with world(venue, "*", markets_max=2) as at:
        await at.round()
        venue.markets = [listing(3), listing(4), *venue.markets]
        await at.round()

        assert at.follows() == ["market-1", "market-2"]


async def test_a_closed_market_makes_room_for_the_next() -> None:
    venue = Venue(listing(1), listing(2), listing(3))
    async with world(venue, "*", markets_max=2) as at:
        await at.round()
        venue.markets[0] = listing(1, accepting=False)
        await at.round()
        assert at.known[listing(1).condition_id].accepting is False

        await at.round()
        assert at.follows() == ["market-2", "market-3"]


async def test_a_known_market_the_clob_does_not_have_any_more_is_closed() -> None:
    venue = Venue(listing(1))
    async with world(venue, "market-1") as at:
        await at.round()
        venue.unknown.add("market-1")
        [gone] = (await at.round()).markets

        assert gone.accepting is False
        assert at.watch.wanted() == set()
        assert at.watch.problems == {"market-1": "market-1 is closed: the CLOB takes no orders for it"}


async def test_an_html_404_says_nothing_about_a_known_market() -> None:
    venue = Venue(listing(1))
    async with world(venue, "market-1") as at:
        await at.round()
        venue.clob_broken["*"] = lambda: html(404)
        found = await at.round()

        assert at.follows() == ["market-1"]
        assert found.trouble == f"{at.url} answered HTML, not JSON: is polymarket.clob_url right?"


async def test_a_market_the_clob_does_not_know_yet_is_followed_once_it_does() -> None:
    venue = Venue(listing(1), listing(2))
    venue.unknown = {"market-1"}
    async with world(venue, "market-1", "*") as at:
        await at.round()
        waits = "market-1 is not known to the CLOB yet: asked for again in every round"
        assert at.watch.problems == {"market-1": waits, "*": waits}
        assert at.follows() == ["market-2"]

        venue.unknown.clear()
        found = await at.round()
        assert at.follows() == ["market-1", "market-2"]
        assert found.trouble == ""


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("no-such-market", "no market has the slug no-such-market: see polyexec markets"),
        ("0x" + "ab" * 32, f"no market has the condition id 0x{'ab' * 32}: see polyexec markets"),
        (str(2**255), f"no market has the token id {2**255}: see polyexec markets"),
        ("query:nothing like it", "no open market matches"),
        ("market-8", "market-8 is closed"),
        ("market-7", "market-7 is the placeholder of outcomes to be named later: it is not traded"),
        ("market-6", "market-6 has no order book of two outcomes"),
        ("market-5", "market-5 is closed: the CLOB takes no orders for it"),
        ("market-4", "Gamma's market cannot be read: market-4: unreadable JSON"),
        ("market-3", "market-3: Gamma and the CLOB name different tokens"),
        ("not an entry", "'not an entry' cannot be read: an entry is a slug"),
    ],
)
async def test_an_entry_that_comes_to_nothing_says_why_and_the_rest_goes_on(entry: str, said: str) -> None:
    venue = Venue(*(listing(number, accepting=number != 5) for number in range(1, 9)))
    venue.closed.add("market-8")
    venue.members = {
        "market-7": {"negRiskOther": True},
        "market-6": {"enableOrderBook": False},
        "market-4": {"outcomes": "{"},
        "market-3": {"clobTokenIds": json.dumps([str(2**253), str(2**254)])},
    }
    async with world(venue, entry, "market-1", "query:number 2") as at:
        found = await at.round()

        assert at.watch.problems[entry].startswith(said)
        assert said in found.trouble
        assert at.follows() == ["market-1", "market-2"]


BROKEN: list[tuple[str, Broken, str]] = [
    ("html", html, "answered HTML, not JSON: is {} right?"),
    ("html without a type", lambda: web.Response(body=b"\n<html>"), "answered HTML, not JSON: is {} right?"),
    ("not found", lambda: html(404), "answered HTML, not JSON: is {} right?"),
    ("server error", lambda: html(500), "answered HTTP 500: asked again in the next round"),
    ("too many", lambda: web.json_response({}, status=429), "answered HTTP 429: asked again in the next round"),
    ("forbidden", lambda: web.json_response({}, status=403), "answered HTTP 403: is {} right?"),
    (
        "redirect",
        lambda: web.Response(status=302, headers={"Location": "https://example.com/login"}),
        "redirects to 'https://example.com/login': is {} right?",
    ),
    ("garbage", lambda: web.Response(body=b"\xff\x00garbage"), "answered what cannot be read (unreadable JSON"),
    ("half", lambda: web.Response(body=b'{"markets":[{"slug"'), "answered what cannot be read (unreadable JSON"),
    ("other json", lambda: web.json_response({"hello": 1}), "answered what cannot be read ("),
    ("a list", lambda: web.json_response([1, 2]), "answered what cannot be read ("),
]


@pytest.mark.parametrize(("broken", "said"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
async def test_a_gamma_that_answers_wrongly_is_named_and_known_markets_go_on(broken: Broken, said: str) -> None:
    venue = Venue(listing(1), listing(2))
    async with world(venue, "market-1", "query:number 2") as at:
        await at.round()
        venue.gamma_broken = venue.search_broken = broken
        at.command(WatchMarkets("c", ["market-2", "*"]))
        venue.markets[0] = listing(1, tick=1_000)
        found = await at.round()

        line = f"{at.url}/gamma {said.format('polymarket.gamma_url')}"
        assert found.trouble.startswith(line)
        assert "\n" not in found.trouble
        assert at.watch.problems["market-2"].startswith(line)
        assert at.follows() == ["market-1", "market-2"]
        assert at.known[listing(1).condition_id].tick == 1_000


@pytest.mark.parametrize(("broken", "said"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
async def test_a_clob_that_answers_wrongly_costs_the_market_it_was_asked_for(broken: Broken, said: str) -> None:
    venue = Venue(listing(1), listing(2))
    venue.clob_broken[listing(1).condition_id] = broken
    async with world(venue, "market-1", "market-2") as at:
        found = await at.round()

        line = f"{at.url} {said.format('polymarket.clob_url')}"
        assert at.watch.problems["market-1"].startswith(line)
        assert line in found.trouble
        assert at.follows() == ["market-2"]

        venue.clob_broken.clear()
        assert (await at.round()).trouble == ""
        assert at.follows() == ["market-1", "market-2"]


async def test_a_page_that_fails_in_the_middle_is_told() -> None:
    venue = Venue(*(listing(number) for number in range(1, 5)))
    venue.page = 2
    answered: list[int] = []

    def count() -> None:
        answered.append(1)
        venue.gamma_broken = html if len(answered) > 1 else None

    venue.during = count
    async with world(venue, "*") as at:
        found = await at.round()

        assert "answered HTML, not JSON: is polymarket.gamma_url right?" in found.trouble


async def test_a_cursor_that_leads_in_circles_ends_the_list() -> None:
    venue = Venue(listing(1), listing(2))
    venue.cursor = "0"
    async with world(venue, "*", "market-1") as at:
        await at.round()

        assert at.follows() == ["market-1", "market-2"]
        pages = [query for query in venue.paths("keyset") if "order" in query]
        assert [query.get("after_cursor") for query in pages] == [None, ["0"]]


async def test_cursors_that_never_end_are_followed_only_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery_module, "PAGES_MAX", 7)
    venue = Venue(listing(1))
    counter: Iterator[int] = iter(range(1, 1_000))
    venue.gamma_broken = lambda: web.json_response({"markets": [], "next_cursor": str(next(counter))})
    async with world(venue, "*") as at:
        await at.round()

        assert len(venue.paths("keyset")) == 7
        assert at.watch.problems == {"*": "no market is open"}


async def test_a_search_is_read_page_by_page() -> None:
    venue = Venue(*(listing(number) for number in range(1, 131)))
    async with world(venue, "query:number", markets_max=200) as at:
        await at.round()

        assert len(at.follows()) == 130
        assert [query["page"] for query in venue.paths("search")] == [["1"], ["2"], ["3"]]


async def test_many_ids_are_asked_for_in_requests_every_server_reads() -> None:
    """aiohttp's own server refuses a request line above 8,190 bytes."""
    venue = Venue(*(listing(number) for number in range(1, 251)))
    tokens = [one.token_ids[number % 2] for number, one in enumerate(venue.markets)]
    async with world(venue, *tokens, markets_max=300) as at:
        found = await at.round()

        assert found.trouble == ""
        assert len(at.follows()) == 250
        assert 4_000 < venue.longest < 8_000


@given(st.lists(st.text(st.characters(codec="ascii"), min_size=1, max_size=300), max_size=300))
def test_batches_lose_nothing_and_stay_within_both_limits(values: list[str]) -> None:
    parts = batches(values)

    assert [value for part in parts for value in part] == values
    assert all(0 < len(part) <= 100 for part in parts)
    assert all(sum(len(value) + 16 for value in part) <= QUERY_BYTES_MAX for part in parts)


async def test_explicit_entries_push_the_busiest_out_of_a_full_list() -> None:
    venue = Venue(*(listing(number) for number in range(1, 5)))
    async with world(venue, "*", markets_max=2) as at:
        await at.round()
        at.command(WatchMarkets("c", ["market-4", "query:number 3"]))
        found = await at.round()

        assert at.follows() == ["market-3", "market-4"]
        assert at.watch.problems == {"*": "2 markets do not fit: market_data.markets_max is 2"}
        assert "market_data.markets_max is 2" in found.trouble


async def test_entries_changed_while_a_round_reads_are_neither_lost_nor_brought_back() -> None:
    venue = Venue(listing(1), listing(2), listing(3))
    async with world(venue, "market-1", "market-2") as at:

        def meanwhile() -> None:
            at.command(UnwatchMarkets("u", ["market-1"]))
            at.command(WatchMarkets("w", ["market-3"]))

        venue.during = meanwhile
        found = await at.round()
        assert sorted(found.by_entry) == ["market-2"]
        assert at.follows() == ["market-2"]

        await at.round()
        assert at.follows() == ["market-2", "market-3"]


async def test_a_market_that_is_not_wanted_any_more_is_not_asked_for() -> None:
    venue = Venue(listing(1), listing(2))
    async with world(venue, "market-1", "market-2") as at:
        await at.round()
        at.command(UnwatchMarkets("u", ["market-1"]))
        venue.asked.clear()
        await at.round()

        assert [path for path, _ in venue.asked] == [f"/clob-markets/{listing(2).condition_id}"]


@contextmanager
def nobody_answers(venue: Venue) -> Iterator[list[int]]:
    """The CLOB takes requests and says nothing; yields how many it took."""
    taken: list[int] = []

    def silent() -> web.Response:
        taken.append(1)
        raise asyncio.CancelledError  # aiohttp's server then cuts the connection

    venue.clob_broken["*"] = silent
    yield taken
    venue.clob_broken.clear()


async def test_a_clob_that_gives_no_answer_is_not_asked_for_every_market() -> None:
    venue = Venue(*(listing(number) for number in range(1, 41)))
    async with world(venue, "*") as at:
        await at.round()
        with nobody_answers(venue) as taken:
            found = await at.round()

        assert len(taken) < 20
        assert "gave no answer (RESET" in found.trouble
        assert "; and " not in found.trouble
        assert len(at.follows()) == 40
        assert (await at.round()).trouble == ""


async def test_a_gamma_that_cannot_be_reached_is_named(unused_tcp_port: int) -> None:
    watch = WatchList(("*",), Saved(), 5)
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with client(url) as http:
        found = await Discovery(http, http, watch, 5).round([])

    assert found.markets == []
    assert found.trouble.startswith(f"{url} gave no answer (NOT_SENT: ")
