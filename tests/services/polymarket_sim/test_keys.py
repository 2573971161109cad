"""Keys are the same for ever, differ by everything they name, and are found again from what a client presents."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError
from common.venues.polymarket.signing import checksum_address
from services.polymarket_sim.keys import GENERATION_MAX, NONCE_MAX, KeyName, derive_key, open_key, parse_server_secret

SECRET = bytes(range(32))
NAMES = st.builds(
    KeyName,
    st.binary(min_size=20, max_size=20).map(lambda raw: checksum_address("0x" + raw.hex())),
    st.integers(0, NONCE_MAX),
    st.integers(0, GENERATION_MAX),
)


@given(NAMES)
def test_a_key_is_found_from_key_and_passphrase(name: KeyName) -> None:
    made = derive_key(SECRET, name)
    assert open_key(SECRET, made.key, made.passphrase) == made
    assert made.name == name
    assert str(UUID(made.key)) == made.key
    assert len(urlsafe_b64decode(made.secret)) == 32


@given(NAMES, NAMES)
def test_two_names_never_share_anything(one: KeyName, other: KeyName) -> None:
    first, second = derive_key(SECRET, one), derive_key(SECRET, other)
    shared = {first.key, first.secret, first.passphrase} & {second.key, second.secret, second.passphrase}
    assert bool(shared) is (one == other)


def test_another_servers_key_a_changed_passphrase_and_a_swapped_key_are_unknown() -> None:
    name = KeyName(checksum_address("0x" + "11" * 20), 0)
    mine, foreign = derive_key(SECRET, name), derive_key(bytes(32), name)
    other = derive_key(SECRET, name._replace(nonce=1))
    assert open_key(SECRET, foreign.key, foreign.passphrase) is None
    assert open_key(SECRET, other.key, mine.passphrase) is None
    changed = mine.passphrase[:-1] + ("0" if mine.passphrase[-1] != "0" else "1")
    assert open_key(SECRET, mine.key, changed) is None
    for broken in ("", "zz", "00", mine.passphrase + "00"):
        assert open_key(SECRET, mine.key, broken) is None


@pytest.mark.parametrize("content", [b"", b"xyz", b"00" * 8, "häßlich".encode()])
def test_an_unusable_secret_file_is_named(content: bytes) -> None:
    with pytest.raises(ConfigError, match=r"secrets/polymarket_sim\.secret"):
        parse_server_secret(content, "secrets/polymarket_sim.secret")
