"""What the tests of `render` share: the files of a target for the tiny sweep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from render_targets import OPTIONS

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def rendered(privimage: Run, write_sweep: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Renders the tiny sweep, with keys changed, for a target; the folder."""

    def render(target: str, *words: object, **changed: Any) -> Path:
        file, to = write_sweep(**changed), tmp_path / "launch"
        code, out, err = privimage("render", target, file, "--to", to, *OPTIONS[target], *words)
        assert (code, err) == (0, "")
        assert all(str(path) in out for path in to.iterdir())
        return to

    return render
