"""Run as a script by test_two_nodes_train: ADDRESS FOLDER. DP-SGD alone, then by four workers of a cluster."""

from __future__ import annotations

import sys
from pathlib import Path

import forks
import ray

from privimage.cluster.resources import Share
from privimage.cluster.train import run_on_workers
from privimage.workers import Workers


def main(address: str, folder: Path) -> None:
    """Leaves the weights and last gradients of every worker in the folder, as `forks.shares` does, and its node."""
    forks.shares(Workers.alone(), forks.private_set(folder), folder)
    ray.init(address=address, log_to_driver=False)

    def work(workers: Workers) -> int:
        (folder / f"node-{workers.rank}").write_text(ray.get_runtime_context().get_node_id())
        forks.shares(workers, forks.private_set(folder), folder)
        return workers.size

    size = run_on_workers(work, share=Share(workers=4), name="four", storage=folder / "ray")
    (folder / "size").write_text(str(size))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
