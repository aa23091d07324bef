import subprocess
import sys

import pytest
import torch

from privimage.data.torchvision_shim import import_torchvision


def test_import_is_idempotent_and_what_needs_no_kernel_works() -> None:
    vision = import_torchvision()
    assert import_torchvision() is vision is sys.modules["torchvision"]
    assert vision.utils.make_grid(torch.zeros(4, 3, 5, 5)).shape[0] == 3
    assert vision.transforms.functional.resize(torch.zeros(3, 8, 8), [4, 4]).shape == (3, 4, 4)


@pytest.mark.thorough
def test_a_fresh_process_imports_torchvision_when_its_operators_do_not_load() -> None:
    code = (
        "import torch\n"
        "def refuse(path): raise OSError('built for another torch')\n"
        "torch.ops.load_library = refuse\n"
        "from privimage.data.torchvision_shim import import_torchvision as get\n"
        "print(get() is get(), hasattr(torch.ops.torchvision, 'nms'))\n"
        "import torchvision.datasets, torchvision.models\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["True", "True"]
