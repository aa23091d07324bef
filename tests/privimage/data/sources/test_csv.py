import numpy as np
import pytest
from small_images import greys, opened, png, png16, refused

from privimage.data import SensitiveConfig, load_sensitive
from privimage.data.sources.csv import Csv


@pytest.fixture
def root(tmp_path):
    """Six images in two folders, and a file that lists them."""
    lines = ["file,age,label"]
    for i in range(6):
        path = tmp_path / ("left" if i < 3 else "right") / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(10 * i))
        lines.append(f"{path.relative_to(tmp_path)},{i},{'owl' if i % 2 else 'cat'}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "labels.csv"


def test_images_have_the_labels_of_the_file_in_its_order(root, tmp_path) -> None:
    found = opened(tmp_path, name="csv", root=str(root))
    assert found.classes == ("cat", "owl") and found.y.tolist() == [0, 1, 0, 1, 0, 1]
    assert greys(found) == [0, 10, 20, 30, 40, 50] and found.shape == (1, 8, 8)
    other = opened(tmp_path, name="csv", root=str(root), label="age", channels=3)
    assert other.classes == ("0", "1", "2", "3", "4", "5") and other.shape == (3, 8, 8)
    assert greys(opened(tmp_path, name="csv", root=str(root), limit_classes=2, label="age")) == [0, 10]


def test_classes_are_in_the_order_that_is_given(root, tmp_path) -> None:
    found = opened(tmp_path, name="csv", root=str(root), classes=("owl", "cat"))
    assert found.y.tolist() == [1, 0] * 3 and found.classes == ("owl", "cat")
    message = refused(tmp_path, name="csv", root=str(root), classes=("owl", "cat", "elk"))
    assert f"{root}: class 'elk' has no images; give it some, or leave it out" in message
    numbers = opened(tmp_path, name="csv", root=str(root), label="age", classes=tuple("abcdef"))
    assert numbers.y.tolist() == [0, 1, 2, 3, 4, 5]


def test_images_may_lie_elsewhere_and_columns_be_parted_by_tabs(root, tmp_path) -> None:
    table = tmp_path / "elsewhere" / "labels.tsv"
    table.parent.mkdir()
    table.write_text('name\tkind\n"4.png"\ta, b\n3.png\tc\n', encoding="utf-8-sig")
    values = {"root": str(table), "images": str(tmp_path / "right"), "file": "name", "label": "kind"}
    found = opened(tmp_path, name="csv", **values)
    assert found.classes == ("a, b", "c") and greys(found) == [40, 30]


def test_an_empty_field_too_many_is_nothing(root, tmp_path) -> None:
    """As spreadsheets write it."""
    header, *rows = root.read_text().splitlines()
    root.write_text("\n".join([header, *(f"{row}," for row in rows)]) + "\n")
    assert opened(tmp_path, name="csv", root=str(root)).y.tolist() == [0, 1, 0, 1, 0, 1]


def test_what_is_not_listed_is_left_out(root, tmp_path) -> None:
    (tmp_path / "left" / "9.png").write_bytes(png(0))
    (tmp_path / "left" / "notes.txt").write_text("x")
    (tmp_path / ".hidden").write_text("x")
    assert Csv(name="csv", root=str(root)).left_out() == {
        "images that are not listed": 1,
        "files of other kinds": 1,
        "hidden files": 1,
    }


LINES = {
    "no column": ("name,label\n", "labels.csv: no column 'file' in its header; name it in the YAML"),
    "empty": ("", "labels.csv: no column 'file' in its header"),
    "nothing": ("file,label\n", "labels.csv: holds no images"),
    "gone": ("file,label\nleft/0.png,a\nleft/7.png,a\n", "labels.csv: line 3: left/7.png: no such file in "),
    "short": ("file,label\nleft/0.png\n", "labels.csv: line 2: a field is missing"),
    "no label": ("file,label\nleft/0.png,\n", "labels.csv: line 2: a field is missing"),
    "twice": ("file,label\nleft/0.png,a\nleft/0.png,b\n", "labels.csv: line 3: its file stands in a line above, too"),
    "twice by ./": ("file,label\nleft/0.png,a\n./left/0.png,b\n", "line 3: its file stands in a line above, too"),
    "twice by //": ("file,label\nleft/0.png,a\nleft//0.png,b\n", "line 3: its file stands in a line above, too"),
    "two labels": ("file,label,label\nleft/0.png,a,b\n", "line 1: column 'label' stands there twice; rename one"),
    "more fields": ("file,label\nleft/0.png,cat, tabby\n", "line 2: has more fields than the header; put one that"),
    "nul": ("file,label\nleft/0\0.png,a\n", "labels.csv: line 2: left/0\\x00.png: no such file in "),
    "long": (f"file,label\n{'x' * 300}.png,a\n", "x.png: no such file in "),
    "above": ("file,label\n../x.png,a\n", "labels.csv: line 2: its file is not below the folder of the images"),
    "absolute": ("file,label\n/etc/x.png,a\n", "labels.csv: line 2: its file is not below the folder of the images"),
    "text": ("file,label\nlabels.csv,a\n", "labels.csv: line 2: labels.csv: not read (files of other kinds)"),
    "quote": ('file,label\n"left/0.png,a\n', "labels.csv: damaged, or no CSV file in UTF-8"),
    "newline": ('file,label\n"a\nb.png",a\n', "labels.csv: line 3: a\\nb.png: no such file"),
}


@pytest.mark.parametrize("fault", LINES)
def test_a_wrong_line_is_named(fault, root, tmp_path) -> None:
    text, said = LINES[fault]
    root.write_text(text)
    assert said in refused(tmp_path, name="csv", root=str(root))


def test_a_file_that_is_no_text_is_named(root, tmp_path) -> None:
    root.write_bytes(b"file,label\n\xff\xfe,a\n")
    assert "labels.csv: damaged" in refused(tmp_path, name="csv", root=str(root))
    assert "no such file" in refused(tmp_path, name="csv", root=str(root) + "x")


def test_a_whole_number_may_have_any_number_of_digits(root, tmp_path) -> None:
    root.write_text(f"file,label\nleft/0.png,{'9' * 5000}\nleft/1.png,{'8' * 5000}\nleft/2.png,9\nright/3.png,10\n")
    assert opened(tmp_path, name="csv", root=str(root)).classes == ("9", "10", "8" * 5000, "9" * 5000)


def test_a_label_of_no_class_is_named_by_its_line_and_not_quoted(root, tmp_path) -> None:
    message = refused(tmp_path, name="csv", root=str(root), classes=("cat", "elk"))
    assert f"{root}: line 3: its label is none of the 2 classes" in message and "owl" not in message
    assert "line 4: its label" in refused(tmp_path, name="csv", root=str(root), label="age", classes=("cat", "elk"))


@pytest.mark.parametrize(("raw", "said"), [(b"secret", "damaged, or not a PNG"), (png16(), "has 16 bits a channel")])
def test_an_image_is_decoded_and_refused_as_in_a_folder(raw, said, root, tmp_path) -> None:
    (tmp_path / "right" / "4.png").write_bytes(raw)
    assert f"{tmp_path / 'right' / '4.png'}: {said}" in refused(tmp_path, name="csv", root=str(root))


def test_a_sensitive_set_names_its_classes(root) -> None:
    with pytest.raises(ValueError, match="classes: give the names of the labels"):
        SensitiveConfig(name="csv", id="a", root=str(root), size=8, channels=1)
    with pytest.raises(ValueError, match="a name stands there twice"):
        SensitiveConfig(name="csv", id="a", root=str(root), size=8, channels=1, classes=("a", "a"))


def test_it_is_split_by_its_files(tmp_path) -> None:
    rng = np.random.default_rng(0)
    lines = ["file,label"]
    for i in range(60):
        (tmp_path / f"{i}.png").write_bytes(png(int(rng.integers(256)), side=10 + i))
        lines.append(f"{i}.png,{i % 2}")
    (tmp_path / "l.csv").write_text("\n".join(lines))
    values = {"name": "csv", "id": "a", "root": str(tmp_path / "l.csv"), "channels": 1, "classes": ("a", "b")}
    small, large = (load_sensitive(SensitiveConfig(**values, size=size)) for size in (8, 16))
    assert len(small.train) + len(small.validation) + len(small.test) == 60
    assert (small.train.y == large.train.y).all() and small.content == large.content
