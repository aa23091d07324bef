"""Parquet files with a column of images, as the bytes of their files, and one of labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from privimage.data.sources.encoded import files_at
from privimage.data.sources.tables import Form, Table
from privimage.errors import InputError
from privimage.local import LocalPath

MOST = 1 << 32  # bytes of the images of one group of rows, unpacked: what a file says is more is not read


def _rows(file: Path) -> tuple[Any, list[int]]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(file) as found:
        groups = [found.metadata.row_group(i) for i in range(found.metadata.num_row_groups)]
        largest = max((group.total_byte_size for group in groups), default=0)
        if largest > MOST:
            raise InputError(
                f"{file}: a group of its rows unpacks to {largest} bytes; at most {MOST}: write smaller groups"
            )
        return found.schema_arrow, [group.num_rows for group in groups]


def _group(file: Path, number: int, column: str) -> Any:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(file) as found:
        return found.read_row_group(number, columns=[column]).column(column)


class Parquet(Table):
    """One parquet file, those of a folder, or those whose names fit a pattern; in the order of their names."""

    root: LocalPath = Field(
        description="the path of a parquet file, of a folder of them, or a pattern: data/train-*.parquet"
    )

    what: ClassVar[str] = "images in parquet files"
    form: ClassVar[Form] = Form(what="a parquet file", rows=_rows, group=_group)

    def files(self, root: Path) -> tuple[Path, ...]:
        """See Table."""
        return files_at(root, suffix=".parquet")


MEMBERS = {"parquet": Parquet}
