"""Names that survive: what is kept under a name today is found under it by tomorrow's code, with the same bits in it.

A key is the name under which a private answer is stored and charged. Where it moves, an upgraded installation does not
find what was paid for, and a sweep that goes on asks, and pays, again. Where the same entropy gives other bits, an
answer that a killed process was charged for is finished with other noise. So a move of code, a renamed field or a new
stage that reaches into existing methods is seen here.

**If a test here fails** and nothing was meant to move: find what moved it. If it was meant: put what the failure shows
in the place of KEYS or ANSWERS, and write in CHANGELOG.md, under Privacy, which answers a sweep that was begun before
asks anew. (A new method adds lines, or its name to lines; it moves none.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny_trials
from known import entropy
from tiny_trials import TWICE

from privimage import semantics
from privimage.data.sets import PrivateSet
from privimage.means import answer
from privimage.means.answer import UNIT
from privimage.methods.method import METHODS
from privimage.privacy.budget import Event
from privimage.shared_answer import noisier

# of every stage of every method: its kind, the first 16 digits of its key, and the method
KEYS = """
generator 098af27d3e5f5f7a privimage+d
generator 3c9cf83bfc36ed4f dpdm
generator 6ddf45f06ce02f1b pdp-diffusion
generator acda84754c65351b nonprivate-tune
generator f1ab9d68154fbab9 random-selection
generator fc555380301a9c34 privimage+md
histogram b25581b60f7c6b41 nonprivate-tune
histogram b25581b60f7c6b41 privimage+d
histogram b25581b60f7c6b41 privimage+qm
histogram b25581b60f7c6b41 selection+anchors
histogram b25581b60f7c6b41 selection-only
histogram-derived 167fb53b8e3e7ee3 nonprivate-tune
histogram-derived 167fb53b8e3e7ee3 privimage+d
histogram-derived 167fb53b8e3e7ee3 privimage+qm
histogram-derived 167fb53b8e3e7ee3 selection+anchors
histogram-derived 167fb53b8e3e7ee3 selection-only
means 338155123404a2fe privimage+a
means 338155123404a2fe privimage+m
means 338155123404a2fe privimage+md
means 338155123404a2fe privimage+qm
means-derived 3799faa147cabc61 privimage+md
means-derived 6bad12b0b160975f privimage+qm
means-derived 7071ef86a06d793b privimage+a
means-derived 7071ef86a06d793b privimage+m
model 1c9fd5b7ad22121a nonprivate-tune
model 3001711652d1249c privimage+qm
model 3e9a5e14289346ce pdp-diffusion
model 85371b438dc5cc04 privimage+m
model 8ce3b578364393ab privimage+a
model 9e8f8f7e33c18c29 privimage+md
model a96a3711004542e0 privimage+d
model af597dbb40d863ea selection-only
model cb92b42c083efcf9 dpdm
model e27ae72885fa031a selection+anchors
model f1cfe024f2882569 random-selection
nearest 14118cec5908aff0 nonprivate-tune
nearest 24fc9eb88913d8f3 privimage+d
nearest 650166ebacedce94 privimage+a
nearest 658ce4cfe4ea6f99 selection-only
nearest 78ebab558ee15e01 privimage+qm
nearest 86359bf06bfbf4f9 privimage+md
nearest b09e864f339f96bd selection+anchors
nearest ce9dd75cb15ae544 random-selection
nearest fd412659b4247789 privimage+m
pool 0cef705e7571e522 privimage+a
pool 0cef705e7571e522 privimage+m
pool 0cef705e7571e522 privimage+md
pool 0cef705e7571e522 privimage+qm
pretrained 106059d6597cfbb1 selection+anchors
pretrained 3f4e68432750c331 privimage+qm
pretrained 93857e5951e66374 random-selection
pretrained ceb46e95639522e7 privimage+a
pretrained ceb46e95639522e7 privimage+m
pretrained d80ce9fd1280347f privimage+md
pretrained f5f345f894952d4e nonprivate-tune
pretrained f5f345f894952d4e privimage+d
pretrained f5f345f894952d4e selection-only
pretrained fbe92440bbc67bcd pdp-diffusion
query-function cd6be3adb7fb64e5 nonprivate-tune
query-function cd6be3adb7fb64e5 privimage+a
query-function cd6be3adb7fb64e5 privimage+d
query-function cd6be3adb7fb64e5 privimage+m
query-function cd6be3adb7fb64e5 privimage+md
query-function cd6be3adb7fb64e5 privimage+qm
query-function cd6be3adb7fb64e5 selection+anchors
query-function cd6be3adb7fb64e5 selection-only
samples 05c3b1facf513e0d privimage+md
samples 15e3787d09035796 random-selection
samples 481a9dfa8a726180 selection+anchors
samples 5605f3a24e7fc801 nonprivate-tune
samples 690ff45faf8e6d6c selection-only
samples 6ef6db61b8171ccc privimage+d
samples 86a96aedbdc46570 privimage+a
samples 98614e3111807af2 dpdm
samples 9c44e5ef774d5de3 privimage+qm
samples ae1fa5a211e88a52 pdp-diffusion
samples da3538e8b516915f privimage+m
score 0747e72fa1592e99 privimage+m
score 120f7e5ee889bd04 privimage+a
score 4baba8379e5fdda5 selection-only
score 86966175dc9f1efe privimage+md
score 97b5761802ba5ee1 pdp-diffusion
score b5bc395e34f66f35 selection+anchors
score d158cd5859625891 privimage+qm
score d3f644b69c2ca1e5 privimage+d
score d98bd0f161e9c851 dpdm
score faaa8d95d51f4058 random-selection
selection 0fdf1f3efe0dd9c4 random-selection
selection 63bf11ad02242962 nonprivate-tune
selection 63bf11ad02242962 privimage+d
selection 63bf11ad02242962 selection+anchors
selection 63bf11ad02242962 selection-only
tilted 1f95466909c8e047 privimage+qm
tilted 7bc3b7582edc6e1c privimage+md
tilted ddb4f6c2f510494c privimage+a
tilted ddb4f6c2f510494c privimage+m
"""
ANSWERS = {"histogram": "6a379ee67d500b0d", "means": "38f130f83eaa8dcf", "derived": "feb65da40898d645"}


@pytest.fixture(scope="module")
def here(tiny_values: Callable[[], dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What trials of all methods made in this process."""
    folder: Path = tmp_path_factory.mktemp("here")
    tiny_trials.write(folder, tiny_values())
    return tiny_trials.made(folder, METHODS.names())


def table(keys: dict[str, dict[str, str]]) -> str:
    """As KEYS."""
    lines = (f"{kind} {key[:16]} {method}\n" for method, stages in keys.items() for kind, key in stages.items())
    return "\n" + "".join(sorted(lines))


def test_every_stage_has_the_key_that_it_had(here: dict[str, Any]) -> None:
    assert table(here["keys"]) == KEYS, table(here["keys"])


def test_another_process_makes_the_same_under_the_same_names(here: dict[str, Any], pair: dict[str, Any]) -> None:
    there = json.loads((pair["folder"] / "tiny.json").read_text())
    assert there["keys"] == {method: here["keys"][method] for method in TWICE}
    assert there["figures"] == {method: here["figures"][method] for method in TWICE}
    content = {key: here["content"][key] for method in TWICE for key in here["keys"][method].values()}
    assert there["content"] == content and len(content) > 12
    assert len(there["charges"]) == 5 and all(charge in here["charges"] for charge in there["charges"])


def digest(released: np.ndarray) -> str:
    assert released.dtype == np.float64
    return hashlib.sha256(released.tobytes()).hexdigest()[:16]


def test_the_same_entropy_draws_the_noise_that_it_drew() -> None:
    """Of classes and features made by hand: what no network saw is the same on every machine."""
    y = np.arange(12) % 3
    images = PrivateSet(
        x=np.zeros((12, 1, 8, 8), np.uint8), y=y, name="toy", id="toy", split="train", classes=("a", "b", "c")
    )
    top = np.stack([np.arange(12) % 5, np.arange(12) % 4 + 5], axis=1)
    function: Any = SimpleNamespace(n_classes=9, top=lambda images, k1: top)
    phi = (np.arange(12 * 6).reshape(12, 6) % 7 / 16).astype(np.float32)
    event = Event(purpose="query", split="train", sigma=3)
    histogram = semantics.ask(function, images, k1=2, event=event, entropy=entropy(7)).value
    means = answer.ask(lambda blocks: [phi], images, d=6, event=event, entropy=entropy(7)).value
    wider = noisier(means, sensitivity=UNIT, asked=3, wanted=5, entropy=entropy(8))
    assert {"histogram": digest(histogram), "means": digest(means), "derived": digest(wider)} == ANSWERS
