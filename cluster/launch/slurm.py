"""Slurm: a batch script that starts Ray on the nodes of the job, runs the sweep, and queues itself again in time.

`ray symmetric-run` starts Ray on every node and the command on the first. It ends with 0 also where Ray did not start
there, so the script looks for a mark that only the command leaves; and it stops every Ray of this user on a node at its
end, so nodes are taken whole.
"""

from __future__ import annotations

from privimage.cluster.launch.target import Launch, Target
from privimage.errors import InputError

WARNING = 120  # seconds before the time limit: Slurm may send a signal up to a minute late
PORT = 6379
WAIT = 600  # seconds for all nodes to start Ray
SCRIPT = """\
#!/bin/bash
# The sweep {name} on nodes of Slurm. From this folder, on a file system that all nodes share: sbatch {name}.sbatch
# Before its time limit it queues itself again; submitted again by hand, it goes on as well.
{directives}
set -u
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT={wait}
export RAY_TMPDIR="/tmp/ray-$SLURM_JOB_ID"  # of this job alone, and short: the path of a socket is limited
{activate}RAY_AUTH_TOKEN="$(ray get-auth-token --generate)" || exit 1
export RAY_AUTH_TOKEN

again() {{
    echo "the time limit is near: queued again, to go on there"
    # Slurm sends SIGTERM to all that runs; the sweep ends by itself within its 30 seconds
    scontrol requeue "$SLURM_JOB_ID" || echo "not queued again; submit it once more, nothing is lost" >&2
}}
trap again USR1

ended=".{name}-$SLURM_JOB_ID.ended"
rm -f "$ended"
head="$(hostname -I | cut -d' ' -f1)"
srun --cpus-per-task={cpus} --kill-on-bad-exit=1 \\
    ray symmetric-run --address "$head:{port}" --min-nodes "$SLURM_JOB_NUM_NODES" \\
    --num-cpus={cpus} --num-gpus={gpus}{driver} -- \\
    bash -c '{command} && touch "$0"' "$ended" &
running=$!
wait "$running"
code=$?
while kill -0 "$running" 2>/dev/null; do  # a signal ends `wait` before the sweep has ended
    wait "$running"
    code=$?
done
if [ "$code" -eq 0 ] && [ ! -e "$ended" ]; then
    echo "the sweep did not run: Ray did not start, see above" >&2
    code=1
fi
rm -f "$ended"
exit "$code"
"""


class Slurm(Target):
    """A script for `sbatch`."""

    what = "a batch script for sbatch"
    needs = ("shared",)
    uses = ("root", "venv", "min_nodes", "max_nodes", "cpus", "gpus", "memory", "gpu_type", "partition", "time")
    example = "--shared /scratch/scans --venv /scratch/venv --max-nodes 4 --partition gpu"

    def files(self, launch: Launch) -> dict[str, str]:
        """The script, and the sweep file beside it."""
        node = launch.node()
        activate = "" if launch.options.venv is None else f". {launch.options.venv}/bin/activate || exit 1\n"
        script = SCRIPT.format(
            name=launch.name, directives="\n".join(f"#SBATCH {word}" for word in _directives(launch)), wait=WAIT,
            activate=activate, cpus=node.cpus, gpus=node.gpus, port=PORT, command=launch.command(launch.file),
            driver=launch.driver,  # on all nodes of the job, which are taken away together
        )  # fmt: skip
        return {f"{launch.name}.sbatch": script, launch.file: launch.text}

    def then(self, launch: Launch) -> str:
        """Submit it."""
        return f"sbatch {launch.name}.sbatch, from that folder, on storage that all nodes share"


def _directives(launch: Launch) -> list[str]:
    """What Slurm is asked for. With a least and a most, it gives as many nodes as it has."""
    node, options, (least, most) = launch.node(), launch.options, launch.options.nodes
    words = [
        f"--job-name={launch.name}",
        f"--nodes={least}" if least == most else f"--nodes={least}-{most}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={node.cpus}",
        f"--mem={node.memory}G",
        "--exclusive",
        f"--time={options.time}",
        f"--signal=B:USR1@{WARNING}",
        "--requeue",
        "--open-mode=append",
        f"--output={launch.name}-%j.log",
    ]
    if node.gpus:
        words.append(f"--gpus-per-node={'' if options.gpu_type is None else f'{options.gpu_type}:'}{node.gpus}")
    elif options.gpu_type is not None:
        raise InputError(f"--gpu-type: got '{options.gpu_type}', but no node has a GPU; give --gpus")
    return words if options.partition is None else [*words, f"--partition={options.partition}"]


MEMBERS = {"slurm": Slurm()}
