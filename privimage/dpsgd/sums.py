"""The sums of clipped gradients of one fine-tuning: of a logical batch, over all workers, with the draws of its key."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from privimage.data.sets import PrivateSet
from privimage.device import onto
from privimage.dpsgd.batch import Batch
from privimage.dpsgd.config import FinetuneConfig
from privimage.dpsgd.engine import adder
from privimage.dpsgd.normals import Tensors
from privimage.dpsgd.physical import physical_batches, physical_size
from privimage.generators.generator import Generator
from privimage.privacy.budget import Event
from privimage.privacy.entropy import Entropy
from privimage.workers import Workers

BLOCK = 64  # examples that share one stream of draws


class ClippedSums:
    """What a step of fine-tuning takes from the sensitive images.

    Draws come in blocks of BLOCK examples, each from a stream of its own, and go round the workers by whole blocks.
    So neither the number of workers nor the physical batch changes a draw. An example more moves those after it to
    other draws, and to other places among those who may join a batch. The proof needs that each example has the same
    with and without it: the two runs are coupled so that they do, and then the sums differ by C at most. One may
    couple like that only what is drawn independently for every example, and what a keyed stream gives out is as good
    as that for all who do not know the key, however much of it they see (were it a Mersenne Twister, or its key
    public, the draws of an example would tell those of others, and the sums would differ by far more than C).
    """

    def __init__(
        self,
        generator: Generator,
        sensitive: PrivateSet,
        *,
        config: FinetuneConfig,
        event: Event,
        C: float,
        entropy: Entropy,
        workers: Workers,
    ) -> None:
        self._generator, self._sensitive, self._training = generator, sensitive, config.training
        self._entropy, self._workers = entropy, workers
        self._parameters = [p for p in generator.F.parameters() if p.requires_grad]
        self._sums = [torch.zeros_like(p) for p in self._parameters]
        expected = max(1.0, event.q * len(sensitive) / workers.size)
        self._size = physical_size(expected=expected, most=config.physical_batch)
        loss = generator.loss(config.training)
        self._add = adder(generator.F, config=config, loss=loss, C=C, size=self._size, workers=workers)

    def leave(self, batch: Tensor, *, step: int) -> None:
        """Leave in every p.grad the sum of clipped gradients of the examples at these places, over all workers.

        Every worker takes part in the one sum, also one without a block; an empty batch leaves zeros: it still takes
        its noise step.
        """
        torch._foreach_zero_(self._sums)
        for p, total in zip(self._parameters, self._sums, strict=True):
            p.grad = total
        for physical in physical_batches(self._blocks(batch, step), self._size):
            self._add(physical)
        self._workers.all_reduce([p.grad for p in self._parameters if p.grad is not None])

    def _blocks(self, batch: Tensor, step: int) -> Iterator[Batch]:
        """The blocks of this worker."""
        blocks = list(enumerate(batch.split(BLOCK))) if len(batch) else []
        for number, index in blocks[self._workers.rank :: self._workers.size]:
            yield self._drawn(index, f"draws/{step}/{number}")

    def _drawn(self, index: Tensor, key: str) -> Batch:
        """One block of examples with its draws."""
        rows, device = index.numpy(), self._workers.device
        return self._generator.batch(
            self._generator.codec.encode(onto(device, torch.from_numpy(self._sensitive.rows(rows)))),
            torch.from_numpy(self._sensitive.y[rows]),
            training=self._training,
            rng=Tensors(self._entropy.stream(key), device),
        )
