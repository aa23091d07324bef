"""The state of a network as the arrays of a store, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from privimage.stores.store import Arrays


def numpy_state(state: Mapping[str, torch.Tensor]) -> dict[str, NDArray[Any]]:
    """The arrays of a state dict, of their own memory: the network may be trained or fitted on."""
    return {name: np.array(tensor.detach().cpu()) for name, tensor in state.items()}


def torch_state(arrays: Arrays) -> dict[str, torch.Tensor]:
    """A state dict of its own memory: stored arrays may be shared between trials and are read-only."""
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
