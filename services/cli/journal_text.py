"""Journals as JSON and as text: journaled inputs, what a verification found, what a replay came to. Pure.

In: records, audits, a replay's result. Out: JSON objects in the manner of render.py (exact decimals, ISO times) and
lines for eyes. What cannot be decoded is shown as such, never dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import TYPE_CHECKING, Any

import msgspec

from common.fixed import format_micros
from common.messages import Judged, decode
from common.step import InputRecord, decode_step
from services.cli.render import Json, clean, iso_time

if TYPE_CHECKING:  # names of values only: the modules themselves read files
    from common.journal_files import Record
    from common.journal_reader import Audit

# fmt: off
MICROS = frozenset({
    "amount", "ask", "ask_size", "asked_size", "avg_price", "bid", "bid_size", "cash", "confirmed", "cost", "fee",
    "fee_rate", "fees", "filled_size", "making", "mark", "min_size", "price", "quote", "realised", "reserved",
    "sellable", "size", "taking", "tick", "unrealised",
})
# fmt: on
"""Fields that are micros wherever they stand."""
LEVELS = frozenset({"bids", "asks"})
VALUE_MAX = 68
"""Characters of one value in a line of text; a venue's order id fits."""
BOOK = "judged_by"
UNREADABLE = "UNREADABLE"


def inputs_json(record: Record) -> Iterator[Json]:
    """The inputs of one record in order."""
    try:
        step = decode_step(record.payload)
    except msgspec.DecodeError as error:
        yield {"index": record.index, "at": None, "sender": "", "lane": "", "type": UNREADABLE, "error": str(error)}
        return
    for row in step.inputs:
        yield _input_json(record.index, step.wall_ns, row)


def input_text(row: Json) -> str:
    """One line: when, from whom, what, and the fields that say something."""
    origin = f"{row['sender']}/{row['lane']}" if row["lane"] else row["sender"]
    fields = " ".join(f"{name}={_cut(value)}" for name, value in row.get("fields", {}).items() if value not in _NOTHING)
    shown = fields or row.get("error", "")
    return clean(f"{row['at'] or '-':<27} #{row['index']:<7} {origin:<24} {row['type']:<18} {shown}").rstrip()


def audit_json(process: str, found: Audit) -> Json:
    survey = found.survey
    return {
        "process": process,
        "sound": not found.problems,
        "journal_id": survey.journal_id,
        "starts": survey.starts,
        "records": survey.last_index - survey.first_index + 1,
        "first_index": survey.first_index,
        "last_index": survey.last_index,
        "segments": len(survey.segments),
        "bytes": survey.record_bytes,
        "torn_bytes": survey.torn_bytes,
        "checkpoints": [row.index for row in found.checkpoints],
        "problems": found.problems,
    }


def audit_text(shown: Json) -> str:
    checkpoints = ", ".join(map(str, shown["checkpoints"])) or "none"
    return "\n".join(
        (
            f"{shown['process']} journal {shown['journal_id']}, started {shown['starts']} times",
            f"records      {shown['records']}: {shown['first_index']} to {shown['last_index']}, {shown['bytes']} bytes "
            f"in {shown['segments']} segments",
            f"torn tail    {shown['torn_bytes']} bytes",
            f"checkpoints  {checkpoints}",
            "sound: headers, checksums, hash chain and checkpoints agree" if shown["sound"] else "NOT SOUND",
        )
    )


def replay_text(shown: Json) -> str:
    lines = [
        f"{shown['process']} records {shown['after_index'] + 1} to {shown['last_index']}: {shown['inputs']} inputs in "
        f"{shown['replay_s']} s, {shown['events_per_s']}/s (verified in {shown['verify_s']} s, "
        f"loaded in {shown['load_s']} s)",
        f"state    {shown['state_hash']}",
        f"effects  {shown['effects_hash']} ({shown['effects']})",
    ]
    lines += [
        f"checkpoint {row['index']}  "
        + ("the same state" if row["equal"] else f"ANOTHER STATE {row['checkpoint_hash']}")
        for row in shown["checked"]
    ]
    return "\n".join(lines)


_NOTHING: tuple[object, ...] = ("", None, [], {}, "0", 0)
"""Values a line of text leaves out."""


def _input_json(index: int, wall_ns: int, row: InputRecord) -> Json:
    shown: Json = {"index": index, "at": iso_time(wall_ns), "sender": row.sender, "lane": row.lane, "seq": row.seq}
    try:
        message = decode(row.body)
    except msgspec.DecodeError as error:
        return {**shown, "type": UNREADABLE, "error": str(error)}
    if isinstance(message, Judged):  # what the client sent, and beside it the book the executor's shell had seen
        book = _struct(message.view) if message.view else None
        return {**shown, "type": type(message.command).__name__, "fields": {**_struct(message.command), BOOK: book}}
    return {**shown, "type": type(message).__name__, "fields": _struct(message)}


def _struct(value: msgspec.Struct) -> Json:
    return {_named(name): _value(name, getattr(value, name)) for name in value.__struct_fields__}


def _named(name: str) -> str:
    """Moments lose their unit, as in render.py: `expire_ns` is shown as `expire_at`."""
    if name == "at_ns":
        return "at"
    return f"{name.removesuffix('_ns')}_at" if name.endswith("_ns") else name


def _value(name: str, value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return _struct(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return _number(name, value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): _value(name, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_level(item) if name in LEVELS else _value(name, item) for item in value]
    return value


def _number(name: str, value: int) -> str | int | None:
    if name in MICROS:
        return format_micros(value)
    return iso_time(value) if name.endswith("_ns") else value


def _level(level: tuple[int, int]) -> Json:
    return {"price": format_micros(level[0]), "size": format_micros(level[1])}


def _cut(value: Any) -> str:
    text = _book_text(value) if isinstance(value, dict) and value.keys() >= LEVELS else str(value)
    return text if len(text) <= VALUE_MAX else f"{text[:VALUE_MAX]}…"


def _book_text(book: Json) -> str:
    bid, ask = (book[side][0]["price"] if book[side] else "-" for side in ("bids", "asks"))
    return f"{bid}/{ask},{book.get('state', '')},seq:{book.get('seq', 0)}"
