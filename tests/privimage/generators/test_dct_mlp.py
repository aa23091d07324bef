"""The two-core generator: its basis, what it sees, and that the engines can see all of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from privimage.errors import InputError
from privimage.generators import sizes
from privimage.generators.codec import DctCodec, dct_basis
from privimage.generators.dct_mlp_network import DctMLP
from privimage.generators.generator import Generator


@pytest.mark.parametrize(("k", "n"), [(1, 1), (16, 28), (16, 16), (5, 9)])
def test_basis_is_orthonormal_and_starts_with_the_mean(k: int, n: int) -> None:
    basis = dct_basis(k, n)
    torch.testing.assert_close(basis @ basis.T, torch.eye(k), atol=1e-5, rtol=0)
    torch.testing.assert_close(basis[0], torch.full((n,), n**-0.5))


def test_codec_returns_the_low_frequencies_of_an_image() -> None:
    codec = DctCodec(shape=(1, 16, 16))  # all 16 frequencies: nothing is lost
    x = torch.randint(0, 256, (3, 1, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    z = codec.encode(x)
    assert z.shape == (3, 256) and not codec.encode(torch.zeros_like(x)).any()
    assert (codec.decode(z).int() - x.int()).abs().max() <= 1


def test_every_trainable_parameter_belongs_to_a_linear_layer(tiny: Callable[..., Generator]) -> None:
    F = tiny().F
    owners = {type(m) for m in F.modules() if list(m.parameters(recurse=False))}
    assert owners == {nn.Linear}


def test_untrained_output_is_zero_and_trained_output_depends_on_everything(tiny: Callable[..., Generator]) -> None:
    rng = torch.Generator().manual_seed(0)
    z, c_noise, label = torch.randn(4, 256, generator=rng), torch.randn(4, generator=rng), torch.arange(4)
    with torch.random.fork_rng():
        assert not DctMLP(channels=1, n_classes=3, width=8, blocks=2)(z, c_noise, label).any()
    F = tiny().F
    out = F(z, c_noise, label)
    for changed in (F(z + 1, c_noise, label), F(z, c_noise + 1, label), F(z, c_noise, (label + 1) % 4)):
        assert ((out - changed).abs().amax(1) > 1e-6).all()
    torch.testing.assert_close(F(z[1:2], c_noise[1:2], label[1:2]), out[1:2])


def test_build_is_a_function_of_its_seed_and_leaves_the_global_state() -> None:
    before = torch.get_rng_state()
    weights = [
        sizes.build("dct-mlp-192", shape=(1, 16, 16), n_classes=3, seed=seed).F.first.weight for seed in (0, 0, 1)
    ]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert torch.equal(before, torch.get_rng_state())


def test_small_images_are_refused() -> None:
    with pytest.raises(InputError, match="a dct-mlp needs at least 16 pixels a side"):
        sizes.build("dct-mlp-192", shape=(1, 28, 15), n_classes=3, seed=0)
