from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from privimage.analysis import facts, sds

if TYPE_CHECKING:
    from whole import Finished


@pytest.fixture
def glove(tmp_path: Path) -> Path:
    """Vectors of the names of the image folders: c00 to c19."""
    rng, path = np.random.default_rng(0), tmp_path / "glove.txt"
    path.write_text("".join(f"c{i:02d} {' '.join(map(str, rng.normal(size=5)))}\n" for i in range(20)))
    return path


def test_the_selection_of_a_run_stands_beside_the_whole_public_set(
    finished_sweep: Finished, glove: Path, privimage: Callable[..., tuple[int, str, str]]
) -> None:
    run = finished_sweep.folder
    code, said, _ = privimage("sds", run.path, "--vectors", glove)
    assert code == 0 and "| all public classes |" in said and "privimage+d" in said and "selection-only" in said
    found = facts.read(run)
    vectors = sds.read_vectors(glove, names=sds.names_in(found))
    first = sds.of_run(found, sds.by_words(vectors), everything={f"c{i:02d}": 6.0 for i in range(20)})[0]
    assert f"| {first.value:.4g} |" in said and first.unknown == 0


def test_without_vectors_it_is_one_clear_line(
    finished_sweep: Finished, privimage: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sds, "find_spec", lambda name: None)  # the model that needs none is not installed
    code, _, err = privimage("sds", finished_sweep.folder.path)
    assert code == 2 and "features.glove: no word vectors" in err and err.count("\n") == 1
