"""Drawing characters the way MNIST drew digits, one face at a time, in as many processes as there are cores.

The processes are started as plain commands, not with multiprocessing: `fork` may hang in a process that has
threads (torch, a Ray worker), and `spawn` runs the caller's main script again.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFont

from privimage.errors import PrivImageError
from privimage.processes import cores

SIDE = 28
BOX = 20  # MNIST: the longer side of the ink is 20 pixels, its centre of mass in the middle of 28 x 28
POINTS = 40  # drawn at twice the final height, then reduced with antialiasing
CHARACTERS_WORTH_A_PROCESS = 5000  # about 1.5 s of drawing against 0.5 s to start Python

DrawJob = tuple[Path, Sequence[int]]  # a font file and the code points to draw with it
Drawn = tuple[NDArray[np.int32], NDArray[np.uint8]]  # code points [k] and their images [k, 28, 28]


def draw(font: ImageFont.FreeTypeFont, character: str) -> NDArray[np.uint8] | None:
    """uint8 [28, 28], white on black, or None when the face draws (almost) nothing for this character."""
    mask, _ = font.getmask2(character, mode="L")
    width, height = mask.size
    if width < 2 or height < 2:
        return None
    image = Image.frombytes("L", mask.size, bytes(mask))
    ink = image.getbbox()
    if ink is None:
        return None
    image = image.crop(ink)
    scale = BOX / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return _centred(np.asarray(image.resize((width, height), Image.Resampling.LANCZOS)))


def _centred(ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The ink on a 28 x 28 field with its centre of mass in the middle, as far as the borders allow."""
    weight = ink.astype(np.float32)
    total = float(weight.sum()) + 1e-6
    field = np.zeros((SIDE, SIDE), np.uint8)
    corner = []
    for axis, side in enumerate(ink.shape):
        mass = float(weight.sum(axis=1 - axis) @ np.arange(side)) / total
        corner.append(min(max(round(SIDE / 2 - mass - 0.5), 0), SIDE - side))
    field[corner[0] : corner[0] + ink.shape[0], corner[1] : corner[1] + ink.shape[1]] = ink
    return field


def draw_face(path: Path, codes: Sequence[int]) -> Drawn:
    """The code points that this face really draws, and their images, in the order given."""
    # The basic layout engine: the other one is optional in Pillow, and single characters do not need it.
    font = ImageFont.truetype(str(path), POINTS, layout_engine=ImageFont.Layout.BASIC)
    drawn = [(code, image) for code in codes if (image := draw(font, chr(code))) is not None]
    if not drawn:
        return np.empty(0, np.int32), np.empty((0, SIDE, SIDE), np.uint8)
    return np.array([code for code, _ in drawn], np.int32), np.stack([image for _, image in drawn])


def draw_faces(jobs: Sequence[DrawJob], *, processes: int | None = None) -> Iterator[Drawn]:
    """What each job draws, in the order of the jobs."""
    characters = sum(len(codes) for _, codes in jobs)
    processes = processes or min(cores(), len(jobs), 1 + characters // CHARACTERS_WORTH_A_PROCESS)
    hands: list[list[int]] = [[] for _ in range(min(2 * processes, len(jobs)))]
    for i in sorted(range(len(jobs)), key=lambda i: -len(jobs[i][1])):  # the largest job to the lightest hand
        min(hands, key=lambda hand: sum(len(jobs[j][1]) for j in hand)).append(i)
    place = {i: (k, at) for k, hand in enumerate(hands) for at, i in enumerate(hand)}
    with ThreadPoolExecutor(processes) as threads:
        futures = [threads.submit(_draw_elsewhere, [jobs[i] for i in hand]) for hand in hands]
        try:
            for i in range(len(jobs)):
                k, at = place[i]
                yield futures[k].result()[at]
        finally:
            for future in futures:
                future.cancel()


def _draw_elsewhere(jobs: Sequence[DrawJob]) -> list[Drawn]:
    """What each job draws, drawn by a fresh Python process."""
    order = json.dumps([[str(path), list(codes)] for path, codes in jobs])
    result = subprocess.run(
        [sys.executable, "-c", "from privimage.data.sources.glyph_render import main; main()"],
        input=order.encode(),
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    if result.returncode != 0:
        reason = result.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise PrivImageError(f"drawing glyphs failed: {reason[0] if reason else result.returncode}")
    with np.load(io.BytesIO(result.stdout), allow_pickle=False) as arrays:
        return [(arrays[f"codes{i}"], arrays[f"images{i}"]) for i in range(len(jobs))]


def main() -> None:
    """None: reads jobs as JSON from stdin and writes an npz with what they draw to stdout."""
    drawn = [draw_face(Path(path), codes) for path, codes in json.load(sys.stdin)]
    packed = io.BytesIO()
    arrays = {f"codes{i}": codes for i, (codes, _) in enumerate(drawn)}
    arrays |= {f"images{i}": images for i, (_, images) in enumerate(drawn)}  # type: ignore[misc]
    np.savez(packed, **arrays)  # type: ignore[arg-type]
    sys.stdout.buffer.write(packed.getvalue())
