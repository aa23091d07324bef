from __future__ import annotations

from typing import Any

import pytest

from privimage.cluster.resources import DRIVER_CPU, DRIVER_SHARE, GIB, Resources, Share, trials_at_once
from privimage.errors import InputError
from privimage.schema import parse


@pytest.mark.parametrize(
    ("resources", "nodes", "fits"),
    [
        ({}, [{"CPU": 1}], 1),
        ({}, [{"CPU": 2.0}], 2),
        ({}, [{"CPU": 1}, {"CPU": 2}, {}], 3),
        ({"cpu": 0.1}, [{"CPU": 0.3}], 3),  # 0.3 / 0.1 is below 3 in floating point
        ({"cpu": 3}, [{"CPU": 8}], 2),
        ({"cpu": 3}, [{"CPU": 4}, {"CPU": 4}], 2),
        ({"cpu": 3}, [{"CPU": 5}, {"CPU": 5}], 2),
        ({"gpu": 1}, [{"CPU": 64, "GPU": 4}], 4),
        ({"gpu": 1}, [{"CPU": 64}, {"CPU": 4, "GPU": 2}], 2),
        ({"gpu": 0.25}, [{"CPU": 64, "GPU": 1}], 4),
        ({"gpu": 0.75}, [{"CPU": 8, "GPU": 1}, {"CPU": 8, "GPU": 1}], 2),
        ({"cpu": 32, "gpu": 1}, [{"CPU": 64, "GPU": 4}], 2),  # the CPU is the scarce one
        ({"workers": 2}, [{"CPU": 2 + DRIVER_CPU}], 1),
        ({"workers": 2}, [{"CPU": 5}], 2),
        ({"workers": 2}, [{"CPU": 1}, {"CPU": 1 + DRIVER_CPU}], 1),  # workers of one trial may be on two nodes
        ({"workers": 2}, [{"CPU": 2}, {"CPU": 0.5}], 1),  # its driver beside them
        ({"workers": 4, "gpu": 1}, [{"CPU": 64, "GPU": 8}], 2),
    ],
)
def test_the_scarcest_resource_decides(resources: dict[str, float], nodes: list[dict[str, float]], fits: int) -> None:
    assert trials_at_once(Resources(**resources), nodes) == fits


@pytest.mark.parametrize(
    ("resources", "nodes"),
    [
        ({"cpu": 3}, [{"CPU": 2}]),
        ({"cpu": 3}, [{"CPU": 2}, {"CPU": 2}]),  # enough in all, but on no single node
        ({"gpu": 1}, [{"CPU": 8}, {"GPU": 1}]),
        ({"workers": 2, "cpu": 2}, [{"CPU": 2 + DRIVER_CPU}, {"CPU": 1}, {"CPU": 1}]),
        ({"workers": 2}, [{"CPU": 2}]),  # the driver needs its share too
        ({"workers": 2}, [{"CPU": 1}, {"CPU": 1}]),
        ({"gpu": 1}, [{"CPU": 2}]),
        ({"workers": 2, "gpu": 1}, [{"CPU": 8, "GPU": 1}]),
        ({}, [{}]),
        ({}, []),
    ],
)
def test_a_trial_that_no_node_can_hold_is_refused_in_one_line(
    resources: dict[str, float], nodes: list[dict[str, float]]
) -> None:
    with pytest.raises(InputError, match=r"^resources: .* needs .* but Ray has .*; lower") as caught:
        trials_at_once(Resources(**resources), nodes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [{"workers": 0}, {"cpu": 0}, {"gpu": -1}, {"cpu": float("inf")}, {"gpus": 1}])
def test_resources_are_strict(bad: dict[str, float]) -> None:
    with pytest.raises(InputError):
        parse(Resources, bad)


def test_device_follows_the_gpu() -> None:
    assert Resources().device == "cpu"
    assert Resources(gpu=0.5).device == "cuda"


def test_graphs_are_of_a_gpu() -> None:
    assert Resources(gpu=0.5, cuda_graphs=True).cuda_graphs
    with pytest.raises(ValueError, match="cuda_graphs: true needs a GPU; give gpu"):
        Resources(cuda_graphs=True)


STAGED: dict[str, Any] = {
    "cpu": 2,
    "pretrain": {"gpu": 1, "workers": 2},
    "finetune": {"gpu": 0.25, "memory": 8},
    "sample": {"cpu": 1},
}


def test_a_field_that_a_stage_does_not_name_is_the_default_s() -> None:
    found = parse(Resources, STAGED)
    assert found.share("default") == Share(cpu=2)
    assert found.share("pretrain") == Share(cpu=2, gpu=1, workers=2)
    assert found.share("finetune") == Share(cpu=2, gpu=0.25, memory=8)
    assert found.share("sample") == Share(cpu=1)
    assert parse(Resources, {**{k: v for k, v in STAGED.items() if k != "cpu"}, "default": {"cpu": 2}}).share(
        "finetune"
    ) == found.share("finetune")
    graphs = parse(Resources, {"gpu": 1, "cuda_graphs": True, "sample": {"gpu": 0}})
    assert graphs.share("finetune").cuda_graphs and not graphs.share("sample").cuda_graphs


@pytest.mark.parametrize(
    ("resources", "alone", "held"),
    [
        ({}, True, {"CPU": 1}),
        ({"gpu": 0.5, "memory": 2}, True, {"CPU": 1, "GPU": 0.5, "memory": 2 * 2**30}),
        ({"gpu": 1, "sample": {"gpu": 1}}, True, {"CPU": 1, "GPU": 1}),  # the same in other words
        ({"workers": 2}, False, {"CPU": DRIVER_CPU}),
        ({"gpu": 1, "sample": {"gpu": 0}}, False, {"CPU": DRIVER_CPU}),
        ({"gpu": 1, "driver": "head"}, False, {"head": DRIVER_SHARE}),
    ],
)
def test_a_driver_holds_all_or_next_to_nothing(resources: dict[str, Any], alone: bool, held: dict[str, float]) -> None:
    found = parse(Resources, resources)
    assert found.in_driver is alone and found.held == held


@pytest.mark.parametrize(
    ("resources", "nodes", "fits"),
    [
        (STAGED, [{"CPU": 64, "GPU": 8, "memory": 512 * GIB}], 8),  # twice the four that fit at pre-training
        (STAGED, [{"CPU": 64, "GPU": 8, "memory": 16 * GIB}], 4),  # twice the two that fit at fine-tuning
        ({"gpu": 0.25, "sample": {"gpu": 0}}, [{"CPU": 64, "GPU": 1}], 8),
        ({"memory": 2}, [{"CPU": 64, "memory": 7 * GIB}], 3),
        ({"driver": "head"}, [{"CPU": 2}, {"CPU": 2, "head": 1}], 4),
        ({"driver": "head"}, [{"CPU": 8}, {"head": 3 * DRIVER_SHARE}], 3),
    ],
)
def test_trials_whose_stages_differ(resources: dict[str, Any], nodes: list[dict[str, float]], fits: int) -> None:
    assert trials_at_once(parse(Resources, resources), nodes) == fits


@pytest.mark.parametrize(
    ("resources", "nodes", "says"),
    [
        (STAGED, [{"CPU": 64, "GPU": 1, "memory": GIB * 99}], r"^resources\.pretrain: one trial needs 2 workers, each"),
        (STAGED, [{"CPU": 64, "GPU": 8, "memory": GIB}], r"^resources\.finetune: .* 8 GiB, .* 1 GiB; lower .*memory"),
        ({"memory": 8}, [{"CPU": 1, "memory": 4 * GIB}], "1 CPU and 0 GPU and 8 GiB"),
        ({"driver": "head"}, [{"CPU": 1}], r"^resources\.driver: got 'head', but no node of Ray has it; start one"),
    ],
)
def test_what_no_node_holds_is_named(resources: dict[str, Any], nodes: list[dict[str, float]], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        trials_at_once(parse(Resources, resources), nodes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"gpu": 0.5, "workers": 2}, "gpu: got 0.5 for each of 2 workers, .* NCCL .*; give gpu: 1, or workers: 1"),
        ({"workers": 2, "finetune": {"gpu": 0.25}}, r"^resources\.finetune: gpu: got 0.25 for each of 2 workers"),
        ({"gpu": 1.5}, "above 1 it is a whole number: give 1"),
        ({"cpu": 1, "default": {"cpu": 1}}, "cpu: given twice, beside default and in it; leave one out"),
        ({"pretrain": {"gpus": 1}}, r"pretrain\.gpus: unknown key, did you mean 'gpu'"),
        ({"pretrained": {"gpu": 1}}, "pretrained: unknown key, did you mean 'pretrain'"),
        ({"driver": "node:head"}, "driver: got 'node:head'; use letters"),
        ({"driver": "GPU"}, "driver: got 'GPU'; Ray means something else by it; give a name of your own, e.g. stays"),
        ({"driver": "memory"}, "driver: got 'memory'; Ray means something else by it"),
        ({"memory": 0}, "memory"),
        ({"sample": {"cuda_graphs": True}}, r"^resources\.sample: cuda_graphs: true needs a GPU"),
    ],
)
def test_shares_are_strict(bad: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        parse(Resources, bad)
    assert "\n" not in str(caught.value)


def test_two_workers_with_more_than_half_a_gpu_are_on_two() -> None:
    assert Resources(workers=2, gpu=0.75).share("finetune").workers == 2


@pytest.mark.parametrize("workers", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("gpu", [0, 0.25, 0.3, 0.5, 0.6, 1, 2, 3])
def test_no_fewer_gpus_hold_all_workers(workers: int, gpu: float) -> None:
    if workers > 1 and 0 < gpu <= 0.5:
        return  # refused
    share = Share(workers=workers, gpu=gpu)
    assert share.gpus == next(n for n in range(100) if share.on_gpus(n) >= workers)
