"""Small images for the tests of sources: bytes of files, and what refuses them."""

import io

import numpy as np
import pytest
from PIL import Image

from privimage.data import PublicConfig, load_public
from privimage.errors import InputError


def png(value: int, *, side: int = 20, mode: str = "L", form: str = "PNG", **options) -> bytes:
    """The bytes of a file of one grey."""
    file = io.BytesIO()
    Image.new("L", (side, side), value).convert(mode).save(file, form, **options)
    return file.getvalue()


def png16() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((20, 20), 4095, np.uint16)).save(file, "PNG")
    return file.getvalue()


def opened(tmp_path, **values):
    return load_public(PublicConfig(**({"size": 8} | values)), cache=tmp_path)


def refused(tmp_path, **values) -> str:
    with pytest.raises(InputError) as caught:
        opened(tmp_path, **values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def greys(images) -> list[int]:
    """The grey of every image."""
    return [int(image[0, 4, 4]) for image in images.each()]
