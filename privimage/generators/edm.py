"""EDM (Karras et al. 2022), the diffusion of PrivImage: preconditioning, loss, and two deterministic samplers.

Symbols are the paper's. z is a clean image (or its coefficients) [N, ...], n unit noise, sigma noise levels [N],
F the raw network F_theta(c_in * x, c_noise, label), D the denoiser. A label equal to n_classes means "none".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from privimage.dpsgd.batch import Network
from privimage.generators.config import Precision, SampleConfig
from privimage.generators.drawing import at_precision


@dataclass(frozen=True, kw_only=True)
class EDM:
    """The constants of EDM, Table 1: standard deviation of the data and the training distribution of ln sigma.

    With `precision` bf16 the network runs under autocast while it is trained; preconditioning and loss never do.
    """

    sigma_data: float | Tensor = (1 / 3) ** 0.5  # images in [-1, 1], as in PrivImage; or of every coordinate
    P_mean: float = -1.2
    P_std: float = 1.2
    precision: Precision = "fp32"


def _column(sigma: Tensor, x: Tensor) -> Tensor:
    return sigma.reshape(-1, *[1] * (x.dim() - 1))


def denoise(F: Network, x: Tensor, sigma: Tensor, label: Tensor, *, sigma_data: float | Tensor) -> Tensor:
    """D(x; sigma) [N, ...]: the network behind EDM's preconditioning, eq. 7 with Table 1.

    Where `sigma_data` is known of every coordinate, the denoiser of a network that says nothing is the Wiener filter.
    """
    s = _column(sigma, x)
    v = s**2 + sigma_data**2
    c_skip, c_out, c_in = sigma_data**2 / v, s * sigma_data / v.sqrt(), 1 / v.sqrt()
    return c_skip * x + c_out * F(c_in * x, sigma.log() / 4, label)


def loss(F: Network, z: Tensor, n: Tensor, sigma: Tensor, label: Tensor, *, edm: EDM) -> Tensor:
    """EDM loss of every draw [N]: lambda(sigma) (D(z + sigma n) - z)^2, mean over coordinates (Table 1).

    Where they differ in sigma_data, a coordinate counts in proportion to it: what varies most is seen first.
    """

    s, own = _column(sigma, z), torch.as_tensor(edm.sigma_data)
    weight = (s**2 + own**2) / (s * own) ** 2 * own / own.mean()
    error = denoise(at_precision(F, edm.precision), z + s * n, sigma, label, sigma_data=edm.sigma_data) - z
    return (weight * error.square()).flatten(1).mean(1)


def grid(config: SampleConfig) -> Tensor:
    """Noise levels [steps + 1] from that of the first step to that of the last, then 0 (EDM, eq. 5)."""
    ramp, levels = torch.linspace(0, 1, config.steps, dtype=torch.float64), config.levels
    high, low = (level ** (1 / levels.rho) for level in (levels.sigma_max, levels.sigma_min))
    return torch.cat([(high + ramp * (low - high)) ** levels.rho, torch.zeros(1, dtype=torch.float64)])


@torch.no_grad()
def sample(
    F: Callable[[float], Network],
    n: Tensor,
    label: Tensor,
    *,
    null: int,
    config: SampleConfig,
    sigma_data: float | Tensor,
    z: Tensor | None = None,
) -> Tensor:
    """Clean images [N, ...] by `config.solver` from unit noise `n` on images `z` (Meng et al. 2022, SDEdit).

    Without them, from noise alone that varies as much as noise on images would. `F` is the network for every noise
    level, `null` the label that means "none". Noise levels stay on the CPU: nothing waits for a GPU.
    """

    def D(x: Tensor, t: Tensor) -> Tensor:
        sigma, network = x.new_full((len(x),), float(t)), F(float(t))
        given = denoise(network, x, sigma, label, sigma_data=sigma_data)
        if config.guidance == 0:
            return given
        free = denoise(network, x, sigma, torch.full_like(label, null), sigma_data=sigma_data)
        return given + config.guidance * (given - free)

    t = grid(config)
    solve = dpm_solver_2m if config.solver == "dpm++2m" else euler
    high = t[0].to(n.dtype)
    x = z + high * n if z is not None else (high**2 + sigma_data**2) ** 0.5 * n
    for x_next in solve(D, x, t):
        x = x_next
    return x


def euler(D: Callable[[Tensor, Tensor], Tensor], x: Tensor, t: Tensor) -> Iterator[Tensor]:
    """States of Euler's method on dx/dt = (x - D(x; t)) / t, which is DDIM; PrivImage's sampler."""
    for a, b in pairwise(t):
        x = x + ((b - a) / a).to(x.dtype) * (x - D(x, a))
        yield x


def dpm_solver_2m(D: Callable[[Tensor, Tensor], Tensor], x: Tensor, t: Tensor) -> Iterator[Tensor]:
    """States of DPM-Solver++(2M) (Lu et al. 2022, Algorithm 2), one network call a step."""
    before: Tensor | None = None
    h_before = torch.ones((), dtype=t.dtype)
    for a, b in pairwise(t):
        d = D(x, a)
        if b == 0:
            x = d
        else:
            h = (a / b).log()
            slope = d if before is None else d + (h / (2 * h_before)).to(x.dtype) * (d - before)
            x = (b / a).to(x.dtype) * x + (1 - b / a).to(x.dtype) * slope
            h_before = h
        before = d
        yield x
