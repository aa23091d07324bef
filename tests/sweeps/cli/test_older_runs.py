"""A run that an older version left: its sweep file lacks the fields that came later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml
from whole import Finished

LATER = ("studies", "trackers", "cuda_graphs")


def test_fields_that_came_later_are_no_change(
    finished_sweep: Finished, tmp_path: Path, privimage: Callable[..., tuple[int, str, str]]
) -> None:
    older = finished_sweep.copied(tmp_path / "older").folder
    values = yaml.safe_load(older.sweep.read_text())
    for holder in (values, values["resources"]):
        for name in LATER:
            holder.pop(name, None)
    older.sweep.write_text(yaml.safe_dump(values | {"trials": values["trials"] + 1}, sort_keys=False))
    code, said, err = privimage("compare", older.path, finished_sweep.folder.path)
    assert code == 0, err
    changed = said.partition("What changed")[2].partition("##")[0]
    assert "| trials |" in changed and not any(name in changed for name in LATER), changed
