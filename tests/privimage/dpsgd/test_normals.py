"""Tensors of a stream have the values of the stream itself, on every device and however they are made."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from known import entropy

from privimage.dpsgd.normals import Tensors, normals_
from privimage.privacy.entropy import BLOCK, normals_of

ENDS = [0, -1, 2**63 - 1, -(2**63), 1, 2**62]


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (BLOCK - 1,), (3 * BLOCK + 6,)])
def test_they_are_those_of_the_stream_up_to_rounding(shape: tuple[int, ...]) -> None:
    tensors, stream = Tensors(entropy(1).stream("x")), entropy(1).stream("x")
    for _ in range(2):
        normals = tensors.normals(*shape)
        assert normals.dtype == torch.float64 and normals.shape == shape
        np.testing.assert_allclose(normals.numpy(), stream.normals(*shape), rtol=1e-13, atol=1e-14)
        assert (tensors.uniforms(*shape).numpy() == stream.uniforms(*shape)).all()


def test_the_ends_of_the_bits_give_the_same_finite_normals() -> None:
    words = np.array([[first, second] for first in ENDS for second in ENDS])
    for pair in words:
        normals = normals_(torch.from_numpy(pair.copy())).numpy()
        assert np.isfinite(normals).all()
        np.testing.assert_allclose(normals, normals_of(pair), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("rows", [1, 3, 256])
def test_other_devices_take_more_blocks_at_a_time_and_get_the_same(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    words = torch.from_numpy(entropy(3).stream("x").words(5 * BLOCK + 10))
    plain = normals_(words.clone())
    monkeypatch.setattr("privimage.dpsgd.normals.MANY", rows)

    class Elsewhere(torch.Tensor):
        @property
        def device(self) -> torch.device:
            return torch.device("meta")

    there = words.clone().as_subclass(Elsewhere)
    torch.testing.assert_close(normals_(there).as_subclass(torch.Tensor), plain, rtol=1e-14, atol=1e-14)
