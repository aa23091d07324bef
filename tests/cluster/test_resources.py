from __future__ import annotations

import pytest

from privimage.cluster.resources import DRIVER_CPU, Resources, trials_at_once
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
