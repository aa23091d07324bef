"""KubeRay: a RayJob manifest. Its cluster lives for this sweep; a job that failed is begun anew, and goes on.

Fields as in KubeRay's API of ray.io/v1 (`rayjob_types.go`, `raycluster_types.go`); `authOptions` since KubeRay 1.5.1.
"""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from privimage.cluster.launch.target import Launch, Target, ray_version
from privimage.errors import InputError

MOST = 47  # characters of a RayJob's name: KubeRay adds to it, and 63 is the most of Kubernetes
NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
CONFIG = "/etc/privimage"  # where the sweep file is mounted
HEAD = {"cpu": "2", "memory": "8Gi"}  # of the driver, the cache and Ray's own processes
PORTS = {"gcs-server": 6379, "dashboard": 8265, "client": 10001}
USER = 1000  # group of the shared files: that of the image that `render` writes a Dockerfile for
KEPT = 600  # seconds that the pods of a finished job stay, for their logs
GPU = "nvidia.com/gpu"
PRODUCT = "nvidia.com/gpu.product"  # label of NVIDIA's GPU feature discovery


class _Manifest(yaml.SafeDumper):
    """Writes text of several lines as it stands, and nothing by reference."""

    def ignore_aliases(self, data: Any) -> bool:
        """Never an alias: the same limits stand twice."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Manifest.add_representer(str, _text)


class KubeRay(Target):
    """A RayJob for `kubectl apply`."""

    what = "a RayJob for kubectl, with KubeRay 1.5.1 or newer"
    needs = ("image", "shared")
    uses = (
        *("root", "secret", "claim", "namespace", "retries"),
        *("min_nodes", "max_nodes", "cpus", "gpus", "memory", "gpu_type"),
    )
    example = "--image registry.example.org/privimage:0.1.0 --shared /shared --max-nodes 8"

    def name(self, wanted: str) -> str:
        """The name if it is one of Kubernetes. Raises InputError with the nearest that is."""
        if len(wanted) <= MOST and NAME.fullmatch(wanted):
            return wanted
        near = re.sub(r"[^a-z0-9]+", "-", wanted.lower()).lstrip("-0123456789")[:MOST].strip("-") or "sweep"
        raise InputError(
            f"name: got '{wanted}'; a RayJob's has lower-case letters, digits and '-', a letter first, at most "
            f"{MOST} characters; give --name {near}"
        )

    def files(self, launch: Launch) -> dict[str, str]:
        """One manifest: the sweep file in a ConfigMap, and the job."""
        text = yaml.dump_all(
            [_config_map(launch), _ray_job(launch)], Dumper=_Manifest, sort_keys=False, explicit_start=True, width=110
        )
        return {f"{launch.name}.rayjob.yaml": text}

    def then(self, launch: Launch) -> str:
        """Apply it."""
        secret = "" if launch.options.secret is None else f" and the secret {launch.options.secret}"
        there = f"the volume claim {launch.options.claim}{secret} {'are' if secret else 'is'} there"
        return f"kubectl apply -f {launch.name}.rayjob.yaml, once {there}"


def _config_map(launch: Launch) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(launch),
        "data": {launch.file: launch.text},
    }


def _metadata(launch: Launch) -> dict[str, str]:
    return {"name": launch.name, "namespace": launch.options.namespace}


def _ray_job(launch: Launch) -> dict[str, Any]:
    least, most = launch.options.nodes
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": _metadata(launch),
        "spec": {
            "entrypoint": launch.command(f"{CONFIG}/{launch.file}"),
            "backoffLimit": launch.options.retries,
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": KEPT,
            "rayClusterSpec": {
                "rayVersion": ray_version(),
                "authOptions": {"mode": "token"},  # KubeRay makes the token, and gives it to every pod of the job
                "enableInTreeAutoscaling": most > least,
                "headGroupSpec": _head(launch),
                "workerGroupSpecs": [_workers(launch)],
            },
        },
    }


def _head(launch: Launch) -> dict[str, Any]:
    """The head: the driver and the cache, and no trial."""
    container = {
        **_container("ray-head", launch, HEAD),
        "ports": [{"containerPort": port, "name": name} for name, port in PORTS.items()],
    }
    container["volumeMounts"] = [*container["volumeMounts"], {"name": "sweep", "mountPath": CONFIG}]
    spec = _pod(container, launch)
    spec["volumes"] = [*spec["volumes"], {"name": "sweep", "configMap": {"name": launch.name}}]
    start = {"num-cpus": "0"}
    if launch.resources.driver is not None:  # quoted once more: KubeRay writes it into a shell's line
        start["resources"] = json.dumps(json.dumps({launch.resources.driver: 1}))
    return {"rayStartParams": start, "template": {"spec": spec}}


def _workers(launch: Launch) -> dict[str, Any]:
    """The nodes of the trials: all are there at first, or the least where trials queue. Idle ones are given back."""
    (least, most), node = launch.options.nodes, launch.node()
    limits = {"cpu": str(node.cpus), "memory": f"{node.memory}Gi"} | ({GPU: str(node.gpus)} if node.gpus else {})
    spec = _pod(_container("ray-worker", launch, limits), launch)
    if node.gpus:
        spec["tolerations"] = [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
    if launch.options.gpu_type is not None:
        if not node.gpus:
            raise InputError(f"--gpu-type: got '{launch.options.gpu_type}', but no node has a GPU; give --gpus")
        spec["nodeSelector"] = {PRODUCT: launch.options.gpu_type}
    return {
        "groupName": "workers",
        "replicas": most if launch.resources.queued is None else least,
        "minReplicas": least,
        "maxReplicas": most,
        "rayStartParams": {},
        "template": {"spec": spec},
    }


def _container(name: str, launch: Launch, limits: dict[str, str]) -> dict[str, Any]:
    secret = launch.options.secret
    return {
        "name": name,
        "image": launch.options.image,
        "env": [{"name": "RAY_USAGE_STATS_ENABLED", "value": "0"}],
        **({} if secret is None else {"envFrom": [{"secretRef": {"name": secret}}]}),
        "resources": {"requests": limits, "limits": limits},
        "volumeMounts": [{"name": "shared", "mountPath": launch.options.shared}],
    }


def _pod(container: dict[str, Any], launch: Launch) -> dict[str, Any]:
    return {
        "securityContext": {"fsGroup": USER},
        "containers": [container],
        "volumes": [{"name": "shared", "persistentVolumeClaim": {"claimName": launch.options.claim}}],
    }


MEMBERS = {"kuberay": KubeRay()}
