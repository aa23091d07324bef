"""The page "Add your own" shows code that runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import toys

from privimage import doors, metrics
from privimage.data.sets import PARTS
from privimage.metrics import MetricContext
from privimage.privacy.looks import Seen

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "add-your-own.md").read_text(encoding="utf-8")
METHOD, METRIC = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_its_method_is_the_one_that_is_run_as_a_package_of_its_own() -> None:
    assert METHOD.strip() in (HERE / "test_a_new_method.py").read_text(encoding="utf-8")


def test_its_metric_is_found_and_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "bright-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bright\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[privimage.metrics]\nbrightness = bright:brightness\n")
    (tmp_path / "bright.py").write_text(METRIC)
    monkeypatch.syspath_prepend(tmp_path)
    doors._theirs.cache_clear()
    data = toys.sensitive_set()
    x, y = toys.pictures(60, 3, seed=9)
    context = MetricContext(x=x, y=y, splits={part: getattr(data, part) for part in PARTS})
    (found,) = metrics.evaluate(["brightness"], context, look=lambda name, split: Seen(split=split))
    assert found.value == pytest.approx(abs(x.mean() - data.test.x.mean())) and found.touches[1:] == ("private-test",)
    doors._theirs.cache_clear()
