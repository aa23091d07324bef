"""What a method tells of its effort, for the estimate of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from privimage.progress import Tell


class Effort(Protocol):
    """How long the stages of a method take here, by a few steps of each on random images; and what they leave."""

    def measure(self, configs: Sequence[Any], tell: Tell) -> None:
        """Time what these configurations need; `tell` is told how much of it is done."""

    def seconds(self, kind: str, config: Any) -> float:
        """Of computing that stage once; 0 if it takes next to nothing."""

    def bytes(self, kind: str, config: Any) -> float:
        """Of what that stage leaves in the store."""
