"""What a file says of the votes and of what evolves by them; free of torch."""

from __future__ import annotations

from pydantic import Field, model_validator

from privimage.means.config import SeenBy, seen_by
from privimage.schema import Frozen


class EvolveConfig(Frozen):
    """Rounds of votes, and how the winners of each are varied for the next."""

    rounds: int = Field(default=4, ge=1, le=1000)  # rounds of votes: every sensitive image has one vote in each
    first: int = Field(default=1000, ge=2, le=100_000)  # candidates of the first round, the same for all labels
    candidates: int = Field(default=1000, ge=2, le=100_000)  # candidates of every later round, for each label
    threshold: float = Field(default=2.0, ge=0)  # standard deviations of noise that are taken off every count
    strong: float = Field(default=2.0, gt=0, le=1e6)  # noise level of the first variations
    weak: float = Field(
        default=0.5, gt=0, le=1e6
    )  # noise level of the last variations; between them it falls by one factor a round
    network: SeenBy | None = None  # whose features tell what is near: query for grey glyphs; null: by channels

    @model_validator(mode="after")
    def _falls(self) -> EvolveConfig:
        if self.weak > self.strong:
            raise ValueError(f"weak {self.weak:g} must not be above strong {self.strong:g}")
        return self

    def seen_by(self, channels: int) -> SeenBy:
        """Whose features are taken of images with so many channels."""
        return seen_by(self.network, channels)

    def level(self, round: int) -> float:
        """The noise level from which the winners of that round are varied.

        >>> config = EvolveConfig(rounds=4, strong=2.0, weak=0.5)
        >>> [config.level(round) for round in range(3)]
        [2.0, 1.0, 0.5]
        """
        share = round / max(1, self.rounds - 2)
        return float(self.strong * (self.weak / self.strong) ** share)
