"""Noise: how much noise a trial takes, given its budget and what its sweep may cost in all."""

from __future__ import annotations

from pydantic import Field

from privimage.privacy.accounting import calibrate
from privimage.privacy.budget import Access, Budget, Event
from privimage.schema import Frozen


class Noise(Frozen):
    """How the noise of a trial follows from its budget.

    Without factors everything that the trial releases meets the budget by itself, whatever other trials do. With
    them, training and scores take that many times the noise with which one of them alone would meet it: the factors
    of `Study` make a whole study meet the budget.
    """

    training: float | None = Field(default=None, ge=1)
    score: float | None = Field(default=None, ge=1)
    floor: tuple[Event, ...] = ()  # trainings as the bill counts them: no trial takes less noise than these

    def solve(self, budget: Budget, access: Access, *, others: tuple[Event, ...] = ()) -> Event:
        """The access of a trial, with the least noise that meets the budget beside the `others` that it pays.

        Raises BudgetExceeded if no noise is enough.

        >>> budget, access = Budget(epsilon=10, delta=1e-5), Access(purpose="dp-sgd", q=0.25, steps=16)
        >>> alone, twice = Noise().solve(budget, access), Noise(training=2).solve(budget, access)
        >>> round(alone.sigma, 2), round(twice.sigma, 2)
        (0.83, 1.67)
        """
        if self.training is not None:
            return calibrate(budget=budget, access=access).scaled(self.training)
        own = calibrate(budget=budget, access=access, others=tuple(event.mechanism for event in others))
        # Another query changes the noise by less than the accountant resolves, in either direction.
        counted = [event.sigma for event in self.floor if event == own.model_copy(update={"sigma": event.sigma})]
        return own.model_copy(update={"sigma": max((own.sigma, *counted))})

    def dp_score(self, budget: Budget, *, times: int) -> Event:
        """One of the `times` scores of a trial: counts on the validation split, which nothing else reads."""
        score = Access(purpose="score", split="validation")
        alone = calibrate(budget=budget, access=score.model_copy(update={"steps": times}))
        return score.event(alone.sigma).scaled(self.score or 1.0)
