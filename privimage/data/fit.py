"""Bringing an image to the size and channels that a configuration asks for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Pixels = NDArray[np.uint8]


def colours(image: Image.Image) -> int:
    """1 if a decoded or merely opened image is grey, else 3."""
    return 1 if image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;") else 3


def unreadable(image: Image.Image) -> str | None:
    """Why an opened image is not read, with the fix, or None. Judged by its header, never by its pixels.

    How many of 16 bits a PNG uses is not declared (12 bits would be nearly black), and looking for the brightest pixel
    would be a statistic of private images. A PGM declares its brightest value, and is scaled by that.
    """
    if getattr(image, "n_frames", 1) > 1:
        return "holds several images; write one image a file"
    raw = str([tile[3] for tile in getattr(image, "tile", ())])  # how the pixels are stored, e.g. RGB;16B
    if image.format == "PNG" and (image.mode.startswith("I") or ";16" in raw):
        return "has 16 bits a channel; convert all images to 8 bits by one rule, e.g. of 12 bits the upper 8"
    return None


def fit(image: Image.Image, *, size: int | None, channels: int) -> Pixels:
    """uint8 [channels, height, width]: turned upright, on white where transparent, centre-cropped, resized.

    With `size` None the image keeps its own height and width. Resizing is antialiased.
    """
    image = _eight_bit(_on_white(ImageOps.exif_transpose(image)))
    image = image.convert("L" if channels == 1 else "RGB")
    if size is not None and image.size != (size, size):
        image = ImageOps.fit(image, (size, size), method=Image.Resampling.LANCZOS)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def fit_all(x: Pixels, *, size: int | None, channels: int | None) -> Pixels:
    """`x` [n, channels, height, width] with every image fitted; `x` itself when nothing has to change."""
    wanted = (channels or x.shape[1], size or x.shape[2], size or x.shape[3])
    if x.shape[1:] == wanted:
        return x
    fitted = np.empty((len(x), *wanted), np.uint8)
    for i, image in enumerate(x):
        pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        fitted[i] = fit(Image.fromarray(np.ascontiguousarray(pixels)), size=size, channels=wanted[0])
    return fitted


def _on_white(image: Image.Image) -> Image.Image:
    """The image without transparency; dropping alpha alone would uncover whatever colour lies under it."""
    if not image.has_transparency_data:
        return image
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("L" if colours(image) == 1 else "RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """The image in 8 bits a channel; Pillow alone would clip 16-bit grey at 255 instead of scaling it."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) // 257).astype(np.uint8))
    return image
