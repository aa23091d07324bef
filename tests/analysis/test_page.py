"""The page without a browser: its structure, its colours, and that nothing gets in unescaped."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from privimage.analysis import facts, page
from privimage.analysis.page import Column
from privimage.analysis.report import html

VOID = {"meta", "img", "br"}


class Outline(HTMLParser):
    """Tags with their attributes, in order; fails on a tag that is closed in the wrong place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


@pytest.fixture(scope="module")
def outline(demo):
    return Outline(html(facts.read(demo)))


def attributes(outline, tag):
    return [attrs for name, attrs in outline.tags if name == tag]


def test_landmarks_language_and_one_title(outline):
    names = [name for name, _ in outline.tags]
    assert [names.count(name) for name in ("main", "header", "nav", "h1", "title")] == [1] * 5
    assert attributes(outline, "html")[0]["lang"] == "en" and attributes(outline, "nav")[0]["aria-label"]


def test_headings_are_in_order_and_the_contents_lead_to_them(outline):
    levels = [int(name[1]) for name, _ in outline.tags if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in pairwise(levels))
    targets = {attrs["id"] for attrs in attributes(outline, "h2")}
    assert {attrs["href"] for attrs in attributes(outline, "a")} == {f"#{target}" for target in targets}


def test_tables_are_short_and_have_captions_and_headings(outline):
    tables = len(attributes(outline, "table"))
    assert tables == len(attributes(outline, "caption")) >= 4
    assert all(attrs.get("scope") in ("col", "row") for attrs in attributes(outline, "th"))
    widths: list[int] = []
    for name, attrs in outline.tags:
        if name == "table":
            widths.append(0)
        widths[-1:] = [widths[-1] + (attrs.get("scope") == "col")] if widths else []
    assert max(widths) <= 7, "a page of paper holds so many columns"
    assert all(attrs["data-label"] for attrs in attributes(outline, "td"))


def test_every_picture_has_an_alternative_text(outline):
    images = attributes(outline, "img")
    assert len(images) == 10 and all(len(attrs["alt"] or "") > 20 for attrs in images)


def luminance(colour: str) -> float:
    def linear(c: float) -> float:
        return c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4

    r, g, b = (linear(int(colour[i : i + 2], 16) / 255) for i in (1, 3, 5))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_colours_of_every_scheme_have_the_contrast_of_wcag_aa():
    schemes = re.findall(r":root \{([^}]*)\}", page.STYLE)
    assert len(schemes) == 3  # light, dark, paper
    for scheme in schemes:
        colour = dict(re.findall(r"--(\w+): (#\w{6})", scheme))
        for ink in ("ink", "soft", "accent", "warn"):
            for paper in ("paper", "panel"):
                assert contrast(colour[ink], colour[paper]) >= 4.5, (ink, paper, scheme)
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def test_no_width_is_forced_and_nothing_scrolls_sideways():
    assert "overflow-x" not in page.STYLE and "nowrap" not in page.STYLE
    assert not re.search(r"min-width: \d", page.STYLE)


def test_cells_headings_and_lists_are_escaped():
    html = page.table("<d>", [Column(title="<a>"), Column(title="n", number=True)], [["<b>", "1"]], strong=0)
    assert "&lt;a&gt;" in html and "&lt;b&gt;" in html and "&lt;d&gt;" in html
    assert 'class="strong"' in html and 'class="number"' in html
    assert "<c>" not in page.heading("<c>") + page.paragraph("<c>") + page.bullets(["<c>"]) + page.page(
        title="<c>", head=[], contents=["<c>"], body=[]
    ) + page.folded("<c>", [("<c>", "<c>")])
    assert '"><' not in page.figure(b"", title='"><', alt='"><').replace('src="data:image/png;base64,"><', "")


def test_warnings_stand_out():
    assert 'class="warn"' in page.bullets(["WARNING: so"]) and 'class="warn"' in page.paragraph("WARNING: so")
