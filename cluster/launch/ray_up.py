"""ray up: the cluster file of Ray's own launcher for machines that are there already, and a script that uses it."""

from __future__ import annotations

from collections import Counter

import yaml

from privimage import __version__
from privimage.cluster.launch.target import Launch, Target
from privimage.errors import InputError

HOME = "~/.privimage"  # of the sweep file, on every node
TOKEN = "~/.ray/auth_token"  # where Ray looks for it
PORT = 6379
PATIENCE = 600  # seconds for the nodes to join
AUTH = "export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0"
START = f"{AUTH}; ulimit -n 65536; ray start"
SCRIPT = """\
#!/bin/bash
# The sweep {name} on machines of yours. The same command again starts Ray anew there, and the sweep goes on.
set -euo pipefail
cd "$(dirname "$0")"
ray get-auth-token --generate > /dev/null  # into {token}, which every machine is given
ray up --yes --no-config-cache {name}.cluster.yaml
ray exec {name}.cluster.yaml '{command}'
"""


class RayUp(Target):
    """A file for `ray up`."""

    what = "a cluster file for ray up, on machines that you can log in to"
    needs = ("host", "user", "shared")
    uses = ("root", "venv")
    example = "--host 10.0.0.1 --host 10.0.0.2 --user ubuntu --shared /shared --venv /shared/venv"

    def files(self, launch: Launch) -> dict[str, str]:
        """The cluster file, a script that starts it and the sweep, and the sweep file. Raises InputError as Target."""
        if twice := next((host for host, n in Counter(launch.options.host).items() if n > 1), None):
            raise InputError(f"--host: got '{twice}' twice; name every machine once")
        cluster = yaml.safe_dump(_cluster(launch), sort_keys=False, width=110)
        script = SCRIPT.format(name=launch.name, token=TOKEN, command=_command(launch))
        return {f"{launch.name}.cluster.yaml": cluster, f"{launch.name}.sh": script, launch.file: launch.text}

    def then(self, launch: Launch) -> str:
        """Run the script."""
        return f"bash {launch.name}.sh, from that folder; ray down {launch.name}.cluster.yaml ends the cluster"


def _cluster(launch: Launch) -> dict[str, object]:
    """The cluster. Its head takes no trial where there are others; a node without this privimage is refused at once."""
    head, *others = launch.options.host
    alone = (" --num-cpus=0" if others else "") + launch.driver
    same = f'test "$(privimage --version)" = "privimage {__version__}"'
    ours = f'{same} || (echo "privimage {__version__} is not installed on this machine" >&2; exit 1)'
    return {
        "cluster_name": launch.name,
        "provider": {"type": "local", "head_ip": head, "worker_ips": others},
        "auth": {"ssh_user": launch.options.user},
        "max_workers": len(others),
        "file_mounts": {f"{HOME}/{launch.file}": f"./{launch.file}", TOKEN: TOKEN},
        "setup_commands": [launch.activated(ours)],
        "head_start_ray_commands": [
            launch.activated("ray stop"),
            launch.activated(f"{START} --head --port={PORT}{alone} --autoscaling-config=~/ray_bootstrap_config.yaml"),
        ],
        "worker_start_ray_commands": [
            launch.activated("ray stop"),
            launch.activated(f"{START} --address=$RAY_HEAD_IP:{PORT}"),
        ],
    }


def _command(launch: Launch) -> str:
    """What runs on the head: it waits for the others, or a trial might fit nowhere yet."""
    wait = (
        'python -c "import ray, time; ray.init(\\"auto\\", log_to_driver=False); '
        f'[time.sleep(5) for _ in range({PATIENCE // 5}) if sum(node[\\"Alive\\"] for node in ray.nodes()) < '
        f'{len(launch.options.host)}]"'
    )
    return launch.activated(f"{AUTH} && {wait} && {launch.command(f'{HOME}/{launch.file}')}")


MEMBERS = {"ray-up": RayUp()}
