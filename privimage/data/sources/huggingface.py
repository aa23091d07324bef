"""A dataset that Hugging Face's `datasets` saved to disk: one split of it, in Arrow files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from privimage.data.sources.encoded import must_be_folder, shown
from privimage.data.sources.stamps import stamp_of_files
from privimage.data.sources.tables import Form, Table
from privimage.errors import InputError
from privimage.local import LocalPath
from privimage.plain_json import read_json


def _batches(file: Path) -> tuple[Any, list[Any]]:
    """The schema and the batches of a file: places in it, which is mapped and not read."""
    import pyarrow

    with pyarrow.ipc.open_stream(pyarrow.memory_map(str(file))) as stream:
        return stream.schema, list(stream)


def _rows(file: Path) -> tuple[Any, list[int]]:
    schema, batches = _batches(file)
    return schema, [batch.num_rows for batch in batches]


def _group(file: Path, number: int, column: str) -> Any:
    return _batches(file)[1][number].column(column)


class HuggingFace(Table):
    """One split of a dataset, as `save_to_disk` leaves it in a folder."""

    root: LocalPath = Field(description="the path of the folder of one split of a dataset that was saved to disk")

    what: ClassVar[str] = "images of a dataset saved to disk by Hugging Face's datasets"
    form: ClassVar[Form] = Form(what="an Arrow stream of datasets", rows=_rows, group=_group)

    def files(self, root: Path) -> tuple[Path, ...]:
        """See Table."""
        must_be_folder(root)
        state = root / "state.json"
        if (root / "dataset_dict.json").is_file():
            splits = sorted(path.name for path in root.iterdir() if (path / "state.json").is_file())
            raise InputError(f"{root}: holds the splits {shown(', '.join(splits))}; give the path of one of them")
        try:
            told = read_json(state.read_text(encoding="utf-8"))
            names = [entry["filename"] for entry in told["_data_files"]]
        except FileNotFoundError:
            raise InputError(f"{state}: no such file; {root} is no dataset that was saved to disk") from None
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(f"{state}: damaged, or not of a dataset that was saved to disk") from None
        if told.get("_indices_data_files"):
            raise InputError(f"{state}: its rows are picked by indices; call flatten_indices, and save it again")
        for name in names:
            if not isinstance(name, str) or Path(name).name != name or not (root / name).is_file():
                raise InputError(f"{state}: {shown(str(name))}: no such file in {root}")
        twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
        if twice is not None:
            raise InputError(f"{state}: {shown(twice)}: named twice; name every file once")
        if not names:
            raise InputError(f"{state}: names no files")
        return tuple(root / name for name in names)

    def stamp_of(self, root: Path) -> str:
        """See Pictured: of its files and of what lists them."""
        return stamp_of_files((root / "state.json", *self.files(root)))


MEMBERS = {"huggingface": HuggingFace}
