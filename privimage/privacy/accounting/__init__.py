"""Epsilon of a list of costs, and the DP-SGD noise that makes everything a trial releases meet its budget.

The answer is that of a privacy loss distribution (PLD): an upper bound on the exact cost under adding or
removing one example. RDP, the accountant of the PrivImage paper, is computed beside it for comparison.

Training and validation split are disjoint, and which split an example is in depends on this example alone. So one
example more or less changes one split, and the cost is that of the dearer split, not the sum.

>>> from privimage.privacy.budget import Access, Budget, Event
>>> query = Event(purpose="query", sigma=484.0, split="train")
>>> budget, access = Budget(epsilon=10, delta=1e-5), Access(purpose="dp-sgd", q=0.328, steps=152)
>>> round(calibrate(budget=budget, access=access, others=(query,)).sigma, 2)
2.17
"""

from privimage.privacy.accounting.calibrate import TOLERANCE, calibrate, least
from privimage.privacy.accounting.total import deltas, epsilon, epsilon_rdp, tpr

__all__ = ["TOLERANCE", "calibrate", "deltas", "epsilon", "epsilon_rdp", "least", "tpr"]
