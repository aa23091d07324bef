"""The two-core generator: its basis, what it sees, and that the engines can see all of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from privimage.errors import InputError
from privimage.generators import sizes
from privimage.generators.codec import DctCodec, dct_basis
from privimage.generators.config import PretrainConfig, Training
from privimage.generators.dct_mlp_network import DctMLP
from privimage.generators.diffusion import Diffusion
from privimage.generators.edm import denoise
from privimage.generators.generator import Generator
from privimage.generators.pretrain import pretrain
from privimage.workers import Workers


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
        assert not DctMLP(size=256, n_classes=3, width=8, blocks=2)(z, c_noise, label).any()
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


def photographs(n: int) -> torch.Tensor:
    """Smooth images of many brightnesses, with little detail."""
    rng = torch.Generator().manual_seed(2)
    bright = torch.rand(n, 3, 1, 1, generator=rng) * 200 + 20
    return (bright + 3 * torch.randn(n, 3, 16, 16, generator=rng)).round().clamp(0, 255).to(torch.uint8)


def test_an_adapted_codec_centers_images_and_knows_how_far_each_coefficient_spreads() -> None:
    codec, x = DctCodec(shape=(3, 16, 16)), photographs(400)
    before = codec.encode(x)
    codec.adapt(x.numpy())
    z = codec.encode(x)
    assert z.mean(0).abs().max() < 1e-4 < before.mean(0).abs().max()
    assert codec.deviation[0] > 20 * codec.deviation[1] and (codec.deviation > 0).all()
    torch.testing.assert_close(z.std(0)[::256], codec.deviation[::256])
    plain = DctCodec(shape=(3, 16, 16))
    again = plain.decode(plain.encode(x))
    assert (codec.decode(z).int() - again.int()).abs().max() <= 1, "what was taken away is given back"
    codec.adapt(x.numpy())
    torch.testing.assert_close(codec.encode(x), z)


def test_before_anything_is_learned_the_denoiser_of_an_adapted_codec_takes_detail_for_noise() -> None:
    """With one spread for all coefficients it leaves half of the noise, as far as no network has learned better."""
    x, left = photographs(64), {}
    for adapted in (False, True):
        generator = sizes.build("dct-mlp-192", shape=(3, 16, 16), n_classes=2, seed=0)
        assert isinstance(generator, Diffusion)
        if adapted:
            generator.codec.adapt(x.numpy())
        z, rng = generator.codec.encode(x), torch.Generator().manual_seed(1)
        noisy, sigma = z + torch.randn(z.shape, generator=rng), torch.ones(64)
        D = denoise(generator.F, noisy, sigma, torch.zeros(64).long(), sigma_data=generator.sigma_data)
        left[adapted] = float((D - z).square().mean())
    assert left[True] < 0.2 * left[False]


def test_pretraining_adapts_the_codec_and_keeps_it() -> None:
    x, y = photographs(60).numpy(), np.arange(60) % 2
    generator, other = (sizes.build("dct-mlp-192", shape=(3, 16, 16), n_classes=2, seed=0) for _ in range(2))
    state = pretrain(
        generator, x.__getitem__, y, weights=None, config=PretrainConfig(images=32, batch=16), seed=0,
        workers=Workers.alone(), progress=lambda done, total: None,
    )  # fmt: skip
    other.load_pretrained(state)
    assert other.codec.deviation is not None and generator.codec.deviation is not None
    assert torch.equal(other.codec.deviation, generator.codec.deviation) and other.codec.deviation[0] > 5
    torch.testing.assert_close(other.codec.encode(torch.from_numpy(x)), generator.codec.encode(torch.from_numpy(x)))


def test_noise_levels_of_training_reach_what_varies_most() -> None:
    generator = sizes.build("dct-mlp-192", shape=(3, 16, 16), n_classes=2, seed=0)
    assert isinstance(generator, Diffusion)
    before = generator.loss(Training()).edm
    generator.codec.adapt(photographs(64).numpy())
    after = generator.loss(Training()).edm
    assert generator.codec.deviation is not None
    widest = float(generator.codec.deviation.max().log())
    assert before.P_std == generator.edm.P_std < after.P_std and before.P_mean == after.P_mean
    assert after.P_mean + 1.5 * after.P_std == pytest.approx(widest)
    assert generator.loss(Training(P_mean=widest)).edm.P_std == generator.edm.P_std


@pytest.mark.parametrize("n", [1, 40])
def test_images_that_are_all_the_same_have_a_spread_too(n: int) -> None:
    """Else the loss of the first step is not a number, and the error blames the learning rate."""
    codec = DctCodec(shape=(1, 16, 16))
    codec.adapt(np.full((n, 1, 16, 16), 70, np.uint8))
    assert (codec.deviation > 0).all() and codec.encode(
        torch.full((1, 1, 16, 16), 70, dtype=torch.uint8)
    ).isfinite().all()


def test_of_a_photograph_brightness_is_kept_in_detail_and_colour_roughly() -> None:
    """Grey images in three channels survive as in one; colours survive where they change slowly."""
    rng = torch.Generator().manual_seed(0)
    colour, grey = DctCodec(shape=(3, 32, 32)), DctCodec(shape=(1, 32, 32))
    rough, fine = (torch.rand(6, 3, n, n, generator=rng) * 255 for n in (4, 16))
    rough, fine = (
        nn.functional.interpolate(x, (32, 32), mode="bicubic").clamp(0, 255).to(torch.uint8) for x in (rough, fine)
    )
    bright = fine[:, :1]
    np.testing.assert_allclose(
        colour.decode(colour.encode(bright.expand(-1, 3, -1, -1))),
        grey.decode(grey.encode(bright)).expand(-1, 3, -1, -1),
        atol=1,
    )
    z = colour.encode(rough)
    assert z.shape == (6, 16**2 + 2 * 8**2)
    assert (colour.decode(z).float() - rough).abs().mean() < 3
    lost = (colour.decode(colour.encode(fine)).float() - fine).mean(dim=1)  # of brightness, of what has no fine colour
    assert lost.abs().mean() < 0.5 * (colour.decode(colour.encode(fine)).float() - fine).abs().mean()


def test_the_planes_of_colour_are_orthonormal_and_grey_has_no_colour() -> None:
    planes = DctCodec(shape=(3, 16, 16)).planes
    torch.testing.assert_close(planes @ planes.T, torch.eye(3))
    torch.testing.assert_close(planes[1:] @ torch.ones(3), torch.zeros(2))
    assert "planes" not in DctCodec(shape=(3, 16, 16)).state_dict(), "it follows from the shape"
