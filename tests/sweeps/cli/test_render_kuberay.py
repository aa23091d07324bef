"""The RayJob that `render kuberay` writes, against the fields of KubeRay and of Kubernetes' pods."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import ray
import yaml
from render_targets import GPU

SCHEMA = json.loads(Path(__file__).with_name("rayjob.schema.json").read_text())


@pytest.mark.parametrize("words", [(), ("--min-nodes", 2, "--max-nodes", 8, "--root", "s3://a/b", "--secret", "keys")])
@pytest.mark.parametrize("changed", [{}, GPU, {"resources": {"driver": "stays"}}, {"resources": {"queued": 4}}])
def test_a_ray_job_fits_the_schema(rendered: Callable[..., Path], words: tuple[object, ...], changed: Any) -> None:
    _, job = yaml.safe_load_all((rendered("kuberay", *words, **changed) / "tiny.rayjob.yaml").read_text())
    jsonschema_rs.validate(SCHEMA, job)


@pytest.mark.parametrize(
    ("where", "wrong"),
    [
        ("spec", {"backofflimit": 3}),
        ("spec", {"ttlSecondsAfterFinished": "600"}),
        ("spec.rayClusterSpec", {"autoscaling": True}),
        ("spec.rayClusterSpec.headGroupSpec.rayStartParams", {"num-cpus": 0}),
        ("spec.rayClusterSpec.workerGroupSpecs.0", {"replica": 3}),
        ("spec.rayClusterSpec.workerGroupSpecs.0.template.spec", {"volumeMounts": []}),
        ("spec.rayClusterSpec.workerGroupSpecs.0.template.spec.containers.0.resources", {"requests": {"cpu": 1}}),
    ],
)
def test_the_schema_sees_a_wrong_field(rendered: Callable[..., Path], where: str, wrong: dict[str, Any]) -> None:
    _, job = yaml.safe_load_all((rendered("kuberay") / "tiny.rayjob.yaml").read_text())
    broken = deepcopy(job)
    at = broken
    for step in where.split("."):
        at = at[int(step) if step.isdigit() else step]
    at |= wrong
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(SCHEMA, broken)


def test_a_ray_job_has_the_fields_of_kuberay(rendered: Callable[..., Path]) -> None:
    words = ("--min-nodes", 2, "--max-nodes", 8, "--memory", 64, "--gpu-type", "NVIDIA-H100", "--namespace", "imaging")
    to = rendered("kuberay", *words, "--claim", "scans", "--retries", 5, **GPU)
    config, job = yaml.safe_load_all((to / "tiny.rayjob.yaml").read_text())
    assert (config["apiVersion"], config["kind"]) == ("v1", "ConfigMap")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["metadata"] == config["metadata"] == {"name": "tiny", "namespace": "imaging"}
    spec = job["spec"]
    assert spec["entrypoint"] == "privimage sweep /etc/privimage/tiny.yaml --address auto --root /shared/runs"
    assert (spec["backoffLimit"], spec["shutdownAfterJobFinishes"]) == (5, True)
    cluster = spec["rayClusterSpec"]
    assert cluster["rayVersion"] == ray.__version__ and cluster["authOptions"] == {"mode": "token"}
    assert cluster["enableInTreeAutoscaling"] is True
    (group,) = cluster["workerGroupSpecs"]
    assert (group["minReplicas"], group["maxReplicas"], group["replicas"]) == (2, 8, 8)
    pod = group["template"]["spec"]
    (worker,) = pod["containers"]
    limits = {"cpu": "7", "memory": "64Gi", "nvidia.com/gpu": "2"}
    assert worker["resources"] == {"requests": limits, "limits": limits}
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H100"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_where_trials_queue_the_workers_begin_with_the_least(rendered: Callable[..., Path]) -> None:
    words = ("--min-nodes", 2, "--max-nodes", 8, "--claim", "scans")
    to = rendered("kuberay", *words, resources={"gpu": 1, "queued": 4})
    _, job = yaml.safe_load_all((to / "tiny.rayjob.yaml").read_text())
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert (group["minReplicas"], group["maxReplicas"], group["replicas"]) == (2, 8, 2)


def test_the_head_of_a_ray_job_takes_no_trial_and_has_the_file_and_the_shared_folder(
    rendered: Callable[..., Path], write_sweep: Callable[..., Path]
) -> None:
    config, job = yaml.safe_load_all((rendered("kuberay", "--claim", "scans") / "tiny.rayjob.yaml").read_text())
    assert config["data"] == {"tiny.yaml": write_sweep().read_text()}
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"] is False, "one node, neither more nor less"
    head, (group,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert head["rayStartParams"] == {"num-cpus": "0"} and group["rayStartParams"] == {}
    for pod, extra in ((head["template"]["spec"], {"sweep": "/etc/privimage"}), (group["template"]["spec"], {})):
        (container,) = pod["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts == {"shared": "/shared"} | extra
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes.keys() == mounts.keys()
        assert volumes["shared"]["persistentVolumeClaim"] == {"claimName": "scans"}
        assert container["image"] == "r.io/p:1" and "nvidia.com/gpu" not in container["resources"]["limits"]
        assert "nodeSelector" not in pod
    names = [volume.get("configMap") for volume in head["template"]["spec"]["volumes"]]
    assert {"name": config["metadata"]["name"]} in names


def test_the_nodes_of_drivers_have_their_resource(rendered: Callable[..., Path]) -> None:
    driver = {"resources": {"driver": "stays"}}
    docs = list(yaml.safe_load_all((rendered("kuberay", **driver) / "tiny.rayjob.yaml").read_text()))
    spec = docs[1]["spec"]["rayClusterSpec"]
    assert spec["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0", "resources": '"{\\"stays\\": 1}"'}
    assert spec["workerGroupSpecs"][0]["rayStartParams"] == {}
    shown = subprocess.run(
        f"echo {spec['headGroupSpec']['rayStartParams']['resources']}", shell=True, capture_output=True, text=True
    ).stdout
    assert json.loads(shown) == {"stays": 1}


def test_every_pod_has_the_variables_of_the_secret(rendered: Callable[..., Path]) -> None:
    _, job = yaml.safe_load_all((rendered("kuberay", "--secret", "keys") / "tiny.rayjob.yaml").read_text())
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]
