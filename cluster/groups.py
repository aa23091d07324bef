"""Placement groups that hold resources for nobody: their creator is dead, and Ray keeps them until the job ends.

Ray Train makes one for the workers of a training, and leaves it where one of these dies while the others start: its
controller takes that for an error of its own, and ends without it. The next attempt would wait for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray._private.state import state
from ray.core.generated.gcs_pb2 import PlacementGroupTableData
from ray.exceptions import RayError
from ray.util.placement_group import PlacementGroup, remove_placement_group

EVERY = 10.0  # seconds


def remove_orphaned() -> int:
    """How many groups of this job were removed whose creator was an actor that is dead."""
    job = bytes.fromhex(ray.get_runtime_context().get_job_id())
    found = [
        PlacementGroup(ray.PlacementGroupID(group.placement_group_id))
        for raw in state._connect_and_get_accessor().get_placement_group_table()
        if _is_orphaned(group := PlacementGroupTableData.FromString(raw), job)
    ]
    for group in found:
        remove_placement_group(group)
    return len(found)


def _is_orphaned(group: PlacementGroupTableData, job: bytes) -> bool:
    """Of a group that a driver made Ray says too that the actor is dead that made it: it names none."""
    by_actor = not ray.ActorID(group.creator_actor_id).is_nil()
    here = group.creator_job_id == job and not group.is_detached and group.state != PlacementGroupTableData.REMOVED
    return bool(here and by_actor and group.creator_actor_dead)


@contextmanager
def orphans_removed() -> Iterator[None]:
    """Meanwhile, remove them again and again."""
    done = threading.Event()

    def remove() -> None:
        while not done.wait(EVERY):
            try:
                remove_orphaned()
            except RayError:
                continue  # the head does not answer

    remover = threading.Thread(target=remove, daemon=True)
    remover.start()
    try:
        yield
    finally:
        done.set()
