from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from privimage.data import PublicConfig, SensitiveConfig, check_there
from privimage.errors import InputError


@pytest.mark.parametrize(
    ("place", "says"),
    [("none", "no such folder"), ("file", "not a folder"), ("file/below", "no such folder"), ("bare", "no class dir")],
)
def test_a_root_that_cannot_be_read_is_named(place: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "bare").mkdir()
    values: dict[str, Any] = {"name": "folder", "root": str(tmp_path / place), "channels": 1}
    for config in (SensitiveConfig(id="a", **values), PublicConfig(**values)):
        with pytest.raises(InputError, match=rf"^data\.x\.root: .*{place}: {says}"):
            check_there(config, key="data.x")


def test_what_is_there_or_will_be_downloaded_is_not_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    check_there(PublicConfig(name="folder", root=str(tmp_path)), key="data.public")
    check_there(PublicConfig(name="glyphs"), key="data.public")
    check_there(PublicConfig(name="mnist", root=str(tmp_path / "new"), download=True), key="data.public")
    with pytest.raises(InputError, match="download: true"):
        check_there(PublicConfig(name="mnist", root=str(tmp_path / "new")), key="data.public")
