import numpy as np
import pytest
from PIL import ImageFont

from privimage.data.sources.glyph_render import BOX, POINTS, SIDE, draw, draw_face, draw_faces
from privimage.data.sources.glyphs import font_files
from privimage.errors import PrivImageError

FACES = font_files()[:3]
CODES = [ord(c) for c in "08A|.—"]


@pytest.fixture(scope="module")
def font():
    return ImageFont.truetype(str(FACES[0]), POINTS, layout_engine=ImageFont.Layout.BASIC)


@pytest.mark.parametrize("character", list("08AgW|—"))
def test_ink_fills_the_box_and_is_centred_by_mass(font, character) -> None:
    image = draw(font, character)
    assert image is not None and image.shape == (SIDE, SIDE) and image.dtype == np.uint8
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 in (BOX - 1, BOX)  # antialiasing may leave an edge at zero
    weight = image.astype(float) / image.sum()
    centre = (weight.sum(axis=1) @ np.arange(SIDE) + 0.5, weight.sum(axis=0) @ np.arange(SIDE) + 0.5)
    assert centre == pytest.approx((SIDE / 2, SIDE / 2), abs=0.75)


def test_glyphs_are_white_on_black(font) -> None:
    image = draw(font, "8")
    assert image[0].max() == 0 and image.max() > 200


def test_a_character_without_ink_is_left_out(font) -> None:
    assert draw(font, " ") is None
    codes, images = draw_face(FACES[0], [ord(" "), ord("8")])
    assert codes.tolist() == [ord("8")] and len(images) == 1
    assert draw_face(FACES[0], [ord(" ")])[1].shape == (0, SIDE, SIDE)


def test_processes_draw_what_one_process_draws_in_the_order_of_the_jobs() -> None:
    jobs = [(FACES[0], CODES[:1]), (FACES[1], CODES), (FACES[2], CODES[:3])]
    drawn = list(draw_faces(jobs, processes=2))
    assert len(drawn) == 3
    for (codes, images), job in zip(drawn, jobs, strict=True):
        alone = draw_face(*job)
        assert codes.tolist() == alone[0].tolist()
        assert (images == alone[1]).all()


def test_a_failing_process_is_reported(tmp_path) -> None:
    with pytest.raises(PrivImageError, match="drawing glyphs failed: OSError"):
        list(draw_faces([(tmp_path / "no.ttf", CODES)]))
