"""Placement groups of dead actors are removed, and no others."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest
import ray
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group

from privimage.cluster import groups
from privimage.cluster.groups import orphans_removed, remove_orphaned

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import test files


@ray.remote(num_cpus=0)
class Creator:
    def make(self) -> str:
        group = placement_group([{"CPU": 0.1}])
        ray.get(group.ready())
        return str(group.id.hex())


def state_of(group: str) -> Any:
    return placement_group_table()[group]["state"]


def test_what_a_dead_actor_holds_is_given_back_and_nothing_else(
    local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "EVERY", 0.2)
    living, dead = Creator.remote(), Creator.remote()  # type: ignore[attr-defined]
    kept, orphaned = ray.get([living.make.remote(), dead.make.remote()])
    ours = placement_group([{"CPU": 0.1}])
    ray.get(ours.ready())
    assert remove_orphaned() == 0
    ray.kill(dead)
    end = time.monotonic() + 60
    with orphans_removed():
        while state_of(orphaned) != "REMOVED":
            assert time.monotonic() < end, "it was not found"
            time.sleep(0.2)
    states = [state_of(group) for group in (kept, orphaned, ours.id.hex())]
    assert states == ["CREATED", "REMOVED", "CREATED"] and remove_orphaned() == 0
    ray.kill(living)
    remove_placement_group(ours)
    while not remove_orphaned():
        time.sleep(0.2)
