"""Weights of a query function from a file: those of a network of torchvision, which somebody has trained already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from privimage.data.keywords import semantics_of
from privimage.data.sets import PublicSet
from privimage.disk import refusal
from privimage.errors import InputError
from privimage.known_files import check_content
from privimage.query import FUNCTION, SemanticsConfig
from privimage.query_network import FIRST, is_published, query_network

if TYPE_CHECKING:
    from privimage.semantics import QueryFunction

WEIGHTS, NAMES = f"method.{FUNCTION}.weights", f"method.{FUNCTION}.names"
CLASSIFIER = ("net.fc.weight", "net.fc.bias")
LOOKED_AT = 200  # public images on which weights are tried
SURE = 4  # standard deviations above guessing


def known_weights(config: SemanticsConfig, *, classes: Sequence[str]) -> dict[str, Tensor]:
    """The weights of a `query_network` for these public classes, in their order, from the files of the configuration.

    Raises InputError, in one line that names the file, if it is another one than it was, damaged, of another network,
    or of other classes.
    """
    if config.weights is None or config.digest is None:
        raise ValueError("there are no weights to read")
    files = {f"method.{FUNCTION}.{name}": Path(path) for name in config.places if (path := getattr(config, name))}
    check_content(files, digest=config.digest)
    told, state = f"{WEIGHTS}: {config.weights}", _read(Path(config.weights))
    _check_fits(state, config, told=told)
    outputs = len(state[CLASSIFIER[0]])
    if config.names is not None:
        rows = _places(_names(Path(config.names), outputs), classes, told=f"{NAMES}: {config.names}")
        return state | {name: state[name][rows] for name in CLASSIFIER}
    if outputs != len(classes):
        raise InputError(
            f"{told}: has {outputs} classes, and the public set {len(classes)}; name a text file by {NAMES}, with the "
            "class of every output a line, as the public set calls it"
        )
    return state


def check_agrees(function: QueryFunction, public: PublicSet, *, config: SemanticsConfig) -> None:
    """Raise InputError if the function sees in some public images hardly more of their classes than guessing would.

    Then its outputs stand for other classes, and what it would be asked for would be paid in vain.
    """
    places = np.unique(np.linspace(0, len(public) - 1, LOOKED_AT).astype(int))
    n, guess = len(places), function.of(public.rows(places), k1=1)[:, 0]
    image, label = semantics_of(public)
    own = {*zip(image.tolist(), label.tolist(), strict=True)}
    hits = sum(pair in own for pair in zip(places.tolist(), guess.tolist(), strict=True))
    p = len(own) / len(public) / len(public.classes)
    if hits <= n * p + SURE * (n * p * (1 - p)) ** 0.5:
        raise InputError(
            f"{WEIGHTS}: {config.weights}: sees the class of {hits} of {n} public images, which is hardly more than "
            f"guessing; give the order of its classes in a file by {NAMES}, or other weights"
        )


def _read(path: Path) -> dict[str, Tensor]:
    """The state dict in the file, under the names of a `Residual`."""
    told = f"{WEIGHTS}: {path}"
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise refusal(error, told, "read") from None
    except Exception:  # a damaged file ends in nearly any of them
        raise InputError(f"{told}: damaged, or no file of weights that torch.save wrote; fetch it again") from None
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise InputError(f"{told}: holds no state dict; save that of the network alone, net.state_dict()")
    return {f"net.{name}": value for name, value in found.items()}


def _check_fits(state: Mapping[str, Tensor], config: SemanticsConfig, *, told: str) -> None:
    """Raise InputError if these are no finite weights of the network."""
    wrong = next((name for name in (FIRST, *CLASSIFIER) if name not in state), None)
    if wrong is None:
        with torch.device("meta"):
            net = query_network(
                config.network, channels=3, n_classes=len(state[CLASSIFIER[0]]), published=is_published(state)
            )
        expected = {name: tensor.shape for name, tensor in net.state_dict().items()}
        own = {name: tensor.shape for name, tensor in state.items()}
        wrong = next((name for name in {**expected, **own} if expected.get(name) != own.get(name)), None)
    if wrong is not None:
        raise InputError(
            f"{told}: no state dict of torchvision's {config.network}: "
            f"{wrong.removeprefix('net.'):.80} is not as it should be; name its network by method.{FUNCTION}.network"
        )
    if not all(bool(tensor.isfinite().all()) for tensor in state.values()):
        raise InputError(f"{told}: holds weights that are not finite; fetch it again")


def _names(path: Path, outputs: int) -> list[str]:
    """The class of every output. Raises InputError if they are not as many, or not all different."""
    told = f"{NAMES}: {path}"
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise refusal(error, told, "read") from None
    except UnicodeDecodeError:
        raise InputError(f"{told}: no text in UTF-8; write the name of a class a line") from None
    if len(names) != outputs:
        raise InputError(f"{told}: has {len(names)} lines, and the weights {outputs} classes; write one a line")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{told}: '{twice:.80}' stands there twice; every output is another class")
    return names


def _places(names: Sequence[str], classes: Sequence[str], *, told: str) -> list[int]:
    """Where the public classes are among the names."""
    place = {name: i for i, name in enumerate(names)}
    missing = next((name for name in classes if name not in place), None)
    if missing is not None:
        raise InputError(f"{told}: has no class '{missing:.80}', as the public set has; write its classes as that does")
    return [place[name] for name in classes]
