import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from privimage.analysis.hypervolume import Box, Interval, hypervolume

SIDE = 6


@given(
    st.integers(1, 4).flatmap(lambda d: st.lists(st.tuples(*[st.integers(0, SIDE + 1)] * d), min_size=1, max_size=7))
)
def test_it_is_the_number_of_unit_cells_that_are_dominated(points: list[tuple[int, ...]]) -> None:
    dimensions = len(points[0])
    cells = itertools.product(range(SIDE), repeat=dimensions)
    count = sum(any(all(p <= c for p, c in zip(point, cell, strict=True)) for point in points) for cell in cells)
    assert hypervolume(points, reference=(SIDE,) * dimensions) == count


def test_a_share_is_of_the_box_and_nothing_is_better_than_its_corner() -> None:
    box = Box(best=(0.0, -1.0), reference=(2.0, 0.0))
    assert box.share([(0, -1)]) == 1.0 == box.share([(-5, -9)])
    assert box.share([(2, -1), (0, 0)]) == 0.0 == box.share([])
    assert box.share([(1, -0.5)]) == 0.25


def test_intervals_are_those_of_scipy() -> None:
    a, b = [0.5, 0.53, 0.61], [0.7, 0.66, 0.75, 0.71]
    own = stats.t.interval(0.95, len(a) - 1, loc=np.mean(a), scale=stats.sem(a))
    found = Interval.of(a)
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx(own)
    welch = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    gap = Interval.of(b) - found
    assert (gap.mean - gap.half, gap.mean + gap.half) == pytest.approx((welch.low, welch.high))


def test_of_one_number_nothing_is_known() -> None:
    assert Interval.of([0.4]) == Interval(mean=0.4, half=None, n=1)
    assert (Interval.of([0.4, 0.5]) - Interval.of([0.4])).half is None
    assert (Interval.of([0.4, 0.4]) - Interval.of([0.3, 0.3])).half is None


def test_a_front_of_many_dominated_points_is_that_of_its_front() -> None:
    rng = np.random.default_rng(0)
    few = rng.random((12, 3)).tolist()
    many = few + [[x + 0.3 * rng.random() for x in point] for point in few for _ in range(200)]
    assert hypervolume(many, reference=(2, 2, 2)) == pytest.approx(hypervolume(few, reference=(2, 2, 2)))
