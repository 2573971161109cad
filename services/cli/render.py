"""What a person or a script reads: bus structs as JSON objects and as aligned text. Pure.

JSON is the contract of architecture section 9: money, prices and sizes are exact decimal strings, times ISO 8601 in
UTC, "nothing yet" is null. Text is for eyes only and may change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from common.fixed import format_micros
from common.messages import (
    BookReport,
    Fill,
    Heartbeat,
    Level,
    MarketView,
    OrderView,
    Position,
    SweepView,
    WatchedEntry,
)

Json = dict[str, Any]

NS_PER_US = 1_000
US_PER_S = 1_000_000
READY = "READY"
SILENT = "SILENT"
"""The state shown for a process whose heartbeat was not heard."""
SLUGS_SHOWN = 3
"""Markets named for one entry of the watch list, in text."""
SILENT_DETAIL = "no heartbeat heard: see logs/{0}.log; scripts/restart.sh {0} starts it anew"


class DoubtfulOrder(NamedTuple):
    """An order whose place was not answered yet: the venue may have it until `until_ns`."""

    order_id: str
    until_ns: int


class CancelAllOutcome(NamedTuple):
    """What a cancel-all came to: ended by it, ended another way, still open, and not yet known at the venue."""

    cancelled: list[OrderView]
    ended: list[OrderView]
    still_open: list[OrderView]
    in_doubt: list[DoubtfulOrder]
    sweep: SweepView | None = None

    @property
    def verified(self) -> bool:
        """Whether the venue has shown that no known order of the scope is open."""
        return self.sweep is not None and bool(self.sweep.zero_ns)

    @property
    def final(self) -> bool:
        """Whether nothing can come any more."""
        if self.sweep is not None:
            return self.sweep.phase == "FINAL"
        return not self.still_open and not self.in_doubt


# --- JSON ---


def iso_time(ns: int) -> str | None:
    """ISO 8601 in UTC with microseconds; None for 0, which means "has not happened"."""
    if not ns:
        return None
    seconds, micros = divmod(ns // NS_PER_US, US_PER_S)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def error_json(code: str, message: str, field: str = "") -> Json:
    error = {"code": code, "message": message}
    if field:
        error["field"] = field
    return {"error": error}


def market_json(view: MarketView) -> Json:
    """`best_bid` and `best_ask` are those of the first outcome; `best_bids` and `best_asks` of all, in order."""
    market = view.market
    return {
        "slug": market.slug,
        "condition_id": market.condition_id,
        "question": market.question,
        "outcomes": list(market.outcomes),
        "token_ids": list(market.token_ids),
        "tick_size": format_micros(market.tick),
        "min_size": format_micros(market.min_size),
        "venue": market.venue,
        "kind": market.kind,
        "size_step": format_micros(market.size_step),
        "min_notional": format_micros(market.min_notional) if market.min_notional else None,
        "best_bid": _price_or_none(view.best_bids[0]),
        "best_ask": _price_or_none(view.best_asks[0]),
        "best_bids": [_price_or_none(price) for price in view.best_bids[: len(market.outcomes)]],
        "best_asks": [_price_or_none(price) for price in view.best_asks[: len(market.outcomes)]],
        "state": view.state.value,
        "accepting_orders": market.accepting,
    }


def book_json(report: BookReport) -> Json:
    book = report.book
    return {
        "market": report.market.slug,
        "condition_id": report.market.condition_id,
        "outcome": report.outcome,
        "token_id": book.token_id,
        "tick_size": format_micros(book.tick),
        "state": book.state.value,
        "reason": book.reason,
        "epoch": book.epoch,
        "seq": book.seq,
        "venue_at": iso_time(book.venue_ns),
        "received_at": iso_time(book.received_ns),
        "confirmed_at": iso_time(book.confirmed_ns),
        "bids": [_level_json(level) for level in book.bids],
        "asks": [_level_json(level) for level in book.asks],
    }


def watched_json(entry: WatchedEntry) -> Json:
    """`slugs` names at most the first hundred of `markets`; a `problem` can stand beside markets (not all fit)."""
    return {
        "entry": entry.entry,
        "from": _origin(entry),
        "markets": entry.markets,
        "slugs": entry.slugs,
        "problem": entry.problem or None,
    }


def _origin(entry: WatchedEntry) -> str:
    return "settings" if entry.from_settings else "command"


def fill_json(fill: Fill) -> Json:
    return {
        "trade_id": fill.trade_id,
        "order_id": fill.order_id,
        "venue_order_id": fill.venue_order_id or None,
        "account": fill.account,
        "condition_id": fill.condition_id,
        "token_id": fill.token_id,
        "outcome": fill.outcome,
        "side": fill.side.value,
        "price": format_micros(fill.price),
        "size": format_micros(fill.size),
        "cash": format_micros(fill.cash),
        "fee": format_micros(fill.fee),
        "is_taker": fill.is_taker,
        "settlement": fill.settlement.value,
        "tx_hash": fill.tx_hash or None,
        "matched_at": iso_time(fill.matched_ns),
    }


def order_json(order: OrderView) -> Json:
    return {
        "order_id": order.order_id,
        "client_order_id": order.client_order_id,
        "venue_order_id": order.venue_order_id or None,
        "account": order.account,
        "venue": order.venue,
        "market": order.market,
        "condition_id": order.condition_id,
        "token_id": order.token_id,
        "outcome": order.outcome,
        "side": order.side.value,
        "type": order.order_type.value,
        "tif": order.tif.value,
        "post_only": order.post_only,
        "price": format_micros(order.price),
        "size": format_micros(order.size),
        "filled_size": format_micros(order.filled_size),
        "avg_price": format_micros(order.avg_price) if order.filled_size else None,
        "status": order.status.value,
        "lifecycle": order.lifecycle.value,
        "reject_reason": order.reject_reason or None,
        "reject_text": order.reject_text or None,
        "asked_size": format_micros(order.asked_size) if order.asked_size else None,
        "quote": format_micros(order.quote) if order.quote else None,
        "replaces": order.replaces or None,
        "created_at": iso_time(order.created_ns),
        "placed_at": iso_time(order.placed_ns),
        "matched_at": iso_time(order.matched_ns),
        "confirmed_at": iso_time(order.confirmed_ns),
        "fills": [fill_json(fill) for fill in order.fills],
    }


def position_json(position: Position) -> Json:
    return {
        "account": position.account,
        "venue": position.venue,
        "market": position.market,
        "condition_id": position.condition_id,
        "token_id": position.token_id,
        "outcome": position.outcome,
        "size": format_micros(position.size),
        "confirmed_size": format_micros(position.confirmed),
        "avg_price": format_micros(position.avg_price) if position.size else None,
        "cost": format_micros(position.cost),
        "realised_pnl": format_micros(position.realised),
        "unrealised_pnl": format_micros(position.unrealised) if position.mark else None,
        "mark": format_micros(position.mark) if position.mark else None,
        "reserved": format_micros(position.reserved),
        "sellable": format_micros(position.sellable),
        "fees": format_micros(position.fees),
    }


def cancel_all_json(outcome: CancelAllOutcome) -> Json:
    return {
        "cancelled": [order_json(order) for order in outcome.cancelled],
        "ended": [order_json(order) for order in outcome.ended],
        "still_open": [order_json(order) for order in outcome.still_open],
        "in_doubt": [{"order_id": row.order_id, "until": iso_time(row.until_ns)} for row in outcome.in_doubt],
        "final": outcome.final,
        "sweep": sweep_json(outcome.sweep) if outcome.sweep is not None else None,
    }


def sweep_json(sweep: SweepView) -> Json:
    """`..._ms` are milliseconds since the command was accepted."""
    return {
        "sweep_id": sweep.sweep_id,
        "phase": sweep.phase,
        "zero_verified": bool(sweep.zero_ns),
        "known": sweep.known,
        "cancelled": sweep.cancelled,
        "filled": sweep.filled,
        "rejected": sweep.rejected,
        "open": sweep.open_count,
        "open_orders": list(sweep.open_orders),
        "doubted": sweep.doubt_count,
        "in_doubt": [{"order_id": row.order_id, "until": iso_time(row.until_ns)} for row in sweep.in_doubt],
        "accepted_at": iso_time(sweep.accepted_ns),
        "first_cancel_ms": _ms_after(sweep, sweep.first_sent_ns),
        "zero_ms": _ms_after(sweep, sweep.zero_ns),
        "final_ms": _ms_after(sweep, sweep.final_ns),
        "turned_up": sweep.turned_up,
        "repeats": sweep.repeats,
        "wallet_cancels": sweep.wallet_cancels,
        "foreign_cancelled": sweep.foreign,
        "foreign_open": sweep.foreign_open,
    }


def _ms_after(sweep: SweepView, at_ns: int) -> float | None:
    """None for what has not happened. A cancel may have been on its way before the command: then 0."""
    return max(0, at_ns - sweep.accepted_ns) // NS_PER_US / 1000 if at_ns else None


def status_json(processes: Iterable[str], heard: Mapping[str, Heartbeat], now_ns: int) -> list[Json]:
    """One object per process of the topology, heard or not, in its order."""
    return [_process_json(process, heard.get(process), now_ns) for process in processes]


def _process_json(process: str, beat: Heartbeat | None, now_ns: int) -> Json:
    if beat is None:
        silent = {"process": process, "state": SILENT, "ready": False, "pid": None, "uptime_s": None}
        return silent | {"started_at": None, "detail": SILENT_DETAIL.format(process), "counters": {}}
    return {
        "process": process,
        "state": beat.state,
        "ready": beat.state == READY,
        "pid": beat.pid,
        "uptime_s": max(0, now_ns - beat.started_ns) // 1_000_000_000,
        "started_at": iso_time(beat.started_ns),
        "detail": beat.detail,
        "counters": beat.counters,
    }


def _price_or_none(price: int) -> str | None:
    return format_micros(price) if price else None


def _level_json(level: Level) -> Json:
    return {"price": format_micros(level[0]), "size": format_micros(level[1])}


# --- text ---


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> str:
    """Columns as wide as their widest cell; the columns named in `right` are right-aligned."""
    lines = [list(headers), *([clean(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    align: list[Callable[[str, int], str]] = [str.rjust if header in right else str.ljust for header in headers]
    return "\n".join(
        "  ".join(place(cell, width) for place, cell, width in zip(align, line, widths, strict=True)).rstrip()
        for line in lines
    )


def clean(text: str) -> str:
    """Text of a venue made safe for a terminal: no control characters, one line."""
    return "".join(character if character.isprintable() else "?" for character in text)


def duration(seconds: int) -> str:
    """3 -> "3s", 75 -> "1m15s", 7300 -> "2h01m"."""
    minutes, rest = divmod(seconds, 60)
    if not minutes:
        return f"{rest}s"
    hours, minutes_rest = divmod(minutes, 60)
    return f"{hours}h{minutes_rest:02d}m" if hours else f"{minutes}m{rest:02d}s"


def status_text(rows: Sequence[Json]) -> str:
    cells = [
        (
            row["process"],
            row["state"],
            "-" if row["pid"] is None else str(row["pid"]),
            "-" if row["uptime_s"] is None else duration(row["uptime_s"]),
            row["detail"],
        )
        for row in rows
    ]
    return table(("process", "state", "pid", "uptime", "detail"), cells, right=("pid", "uptime"))


def markets_text(views: Sequence[MarketView]) -> str:
    if not views:
        return "no markets"
    rows = [
        (
            view.market.slug,
            view.market.venue,
            "/".join(view.market.outcomes),
            _dash(view.best_bids[0]),
            _dash(view.best_asks[0]),
            format_micros(view.market.tick),
            format_micros(view.market.min_size),
            view.state.value,
            view.market.question,
        )
        for view in views
    ]
    headers = ("market", "venue", "outcomes", "bid", "ask", "tick", "min", "feed", "question")
    return table(headers, rows, right=("bid", "ask", "tick", "min"))


def watched_text(entries: Sequence[WatchedEntry]) -> str:
    if not entries:
        return "nothing is watched: polyexec markets watch ENTRY adds to the list"
    rows = [(entry.entry, _origin(entry), _named(entry), _problem(entry)) for entry in entries]
    return table(("entry", "from", "markets", "problem"), rows)


def _named(entry: WatchedEntry) -> str:
    """The slug of one market; the number and the first few of many."""
    if len(entry.slugs) < 2:
        return "".join(entry.slugs) or "-"
    more = ", ..." if entry.markets > SLUGS_SHOWN else ""
    return f"{entry.markets}: {', '.join(entry.slugs[:SLUGS_SHOWN])}{more}"


def _problem(entry: WatchedEntry) -> str:
    return entry.problem or ("-" if entry.slugs else "not looked for yet")


def book_text(report: BookReport, depth: int) -> str:
    """Asks above bids, best prices meeting in the middle."""
    book = report.book
    asks = [("ask", format_micros(price), format_micros(size)) for price, size in book.asks[:depth]][::-1]
    bids = [("bid", format_micros(price), format_micros(size)) for price, size in book.bids[:depth]]
    title = f"{clean(report.market.slug)}  {clean(report.outcome)}  tick {format_micros(book.tick)}  {book.state.value}"
    if book.reason:
        title += f" ({clean(book.reason)})"
    if not asks and not bids:
        return f"{title}\nthe book is empty"
    return f"{title}\n" + table(("side", "price", "size"), [*asks, *bids], right=("price", "size"))


def orders_text(orders: Sequence[OrderView]) -> str:
    if not orders:
        return "no orders"
    rows = [
        (
            order.order_id,
            order.market,
            order.outcome,
            order.side.value,
            format_micros(order.price),
            f"{format_micros(order.filled_size)}/{format_micros(order.size)}",
            order.tif.value,
            order.status.value,
            order.lifecycle.value,
            order.reject_reason,
        )
        for order in orders
    ]
    headers = ("order", "market", "outcome", "side", "price", "filled", "tif", "status", "lifecycle", "reason")
    return table(headers, rows, right=("price", "filled"))


def order_text(order: OrderView) -> str:
    """One order, a line a field, and its fills."""
    size = f"{format_micros(order.filled_size)} of {format_micros(order.size)} filled"
    average = f", average {format_micros(order.avg_price)}" if order.filled_size else ""
    reason = f" ({order.reject_reason}: {order.reject_text})" if order.reject_reason else ""
    lines = [
        ("order", order.order_id),
        ("client id", order.client_order_id),
        ("venue id", order.venue_order_id or "-"),
        ("account", order.account),
        ("market", f"{order.market}  {order.outcome}"),
        ("what", f"{order.side.value} {format_micros(order.size)} at {format_micros(order.price)} {order.tif.value}"),
        ("status", f"{order.status.value} / {order.lifecycle.value}{reason}"),
        ("filled", size + average),
    ]
    text = "\n".join(f"{name:<10} {clean(value)}" for name, value in lines)
    return f"{text}\n{fills_text(order.fills)}" if order.fills else text


def fills_text(fills: Sequence[Fill]) -> str:
    if not fills:
        return "no fills"
    rows = [
        (
            fill.trade_id,
            fill.outcome,
            fill.side.value,
            format_micros(fill.price),
            format_micros(fill.size),
            format_micros(fill.fee),
            fill.settlement.value,
            fill.order_id,
            iso_time(fill.matched_ns) or "-",
        )
        for fill in fills
    ]
    headers = ("trade", "outcome", "side", "price", "size", "fee", "settlement", "order", "matched")
    return table(headers, rows, right=("price", "size", "fee"))


def positions_text(positions: Sequence[Position]) -> str:
    if not positions:
        return "no positions"
    rows = [
        (
            position.account,
            position.market,
            position.outcome,
            format_micros(position.size),
            format_micros(position.confirmed),
            format_micros(position.sellable),
            format_micros(position.avg_price),
            format_micros(position.cost),
            format_micros(position.realised),
            format_micros(position.fees),
        )
        for position in positions
    ]
    headers = ("account", "market", "outcome", "size", "confirmed", "sellable", "average", "cost", "realised", "fees")
    return table(headers, rows, right=headers[3:])


def cancel_all_text(outcome: CancelAllOutcome) -> str:
    lines = [f"{len(outcome.cancelled)} cancelled"]
    if outcome.sweep is not None:
        lines = _sweep_lines(outcome.sweep)
    lines += [f"{clean(order.order_id)} ended as {order.status.value} before the cancel" for order in outcome.ended]
    lines += [f"{clean(order.order_id)} is still {order.status.value}" for order in outcome.still_open]
    lines += [f"{clean(row.order_id)} is in doubt until {iso_time(row.until_ns)}" for row in outcome.in_doubt]
    lines.append("FINAL: nothing is open" if outcome.final else "not final yet")
    return "\n".join(lines)


def _sweep_lines(sweep: SweepView) -> list[str]:
    ends = {"cancelled": sweep.cancelled, "filled": sweep.filled, "never accepted": sweep.rejected}
    ends |= {"open": sweep.open_count, "in doubt": sweep.doubt_count}
    told = ", ".join(f"{count} {name}" for name, count in ends.items() if count)
    sent, zero = _ms_after(sweep, sweep.first_sent_ns), _ms_after(sweep, sweep.zero_ns)
    first = "no cancel on the wire is known" if sent is None else f"first cancel on the wire after {sent} ms"
    verified = "zero is not verified" if zero is None else f"zero verified after {zero} ms"
    lines = [f"{sweep.known} orders{': ' if told else ''}{told}", f"{first}, {verified}"]
    if sweep.foreign:
        lines.append(f"{sweep.foreign} orders that polyexec did not place were cancelled too")
    if sweep.foreign_open:
        lines.append(f"{sweep.foreign_open} orders that polyexec did not place are open")
    return lines


def error_text(code: str, message: str, field: str = "") -> str:
    """One line, whatever the message holds."""
    shown = clean(" ".join(message.split()))
    name = f" {field}:" if field and not shown.startswith(field) else ""
    return f"error:{name} {shown} [{code}]"


def _dash(price: int) -> str:
    return format_micros(price) if price else "-"
