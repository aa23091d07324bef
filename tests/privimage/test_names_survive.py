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
candidates cb6c09de5e35e479 pe
embedding 5581dbbce56233b7 dp-mepf
embedding d1927153c71620c8 dp-merf
embedding-derived b7cbac68c7a1655d dp-mepf
embedding-derived d5162c7db965ecf9 dp-merf
generator 098af27d3e5f5f7a privimage+d
generator 3c9cf83bfc36ed4f dpdm
generator 6ddf45f06ce02f1b pdp-diffusion
generator 97e57059ebd182fa dp-lora
generator acda84754c65351b nonprivate-tune
generator bc7accb699740d0b privimage+md
generator e3851ae130b317f5 dp-ldm
generator f1ab9d68154fbab9 random-selection
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
layers fb0c9fa6aa6f2819 dp-mepf
means 3a218f338d495930 privimage+a
means 3a218f338d495930 privimage+m
means 3a218f338d495930 privimage+md
means 3a218f338d495930 privimage+qm
means-derived 5cbd552b952fbe73 privimage+md
means-derived 65bd348f1e94a0b2 privimage+a
means-derived 65bd348f1e94a0b2 privimage+m
means-derived ee681b35ab3e1af2 privimage+qm
model 00038181f41da23a privimage+a
model 069823e2e7502a57 pdp-diffusion
model 0d63a492f85276c9 selection+anchors
model 1c9fd5b7ad22121a nonprivate-tune
model 2435ed49f6f4c6d6 dpdm
model 57fdd62f8a579988 pe
model 5f0ededeb8e75a68 dp-lora
model 9fbaa555ef88c1e3 dp-ldm
model a96a3711004542e0 privimage+d
model af597dbb40d863ea selection-only
model b86deb7f769e8e3f privimage+md
model c093016dd8753fb0 privimage+m
model e425bc8cccd56b95 privimage+qm
model f1cfe024f2882569 random-selection
model f70600110409bba9 dp-merf
model fbc6edd765207a83 dp-mepf
nearest 14118cec5908aff0 nonprivate-tune
nearest 14874304e34bb3d7 privimage+m
nearest 24fc9eb88913d8f3 privimage+d
nearest 658ce4cfe4ea6f99 selection-only
nearest 72ac3d6b1215345c privimage+qm
nearest 7673ac870d637252 privimage+a
nearest 7cb662489750ab38 privimage+md
nearest bbf2bbb29cf39816 selection+anchors
nearest ce9dd75cb15ae544 random-selection
pool 8ae2f2eb005662d8 privimage+a
pool 8ae2f2eb005662d8 privimage+m
pool 8ae2f2eb005662d8 privimage+md
pool 8ae2f2eb005662d8 privimage+qm
pretrained 20f80e67e12efff1 privimage+qm
pretrained 45286e6174a96a9b privimage+md
pretrained 93857e5951e66374 random-selection
pretrained 97cfa97d6d4820bd privimage+a
pretrained 97cfa97d6d4820bd privimage+m
pretrained d088b27347a67e41 selection+anchors
pretrained f5f345f894952d4e nonprivate-tune
pretrained f5f345f894952d4e privimage+d
pretrained f5f345f894952d4e selection-only
pretrained fbe92440bbc67bcd dp-ldm
pretrained fbe92440bbc67bcd dp-lora
pretrained fbe92440bbc67bcd pdp-diffusion
public-generator 2a8fa9474b61abf9 pe
query-function cd6be3adb7fb64e5 dp-mepf
query-function cd6be3adb7fb64e5 nonprivate-tune
query-function cd6be3adb7fb64e5 pe
query-function cd6be3adb7fb64e5 privimage+a
query-function cd6be3adb7fb64e5 privimage+d
query-function cd6be3adb7fb64e5 privimage+m
query-function cd6be3adb7fb64e5 privimage+md
query-function cd6be3adb7fb64e5 privimage+qm
query-function cd6be3adb7fb64e5 selection+anchors
query-function cd6be3adb7fb64e5 selection-only
samples 025259a2952b39b9 dp-lora
samples 0635a8bf893092e4 privimage+md
samples 15e3787d09035796 random-selection
samples 554f8c984e3157d5 dp-ldm
samples 5605f3a24e7fc801 nonprivate-tune
samples 690ff45faf8e6d6c selection-only
samples 6ef6db61b8171ccc privimage+d
samples 7e79a3571c892bcb dpdm
samples 8101a14ea2da9d2b pe
samples 8855b340b2597230 dp-merf
samples 8bdffa32488011d1 pdp-diffusion
samples 96be0b649029ab2b privimage+qm
samples cf1e5c2bbf9748b4 privimage+m
samples dce4cba1d6217b6c selection+anchors
samples e745d3fdf094358b privimage+a
samples efdca278ecec8c95 dp-mepf
score 0e0866ca79d1f470 pdp-diffusion
score 1b69cef8c04ae04b privimage+m
score 2a87a18965e1debd dp-lora
score 36fc8d3c9d507746 selection+anchors
score 3e7d697ca1af388b privimage+qm
score 3fd191641d4c9b32 privimage+a
score 4baba8379e5fdda5 selection-only
score 596b0b978d2f815a dp-mepf
score 82ca434931bacd74 pe
score 9c1de2e996a2998d dp-merf
score aec105a3812cd42c dpdm
score d3f644b69c2ca1e5 privimage+d
score edeb1e601127bc2b privimage+md
score f416c576f65324b4 dp-ldm
score faaa8d95d51f4058 random-selection
selection 0fdf1f3efe0dd9c4 random-selection
selection 63bf11ad02242962 nonprivate-tune
selection 63bf11ad02242962 privimage+d
selection 63bf11ad02242962 selection+anchors
selection 63bf11ad02242962 selection-only
tilted 40bd2466bd4c9a9d privimage+md
tilted 929c6e4dd6d18dcf privimage+qm
tilted c47711f9debc3a55 privimage+a
tilted c47711f9debc3a55 privimage+m
votes 8bfbb4252aefa00e pe
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
