import numpy as np
import pytest

from privimage.errors import InputError
from privimage.metrics.precision_recall import NEIGHBOURS, precision_recall


def sample(n, d, seed, shift=0.0):
    return (np.random.default_rng(seed).normal(size=(n, d)) + shift).astype(np.float32)


def inside(points, of):
    """The share of points in some ball around one of `of` that holds its nearest three; by loops."""
    found = 0
    for point in points:
        for centre in of:
            radius = sorted(np.linalg.norm(centre - other) for other in of)[NEIGHBOURS]  # the first is itself
            if np.linalg.norm(point - centre) <= radius:
                found += 1
                break
    return found / len(points)


@pytest.mark.parametrize(("n", "m", "shift"), [(30, 45, 0.0), (40, 25, 0.7), (4, 4, 0.2)])
def test_it_is_what_loops_find(n, m, shift):
    made, real = sample(n, 4, 0, shift).astype(np.float64), sample(m, 4, 1).astype(np.float64)
    precision, recall = precision_recall(made, real)
    assert precision == pytest.approx(inside(made, real)) and recall == pytest.approx(inside(real, made))


def test_a_part_of_the_real_images_is_precise_and_lacks_the_others():
    real = np.concatenate([sample(50, 3, 0), sample(50, 3, 1, shift=30.0)])
    precision, recall = precision_recall(real[:50], real)
    assert precision == 1.0 and recall == 0.5
    assert precision_recall(sample(50, 3, 2, shift=-30.0), real) == (0.0, 0.0)


def test_equal_images_are_in_each_others_balls_at_any_scale():
    """In float32, by products, the distance of equal features of such sizes is not 0."""
    same = 1e4 + sample(40, 6, 0)
    assert precision_recall(same, same) == (1.0, 1.0)


def test_features_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="not finite"):
        precision_recall(np.full((5, 3), np.nan), sample(5, 3, 0))
