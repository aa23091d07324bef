"""Synthesise: images from an exported generator, without the sensitive data and at no further privacy cost."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from privimage.analysis import bundle, wanted
from privimage.analysis.bundle import BundleConfig
from privimage.analysis.draft import Asked, Draft, drafted
from privimage.analysis.outputs.output import ImageBlocks, output_of
from privimage.analysis.wanted import Labels
from privimage.errors import InputError
from privimage.generators.generator import Generator
from privimage.generators.sampler import BLOCK, blocks, draw_block, draw_images
from privimage.local import local_path
from privimage.privacy.guarantee import Guarantee
from privimage.progress import Tell, bar, silent

SEEDS = 2**63 - 1  # the largest


class Bundle:
    """An exported generator by its folder, as `best` wrote it; `config` says what it is.

    Raises InputError in one line if the folder is no intact bundle of this version.
    """

    def __init__(self, directory: str | Path) -> None:
        self.path = local_path(directory, named="DIR")
        self.config: BundleConfig = bundle.read_config(self.path)

    def __repr__(self) -> str:
        return f"Bundle({str(self.path)!r})"

    @property
    def guarantee(self) -> Guarantee:
        """What has to be stated beside it, and beside its images; its `sentence` says so."""
        return self.config.guarantee

    @cached_property
    def _generator(self) -> Generator:
        return bundle.read(self.path, self.config)

    def sample(
        self,
        *,
        n: int | None = None,
        labels: Labels = (),
        seed: int = 0,
        device: str = "cpu",
        progress: Tell = silent,
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """n images uint8 [n, C, H, W] (1000 if None) with labels [n] in turn: all of them or those asked for.

        `labels` are numbers or class names, as words that may end in =NUMBER or =SHARE% (see `analysis.wanted`), or a
        mapping to numbers of images. The same for the same seed, device and labels; costs no privacy.

        Raises InputError in one line, which names the argument, if one is not as said here or the device is not there,
        and if the weights are damaged.
        """
        seed = wanted.whole("seed", seed, least=0, most=SEEDS)
        where, order = _device(device), wanted.order(self.counts(n=n, labels=labels))
        return draw_images(
            self._generator, n=len(order), config=self.config.sample, seed=seed, device=where,
            labels=order, progress=progress,
        )  # fmt: skip

    def write(
        self, to: str | Path, *, n: int | None = None, labels: Labels = (), seed: int = 0, device: str = "cpu"
    ) -> list[Path]:
        """The files, or the folder, that now hold what `sample` draws of the same arguments, written block by block.

        `to` says in which form, by its suffix: images.npz, .zip, .parquet, .tar, images-%06d.tar (as many as there have
        to be), folder/, or a picture grid.png. A call that was killed goes on where it was, and its output is that of
        one that was not.

        Raises InputError in one line as `sample` does, and if the path is taken, cannot be written, or was begun with
        other arguments.
        """
        seed = wanted.whole("seed", seed, least=0, most=SEEDS)
        where, counts = _device(device), self.counts(n=n, labels=labels)
        output, path = output_of(to, named="to")
        why = output.refuses(path.name, counts)
        if why is not None:
            raise InputError(f"{to}: {why}")
        order, asked = wanted.order(counts), self._asked(counts, seed=seed, device=device, form=output.form)
        with drafted(path, output=output, n=len(order)) as draft:
            if not draft.begin(asked):
                drawn = self._draw(draft, order, seed=seed, device=where)
                with bar("writing images") as tell:
                    draft.make(drawn, tell)
            return draft.move()

    def _draw(self, draft: Draft, order: NDArray[np.int64], *, seed: int, device: torch.device) -> ImageBlocks:
        """All images of these labels [n]; those blocks are drawn that the draft lacks."""
        config, numbers = self.config.sample, 0
        with bar("sampling") as tell:
            for number, at in enumerate(blocks(len(order), config)):
                if not draft.has(number, (at.stop - at.start, *self.config.shape)):
                    x = draw_block(
                        self._generator, order[at], number=number, config=config, seed=seed, device=device,
                        progress=lambda done, of, before=at.start: tell(before + done, len(order)),  # type: ignore[misc]
                    )  # fmt: skip
                    draft.keep(number, x)
                numbers = number + 1
        return ImageBlocks(
            y=order, classes=self.config.classes, shape=self.config.shape,
            blocks=lambda: (draft.kept(number) for number in range(numbers)),
        )  # fmt: skip

    def _asked(self, counts: dict[int, int], *, seed: int, device: str, form: str) -> Asked:
        """All that an output follows from."""
        generator = hashlib.sha256(self.config.model_dump_json().encode()).hexdigest()[:16]
        labels = " ".join(f"{label}={number}" for label, number in counts.items())
        return {
            "generator": generator, "n": sum(counts.values()), "labels": labels, "seed": seed, "device": device,
            "form": form, "block": BLOCK,
        }  # fmt: skip

    def counts(self, *, n: int | None = None, labels: Labels = ()) -> dict[int, int]:
        """How many images of each label such a call draws. Raises InputError if it cannot be drawn."""
        return wanted.counts(labels, n=n, classes=self.config.classes)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # "meta" makes tensors that hold nothing
    except (RuntimeError, AssertionError, NotImplementedError, TypeError):
        raise InputError(f"device: got {name!r}, which this machine does not have; cpu always works") from None
    return device
