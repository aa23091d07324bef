"""The one way to import torchvision: it also works beside a torch that its compiled operators do not fit.

A torchvision built for CUDA cannot load its operators beside a CPU build of torch, and then its import fails,
because it registers two operators that nobody defined. We define those two by name. What needs no compiled
code (datasets, models, transforms, make_grid) then works; `torchvision.ops.nms` says that it has no kernel.
What imports torchvision itself (torch_fidelity) needs `import_torchvision()` first, in every process.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_lock = threading.Lock()
_Library: Any = torch.library.Library  # torch leaves it untyped
_stubs: list[Any] = []  # an operator lives as long as the Library object that defined it


def import_torchvision() -> ModuleType:
    """The torchvision module, imported so that a build made for another torch does not fail. Idempotent."""
    with _lock:
        # The operators must exist before the first attempt: a failed import leaves half a package behind.
        if "torchvision" not in sys.modules and not _operators_load() and not _operators_defined():
            library: Any = _Library("torchvision", "DEF")
            for name in ("nms", "qnms"):
                library.define(name + _SCHEMA)
            _stubs.append(library)
        return importlib.import_module("torchvision")


def _operators_defined() -> bool:
    return hasattr(torch.ops.torchvision, "nms")


def _operators_load() -> bool:
    """Whether the compiled operators of the installed torchvision load into this torch."""
    load: Any = torch.ops.load_library
    spec = importlib.util.find_spec("torchvision")  # looks, does not import
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or ():
        for library in sorted(Path(folder).glob("_C*.so")) + sorted(Path(folder).glob("_C*.pyd")):
            try:
                load(str(library))
            except OSError:
                return False
            return True
    return False
