"""Spectral descent: an optimizer for noisy gradients whose noise level is known exactly.

DP-SGD's noise is white, so the singular values of a pure-noise matrix stay below the edge of the Marchenko-Pastur
law, while the signal of a few-step fine-tuning is of low rank. Every step keeps the singular directions of the
momentum that stand above the noise's edge (Gavish and Donoho 2017, optimal shrinkage; here as a selection) and moves
by the same length along each (Muon, Jordan et al. 2024: U V^T in place of U S V^T). Directions that are noise get no
step at all, so one learning rate serves every budget. All of it is post-processing of the noised sum.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from privimage.errors import Violation


class SpectralDescent(torch.optim.Optimizer):
    """theta <- theta - lr * U_kept V_kept^T of the bias-corrected momentum of every tensor, as a matrix.

    `noise_std` is the standard deviation of the Gaussian noise in every coordinate of `p.grad`; `edge` below 1 keeps
    more directions than can be told from noise. Tensors of more than two axes are taken as [first, rest], vectors as
    one row.
    """

    def __init__(
        self, params: Iterable[Tensor], *, lr: float, momentum: float, noise_std: float, edge: float = 1.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "noise_std": noise_std, "edge": edge})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # never evaluates a closure
        """One step from the gradients in `p.grad`."""
        if closure is not None:
            raise Violation("a closure would evaluate gradients that are neither clipped nor noised")
        for group in self.param_groups:
            beta = group["momentum"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state.update(mean=torch.zeros_like(p), variance=0.0, steps=0)
                state["mean"].lerp_(p.grad, 1 - beta)
                state["variance"] = beta**2 * state["variance"] + (1 - beta) ** 2 * group["noise_std"] ** 2
                state["steps"] += 1
                correction = 1 - beta ** state["steps"]
                M = state["mean"].reshape(len(p) if p.dim() > 1 else 1, -1) / correction
                noise_std = group["edge"] * state["variance"] ** 0.5 / correction
                direction = kept_directions(M, noise_std=noise_std)
                p.sub_(direction.reshape(p.shape), alpha=group["lr"])


def kept_directions(M: Tensor, *, noise_std: float) -> Tensor:
    """sum of u v^T over the singular directions of M [a, b] whose singular value is above the edge of the noise.

    A matrix of noise alone of that standard deviation has its largest singular value near
    noise_std * (sqrt(a) + sqrt(b)), the edge of the Marchenko-Pastur law; below it nothing can be told from noise.
    """
    if M.shape[0] > M.shape[1]:
        return kept_directions(M.T, noise_std=noise_std).T
    squared, U = torch.linalg.eigh(M @ M.T)  # of the small side: a x a
    edge = noise_std * (M.shape[0] ** 0.5 + M.shape[1] ** 0.5)
    kept = squared.clamp(min=0).sqrt() > max(edge, 1e-7 * float(squared[-1].clamp(min=0)) ** 0.5)
    U, squared = U[:, kept], squared[kept]
    direction: Tensor = (U / squared.sqrt()) @ (U.T @ M)
    return direction
