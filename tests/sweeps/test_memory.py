"""The memory of a worker that runs ten trials one after another."""

from __future__ import annotations

from pathlib import Path

import pytest

from privimage import record as records
from privimage.paths import Root
from privimage.sweeps.run import run_sweep
from privimage.sweeps.sweep import load_sweep

DEMO = Path(__file__).parents[2] / "sweeps" / "recipes" / "demo.yaml"
SHORT = {
    "method.name": "privimage+d",
    "method.pretrain.images": 600,
    "method.finetune.steps": 3,
    "method.query.function.steps": 5,
    "method.samples": 200,
    "search": {"method.query.sigma": {"uniform": [5, 20]}},
    "compare": [],
    "budgets": [{"epsilon": 10, "delta": 1e-5}],
    "trials": 10,
    "resources": {"cpu": 2},  # both of the cluster's: one worker runs them all
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_trials_of_one_worker_need_no_more_than_three(local_ray: None, tmp_path: Path) -> None:
    """They went from 927 to 2,002 MiB over six."""
    folder = run_sweep(
        load_sweep(DEMO, overrides=SHORT), root=Root(path=tmp_path / "runs"), address=None, quiet=True
    ).folder
    peaks = [max(stage.peak_mib for stage in record.stages) for record in records.load(folder.records)]
    print([round(peak) for peak in peaks])
    assert len(peaks) == 10
    assert max(peaks[3:]) < 1.1 * max(peaks[:3]), peaks
