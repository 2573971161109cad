"""The generator behind the load venue: what its seed fixes, and that every book it leads to is a sane one."""

from __future__ import annotations

from common.messages import LevelsChanged, Message
from common.types import ONE
from scripts.bench.venue import PROBE, latency_us
from tests.bench.load_venue import LEVELS_MIN, PROBE_TOKEN, Generator, LoadBooks

STEPS = 5_000


def steps(seed: int) -> list[Message]:
    generator = Generator(5, seed)
    return generator.snapshot(1) + [body for at_ns in range(STEPS) for body in generator.step(at_ns)]


def test_the_same_seed_makes_the_same_messages() -> None:
    assert steps(7) == steps(7)
    assert steps(7) != steps(8)


def test_the_books_are_never_crossed_and_their_best_is_as_stated() -> None:
    books, bests = LoadBooks(), set()
    generator = Generator(5, 1)
    books.replace(generator.snapshot(1))
    for at_ns in range(STEPS):
        for body in generator.step(at_ns):
            books.apply(body)
            if isinstance(body, LevelsChanged):
                bests.add((body.best_bid, body.best_ask))
        for replica in books.by_condition.values():
            assert (replica.best_bid, replica.best_ask) == (max(replica.bids), min(replica.asks))
            assert replica.best_bid < replica.best_ask
            assert min(len(replica.bids), len(replica.asks)) >= LEVELS_MIN
    assert len(bests) > 10, "the best prices move"


def test_both_tokens_of_a_market_mirror_each_other() -> None:
    books, generator = LoadBooks(), Generator(1, 1)
    books.replace(generator.snapshot(1))
    up, down = (books.by_condition[next(iter(books.by_condition))].book(index) for index in (0, 1))
    assert down.bids == tuple((ONE - price, size) for price, size in up.asks)
    assert down.asks == tuple((ONE - price, size) for price, size in up.bids)


def test_the_probe_says_when_it_was_made() -> None:
    books, generator = LoadBooks(), Generator(1, 1)
    books.replace(generator.snapshot(1))
    for body in generator.probe(2):
        books.apply(body)
    found = books.token(PROBE_TOKEN)
    assert found is not None
    price, size = found[0].book(found[1]).bids[0]
    assert price == PROBE
    assert 0 <= latency_us(size) < 60_000_000
