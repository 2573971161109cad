"""An L2 book against the obvious model: one dictionary a side."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.book import Book
from common.types import Side

prices = st.integers(1, 40).map(lambda cents: cents * 10_000)
sizes = st.integers(0, 5).map(lambda shares: shares * 1_000_000)
levels = st.lists(st.tuples(prices, sizes), max_size=20)
changes = st.lists(st.tuples(st.sampled_from(Side), prices, sizes), max_size=60)


def test_an_empty_book_has_no_best_prices() -> None:
    book = Book()
    assert (book.best_bid(), book.best_ask(), book.best_prices) == (None, None, (0, 0))
    assert not book.is_crossed
    assert not book.is_two_sided


@given(levels, levels, changes)
def test_levels_equal_the_model_after_any_changes(
    bids: list[tuple[int, int]], asks: list[tuple[int, int]], stream: list[tuple[Side, int, int]]
) -> None:
    book = Book()
    book.replace(bids, asks)
    model = {Side.BUY: dict(bids), Side.SELL: dict(asks)}
    for side, price, size in stream:
        book.apply(side, price, size)
        model[side][price] = size
    wanted_bids = sorted(((p, s) for p, s in model[Side.BUY].items() if s), reverse=True)
    wanted_asks = sorted((p, s) for p, s in model[Side.SELL].items() if s)
    assert book.bids() == wanted_bids
    assert book.asks() == wanted_asks
    assert book.best_bid() == (wanted_bids[0] if wanted_bids else None)
    assert book.best_ask() == (wanted_asks[0] if wanted_asks else None)
    assert book.is_crossed == bool(wanted_bids and wanted_asks and wanted_bids[0][0] >= wanted_asks[0][0])
    assert book.bids(2) == wanted_bids[:2]


@given(levels, levels, levels, levels)
def test_changes_to_another_book_make_the_books_equal(
    bids: list[tuple[int, int]],
    asks: list[tuple[int, int]],
    new_bids: list[tuple[int, int]],
    new_asks: list[tuple[int, int]],
) -> None:
    book, wanted = Book(), Book()
    book.replace(bids, asks)
    wanted.replace(new_bids, new_asks)
    book.apply_all(*book.changes_to(new_bids, new_asks))
    assert book.state_hash() == wanted.state_hash()
    assert book.changes_to(new_bids, new_asks) == ([], [])


def test_different_books_have_different_hashes() -> None:
    first, second = Book(), Book()
    first.replace([(500_000, 1)], [])
    second.replace([], [(500_000, 1)])
    assert first.state_hash() != second.state_hash()


def test_a_locked_book_counts_as_crossed() -> None:
    book = Book()
    book.replace([(500_000, 1_000_000)], [(500_000, 1_000_000)])
    assert book.is_crossed
