"""A test split that the user cut: `test_root` of every source of encoded images."""

import pytest
from small_images import greys, png

from privimage.data import PublicConfig, SensitiveConfig, check_there, load_sensitive
from privimage.data.config import division_of
from privimage.data.pair import DataConfig
from privimage.errors import InputError


def folder(path, values, kinds=("cat", "owl")):
    for i, value in enumerate(values):
        (path / kinds[i % len(kinds)]).mkdir(parents=True, exist_ok=True)
        (path / kinds[i % len(kinds)] / f"{i}.png").write_bytes(png(value))
    return str(path)


@pytest.fixture
def values(tmp_path):
    roots = {"root": folder(tmp_path / "train", range(60)), "test_root": folder(tmp_path / "test", range(100, 110))}
    return {"name": "folder", "id": "a", "size": 8, "channels": 1, "validation": 0.2} | roots


def test_it_is_kept_and_validation_is_cut_from_the_rest(values) -> None:
    data = load_sensitive(SensitiveConfig(**values))
    assert sorted(greys(data.test)) == [*range(100, 110)]
    assert sorted(greys(data.train) + greys(data.validation)) == [*range(60)] and len(data.validation) > 0
    with pytest.raises(ValueError, match="folder has its own test split; remove test"):
        SensitiveConfig(**values, test=0.3)


def test_a_csv_has_another_for_it(values, tmp_path) -> None:
    for part, numbers in (("train", range(60)), ("test", range(10))):
        lines = [f"{('cat', 'owl')[i % 2]}/{i}.png,{i % 2}" for i in numbers]
        (tmp_path / part / "l.csv").write_text("\n".join(["file,label", *lines]))
    tables = {key: f"{values[key]}/l.csv" for key in ("root", "test_root")}
    data = load_sensitive(SensitiveConfig(**values | tables | {"name": "csv", "classes": ("cat", "owl")}))
    assert sorted(greys(data.test)) == [*range(100, 110)] and data.test.y.tolist() == [0, 1] * 5


def test_a_set_is_divided_otherwise_with_it_and_not_where_it_is_moved(values, tmp_path) -> None:
    """A ledger refuses splits that may overlap; and what was answered is found again under another path."""
    own, cut = SensitiveConfig(**values), SensitiveConfig(**{k: v for k, v in values.items() if k != "test_root"})
    moved = SensitiveConfig(**values | {"test_root": "/elsewhere"})
    assert own.division == moved.division != cut.division
    assert [division_of(one.model_dump(mode="json")) for one in (own, cut)] == [own.division, cut.division]
    public = {"name": "glyphs", "size": 8}
    keys = [DataConfig.model_validate({"sensitive": s.model_dump(), "public": public}).identity for s in (own, moved)]
    assert keys[0] == keys[1] and "test_root" not in keys[0]["sensitive"]
    assert load_sensitive(own).content != load_sensitive(cut).content  # so the revision tells them apart


def test_a_public_set_has_none(values) -> None:
    with pytest.raises(ValueError, match="test_root is for a sensitive set"):
        PublicConfig(name="folder", root=values["root"], test_root=values["test_root"])


def test_one_that_holds_what_is_trained_on_is_refused_and_not_how_much_of_it(values, tmp_path) -> None:
    shared = SensitiveConfig(**values | {"test_root": folder(tmp_path / "part", [*range(55, 60), *range(100, 110)])})
    for wrong in (shared, SensitiveConfig(**values | {"test_root": values["root"]})):
        with pytest.raises(InputError) as caught:
            load_sensitive(wrong)
        assert str(caught.value) == (
            f"{wrong.test_root}: more than 1% of its test split are in its train split too; give test_root other "
            "images, or leave it out: a test split is then cut from root"
        )


def test_a_few_blank_images_are_no_reason(values, tmp_path) -> None:
    for part in ("train", "test"):
        for i in range(20):
            (tmp_path / part / "cat" / f"blank{i}.png").write_bytes(png(250))
    folder(tmp_path / "test", range(61, 161))
    assert greys(load_sensitive(SensitiveConfig(**values)).test).count(250) == 20


def test_other_classes_and_a_missing_folder_are_named(values, tmp_path) -> None:
    folder(tmp_path / "test", [1, 2, 3], kinds=("elk",))
    with pytest.raises(InputError, match="the test split has other classes than the train split"):
        load_sensitive(SensitiveConfig(**values))
    gone = SensitiveConfig(**values | {"test_root": str(tmp_path / "gone")})
    with pytest.raises(InputError, match=r"gone: no such folder$"):
        check_there(gone, key="data.sensitive")
