"""The watch list: spelling of entries, commands, what fits, what is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError, Refusal
from common.messages import UnwatchMarkets, WatchMarkets, WatchReport
from common.reasons import Reason
from services.market_data.watchlist import (
    COMMANDS_KEPT,
    ENTRIES_MAX,
    ENTRY_LENGTH_MAX,
    NAMED_MAX,
    QUERIES_MAX,
    Entry,
    Kind,
    Outcome,
    Resolution,
    Saved,
    WatchList,
    explain,
    parse_entry,
)

CONDITION = "0x" + "ab" * 32
TOKEN = str(2**255 + 7)
WIDE = 1_000_000
NOTHING = Saved()


def watch(*configured: str, saved: Saved = NOTHING, markets_max: int = WIDE) -> WatchList:
    return WatchList(configured, saved, markets_max)


def do(listed: WatchList, command: WatchMarkets | UnwatchMarkets) -> WatchReport:
    return listed.commit(listed.plan(command))


def add(listed: WatchList, *entries: str, command_id: str = "") -> WatchReport:
    return do(listed, WatchMarkets(command_id or f"w-{entries}", list(entries)))


def remove(listed: WatchList, *entries: str, command_id: str = "") -> WatchReport:
    return do(listed, UnwatchMarkets(command_id or f"u-{entries}", list(entries)))


def shown(report: WatchReport) -> list[tuple[str, bool]]:
    return [(entry.entry, entry.from_settings) for entry in report.entries]


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        (" btc-updown-15m-1 ", Entry("btc-updown-15m-1", Kind.SLUG, "btc-updown-15m-1")),
        ("2024", Entry("2024", Kind.SLUG, "2024")),
        (CONDITION.upper().replace("0X", "0x"), Entry(CONDITION, Kind.CONDITION, CONDITION)),
        ("0X" + "AB" * 32, Entry(CONDITION, Kind.CONDITION, CONDITION)),
        (TOKEN, Entry(TOKEN, Kind.TOKEN, TOKEN)),
        ("*", Entry("*", Kind.BUSIEST, "")),
        ("Query:  Bitcoin   up ", Entry("query:bitcoin up", Kind.QUERY, "bitcoin up")),
        ("query:0x12", Entry("query:0x12", Kind.QUERY, "0x12")),
    ],
)
def test_an_entry_has_one_spelling(text: str, entry: Entry) -> None:
    assert parse_entry(text) == entry


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "two words",
        "README.md",
        "a,b",
        "https://example.com/market/x",
        "0x12",
        "0x" + "g" * 64,
        CONDITION + "0",
        "0" + TOKEN[1:],
        str(2**256),
        "9" * 90,
        "\u0661" * 30,
        "query:",
        "query: ",
        "query:\x00",
        "**",
        "-x",
        "ü",
        "s" * (ENTRY_LENGTH_MAX + 1),
        "query:" + "w" * ENTRY_LENGTH_MAX,
    ],
)
def test_what_cannot_be_read_is_refused_with_the_entry_and_the_forms(text: str) -> None:
    with pytest.raises(Refusal, match=r"an entry is a slug, a condition id .* query:WORDS, or \*") as refused:
        parse_entry(text)

    assert (refused.value.code, refused.value.field) == (Reason.BAD_REQUEST, "entries")
    assert repr(" ".join(text.split())[:80]) in refused.value.message


@given(st.text(max_size=100) | st.from_regex(r"query:[a-z ]+", fullmatch=True))
def test_reading_an_entry_again_changes_nothing(text: str) -> None:
    try:
        entry = parse_entry(text)
    except Refusal:
        return
    assert parse_entry(entry.text) == entry


def test_the_settings_come_first_and_say_so() -> None:
    listed = watch("*", "btc", "btc", saved=Saved(watched=("eth", "btc")))

    assert shown(listed.report("r")) == [("*", True), ("btc", True), ("eth", False)]


def test_a_command_changes_nothing_before_it_is_committed() -> None:
    listed = watch("*")

    change = listed.plan(WatchMarkets("c", ["btc"]))

    assert change.saved == Saved(watched=("btc",))
    assert shown(listed.report("r")) == [("*", True)]
    assert shown(listed.commit(change)) == [("*", True), ("btc", False)]


def test_watching_twice_is_watching_once() -> None:
    listed = watch("*")

    add(listed, "btc", "btc", command_id="1")
    report = add(listed, "btc", "*", command_id="2")

    assert listed.saved == Saved(watched=("btc",))
    assert shown(report) == [("*", True), ("btc", False)]
    assert not report.duplicate


def test_an_entry_of_the_settings_that_was_taken_off_stays_off_and_comes_back() -> None:
    listed = watch("*", "btc")

    remove(listed, "*")
    assert shown(watch("*", "btc", saved=listed.saved).report("r")) == [("btc", True)]

    add(listed, "*")
    assert listed.saved == Saved()
    assert shown(listed.report("r")) == [("*", True), ("btc", True)]


def test_taking_off_what_is_not_there_is_no_error() -> None:
    listed = watch("*")

    assert shown(remove(listed, "btc")) == [("*", True)]
    assert listed.saved == Saved()


def test_one_bad_entry_refuses_the_whole_command() -> None:
    listed = watch("*")

    with pytest.raises(Refusal):
        add(listed, "btc", "not a slug")

    assert listed.saved == Saved()


@pytest.mark.parametrize("entries", [[], ["btc"] * (ENTRIES_MAX + 1)])
def test_a_command_names_some_entries_and_not_too_many(entries: list[str]) -> None:
    with pytest.raises(Refusal) as refused:
        watch("*").plan(WatchMarkets("c", entries))

    assert (refused.value.code, refused.value.field) == (Reason.BAD_REQUEST, "entries")


@pytest.mark.parametrize(
    ("prefix", "limit", "text"), [("m-", ENTRIES_MAX, "1000 entries"), ("query:q", QUERIES_MAX, "50 queries")]
)
def test_a_full_list_takes_no_more_until_something_is_taken_off(prefix: str, limit: int, text: str) -> None:
    listed = watch()
    add(listed, *(f"{prefix}{number}" for number in range(limit)))

    with pytest.raises(Refusal, match=text) as refused:
        add(listed, f"{prefix}more")
    assert (refused.value.code, refused.value.field) == (Reason.OVERLOADED, "entries")

    remove(listed, f"{prefix}0")
    add(listed, f"{prefix}more", command_id="again")
    assert len(listed.entries) == limit


@pytest.mark.parametrize(("prefix", "count"), [("m-", ENTRIES_MAX + 1), ("query:q", QUERIES_MAX + 1)])
def test_settings_above_the_limit_are_refused_by_their_key(prefix: str, count: int) -> None:
    with pytest.raises(ConfigError, match=r"market_data\.watch"):
        watch(*(f"{prefix}{number}" for number in range(count)))


def test_an_entry_of_the_settings_that_cannot_be_read_says_so_and_the_rest_goes_on() -> None:
    listed = watch("no such!", "btc")

    assert [entry.text for entry in listed.entries] == ["btc"]
    assert "'no such!' cannot be read: an entry is a slug" in listed.problems["no such!"]
    assert shown(remove(listed, " no   such! ")) == [("btc", True)]


def test_the_repeat_of_a_command_is_answered_and_not_done_again() -> None:
    listed = watch("*")
    add(listed, "btc", command_id="c-1")
    remove(listed, "btc")

    report = add(listed, "btc", command_id="c-1")

    assert report.duplicate
    assert shown(report) == [("*", True)]
    assert listed.saved == Saved()


def test_only_so_many_commands_are_remembered() -> None:
    listed = watch("*")
    for number in range(COMMANDS_KEPT + 1):
        add(listed, "btc", command_id=str(number))

    assert not add(listed, "btc", command_id="0").duplicate
    assert add(listed, "btc", command_id=str(COMMANDS_KEPT)).duplicate


def test_what_an_entry_led_to_is_wanted_until_the_entry_is_gone() -> None:
    listed = watch("*", "btc")
    listed.settle({"*": Resolution(("c1", "c2")), "btc": Resolution(("c2",))}, {"c1": "one", "c2": "two"})
    assert listed.wanted() == {"c1", "c2"}

    remove(listed, "*")
    assert listed.wanted() == {"c2"}
    assert [entry.slugs for entry in listed.report("r").entries] == [["two"]]


def test_a_market_that_closed_is_not_wanted_any_more() -> None:
    listed = watch("btc")
    listed.settle({"btc": Resolution(("c1",))}, {"c1": "one"})

    listed.settle({"btc": Resolution((), "one is closed")}, {})

    assert listed.wanted() == set()
    assert listed.problems == {"btc": "one is closed"}


def test_what_a_round_found_for_an_entry_taken_off_meanwhile_is_passed_over() -> None:
    listed = watch("btc", "eth")
    remove(listed, "btc")
    add(listed, "sol")

    listed.settle({"btc": Resolution(("c1",)), "eth": Resolution(("c2",))}, {"c1": "one", "c2": "two"})

    assert listed.wanted() == {"c2"}
    assert [(e.entry, e.slugs, e.problem) for e in listed.report("r").entries] == [
        ("eth", ["two"], ""),
        ("sol", [], ""),
    ]


def test_a_command_does_not_forget_what_the_other_entries_led_to() -> None:
    listed = watch("btc")
    listed.settle({"btc": Resolution(("c1",))}, {"c1": "one"})

    add(listed, "eth")

    assert listed.held("btc") == ("c1",)
    assert listed.held("eth") == listed.held("gone") == ()


def test_a_report_counts_all_markets_and_names_so_many() -> None:
    listed = watch("*")
    ids = tuple(f"c{number}" for number in range(NAMED_MAX + 5))
    listed.settle({"*": Resolution(ids)}, {})

    [entry] = listed.report("r").entries

    assert (entry.markets, len(entry.slugs)) == (NAMED_MAX + 5, NAMED_MAX)


def test_explicit_entries_get_room_before_queries_and_these_before_the_busiest() -> None:
    listed = watch("*", "query:btc", "slug", markets_max=3)

    admitted = listed.admit({"*": ["c1", "c2", "c3"], "query:btc": ["c4", "c5"], "slug": ["c6"]})

    assert admitted["slug"] == (("c6",), 0)
    assert admitted["query:btc"] == (("c4", "c5"), 0)
    assert admitted["*"] == ((), 3)


IDS = st.lists(st.sampled_from([f"c{n}" for n in range(8)]), max_size=8)


@given(st.integers(1, 8), st.fixed_dictionaries({"*": IDS, "query:a": IDS, "x": IDS, "y": IDS}))
def test_admission_never_exceeds_the_limit_and_leaves_out_only_when_full(
    markets_max: int, found: dict[str, list[str]]
) -> None:
    admitted = watch("*", "query:a", "x", "y", markets_max=markets_max).admit(found)

    followed = {condition_id for one in admitted.values() for condition_id in one.condition_ids}
    assert len(followed) <= markets_max
    for text, one in admitted.items():
        assert set(one.condition_ids) == set(found[text]) & followed
        assert len(one.condition_ids) + one.left_out == len(set(found[text]))
        assert not one.left_out or len(followed) == markets_max


SLUG, QUERY, BUSIEST = parse_entry("a"), parse_entry("query:a"), parse_entry("*")


@pytest.mark.parametrize(
    ("entry", "outcome", "left_out", "problem", "told"),
    [
        (SLUG, Outcome(("c",)), 0, "", ""),
        (SLUG, Outcome(()), 0, "no market has the slug a", "no market has the slug a"),
        (SLUG, Outcome((), closed=("a is closed",)), 0, "", "a is closed"),
        (SLUG, Outcome((), pending=("a is not known yet",)), 0, "", "a is not known yet"),
        (SLUG, Outcome(()), 1, "", "1 market does not fit: market_data.markets_max is 9"),
        (QUERY, Outcome(("c",)), 0, "", ""),
        (QUERY, Outcome(()), 0, "", "no open market matches"),
        (QUERY, Outcome(("c",)), 4, "", "4 markets do not fit: market_data.markets_max is 9"),
        (QUERY, Outcome(("c",), closed=("b is closed",)), 0, "", ""),
        (QUERY, Outcome(("c",), pending=("b waits", "d waits")), 0, "", "b waits (and 1 more)"),
        (QUERY, Outcome(("c",)), 0, "no answer", "no answer"),
        (BUSIEST, Outcome(("c",)), 4, "", ""),
        (BUSIEST, Outcome(()), 4, "", "4 markets do not fit: market_data.markets_max is 9"),
        (BUSIEST, Outcome(()), 0, "", "no market is open"),
    ],
)
def test_an_entry_has_markets_or_a_problem(
    entry: Entry, outcome: Outcome, left_out: int, problem: str, told: str
) -> None:
    assert explain(entry, outcome, left_out, problem, 9) == (outcome.followed, told)
