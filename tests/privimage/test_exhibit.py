"""What is shown of a selection follows from the noisy answer and from public images alone."""

from __future__ import annotations

import numpy as np

from privimage import exhibit
from privimage.data.pool import PoolConfig
from privimage.data.sets import PublicSet
from privimage.data.views import Views
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


def test_of_a_tilt_the_heaviest_images_and_the_shares_of_public_classes_are_kept() -> None:
    n, pool = 30, PoolConfig(views=2)
    y = np.arange(n) % 10
    x = np.broadcast_to(np.arange(n)[:, None, None, None], (n, 1, 8, 8)).astype(np.uint8)
    public = PublicSet(x=x, y=y, name="plain", classes=tuple(f"class {c}" for c in range(10)))
    views, rng = Views.of(public, pool), np.random.default_rng(1)
    index, label = rng.choice(2 * n, 50), np.repeat([0, 1], [45, 5])
    weight = rng.random(50) / 50
    arrays = exhibit.arrays_of_tilted(index, label, weight, views)
    names = exhibit.names_of_tilted(arrays["classes"], views, ("cat", "dog"))
    assert names["labels"] == ["cat", "dog"] and names["public"] == "plain" and names["pool"] == 60
    heaviest = sorted(range(45), key=lambda i: -weight[i])[:8]
    assert arrays["shown"].tolist() == heaviest + sorted(range(45, 50), key=lambda i: -weight[i])
    assert np.array_equal(arrays["examples"], views.rows(index[arrays["shown"]]))
    for row in range(2):
        here = label == row
        share = {c: weight[here][index[here] % 10 == c].sum() / weight[here].sum() for c in range(10)}
        best = sorted(share, key=lambda c: -share[c])[:8]
        assert names["selected"][row][:3] == [f"class {c}" for c in best[:3]]
        np.testing.assert_allclose(arrays["shares"][row], [share[c] for c in best], rtol=1e-12)
