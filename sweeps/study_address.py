"""Where Optuna's studies of a run are shown: the words of the file for it. Nothing of Optuna is loaded here."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from pydantic_core import PydanticCustomError

from privimage.field_types import Constraint
from privimage.schema import SAID

JOURNAL = "journal"  # a file in the folder of the run
SCHEME = "postgresql"
USE = f"use {JOURNAL}, null, or {SCHEME}://USER@HOST:5432/DATABASE"
NO_PASSWORD = (
    "studies: a password does not belong in the file of a sweep, which is kept and shown; leave it out, and set "
    "PGPASSWORD or write it to ~/.pgpass"
)


def _check(address: str | None) -> None:
    """Raise an error in one line that never repeats the address: a password may stand in it."""
    if address in (None, JOURNAL):
        return
    try:
        parts = urlsplit(str(address))
        asked = {name.lower() for name in parse_qs(urlsplit(str(address).split("#")[0]).query)}
        secret, scheme, database = parts.password, parts.scheme, parts.path.strip("/")
        named = parts.port is None or parts.port > 0
    except ValueError:
        asked, secret, scheme, database, named = set(), None, "", "", False
    if secret is not None or "password" in asked:
        raise PydanticCustomError(SAID, "{why}", {"why": NO_PASSWORD})
    if scheme != SCHEME or not database or not named:
        raise PydanticCustomError(SAID, "{why}", {"why": f"studies: no place for studies; {USE}"})


ADDRESS = Constraint(_check, {"pattern": f"^(?:{JOURNAL}|{SCHEME}://[^:@]*(:[0-9]+)?/.+|{SCHEME}://[^:@/]+@.+)$"})
