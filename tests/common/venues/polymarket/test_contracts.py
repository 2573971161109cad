"""Constants of the exchange agree with the vectors and with the official clients."""

from __future__ import annotations

import pytest

from common.errors import Refusal
from common.venues.polymarket import contracts
from common.venues.polymarket.contracts import exchange_address, is_position_id, protocol_version
from common.venues.polymarket.signing import keccak

from .vectors import VECTORS


def test_type_hashes_are_those_of_the_type_texts() -> None:
    hashes = VECTORS["type_hashes"]
    for name, text, literal in (
        ("order_v1", contracts.ORDER_V1_TYPE, contracts.ORDER_V1_TYPEHASH),
        ("order_v2", contracts.ORDER_V2_TYPE, contracts.ORDER_V2_TYPEHASH),
        ("clob_auth", contracts.CLOB_AUTH_TYPE, contracts.CLOB_AUTH_TYPEHASH),
    ):
        assert text == hashes[f"{name}_type"]
        assert keccak(text.encode()) == literal == bytes.fromhex(hashes[f"{name}_typehash"][2:])


def test_every_vector_was_signed_for_the_exchange_of_the_table() -> None:
    for vector in VECTORS["orders_v1"] + VECTORS["orders_v2"] + VECTORS["orders_unified_sdk"]:
        domain = vector["domain"]
        address = exchange_address(int(domain["version"]), domain["chainId"], vector["inputs"]["neg_risk"])
        assert address == domain["verifyingContract"], vector["name"]


@pytest.mark.parametrize("chain_id", [contracts.CHAIN_ID_POLYGON, contracts.CHAIN_ID_AMOY])
def test_addresses_equal_those_of_the_official_v2_client(chain_id: int) -> None:
    from py_clob_client_v2.config import get_contract_config

    config = get_contract_config(chain_id)
    assert exchange_address(2, chain_id, False) == config.exchange_v2
    assert exchange_address(2, chain_id, True) == config.neg_risk_exchange_v2
    assert exchange_address(3, chain_id, True) == exchange_address(3, chain_id, False) == config.exchange_v3
    assert exchange_address(1, chain_id, False) == config.exchange


def test_v1_addresses_equal_those_of_the_official_v1_client() -> None:
    from py_clob_client.config import get_contract_config

    for chain_id in (contracts.CHAIN_ID_POLYGON, contracts.CHAIN_ID_AMOY):
        for neg_risk in (False, True):
            expected = get_contract_config(chain_id, neg_risk).exchange
            assert exchange_address(1, chain_id, neg_risk).lower() == expected.lower()


@pytest.mark.parametrize(("version", "chain_id", "field"), [(4, 137, "version"), (2, 1, "chain_id")])
def test_an_unknown_exchange_is_refused_by_field(version: int, chain_id: int, field: str) -> None:
    with pytest.raises(Refusal) as refusal:
        exchange_address(version, chain_id, False)
    assert refusal.value.field == field


def test_asset_id_rule_of_the_unified_sdk() -> None:
    samples = VECTORS["unified_sdk_asset_id_rule"]["samples"]
    assert {text: is_position_id(int(text)) for text in samples} == samples
    assert protocol_version(456) == 3
    assert protocol_version(int(VECTORS["README"]["token_ids"][0])) == 2
