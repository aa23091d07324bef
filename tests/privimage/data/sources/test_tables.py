"""Small tables in the form that Hugging Face's datasets 5.2 writes: parquet files, and folders of `save_to_disk`."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_images import greys, opened, png, png16, refused

from privimage.data import SensitiveConfig, load_sensitive
from privimage.data.sources import parquet
from privimage.data.sources.parquet import Parquet

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
NAMES = ["cat", "dog", "owl"]


def table(n=30, *, images=None, labels=None, names=NAMES, struct=True, kind=None):
    raw = [png(8 * i) for i in range(n)] if images is None else images
    cells = [{"bytes": image, "path": None} for image in raw] if struct else raw
    found = pa.table({
        "image": pa.array(cells, STRUCT if struct else pa.binary()),
        "label": pa.array([i % 3 for i in range(n)] if labels is None else labels, kind),
    })  # fmt: skip
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    return found.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})} if names else None
    )


def save(folder, found, *, shards=2, batch=4):
    """What `save_to_disk` leaves: streams of record batches, and what they are."""
    folder.mkdir(parents=True)
    each, files = -(-len(found) // shards), []
    for number in range(shards):
        files.append(f"data-{number:05d}-of-{shards:05d}.arrow")
        with pa.ipc.new_stream(folder / files[-1], found.schema) as stream:
            stream.write_table(found.slice(number * each, each), max_chunksize=batch)
    state = {"_data_files": [{"filename": name} for name in files], "_fingerprint": "0", "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")
    return folder


FORMS = {
    "huggingface": lambda folder, found: save(folder / "set", found),
    "parquet": lambda folder, found: (
        pq.write_table(found, folder / "a.parquet", row_group_size=7),
        folder / "a.parquet",
    )[1],
}


@pytest.fixture(params=FORMS)
def form(request):
    return request.param


def written(form, folder, **values):
    folder.mkdir(exist_ok=True)
    return {"name": form, "root": str(FORMS[form](folder, table(**values)))}


def test_images_and_labels_are_columns_and_classes_are_named_in_the_table(form, tmp_path) -> None:
    values = written(form, tmp_path)
    found = opened(tmp_path, **values)
    assert found.classes == tuple(NAMES) and found.y.tolist() == [i % 3 for i in range(30)]
    assert greys(found) == [8 * i for i in range(30)]
    some = opened(tmp_path, **values, limit_classes=2, channels=3)
    assert greys(some) == [8 * i for i in range(30) if i % 3 < 2] and some.shape == (3, 8, 8)


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint8(), pa.string(), pa.dictionary(pa.int32(), pa.string())])
@pytest.mark.parametrize("struct", [True, False])
def test_labels_are_whole_numbers_or_names_and_images_bytes(kind, struct, form, tmp_path) -> None:
    text = not pa.types.is_integer(kind)
    labels = [NAMES[2 - i % 3] if text else i % 3 for i in range(9)]
    values = written(form, tmp_path, n=9, names=None, struct=struct, labels=labels, kind=kind)
    found = opened(tmp_path, **values)
    assert found.classes == (tuple(NAMES) if text else ("0", "1", "2"))
    assert found.y.tolist() == ([2, 1, 0] * 3 if text else [0, 1, 2] * 3) and greys(found) == [8 * i for i in range(9)]
    named = opened(tmp_path, **values, classes=("cat", "dog", "owl"))
    assert named.classes == tuple(NAMES) and (named.y == found.y).all()


def test_whole_numbers_are_places_where_the_table_names_its_classes(form, tmp_path) -> None:
    """Also where names are whole numbers: 1 is the second class, not that of the name 1."""
    values = written(form, tmp_path, names=["1", "2", "3"])
    for given in (None, ("1", "2", "3")):
        assert opened(tmp_path, **values, classes=given).y.tolist() == [i % 3 for i in range(30)]
    values = written(form, tmp_path / "none", labels=[1, 2, 3] * 10, names=None)
    assert opened(tmp_path, **values, classes=("1", "2", "3")).y.tolist() == [i % 3 for i in range(30)]


def test_a_file_that_was_written_anew_is_read_anew(tmp_path) -> None:
    values = written("parquet", tmp_path, n=3)
    assert greys(opened(tmp_path, **values)) == [0, 8, 16]
    written("parquet", tmp_path, n=3, images=[png(100)] * 3)
    assert greys(opened(tmp_path, **values)) == [100] * 3


def test_files_that_name_their_classes_otherwise_are_refused(tmp_path) -> None:
    for i, names in enumerate((NAMES, NAMES[::-1])):
        pq.write_table(table(names=names), tmp_path / f"{i}.parquet")
    assert "1.parquet: label: its classes have other names" in refused(tmp_path, name="parquet", root=str(tmp_path))


def test_a_set_is_split_by_content_and_is_the_same_in_both_forms(tmp_path) -> None:
    images = [png(i, side=9 + i) for i in range(90)]
    data = []
    for form in FORMS:
        values = written(form, tmp_path / form, n=90, images=images)
        data.append(load_sensitive(SensitiveConfig(**values, id="a", size=8, channels=1, classes=tuple(NAMES))))
    assert data[0].content == data[1].content and (data[0].train.x == data[1].train.x).all()
    assert len(data[0].train) + len(data[0].validation) + len(data[0].test) == 90


def test_a_sensitive_set_names_its_classes_as_the_table_does(form, tmp_path) -> None:
    values = written(form, tmp_path)
    with pytest.raises(ValueError, match="classes: give the names of the labels"):
        SensitiveConfig(**values, id="a", size=8, channels=1)
    assert "label: its classes have other names than in the YAML" in refused(
        tmp_path, **values, classes=("dog", "cat", "owl")
    )


FAULTS = {
    "damaged": ({"images": [b"secret"] * 30}, "row 0: damaged, or not a PNG"),
    "16 bits": ({"images": [png(0)] * 29 + [png16()]}, "has 16 bits a channel"),
    "no bytes": ({"images": [png(0)] * 20 + [None] * 10}, "image: no bytes; write the table with its images in it"),
    "no label": ({"labels": [0] * 29 + [None]}, "label: a row has no label"),
    "floats": ({"labels": [0.5] * 30}, "label: holds double; write names or whole numbers"),
    "outside": ({"labels": [0] * 11 + [-1] + [0] * 18}, "row 11: its label is none of the 3 classes"),
    "booleans": ({"labels": [True] * 30}, "label: holds bool; write names or whole numbers"),
    "no list": ({"names": 3}, "label: the names of its classes are no list of names; write the table again"),
    "a nameless class": ({"names": ["", "a", "b"]}, "label: the names of its classes are no list of names"),
    "named alike": ({"names": ["a", "a", "b"]}, "label: it names two classes alike; write the table again"),
    "nothing": ({"n": 0, "labels": []}, "holds no images"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_table_is_named(fault, form, tmp_path) -> None:
    changed, said = FAULTS[fault]
    message = refused(tmp_path, **written(form, tmp_path, **changed))
    assert said in message and str(tmp_path) in message and "secret" not in message


@pytest.mark.parametrize(
    "kind",
    [
        pa.struct([("path", pa.string()), ("bytes", pa.binary())]),
        pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())]),
        pa.large_binary(),
        pa.binary_view(),
    ],
)
def test_bytes_may_be_of_any_type_and_in_any_field(kind, tmp_path) -> None:
    raw = [png(8 * i) for i in range(6)]
    cells = [{"bytes": image, "path": "x"} for image in raw] if pa.types.is_struct(kind) else raw
    pq.write_table(pa.table({"image": pa.array(cells, kind), "label": [0, 1] * 3}), tmp_path / "a.parquet")
    assert greys(opened(tmp_path, name="parquet", root=str(tmp_path))) == [8 * i for i in range(6)]


def test_metadata_without_names_name_no_classes(form, tmp_path) -> None:
    values = written(form, tmp_path)
    for i, told in enumerate(('{"info": {"features": {"label": {"names": null}}}}', "[" * 200_000)):
        found = table().replace_schema_metadata({"huggingface": told})
        values["root"] = str(FORMS[form](tmp_path / f"{i}" if form == "huggingface" else tmp_path, found))
        assert opened(tmp_path, **values).classes == ("0", "1", "2")


def test_two_columns_of_a_name_are_named(form, tmp_path) -> None:
    found = table()
    twice = pa.Table.from_arrays([*found.columns, found["label"]], ["image", "label", "label"])
    path = FORMS[form](tmp_path, twice)
    assert "2 columns are called 'label'; rename all but one" in refused(tmp_path, name=form, root=str(path))


def test_rows_are_named_by_their_place_in_their_file(tmp_path) -> None:
    images = [png(8 * i) for i in range(30)]
    images[20] = b"secret"
    assert "data-00001-of-00002.arrow: row 5: damaged" in refused(
        tmp_path, **written("huggingface", tmp_path, images=images)
    )
    assert "a.parquet: row 20: damaged" in refused(tmp_path, **written("parquet", tmp_path, images=images))


def test_other_columns_are_refused_and_can_be_named(form, tmp_path) -> None:
    values = written(form, tmp_path)
    assert "no column 'img'; it has image, label" in refused(tmp_path, **values, image="img")
    assert "no column 'kind'; it has image, label" in refused(tmp_path, **values, label="kind")
    assert "label: holds int64; expected the bytes of image files" in refused(tmp_path, **values, image="label")
    found = table().rename_columns(["png", "kind"])
    path = FORMS[form](tmp_path / "other", found) if form == "huggingface" else tmp_path / "b.parquet"
    if form == "parquet":
        pq.write_table(found, path)
    assert len(opened(tmp_path, name=form, root=str(path), image="png", label="kind")) == 30


def test_a_damaged_file_is_named(form, tmp_path) -> None:
    values = written(form, tmp_path)
    file = next(path for path in sorted(tmp_path.rglob("*")) if path.suffix in (".parquet", ".arrow"))
    whole = file.read_bytes()
    for raw in (whole[: len(whole) // 2], b"", b"<html>", bytes(255 - b for b in whole)):
        file.write_bytes(raw)
        assert refused(tmp_path, **values).startswith(f"{file}: ")


def test_several_parquet_files_are_read_in_the_order_of_their_names(tmp_path) -> None:
    for name, n in (("train-1", 3), ("train-0", 6), ("test-0", 9)):
        pq.write_table(table(n), tmp_path / f"{name}.parquet")
    found = opened(tmp_path, name="parquet", root=str(tmp_path / "train-*.parquet"))
    assert found.y.tolist() == [0, 1, 2] * 3 and greys(found) == [0, 8, 16, 24, 32, 40, 0, 8, 16]
    assert len(opened(tmp_path, name="parquet", root=str(tmp_path))) == 18
    for root in ("no", "no-*.parquet", "no.parquet"):
        assert "no such file" in refused(tmp_path, name="parquet", root=str(tmp_path / root))


def test_a_group_that_would_be_huge_is_not_read(tmp_path, monkeypatch) -> None:
    values = written("parquet", tmp_path)
    monkeypatch.setattr(parquet, "MOST", 100)
    assert "at most 100: write smaller groups" in refused(tmp_path, **values)


def test_a_saved_dataset_is_one_split_and_its_files_lie_in_it(tmp_path) -> None:
    save(tmp_path / "d" / "train", table())
    save(tmp_path / "d" / "test", table())
    (tmp_path / "d" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    values = {"name": "huggingface", "root": str(tmp_path / "d")}
    assert refused(tmp_path, **values).endswith("d: holds the splits test, train; give the path of one of them")
    state = tmp_path / "d" / "train" / "state.json"
    values["root"] += "/train"
    for text, said in {
        '{"_data_files": [{"filename": "../test/data-00000-of-00002.arrow"}]}': "no such file in",
        '{"_data_files": [{"filename": "gone.arrow"}]}': "gone.arrow: no such file in",
        '{"_data_files": []}': "names no files",
        json.dumps({"_data_files": [{"filename": "data-00000-of-00002.arrow"}] * 2}): "arrow: named twice; name every",
        "[" * 200_000: "damaged",
        '{"_data_files": [{"filename": 1}], "_indices_data_files": [1]}': "picked by indices; call flatten_indices",
        "{": "damaged",
        "[]": "damaged",
    }.items():
        state.write_text(text)
        message = refused(tmp_path, **values)
        assert message.startswith(f"data.public: {state}: ") or message.startswith(f"{state}: ")
        assert said in message
    state.unlink()
    assert "no dataset that was saved to disk" in refused(tmp_path, **values)


def test_without_pyarrow_one_line_says_so(tmp_path, monkeypatch) -> None:
    values = written("parquet", tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert "needs the package pyarrow; install it with pip" in refused(tmp_path, **values)


def test_it_is_read_elsewhere_too() -> None:
    """What is opened is sent to other processes: how a file is read goes along by name."""
    import pickle

    assert pickle.loads(pickle.dumps(Parquet.form)) == Parquet.form
