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
import os
import subprocess
import sys
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
candidates de2c45f5fd7a3085 pe
central ce0b3db56f565730 dp-feta
central-derived 1c2b1be4bb467fc4 dp-feta
embedding 4233111e784d7859 pearl
embedding 5581dbbce56233b7 dp-mepf
embedding d1927153c71620c8 dp-merf
embedding fe55bd20d7b7f9a7 dp-ntk
embedding-derived 810773b8ed9705c9 pearl
embedding-derived 853c42bf4467f924 dp-ntk
embedding-derived b7cbac68c7a1655d dp-mepf
embedding-derived d5162c7db965ecf9 dp-merf
generator 36858ed1fc44ab7e dp-feta
generator 51bcbdda705aafd3 privimage+md
generator 6458a6a8cb7e5c9e privimage+d
generator 67f0ee6f83ad9bd3 pdp-diffusion
generator 72424c9a0a387165 privimage+g
generator 76a9495e2400fc60 random-selection
generator 7b0fa3471bbadbc2 nonpriv-g
generator 7c45dc864324641d nonprivate-tune
generator 85ad634cef768262 dp-kernel
generator 97e57059ebd182fa dp-lora
generator bf89ed1688a86a0e dpgan-p
generator d033d67b6898cf2c dpgan
generator d4f8f894d2f4dbcf dp-ldm
generator d62f69797b091f8e dpdm
generator ef288a64eb87e7d9 gs-wgan
histogram b25581b60f7c6b41 nonpriv-g
histogram b25581b60f7c6b41 nonprivate-tune
histogram b25581b60f7c6b41 privimage+d
histogram b25581b60f7c6b41 privimage+g
histogram b25581b60f7c6b41 privimage+qm
histogram b25581b60f7c6b41 selected-images
histogram b25581b60f7c6b41 selection+anchors
histogram b25581b60f7c6b41 selection-only
histogram b25581b60f7c6b41 unselected-images
histogram-derived 167fb53b8e3e7ee3 nonpriv-g
histogram-derived 167fb53b8e3e7ee3 nonprivate-tune
histogram-derived 167fb53b8e3e7ee3 privimage+d
histogram-derived 167fb53b8e3e7ee3 privimage+g
histogram-derived 167fb53b8e3e7ee3 privimage+qm
histogram-derived 167fb53b8e3e7ee3 selected-images
histogram-derived 167fb53b8e3e7ee3 selection+anchors
histogram-derived 167fb53b8e3e7ee3 selection-only
histogram-derived 167fb53b8e3e7ee3 unselected-images
layers fb0c9fa6aa6f2819 dp-mepf
left 9bb170af2ae829f2 unselected-images
means 3a218f338d495930 privimage+a
means 3a218f338d495930 privimage+m
means 3a218f338d495930 privimage+md
means 3a218f338d495930 privimage+qm
means 3a218f338d495930 tilted-images
means-derived 5cbd552b952fbe73 privimage+md
means-derived 65bd348f1e94a0b2 privimage+a
means-derived 65bd348f1e94a0b2 privimage+m
means-derived 65bd348f1e94a0b2 tilted-images
means-derived ee681b35ab3e1af2 privimage+qm
model 00d4018ac99f0fd4 dp-ldm
model 01cf5e11e468e374 dp-feta
model 041a6e5e06b4407d selection-only
model 0541491e947cb74b pdp-diffusion
model 08c2b444f483080a pearl
model 0bad2590098733b4 dpgan-p
model 0f3af5303887001f pe
model 2119357e4fd8312a dp-lora
model 3730ee81ec86c39c dpgan
model 3e7656ebb4c90742 privimage+g
model 3f17dcf87e1c5ba4 privimage+md
model 48dd7d5645b24166 privimage+qm
model 5d04b4fd75cd3447 privimage+m
model 5d77a6587fbe37ff nonpriv-g
model 5dfcd039143dd647 selection+anchors
model 6d59043194c6e2e1 nonprivate-tune
model 843b6327a4f65935 dpdm
model 90040da898f80e37 dp-ntk
model ca830dfb35187bd6 dp-kernel
model dadb4b01f404746c random-selection
model ead6b2cc273008b7 privimage+d
model f0d385405c663445 gs-wgan
model f3611f50e5fd9556 privimage+a
model f70600110409bba9 dp-merf
model fbc6edd765207a83 dp-mepf
nearest 0e7174953cea948b privimage+m
nearest 17d909c6b6d2550e random-selection
nearest 53a4d73ef391ec26 privimage+md
nearest 581077eb838b6a56 privimage+g
nearest 83d90c1249f51dba privimage+d
nearest 8cc79dcc700e9876 nonpriv-g
nearest aa3b6f56ee8fb24c selection+anchors
nearest b3fa27ab30bb4a60 selection-only
nearest c88a0a1a2a935774 privimage+a
nearest ef743a99ff5e4df8 privimage+qm
nearest fe2251a49169d67b nonprivate-tune
pool 8ae2f2eb005662d8 privimage+a
pool 8ae2f2eb005662d8 privimage+m
pool 8ae2f2eb005662d8 privimage+md
pool 8ae2f2eb005662d8 privimage+qm
pool 8ae2f2eb005662d8 tilted-images
pretrained 27f874e2797de901 privimage+md
pretrained 8ffbebef7de8e262 dp-feta
pretrained 92a417796a75ca6e nonpriv-g
pretrained 92a417796a75ca6e privimage+g
pretrained 93857e5951e66374 random-selection
pretrained d088b27347a67e41 selection+anchors
pretrained dda4e1e090ba2426 privimage+a
pretrained dda4e1e090ba2426 privimage+m
pretrained e303635b34c84528 dpgan-p
pretrained f2494db0a1c45718 privimage+qm
pretrained f5f345f894952d4e nonprivate-tune
pretrained f5f345f894952d4e privimage+d
pretrained f5f345f894952d4e selection-only
pretrained fbe92440bbc67bcd dp-ldm
pretrained fbe92440bbc67bcd dp-lora
pretrained fbe92440bbc67bcd pdp-diffusion
public-generator 2a8fa9474b61abf9 pe
query-function cd6be3adb7fb64e5 dp-mepf
query-function cd6be3adb7fb64e5 nonpriv-g
query-function cd6be3adb7fb64e5 nonprivate-tune
query-function cd6be3adb7fb64e5 pe
query-function cd6be3adb7fb64e5 privimage+a
query-function cd6be3adb7fb64e5 privimage+d
query-function cd6be3adb7fb64e5 privimage+g
query-function cd6be3adb7fb64e5 privimage+m
query-function cd6be3adb7fb64e5 privimage+md
query-function cd6be3adb7fb64e5 privimage+qm
query-function cd6be3adb7fb64e5 selected-images
query-function cd6be3adb7fb64e5 selection+anchors
query-function cd6be3adb7fb64e5 selection-only
query-function cd6be3adb7fb64e5 tilted-images
query-function cd6be3adb7fb64e5 unselected-images
samples 0707e63437f43fd4 selection-only
samples 160fb650a6cdd49b privimage+g
samples 2b0d352e452ea295 unselected-images
samples 3349f829682c04ac selected-images
samples 4032650e48053ec2 nonprivate-tune
samples 420bb4af2e5cfc8d dpdm
samples 5e9fdf7683280993 pdp-diffusion
samples 5feee8f097e61a21 random-images
samples 6872731f1a8cf749 dp-kernel
samples 7e85c49bd61da9cb privimage+m
samples 80e09ad1dea90cd8 dp-feta
samples 876b7ad3c76037f6 nonpriv-g
samples 8855b340b2597230 dp-merf
samples 8cf9781838d38b4a privimage+d
samples a2eab759301bc646 selection+anchors
samples a9bd497cf68b5376 gs-wgan
samples af79c49a2ea384e5 dpgan-p
samples b4aa99534b82c2c4 privimage+qm
samples bc2d25b1fc4c8830 dp-ldm
samples bc6bc29cbb7f9dbf all-images
samples bcdf5a490c8839c6 random-selection
samples c3907ec4ea2c0930 pe
samples c3ca64aa6d49cd6b tilted-images
samples cf1cc053ec3b2dc9 dp-lora
samples ddcb5d2b6400a0a9 dpgan
samples e498a8ca511774aa privimage+a
samples ef61a2d0a16413f3 pearl
samples efdca278ecec8c95 dp-mepf
samples f5665920e8e1e128 privimage+md
samples fea6ea2bf6951683 dp-ntk
score 0022bfbf8c16da8b selection+anchors
score 0467c12dc796e546 pearl
score 22751d669f9754c1 dpdm
score 24e0d3126001d5bd dp-lora
score 3217d7a431ad353b dp-feta
score 47cd95a8c87c8489 privimage+d
score 596b0b978d2f815a dp-mepf
score 6387ffc89dc583c5 gs-wgan
score 661cfe8f1f528866 pe
score 67a5fb7cdf107ab2 privimage+qm
score 722e7d417cb9ce86 pdp-diffusion
score 74127a1f8de9a1b8 random-selection
score 75c9f2db7c8a832c dp-kernel
score 78e66d1426ebd415 dp-ntk
score 7de80400f297f48d selected-images
score 83d8a3274609fc14 random-images
score 8442809073eafcf5 privimage+md
score 867c3879c5019f59 dpgan-p
score 8ad4ef6ea444cd63 privimage+g
score 919b2dc0bdea1897 dpgan
score 9b8c9417e6689ed5 all-images
score 9c1de2e996a2998d dp-merf
score 9f3bb644554c149b selection-only
score a8d86d2cbd24440b unselected-images
score b0d5bdc3e0c2b40c tilted-images
score dc7a5079cff2992a privimage+a
score e4c192c4890be8de dp-ldm
score e909a6e198aef7d9 privimage+m
selection 0fdf1f3efe0dd9c4 random-images
selection 0fdf1f3efe0dd9c4 random-selection
selection 63bf11ad02242962 nonpriv-g
selection 63bf11ad02242962 nonprivate-tune
selection 63bf11ad02242962 privimage+d
selection 63bf11ad02242962 privimage+g
selection 63bf11ad02242962 selected-images
selection 63bf11ad02242962 selection+anchors
selection 63bf11ad02242962 selection-only
selection 63bf11ad02242962 unselected-images
tilted 42e7db791bf9c5bc privimage+qm
tilted 73c3ea0bb7e1c360 privimage+md
tilted c11b8a052224a97b privimage+a
tilted c11b8a052224a97b privimage+m
tilted c11b8a052224a97b tilted-images
votes dbaaccba2bacf452 pe
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


@pytest.mark.thorough
def test_every_stage_has_the_key_that_it_had(here: dict[str, Any]) -> None:
    assert table(here["keys"]) == KEYS, table(here["keys"])


@pytest.mark.thorough
def test_another_process_makes_the_same_under_the_same_names(
    here: dict[str, Any], tiny_values: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    """One that hashes with another seed."""
    tiny_trials.write(tmp_path / "there", tiny_values())
    words = [sys.executable, tiny_trials.__file__, str(tmp_path / "there"), *TWICE]
    other = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    there = json.loads(subprocess.check_output(words, env={**os.environ, "PYTHONHASHSEED": other}, timeout=200))
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
    x = np.zeros((12, 1, 8, 8), np.uint8)
    x[:, 0, 0, 0] = np.arange(12)
    images = PrivateSet(x=x, y=y, name="toy", id="toy", split="train", classes=("a", "b", "c"))
    top = np.stack([np.arange(12) % 5, np.arange(12) % 4 + 5], axis=1)
    S = np.array([np.bincount(top[y == label].ravel(), minlength=9) for label in range(3)])
    function: Any = SimpleNamespace(counts=lambda images, k1, labels: S)
    phi = (np.arange(12 * 6).reshape(12, 6) % 7 / 16).astype(np.float32)
    event = Event(purpose="query", split="train", sigma=3)
    histogram = semantics.ask(function, images, k1=2, event=event, entropy=entropy(7)).value
    means = answer.ask(lambda x: phi[x[:, 0, 0, 0]], images, d=6, event=event, entropy=entropy(7)).value
    wider = noisier(means, sensitivity=UNIT, asked=3, wanted=5, entropy=entropy(8))
    assert {"histogram": digest(histogram), "means": digest(means), "derived": digest(wider)} == ANSWERS
