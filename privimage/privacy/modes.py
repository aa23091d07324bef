"""Modes: what each way to search means for what has to be stated of a run. The one owner of these words.

Which epsilon is a promise to the people in the images depends on what was seen before something was chosen:

explore   whoever chooses a generator has seen all of them, so that one alone already costs everything
select    the choice among the trials is part of a generator's price
public    the choice was made on public data: a generator costs the query and the runs at its budget
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ModeName = Literal["explore", "select", "public"]
Covers = Literal["trial", "sweep", "selection", "run"]  # what meets the budget
TOGETHER = "everything that the run makes, together"


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What is stated of a run in a mode.

    `everything` is beside what its whole price stands; `seen` whether a generator is chosen with all in view, so that
    one alone costs as much. Else it pays for its trainings, or for a `choice` in their place; `found` ends that
    sentence. `searched` is what its search is counted in.
    """

    everything: str
    seen: bool = False
    choice: str | None = None
    found: str = ""
    searched: str


MEANINGS: dict[ModeName, Meaning] = {
    "explore": Meaning(everything="anything of the run, be it one generator alone", seen=True, searched="search trial"),
    "select": Meaning(everything=TOGETHER, choice="the private choice among K trials", searched="private selection"),
    "public": Meaning(everything=TOGETHER, found="; its settings were found on public data", searched="training"),
}
