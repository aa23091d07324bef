"""One and two workers give the same weights; replicas are bit-equal (two real processes, gloo)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from privimage.data.sets import PrivateSet
from privimage.privacy.ledger import Ledger
from privimage.workers import Workers


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("two_processes", Path(__file__).with_name("two_processes.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_alone_is_first_and_moves_nothing() -> None:
    workers, tensor = Workers.alone(), torch.ones(2)
    workers.all_reduce([tensor])
    assert workers.first and tensor.tolist() == [1, 1] and workers.broadcast("x") == "x"


def test_replicas_are_bit_equal(pair: dict[str, Any]) -> None:
    one, two = pair["weights"]
    assert one.keys() == two.keys() and len(one) > 20
    for name in one:
        assert one[name].tobytes() == two[name].tobytes(), name


@pytest.mark.parametrize("stage", ["fine_tune", "pretrain"])
def test_two_workers_compute_what_one_does(pair: dict[str, Any], sensitive: PrivateSet, stage: str) -> None:
    run = {"fine_tune": script().fine_tuned, "pretrain": script().pretrained}[stage]
    alone, two = run(Workers.alone(), sensitive), pair["weights"][0]
    expected = np.concatenate([alone[name].ravel() for name in alone]).astype(float)
    got = np.concatenate([two[f"{stage}/{name}"].ravel() for name in alone]).astype(float)
    assert np.linalg.norm(got - expected) <= 1e-5 * np.linalg.norm(expected)


def test_a_private_stage_on_two_workers_is_charged_once_and_shares_its_entropy(pair: dict[str, Any]) -> None:
    one, two = (report["staged"] for report in pair["reports"])
    assert one["built"] == two["built"] == ["public", "private"]  # built by both, once
    assert one["seen"] == two["seen"] and one["seen"][0] == one["seen"][1]
    assert one["seen"][0][0] == [2, 2, 2]
    assert one["origins"] == ["built", "built", "hit", "hit"]
    assert len(Ledger(pair["folder"] / "staged.jsonl").charges()) == 1
