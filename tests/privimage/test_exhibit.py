"""What is shown of a selection follows from the noisy answer and from public images alone."""

from __future__ import annotations

import numpy as np

from privimage import exhibit
from privimage.data.sets import PublicSet
from privimage.semantics import select


def test_names_counts_and_examples_are_those_of_the_selected_classes() -> None:
    n, k = 30, 3
    rng = np.random.default_rng(0)
    y = np.arange(n) % 10
    x = np.broadcast_to(y[:, None, None, None], (n, 1, 8, 8)).astype(np.uint8)
    public = PublicSet(x=x, y=y, name="plain", classes=tuple(f"class {c}" for c in range(10)))
    noisy = rng.normal(0, 20, (2, 10))
    chosen = select(noisy, public, k2=k)
    arrays, names = exhibit.arrays_of(chosen, noisy, public), exhibit.names_of(chosen, public, ("cat", "dog"))
    assert names["labels"] == ["cat", "dog"] and names["public"] == "plain"
    for row in range(2):
        assert names["selected"][row] == [f"class {c}" for c in chosen.classes[row]]
        assert arrays["examples"][row, :, 0, 0, 0].tolist() == chosen.classes[row].tolist()
        assert arrays["counts"][row].tolist() == noisy[row, chosen.classes[row]].tolist()
        assert sorted(arrays["counts"][row], reverse=True) == arrays["counts"][row].tolist()
