"""evaluate: every metric asked for, with what it touches. Real statistics are computed once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from privimage.data.sets import PrivateSet
from privimage.errors import InputError
from privimage.metrics import features as networks
from privimage.metrics.accuracy import accuracy
from privimage.metrics.features import features
from privimage.metrics.fid import Statistics, fid
from privimage.metrics.metric import Metric, Touch, direction_of, parts_of
from privimage.privacy.looks import Seen, may_read

Arrays = Mapping[str, NDArray[Any]]

_known: dict[tuple[str, str], Statistics] = {}  # real statistics of this process


def check(names: Sequence[str], *, n_test: int = 2, weights: Path | None = None) -> None:
    """Raise InputError if something that these metrics need is missing: before anything is charged."""
    if n_test < 2 and any(parts_of(name)[0] in ("fid", "accuracy") for name in names):
        raise InputError(
            f"metrics: {', '.join(names)}: the test split of the sensitive set holds fewer than 2 images; raise "
            "data.sensitive.test"
        )
    for network in dict.fromkeys(variant for family, variant in map(parts_of, names) if family == "fid"):
        networks.check(network, weights=weights)


def reference_statistics(
    test: PrivateSet, network: str, *, seen: Seen, device: str | torch.device = "cpu", weights: Path | None = None
) -> dict[str, NDArray[Any]]:
    """Arrays `mean`, `covariance`, `n` of the real features: `internal`, they never leave the run."""
    test.must_be("test")
    if len(test) < 2:
        raise InputError("fid: the real test split holds fewer than 2 images")
    return _statistics(test, network, seen=seen, device=device, weights=weights).arrays


def _statistics(
    test: PrivateSet, network: str, *, seen: Seen, device: str | torch.device, weights: Path | None
) -> Statistics:
    may_read(test, seen)  # also where the statistics are known: each sweep's look is one of its own
    key = (test.fingerprint, network)
    if key not in _known:
        _known[key] = Statistics.of(features(test.x, network=network, device=device, weights=weights))
    return _known[key]


def evaluate(
    names: Sequence[str],
    *,
    synthetic_x: NDArray[np.uint8],
    synthetic_y: NDArray[np.int64],
    train: PrivateSet,
    test: PrivateSet,
    look: Callable[[str], Seen],
    reference: Callable[[str, Seen], Arrays] | None = None,
    device: str | torch.device = "cpu",
    weights: Path | None = None,
) -> list[Metric]:
    """The named metrics of the synthetic images, in the order of `names`.

    Each of them reads the private test split without noise: `look` writes that down before, and returns the proof.
    FID is against that split. `reference` maps a feature network's name to what `reference_statistics` returned;
    without it they are computed once per process. `weights`: see Features. A missing class or constant images are
    scored (badly); images that cannot be scored raise InputError. `train` is only compared with `test`: they must
    differ.
    """
    for name in names:
        direction_of(name)
    train.must_be("train")
    test.must_be("test")
    looked = {name: look(name) for name in names}  # before anything is read
    if not looked:
        return []
    _check(synthetic_x, synthetic_y, train, test)
    out = []
    for name in names:
        family, variant = parts_of(name)
        start, seen = time.perf_counter(), looked[name]
        if family == "fid":
            kept = Statistics.from_arrays(reference(variant, seen)) if reference is not None else None
            real = kept or _statistics(test, variant, seen=seen, device=device, weights=weights)
            made = features(synthetic_x, network=variant, device=device, weights=weights)
            value = fid(real, Statistics.of(made), device=device)
        else:
            value = accuracy(synthetic_x, synthetic_y, classifier=variant, test=test, by=seen, device=device)
        out.append(_metric(name, value, n=len(synthetic_x), test=test, seconds=time.perf_counter() - start))
    return out


def _metric(name: str, value: float, *, n: int, test: PrivateSet, seconds: float) -> Metric:
    """The metric; both families read the synthetic images and the private test split."""
    touches: tuple[Touch, ...] = ("synthetic", "private-test")
    largest = None if name.startswith("fid[") else float(np.bincount(test.y).max() / len(test))
    return Metric(
        name=name, value=value, touches=touches, direction=direction_of(name), n=n, seconds=seconds,
        of=len(test), classes=len(test.classes), largest=largest,
    )  # fmt: skip


def _check(x: NDArray[np.uint8], y: NDArray[np.int64], train: PrivateSet, test: PrivateSet) -> None:
    if x.dtype != np.uint8 or x.ndim != 4 or y.shape != (len(x),):
        raise InputError(
            f"synthetic images: expected uint8 [n, c, h, w] and n labels, got {x.dtype} {x.shape}, {y.shape}"
        )
    if len(x) < 2 or len(test) < 2:
        raise InputError(f"metrics: need at least 2 images a side, got {len(x)} synthetic and {len(test)} real")
    if x.shape[1:] != test.shape:
        raise InputError(f"synthetic images: shape {x.shape[1:]}, the real ones have {test.shape}")
    if not np.issubdtype(y.dtype, np.integer) or y.min() < 0 or y.max() >= len(test.classes):
        raise InputError(f"synthetic labels: expected integers in 0 .. {len(test.classes) - 1}")
    if train.fingerprint == test.fingerprint:
        raise InputError(f"{test.name}: the test split is the training split; scores would reward copying")
