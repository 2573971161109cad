"""`--derive`: the API credentials of a wallet's key anew, from the venue, into every process's own file.

In: settings and the wallet's key. Out: a finding. The venue gives the same credentials to the same key again; files are
replaced in one step, readable by nobody else at any moment.
"""

from __future__ import annotations

import time
from typing import Final

from common.errors import Refusal
from common.http import HttpClient
from common.secrets import write_secret
from common.settings import Settings
from common.venues.polymarket.auth import l1_headers
from common.venues.polymarket.signing import Signer
from common.venues.polymarket.wire import Members, encode_json, members_of, need_text
from services.gateway.adapters.polymarket import answer_of
from services.gateway.doctor.findings import About, Code, Finding
from services.gateway.doctor.local import CREDS_READERS
from services.gateway.polymarket import Answer

CREATE: Final = ("POST", "/auth/api-key")
DERIVE: Final = ("GET", "/auth/derive-api-key")
RESTART: Final = "scripts/restart.sh gateway, then scripts/restart.sh user_data"


async def derive(settings: Settings, http: HttpClient, wallet: str, signer: Signer) -> Finding:
    """Create the key's credentials, or derive those it has (protocol section 2.3)."""
    about = About(wallet)
    answer = await _asked(http, signer, settings, *CREATE)
    if answer.status != 200:
        answer = await _asked(http, signer, settings, *DERIVE)
    try:
        content = _content(members_of(answer.body), signer.address) if answer.status == 200 else b""
    except Refusal:
        content = b""
    if not content:
        why = f"HTTP {answer.status}" if answer.status else answer.text
        return about.fail(Code.CREDENTIALS, f"the venue gave no API credentials ({why})", "see VENUE and CLOCK below")
    for process in CREDS_READERS:
        write_secret(settings.paths.secrets_dir / f"{wallet}.{process}.creds", content)
    text = (
        f"wrote new API credentials of {signer.address} for {' and '.join(CREDS_READERS)}; if the group runs: {RESTART}"
    )
    return about.ok(Code.CREDENTIALS, text)


async def _asked(http: HttpClient, signer: Signer, settings: Settings, method: str, path: str) -> Answer:
    headers = l1_headers(signer, int(time.time()), 0, settings.polymarket.chain_id)
    return answer_of(await http.request(method, path, headers=headers))


def _content(given: Members, address: str) -> bytes:
    names = ("apiKey", "secret", "passphrase")
    return encode_json({name: need_text(given, name) for name in names} | {"address": address})
