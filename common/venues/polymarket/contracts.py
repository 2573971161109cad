"""Contracts, EIP-712 type texts and hashes of the Polymarket exchange (protocol sections 3.1 and 9).

In: protocol version, chain and the market's neg-risk flag. Out: the address an order is signed for. Constants only;
nothing here hashes, signs or talks. The type hashes are literals, a test recomputes them from the texts.
"""

from __future__ import annotations

from typing import Final

from common.errors import Refusal
from common.reasons import Reason

CHAIN_ID_POLYGON: Final = 137
CHAIN_ID_AMOY: Final = 80_002

EXCHANGE_NAME: Final = "Polymarket CTF Exchange"
AUTH_NAME: Final = "ClobAuthDomain"
AUTH_VERSION: Final = "1"
AUTH_MESSAGE: Final = "This message attests that I control the given wallet"
WALLET_NAME: Final = "DepositWallet"
WALLET_VERSION: Final = "1"

ZERO_ADDRESS: Final = "0x" + 40 * "0"
ZERO_BYTES32: Final = "0x" + 64 * "0"

ORDER_V1_TYPE: Final = (
    "Order(uint256 salt,address maker,address signer,address taker,uint256 tokenId,uint256 makerAmount,"
    "uint256 takerAmount,uint256 expiration,uint256 nonce,uint256 feeRateBps,uint8 side,uint8 signatureType)"
)
ORDER_V2_TYPE: Final = (
    "Order(uint256 salt,address maker,address signer,uint256 tokenId,uint256 makerAmount,uint256 takerAmount,"
    "uint8 side,uint8 signatureType,uint256 timestamp,bytes32 metadata,bytes32 builder)"
)
CLOB_AUTH_TYPE: Final = "ClobAuth(address address,string timestamp,uint256 nonce,string message)"
DOMAIN_TYPE: Final = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
AUTH_DOMAIN_TYPE: Final = "EIP712Domain(string name,string version,uint256 chainId)"
WALLET_SIGN_TYPE: Final = (
    "TypedDataSign(Order contents,string name,string version,uint256 chainId,address verifyingContract,"
    "bytes32 salt)" + ORDER_V2_TYPE
)

ORDER_V1_TYPEHASH: Final = bytes.fromhex("a852566c4e14d00869b6db0220888a9090a13eccdaea03713ff0a3d27bf9767c")
ORDER_V2_TYPEHASH: Final = bytes.fromhex("bb86318a2138f5fa8ae32fbe8e659f8fcf13cc6ae4014a707893055433818589")
CLOB_AUTH_TYPEHASH: Final = bytes.fromhex("52578c5c725a28a84fedc8c22aa47947822942f35b4dc350db028e45320e035c")

_V2 = "0xE111180000d2663C0091e4f400237545B87B996B"
_V2_NEG_RISK = "0xe2222d279d744050d28e00520010520000310F59"
_V3_POLYGON = "0xe3333700cA9d93003F00f0F71f8515005F6c00Aa"
_V3_AMOY = "0x9fE6e61422AdB6F610d8597F9684b16912D50C3D"

_EXCHANGES: Final[dict[tuple[int, int, bool], str]] = {
    (1, CHAIN_ID_POLYGON, False): "0x4bFb41d5B3570DeFd03C39a9A4D8dE6Bd8B8982E",
    (1, CHAIN_ID_POLYGON, True): "0xC5d563A36AE78145C45a50134d48A1215220f80a",
    (1, CHAIN_ID_AMOY, False): "0xdFE02Eb6733538f8Ea35D585af8DE5958AD99E40",
    # The v1 and v2 clients disagree on this one; V1 orders are made by the v1 client, so its address is used.
    (1, CHAIN_ID_AMOY, True): "0xd91E80cF2E7be2e162c6513ceD06f1dD0dA35296",
    (2, CHAIN_ID_POLYGON, False): _V2,
    (2, CHAIN_ID_POLYGON, True): _V2_NEG_RISK,
    (2, CHAIN_ID_AMOY, False): _V2,
    (2, CHAIN_ID_AMOY, True): _V2_NEG_RISK,
    # Exchange V3 is one contract for both kinds of market.
    (3, CHAIN_ID_POLYGON, False): _V3_POLYGON,
    (3, CHAIN_ID_POLYGON, True): _V3_POLYGON,
    (3, CHAIN_ID_AMOY, False): _V3_AMOY,
    (3, CHAIN_ID_AMOY, True): _V3_AMOY,
}

_POSITION_MASK = ((1 << 64) - 1) << 40


def exchange_address(version: int, chain_id: int, neg_risk: bool) -> str:
    """Checksum address of the contract that verifies an order of this protocol version."""
    address = _EXCHANGES.get((version, chain_id, neg_risk))
    if address is None:
        field = "version" if version not in (1, 2, 3) else "chain_id"
        raise Refusal(Reason.BAD_REQUEST, f"no exchange of version {version} on chain {chain_id}", field)
    return address


def is_position_id(token_id: int) -> bool:
    """Whether the asset is a protocol-V2 position (signed for exchange V3). Small integers are positions too."""
    return token_id & _POSITION_MASK == 0


def protocol_version(token_id: int) -> int:
    """The exchange version an order for this asset is signed for today: 3 for positions, else 2."""
    return 3 if is_position_id(token_id) else 2
