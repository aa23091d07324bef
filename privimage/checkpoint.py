"""Checkpoint: how far an unfinished stage has come, in one file, so that a killed stage goes on from there.

The file is a seal (HMAC-SHA256) and safetensors: the number of steps done and the state of everything that training
changes. The key of the seal is made of the stage, the device, the versions and, in a private stage, its entropy. So a
file that is damaged, or of another event, configuration, version or entropy, is not believed: the stage starts again.

What this does to privacy: nothing, for three reasons.
- A step that is done again is the same mechanism on the same randomness. Its batch and its noise follow from the
  entropy and the number of the step, so it gives the same noised sum, and a stage that starts again gives all of them
  again. With other workers or another engine the sum differs by rounding; two such sums under one noise would show
  their difference, but only one run ends, and nothing of the others leaves this folder.
- A checkpoint of DP-SGD holds no generator and no gradient of an example: weights, momentum and average are functions
  of the noised sums, all of which the event has paid for.
- It is `internal` all the same: beside the entropy, mode 600, removed with it once the answer is stored. What was paid
  for is one answer, fine-tuning may be without noise, and a trial that loses a private selection must not be seen.
"""

from __future__ import annotations

import hmac
import json
import logging
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors
from torch import Tensor, nn

from privimage.errors import Violation
from privimage.privacy.entropy import Entropy
from privimage.schema import digest
from privimage.stores.store import Arrays, Store
from privimage.stores.tensors import numpy_state, torch_state
from privimage.workers import Workers

Stateful = nn.Module | torch.optim.Optimizer | torch.Generator | np.random.Generator
SECONDS = 20.0  # between two checkpoints, at least
SHARE = 0.01  # of a stage's time that checkpoints may take
VERSIONS = ("privimage", "torch", "opacus")
NUMBER = "/number"  # ends the name of a state that is a number and not a tensor

log = logging.getLogger(__name__)


class Checkpoint:
    """The checkpoint of one stage. `entropy` is that of a private stage; a public one has none.

    Without a store there is no checkpoint: nothing is found and nothing written.
    """

    def __init__(
        self,
        *,
        store: Store | None = None,
        name: str = "",
        entropy: Entropy | None = None,
        workers: Workers | None = None,
    ) -> None:
        self._store = store
        self._name = name
        self._workers = workers or Workers.alone()
        versions = {package: version(package) for package in VERSIONS}
        secret = "" if entropy is None else entropy.raw.hex()
        identity = {"stage": name, "device": self._workers.device.type, "versions": versions, "entropy": secret}
        self._key = digest(identity).encode()
        self._due = time.monotonic() + SECONDS

    def restore(self, parts: Mapping[str, Stateful]) -> int:
        """The number of steps that are done, with `parts` as they were after them, on every worker; 0 without a file.

        The first worker reads for all, so a stage may go on with more or fewer workers than it had.
        """
        if self._store is None:
            return 0
        found = self._workers.of_first(self._read)
        if found is None:
            return 0
        for name, part in parts.items():
            start = f"{name}/"
            _load(part, {key.removeprefix(start): found[key] for key in found if key.startswith(start)})
        return int(found["step"])

    def save(self, step: int, parts: Mapping[str, Stateful]) -> None:
        """Write `parts` as they are after `step` steps, if it is time to. The first worker does: replicas are equal.

        Raises InputError if the file cannot be written.
        """
        start = time.monotonic()
        if self._store is None or not self._workers.first or start < self._due:
            return
        arrays: dict[str, Any] = {"step": np.array(step)}
        for name, part in parts.items():
            arrays |= {f"{name}/{key}": np.asarray(value, order="C") for key, value in _state(part).items()}
        raw = save_safetensors(arrays)
        self._store.keep(self._name, self._seal(raw) + raw)
        end = time.monotonic()
        self._due = end + max(SECONDS, (end - start) / SHARE)

    def _read(self) -> Arrays | None:
        if self._store is None:
            raise Violation("a checkpoint without a store keeps nothing")
        raw = self._store.kept(self._name)
        if raw is None:
            return None
        seal, body = raw[:32], raw[32:]
        if not hmac.compare_digest(seal, self._seal(body)):
            log.warning("%s: its checkpoint is damaged or of other settings; the stage starts again", self._name)
            return None
        return load_safetensors(body)

    def _seal(self, raw: bytes) -> bytes:
        return hmac.digest(self._key, raw, "sha256")


NO_CHECKPOINT = Checkpoint()


def _state(part: Stateful) -> Arrays:
    """Everything of `part` that training changes (of an optimizer: not its settings, they are in the config)."""
    match part:
        case nn.Module():
            return numpy_state(part.state_dict())
        case torch.optim.Optimizer():
            state: dict[str, Any] = {}
            for i, entry in part.state_dict()["state"].items():
                tensors = {f"{i}/{name}": value for name, value in entry.items() if isinstance(value, Tensor)}
                numbers = {
                    f"{i}/{name}{NUMBER}": np.array(entry[name]) for name in entry if f"{i}/{name}" not in tensors
                }
                state |= numpy_state(tensors) | numbers
            return state
        case torch.Generator():
            return {"state": part.get_state().numpy()}
        case np.random.Generator():
            return {"state": np.frombuffer(json.dumps(part.bit_generator.state).encode(), np.uint8)}


def _load(part: Stateful, state: Arrays) -> None:
    """Put `part` into a state that `_state` has read."""
    match part:
        case nn.Module():
            part.load_state_dict(torch_state(state))
        case torch.optim.Optimizer():
            entries: dict[int, dict[str, Any]] = {}
            for key, value in torch_state(state).items():
                i, name = key.removesuffix(NUMBER).split("/", 1)
                # cloned: sums may depend on how torch's own allocator aligns memory
                own = value.item() if key.endswith(NUMBER) else value.clone()
                entries.setdefault(int(i), {})[name] = own
            part.load_state_dict(part.state_dict() | {"state": entries})
        case torch.Generator():
            part.set_state(torch_state(state)["state"])
        case np.random.Generator():
            part.bit_generator.state = json.loads(state["state"].tobytes())
