"""One parquet file with columns image {bytes, path} and label, as Hugging Face's `datasets` and the source `parquet`
read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from privimage.analysis.outputs.output import ImageBlocks, Output, suffixed
from privimage.analysis.outputs.png import png_bytes
from privimage.progress import Tell

GROUP = 1000  # rows that are written, and later read, together


class ParquetFile(Output):
    """A PNG an image in the table itself; the names of the classes stand in its schema."""

    form: ClassVar[str] = "images.parquet"

    def fits(self, to: str) -> bool:
        """See Output."""
        return suffixed(to, ".parquet")

    def refuses(self, name: str, counts: Mapping[int, int]) -> str | None:
        """See Output: the package has to be there."""
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            return "writing tables needs the package pyarrow; install it with pip"
        return None

    def write(self, drawn: ImageBlocks, into: Path, name: str, tell: Tell) -> None:
        """See Output."""
        import pyarrow.parquet

        schema, cells, labels = _schema(drawn.classes), list[dict[str, Any]](), list[int]()
        with pyarrow.parquet.ParquetWriter(into / name, schema) as file:
            for i, image, label in drawn.each(tell):
                cells.append({"bytes": png_bytes(image), "path": f"{drawn.number(i)}.png"})
                labels.append(label)
                if len(cells) == GROUP or i + 1 == len(drawn.y):
                    file.write_table(pyarrow.table({"image": cells, "label": labels}, schema=schema))
                    cells, labels = [], []


def _schema(classes: tuple[str, ...]) -> Any:
    """Of both columns, with what `datasets` has to be told of them."""
    import pyarrow

    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    features = {"image": {"_type": "Image"}, "label": {"names": list(classes), "_type": "ClassLabel"}}
    told = {"huggingface": json.dumps({"info": {"features": features}})}
    return pyarrow.schema([("image", image), ("label", pyarrow.int64())], metadata=told)


MEMBERS = {"parquet": ParquetFile()}
