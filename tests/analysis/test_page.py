from analysis import page
from analysis.page import Column


def test_cells_headings_and_lists_are_escaped():
    html = page.table([Column(title="<a>"), Column(title="n", number=True)], [["<b>", "1"]], strong=0)
    assert "&lt;a&gt;" in html and "&lt;b&gt;" in html and 'class="strong"' in html and 'class="number"' in html
    assert "<c>" not in page.heading("<c>") + page.paragraph("<c>") + page.bullets(["<c>"]) + page.page(
        title="<c>", body=[]
    )
    assert '"><' not in page.figure(b"", title='"><').replace('src="data:image/png;base64,"><', "")


def test_warnings_stand_out():
    assert 'class="warn"' in page.bullets(["WARNING: so"]) and 'class="warn"' in page.paragraph("WARNING: so")
