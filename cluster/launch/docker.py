"""Docker: images with privimage at the versions that are installed here, one for CPUs and one for NVIDIA's GPUs."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version

from privimage.cluster.launch.target import Launch, Target
from privimage.plain_yaml import read_value

CPU_TORCH = " --extra-index-url https://download.pytorch.org/whl/cpu"  # the build without CUDA: two thirds less to pull
EXTRAS = ("sweep", "bucket", "postgres")  # whatever root and studies the sweep names
GPU_ENV = "NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility"  # the driver is the machine's own
FILE = """\
# privimage {ours} for {device}. Beside this file: the wheel, which `pip wheel --no-deps -w . PATH_OF_PRIVIMAGE` makes.
# docker build -f {name} -t privimage:{ours}-{device} .
FROM python:{python}-slim
# KubeRay asks by wget whether Ray is well
RUN apt-get update && apt-get install --yes --no-install-recommends wget && rm -rf /var/lib/apt/lists/*
COPY constraints.txt privimage-{ours}-*.whl /tmp/
RUN pip install --no-cache-dir{index} -c /tmp/constraints.txt \\
    "$(ls /tmp/privimage-{ours}-*.whl)[{extras}]" "ray[default]"{trackers} && rm /tmp/*.whl
ENV {env}
RUN useradd --create-home --uid 1000 ray && mkdir /runs && chown ray /runs
USER ray
WORKDIR /home/ray
COPY {sweep} ./
CMD ["privimage", "sweep", "{sweep}", "--root", "/runs"]
"""


class Docker(Target):
    """Files for `docker build`."""

    what = "Dockerfiles of this version, for CPUs and for NVIDIA's GPUs"
    example = "--name scans"

    def files(self, launch: Launch) -> dict[str, str]:
        """A Dockerfile a device, the versions of what they install, and the sweep that they run."""
        usual = "RAY_USAGE_STATS_ENABLED=0"
        return {
            "Dockerfile.cpu": _dockerfile(launch, "cpu", index=CPU_TORCH, env=usual),
            "Dockerfile.cuda": _dockerfile(launch, "cuda", index="", env=f"{usual} {GPU_ENV}"),
            "constraints.txt": "".join(f"{name}=={found}\n" for name, found in installed().items()),
            launch.file: launch.text,
        }

    def then(self, launch: Launch) -> str:
        """Build one."""
        return "put the wheel of privimage there, and docker build -f Dockerfile.cuda -t NAME ."


def _dockerfile(launch: Launch, device: str, *, index: str, env: str) -> str:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return FILE.format(
        ours=version("privimage"), device=device, name=f"Dockerfile.{device}", python=python, index=index, env=env,
        sweep=launch.file, extras=",".join(EXTRAS), trackers="".join(f" {name}" for name in _trackers(launch)),
    )  # fmt: skip


def _trackers(launch: Launch) -> list[str]:
    """The packages that the sweep's trackers need: MLflow and W&B are no extras of privimage."""
    wanted = read_value(launch.text, where=launch.file).get("trackers") or {}
    return [name for name in ("mlflow", "wandb") if wanted.get(name)]


def installed() -> dict[str, str]:
    """The version of every package that privimage and EXTRAS need, as it is installed here, sorted by name.

    Without the part behind "+", which names the build: that is the image's.
    """
    ours = [f"'{extra}'" for extra in EXTRAS]
    needed = [
        text for text in requires("privimage") or ()
        if "extra ==" not in text or any(extra in _quoted(text) for extra in ours)
    ]  # fmt: skip
    found = {}
    for name in sorted({re.split(r"[^A-Za-z0-9._-]", text)[0] for text in needed}):
        with suppress(PackageNotFoundError):  # one of an extra that is not installed here: the image takes the newest
            found[name] = version(name).split("+")[0]
    return found


def _quoted(text: str) -> str:
    return text.replace('"', "'")


MEMBERS = {"docker": Docker()}
