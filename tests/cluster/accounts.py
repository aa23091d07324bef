"""What a root holds after its sweeps, and what was computed on the way: nothing lost, nothing doubled. Not a test."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from privimage.paths import Root
from privimage.privacy.ledger import Ledger

# In every process of the command: an artefact that was computed leaves a line before it is written, and another one if
# it was there already. What is killed in between is computed again, and nothing was finished twice.
NOTING = """
import os

if "COMPUTED" in os.environ:
    from privimage.stores.file import FileStore

    written = FileStore._write

    def noted(self, kind, key, built):
        handle = os.open(os.environ["COMPUTED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        again = f"again {kind}/{key}\\n" if self.folder(kind, key).exists() else ""
        os.write(handle, f"{kind}/{key}\\n{again}".encode())
        os.close(handle)
        return written(self, kind, key, built)

    FileStore._write = noted
"""


def noting(site: Path, log: Path) -> Mapping[str, str]:
    """The environment of commands that note in `log` what they compute; `site` is a folder for what Python loads."""
    site.mkdir(parents=True, exist_ok=True)
    (site / "sitecustomize.py").write_text(NOTING)
    return {"PYTHONPATH": str(site), "COMPUTED": str(log)}


@dataclass(frozen=True, kw_only=True)
class Account:
    """What there is of records, charges and artefacts, by their names; each of them should be there once.

    `computed` are those that a process had ready to be written, `again` those of them that were stored before.
    """

    records: Counter[str]
    charges: Counter[str]
    computed: frozenset[str]
    again: Counter[str]
    stored: Counter[str]
    drafts: int
    begun: int  # private accesses that did not end
    bills: int  # reservations that are open

    @classmethod
    def of(cls, root: Path, log: Path, *, set_id: str) -> Account:
        """That of a root on a disk; `log` is what `noting` was given."""
        lines = [line for path in sorted(root.glob("*/records.jsonl")) for line in path.read_text().splitlines()]
        noted = log.read_text().splitlines()
        ledger, store = Ledger(Root(path=root).ledger(set_id)), root / "store"
        assert ledger.verify() == "agrees"
        return cls(
            records=Counter(json.loads(line)["id"] for line in lines),
            charges=Counter(f"{charge.what} {charge.id}" for charge in ledger.charges()),
            computed=frozenset(line for line in noted if not line.startswith("again ")),
            again=Counter(line.removeprefix("again ") for line in noted if line.startswith("again ")),
            stored=Counter(f"{path.parent.name}/{path.name}" for path in store.glob("artefacts/*/[!.]*")),
            drafts=len(list(store.glob("artefacts/*/.draft-*"))),
            begun=len(list((store / "internal").glob("*.seed"))),
            bills=len(ledger.reservations()),
        )

    def differences(self, undisturbed: Account) -> list[str]:
        """What was lost or doubled, compared with what the same commands leave where nothing disturbs them."""
        found = [f"computed: {one}, though it was stored" for one in self.again]
        for name in ("records", "charges", "computed", "stored"):
            mine, theirs = getattr(self, name), getattr(undisturbed, name)
            found += [f"{name}: {one} is there {times} times" for one, times in Counter(mine).items() if times > 1]
            found += [f"{name}: {one} is missing" for one in theirs if one not in mine]
            found += [f"{name}: {one} is not in the other" for one in mine if one not in theirs]
        left = {"drafts": self.drafts, "accesses begun": self.begun, "open reservations": self.bills}
        return found + [f"{name}: {number} left" for name, number in left.items() if number]
