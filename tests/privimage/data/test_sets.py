import numpy as np
import pytest

from privimage.data import PrivateSet, PublicSet, SensitiveData, stratified_split
from privimage.errors import InputError

X = np.full((3, 1, 2, 2), 137, np.uint8)
Y = np.array([0, 1, 1])


def private() -> PrivateSet:
    return PrivateSet(x=X, y=Y, name="digits", id="digits-v1", classes=("a", "b"))


def test_public_and_private_sets_are_different_types() -> None:
    assert not issubclass(PrivateSet, PublicSet)
    assert not issubclass(PublicSet, PrivateSet)


@pytest.mark.parametrize("show", [repr, str, "{}".format])
def test_a_private_set_never_shows_pixels_or_labels(show) -> None:
    for shown in (
        show(private()),
        show(SensitiveData(train=private(), validation=private(), test=private())),
    ):
        assert "digits-v1" in shown
        assert "137" not in shown
        assert "array" not in shown


def test_fingerprint_depends_on_pixels_and_labels() -> None:
    changed = X.copy()
    changed[2, 0, 1, 1] += 1
    others = [
        PrivateSet(x=changed, y=Y, name="n", id="i", classes=("a", "b")),
        PrivateSet(x=X, y=Y[::-1], name="n", id="i", classes=("a", "b")),
    ]
    assert len({private().fingerprint, *(other.fingerprint for other in others)}) == 3
    assert private().fingerprint == private().fingerprint


def test_split_is_stratified_disjoint_and_complete() -> None:
    y = np.repeat(np.arange(3), [100, 50, 10])
    parts = stratified_split(y, fractions=(0.7, 0.1, 0.2), seed=3)
    assert [np.bincount(y[part]).tolist() for part in parts] == [[70, 35, 7], [10, 5, 1], [20, 10, 2]]
    assert np.sort(np.concatenate(parts)).tolist() == list(range(160))


def test_split_depends_on_its_seed_only() -> None:
    y = np.repeat(np.arange(2), 50)
    first, again, other = (stratified_split(y, fractions=(0.5, 0.5), seed=seed)[0] for seed in (0, 0, 1))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


def test_split_refuses_fractions_that_do_not_sum_to_one() -> None:
    with pytest.raises(InputError, match="sum to 1"):
        stratified_split(Y, fractions=(0.5, 0.4), seed=0)
