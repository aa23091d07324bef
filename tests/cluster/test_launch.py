"""The commands that `render` writes, as they stand in its files, on a Ray of two nodes whose head takes no trial."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import two_nodes
import yaml


@dataclass(frozen=True, kw_only=True)
class Site:
    """Two nodes, and what a command is started with on them."""

    folder: Path
    environment: dict[str, str]  # as on the head, where Ray has left the address of its cluster
    address: str

    def run(self, *command: str, at: Path, **also: str) -> str:
        """What the command printed. Fails unless it ends with 0."""
        done = subprocess.run(command, cwd=at, env=self.environment | also, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, f"{command}: {done.stdout[-1000:]}{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """With token authentication, as all that is rendered has it."""
    home = tmp_path / "home"
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text("0123456789abcdef0123456789abcdef")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    of = {"HOME": str(home), "RAY_AUTH_MODE": "token", "PATH": path}
    with two_nodes.cluster({"num_cpus": 0}, {"num_cpus": 2}, **of) as nodes:
        yield Site(folder=tmp_path, environment=dict(nodes.environment), address=nodes.address)


def as_a_ray_job(launch: Path, site: Site) -> str:
    """The entrypoint where the ConfigMap is mounted."""
    config, job = yaml.safe_load_all((launch / "tiny.rayjob.yaml").read_text())
    mounted, mount = site.folder / "mounted", "/etc/privimage"
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert mount in [volume["mountPath"] for volume in head["volumeMounts"]]
    mounted.mkdir()
    for name, text in config["data"].items():
        (mounted / name).write_text(text)
    command = job["spec"]["entrypoint"].replace(mount, str(mounted))
    return site.run("bash", "-c", command, at=site.folder, RAY_ADDRESS=site.address)  # which Ray gives to its jobs


def as_a_step_of_slurm(launch: Path, site: Site) -> str:
    """What `ray symmetric-run` starts on the first node, in the folder of the script."""
    script = (launch / "tiny.sbatch").read_text()
    found = re.search(r"-- \\\n +bash -c '([^']*)' \"\$ended\"", script)
    assert found is not None
    said = site.run("bash", "-c", found[1], "ended", at=launch)
    assert (launch / "ended").exists(), "the mark that the script looks for"
    return said


def as_the_script_of_ray_up(launch: Path, site: Site) -> str:
    """The whole script, where `ray up` is not needed and `ray exec` is run on the head."""
    cluster = yaml.safe_load((launch / "tiny.cluster.yaml").read_text())
    for remote, local in cluster["file_mounts"].items():
        target = Path(site.environment["HOME"]) / remote.removeprefix("~/")
        if not local.startswith("~"):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(launch / local, target)
    programs = site.folder / "programs"
    programs.mkdir()
    real = Path(sys.executable).with_name("ray")
    (programs / "ray").write_text(
        f'#!/bin/bash\ncase "$1" in\nup) ;;\nexec) bash -c "$3";;\n*) exec {real} "$@";;\nesac\n'
    )
    (programs / "ray").chmod(0o755)
    path = f"{programs}:{site.environment['PATH']}"
    return site.run("bash", str(launch / "tiny.sh"), at=site.folder, PATH=path)


def as_a_container(launch: Path, site: Site) -> str:
    """The command of the image, on this machine alone, where /runs is the shared folder."""
    (line,) = [line for line in (launch / "Dockerfile.cpu").read_text().splitlines() if line.startswith("CMD ")]
    runs = str(site.folder / "shared" / "runs")
    return site.run(*(runs if word == "/runs" else word for word in json.loads(line.removeprefix("CMD "))), at=launch)


STARTS: dict[str, tuple[tuple[str, ...], Callable[[Path, Site], str]]] = {
    "kuberay": (("--image", "p:1"), as_a_ray_job),
    "slurm": ((), as_a_step_of_slurm),
    "ray-up": (("--host", "a", "--host", "b", "--user", "u"), as_the_script_of_ray_up),
    "docker": ((), as_a_container),
}


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_what_is_rendered_runs_the_sweep_and_the_next_start_goes_on(
    site: Site, privimage: Callable[..., tuple[int, str, str]], write_sweep: Callable[..., Path]
) -> None:
    """They share a root: the first runs every trial, and what starts the sweep again runs and charges nothing."""
    file, shared = write_sweep(), site.folder / "shared"
    before: Any = None
    for target, (words, start) in STARTS.items():
        launch = site.folder / target
        given = () if target == "docker" else ("--shared", shared)
        assert privimage("render", target, file, "--to", launch, *given, *words)[0] == 0
        assert f"{shared}/runs/tiny: done." in start(launch, site).replace("\n", " "), target
        runs = shared / "runs"
        now = [(runs / name).read_bytes() for name in ("tiny/records.jsonl", "ledgers/tiny-v1.jsonl")]
        assert now[0].count(b"\n") >= 2 and (before is None or now == before), target
        before = now
