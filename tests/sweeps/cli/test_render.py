"""What `render` writes, against what is known of its readers: Ray's own schema and checks, bash."""

from __future__ import annotations

import ast
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import jsonschema_rs
import pytest
import ray
import yaml
from ray.autoscaler._private.util import fillout_defaults, prepare_config, validate_config
from ray.scripts.scripts import start
from ray.scripts.symmetric_run import curate_and_validate_ray_start_args
from render_targets import GPU, OPTIONS

from privimage import __version__
from privimage.cluster.launch.docker import installed
from privimage.cluster.launch.target import DOOR, Launch, LaunchOptions
from privimage.cluster.resources import Resources, trials_at_once
from privimage.errors import InputError
from privimage.schema import parse

ROOT = Path(__file__).parents[3]
Run = Callable[..., tuple[int, str, str]]


def test_every_target_is_found_by_its_file_and_named_nowhere_else() -> None:
    assert set(DOOR.names()) == OPTIONS.keys()
    texts = {
        node.value
        for package in ("privimage", "cluster", "sweeps", "analysis")
        for path in (ROOT / package).rglob("*.py")
        if path.parent.name != "launch"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert not texts & OPTIONS.keys()


def test_help_has_an_example_of_every_target_that_works(
    privimage: Run, write_sweep: Callable[..., Path], tmp_path: Path
) -> None:
    code, out, _ = privimage("render", "--help")
    said = " ".join(out.split())
    assert code == 0
    for name, target in DOOR.members().items():
        assert f"privimage render {name} scans.yaml --to launch {target.example}" in said
        to = tmp_path / name
        assert privimage("render", name, write_sweep(), "--to", to, *target.example.split())[0] == 0


def test_every_example_of_the_page_works(privimage: Run, write_sweep: Callable[..., Path], tmp_path: Path) -> None:
    page = (ROOT / "docs" / "launch.md").read_text().replace("\\\n", " ")
    examples = [shlex.split(line) for line in page.splitlines() if line.startswith("    privimage render ")]
    assert {words[2] for words in examples} == OPTIONS.keys()
    for words in examples:
        to = words.index("--to") + 1
        given = [words[2], write_sweep(**GPU), "--to", tmp_path / words[2], *words[to + 1 :]]
        assert privimage("render", *given)[0] == 0, words


# ---- refusals


@pytest.mark.parametrize(
    ("target", "words", "says"),
    [
        ("kubray", (), "target 'kubray': unknown, did you mean 'kuberay'?"),
        ("kuberay", ("--shared", "/s"), "--image: missing; kuberay needs it, e.g. --image registry.example.org/"),
        ("slurm", (), "--shared: missing; slurm needs it"),
        ("slurm", ("--shared", "/s", "--image", "x"), "--image: slurm does not use it; it takes --shared, --root"),
        ("slurm", ("--shared", "runs"), "--shared: got 'runs'; use an absolute path"),
        ("slurm", ("--shared", "/a b"), "--shared: got '/a b'; use an absolute path"),
        ("slurm", ("--shared", "/s'; rm -rf /"), "use an absolute path"),
        ("slurm", ("--shared", "/s", "--time", "2h"), "--time: got '2h'; use [DAYS-]HH:MM:SS"),
        ("slurm", ("--shared", "/s", "--time", "00:00:00"), "--time: got '00:00:00'; use [DAYS-]HH:MM:SS above 0"),
        ("slurm", ("--shared", "/s", "--time", "1-25:00:00"), "--time: got '1-25:00:00'; use"),
        ("slurm", ("--shared", "/s", "--time", "\u0661:00:00"), "--time: got '\u0661:00:00'; use"),
        ("slurm", ("--shared", "/s", "--max-nodes", 1, "--min-nodes", 2), "--max-nodes: got 1, below --min-nodes 2"),
        ("slurm", ("--shared", "/s", "--gpu-type", "h100"), "--gpu-type: got 'h100', but no node has a GPU"),
        ("kuberay", (*OPTIONS["kuberay"], "--gpu-type", "h100"), "--gpu-type: got 'h100', but no node has a GPU"),
        ("slurm", (*OPTIONS["slurm"], "--root", "/scratch"), "--root: got '/scratch'; use the URL of a bucket"),
        ("slurm", (*OPTIONS["slurm"], "--root", "ftp://a/b"), "--root: got 'ftp://a/b'; use the URL of a bucket"),
        ("slurm", (*OPTIONS["slurm"], "--root", "s3://a/$(b)"), "--root: got 's3://a/$(b)'; use the URL of a bucket"),
        ("slurm", (*OPTIONS["slurm"], "--secret", "keys"), "--secret: slurm does not use it"),
        ("kuberay", (*OPTIONS["kuberay"], "--namespace", "A"), "--namespace: got 'A'; use lower-case"),
        ("kuberay", (*OPTIONS["kuberay"], "--claim", "a" * 64), "--claim: got 64 characters; use at most 63"),
        ("kuberay", (*OPTIONS["kuberay"], "--name", "9_Faces.v2"), "give --name faces-v2"),
        ("kuberay", (*OPTIONS["kuberay"], "--name", "a" * 48), f"at most 47 characters; give --name {'a' * 47}"),
        ("ray-up", (*OPTIONS["ray-up"], "--host", "a", "--host", "a"), "got 'a' twice; name every machine once"),
        ("ray-up", (*OPTIONS["ray-up"], "--host", "-oProxy"), "--host: got '-oProxy'; use names or addresses"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line_with_the_fix(
    privimage: Run, write_sweep: Callable[..., Path], tmp_path: Path, target: str, words: tuple[object, ...], says: str
) -> None:
    code, out, err = privimage("render", target, write_sweep(), "--to", tmp_path / "launch", *words)
    assert (code, out, err.count("\n")) == (2, "", 1) and says in err, err
    assert not (tmp_path / "launch").exists()


def test_the_name_of_a_sweep_that_is_none_of_kubernetes_is_refused_with_one_that_is(
    privimage: Run, write_sweep: Callable[..., Path], tmp_path: Path
) -> None:
    file, words = write_sweep(name="Tiny_Sweep.2"), ("--to", tmp_path / "launch", *OPTIONS["kuberay"])
    code, _, err = privimage("render", "kuberay", file, *words)
    assert code == 2 and "got 'Tiny_Sweep.2'" in err
    fix = re.search(r"give (--name \S+)", err)
    assert fix is not None and privimage("render", "kuberay", file, *words, *fix[1].split())[0] == 0
    assert (tmp_path / "launch" / "tiny-sweep-2.rayjob.yaml").exists()


@pytest.mark.parametrize("target", ["kuberay", "slurm", "ray-up"])
def test_runs_lie_below_the_shared_folder_or_in_the_bucket_that_is_named(
    rendered: Callable[..., Path], target: str
) -> None:
    def roots(*words: object) -> set[str]:
        files = rendered(target, "--force", *words).iterdir()
        return {root for file in files for root in re.findall(r"--address auto --root ([^\s']+)", file.read_text())}

    assert roots() == {"/shared/runs"}
    assert roots("--root", "gs://scans/a/runs") == {"gs://scans/a/runs"}


def test_nothing_is_replaced_unasked(privimage: Run, write_sweep: Callable[..., Path], tmp_path: Path) -> None:
    words = ("--to", tmp_path / "launch", *OPTIONS["slurm"])
    (tmp_path / "launch").mkdir()
    (tmp_path / "launch" / "tiny.yaml").write_text("mine")
    code, _, err = privimage("render", "slurm", write_sweep(), *words)
    assert code == 2 and "tiny.yaml: is there already; give --force to replace it, or another --to" in err
    assert [path.read_text() for path in (tmp_path / "launch").iterdir()] == ["mine"]
    assert privimage("render", "slurm", write_sweep(), *words, "--force")[0] == 0
    assert (tmp_path / "launch" / "tiny.yaml").read_text() == write_sweep().read_text()


# ---- the size of a node


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("cpu", [0.5, 1, 3])
@pytest.mark.parametrize("gpu", [0, 0.6, 1, 2])
def test_a_trial_fits_on_the_node_that_is_asked_for(workers: int, cpu: float, gpu: float) -> None:
    resources = Resources(workers=workers, cpu=cpu, gpu=gpu)
    node = Launch(name="a", text="", resources=resources, options=LaunchOptions()).node()
    assert trials_at_once(resources, [{"CPU": node.cpus, "GPU": node.gpus}]) >= 1
    assert node.gpus == workers * math.ceil(gpu), "no more whole GPUs than a trial takes"


def test_small_trials_share_the_gpu_of_a_node() -> None:
    resources = Resources(cpu=2, gpu=0.3)
    node = Launch(name="a", text="", resources=resources, options=LaunchOptions()).node()
    assert (node.gpus, node.cpus) == (1, 6)
    assert trials_at_once(resources, [{"CPU": node.cpus, "GPU": node.gpus}]) == 3


def test_a_node_holds_every_stage() -> None:
    """The most GPUs that one takes, cores for as many trials as fit there, their drivers, and the memory."""
    shares = {"pretrain": {"gpu": 2}, "finetune": {"gpu": 1, "memory": 24}, "sample": {"cpu": 6}}
    resources = parse(Resources, {"cpu": 2, **shares, "driver": "head"})
    node = Launch(name="a", text="", resources=resources, options=LaunchOptions()).node()
    assert (node.gpus, node.cpus, node.memory) == (2, 6, 69)
    options = LaunchOptions(memory=32)
    with pytest.raises(InputError, match=r"--memory: too small: resources\.finetune: .* 24 GiB, .* 22.4 GiB"):
        Launch(name="a", text="", resources=resources, options=options).node()


@pytest.mark.parametrize(("target", "file", "times"), [("slurm", "tiny.sbatch", 1), ("ray-up", "tiny.cluster.yaml", 1)])
def test_ray_start_is_told_of_drivers(rendered: Callable[..., Path], target: str, file: str, times: int) -> None:
    text = (rendered(target, resources={"driver": "stays"}) / file).read_text()
    assert "--resources=" in text and len(re.findall("stays", text)) == times
    assert "--resources" not in (rendered(target, "--force") / file).read_text()


def test_a_node_that_is_too_small_is_refused() -> None:
    options = LaunchOptions(cpus=2, min_nodes=2)
    with pytest.raises(InputError, match=r"--min-nodes, --cpus, --gpus, --memory: too small: .* needs 4 CPU"):
        Launch(name="a", text="", resources=Resources(cpu=4), options=options).node()


# ---- ray up


def test_a_cluster_file_passes_what_ray_up_checks(rendered: Callable[..., Path]) -> None:
    to = rendered("ray-up", "--host", "10.0.0.3", "--venv", "/shared/venv")
    cluster = yaml.safe_load((to / "tiny.cluster.yaml").read_text())
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema_rs.validate(schema, cluster)
    whole = prepare_config(cluster)
    validate_config(whole)
    assert fillout_defaults(whole)["available_node_types"]["local.cluster.node"]["min_workers"] == 2
    assert whole["provider"]["head_ip"] == "10.0.0.1" and whole["provider"]["worker_ips"] == ["10.0.0.2", "10.0.0.3"]
    assert cluster["file_mounts"]["~/.privimage/tiny.yaml"] == "./tiny.yaml" and (to / "tiny.yaml").exists()
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    starts = [cluster["head_start_ray_commands"][-1], cluster["worker_start_ray_commands"][-1]]
    for command in starts:
        assert command.startswith(". /shared/venv/bin/activate && export RAY_AUTH_MODE=token ")
        words = shlex.split(command.rpartition("ray start ")[2])
        start.make_context("start", words, resilient_parsing=False)  # each is an option of `ray start`
    assert "--num-cpus=0" in starts[0] and "--num-cpus" not in starts[1]
    bash_reads(to / "tiny.sh")


def test_one_machine_alone_takes_trials(privimage: Run, write_sweep: Callable[..., Path], tmp_path: Path) -> None:
    words = ("--host", "10.0.0.1", "--user", "ubuntu", "--shared", "/shared")
    assert privimage("render", "ray-up", write_sweep(), "--to", tmp_path / "launch", *words)[0] == 0
    cluster = yaml.safe_load((tmp_path / "launch" / "tiny.cluster.yaml").read_text())
    assert not any("--num-cpus" in command for command in cluster["head_start_ray_commands"])
    assert cluster["max_workers"] == 0


@pytest.mark.parametrize(("said", "code"), [(f"privimage {__version__}", 0), ("privimage 0.0.1", 1)])
def test_a_machine_with_another_privimage_is_refused(
    rendered: Callable[..., Path], tmp_path: Path, said: str, code: int
) -> None:
    cluster = yaml.safe_load((rendered("ray-up") / "tiny.cluster.yaml").read_text())
    path = programs(tmp_path / "bin", privimage=f'echo "{said}"')
    done = subprocess.run(
        ["bash", "-c", *cluster["setup_commands"]], env={"PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == code
    assert code == 0 or f"privimage {__version__} is not installed on this machine" in done.stderr


# ---- slurm


def bash_reads(script: Path) -> None:
    """Fail unless bash can parse it."""
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def programs(folder: Path, **bodies: str) -> str:
    """A PATH on which these commands come first, each a script of that body."""
    folder.mkdir(exist_ok=True)
    for name, body in bodies.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_a_batch_script_asks_slurm_for_what_the_sweep_takes(rendered: Callable[..., Path]) -> None:
    words = ("--min-nodes", 2, "--max-nodes", 4, "--gpu-type", "h100", "--partition", "gpu", "--time", "1-00:00:00")
    to = rendered("slurm", *words, "--venv", "/s/venv", **GPU)
    script = (to / "tiny.sbatch").read_text()
    bash_reads(to / "tiny.sbatch")
    asked = set(re.findall(r"^#SBATCH (\S+)$", script, re.MULTILINE))
    assert asked == {
        "--job-name=tiny", "--nodes=2-4", "--ntasks-per-node=1", "--cpus-per-task=7", "--mem=16G", "--exclusive",
        "--time=1-00:00:00", "--signal=B:USR1@120", "--requeue", "--open-mode=append", "--output=tiny-%j.log",
        "--gpus-per-node=h100:2", "--partition=gpu",
    }  # fmt: skip
    assert script.index("\n#SBATCH") < script.index("\nset -u"), "Slurm reads none behind the first command"
    assert "\n. /s/venv/bin/activate || exit 1\n" in script
    assert (to / "tiny.yaml").exists()


def test_symmetric_run_takes_the_words_of_a_batch_script(rendered: Callable[..., Path]) -> None:
    script = (rendered("slurm") / "tiny.sbatch").read_text().replace("\\\n", " ")
    (line,) = [line for line in script.splitlines() if line.startswith("srun ")]
    words = shlex.split(line.removesuffix("&"))
    words = words[words.index("symmetric-run") + 1 :]
    assert words[:4] == ["--address", "$head:6379", "--min-nodes", "$SLURM_JOB_NUM_NODES"]
    rest = curate_and_validate_ray_start_args([*words[:2], "--min-nodes", "2", *words[4 : words.index("--")]])
    assert rest == ["--num-cpus=1", "--num-gpus=0"]
    start.make_context("start", rest, resilient_parsing=False)


def seen(path: Path) -> None:
    """Wait until the path is there and holds its text; fail after half a minute."""
    end = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} never came"
        time.sleep(0.1)
    time.sleep(0.2)


SRUN = 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"'  # as on the first node, without Ray


@pytest.fixture
def submitted(rendered: Callable[..., Path], tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts the batch script as Slurm would, where its programs are these."""
    to = rendered("slurm")

    def submit(**bodies: str) -> subprocess.Popen[str]:
        calls = f'echo "$@" >> {tmp_path}/scontrol.txt'
        path = programs(tmp_path / "bin", **({"ray": "printf token", "scontrol": calls, "srun": SRUN} | bodies))
        environment = os.environ | {"PATH": path, "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "1"}
        return subprocess.Popen(
            ["bash", "tiny.sbatch"], cwd=to, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return submit


@pytest.mark.parametrize(
    ("bodies", "code", "says"),
    [
        ({"privimage": 'test "$RAY_AUTH_TOKEN,$RAY_AUTH_MODE" = token,token'}, 0, ""),
        ({"privimage": "exit 2"}, 2, ""),
        ({"privimage": "exit 0", "srun": "exit 0"}, 1, "the sweep did not run: Ray did not start"),
        ({"privimage": "exit 0", "ray": "exit 1"}, 1, ""),
    ],
)
def test_a_batch_script_ends_as_the_sweep_does(
    submitted: Callable[..., subprocess.Popen[str]], tmp_path: Path, bodies: dict[str, str], code: int, says: str
) -> None:
    script = submitted(**bodies)
    _, err = script.communicate(timeout=60)
    assert script.returncode == code and says in err
    assert not list((tmp_path / "launch").glob(".*")), "its mark is gone"
    assert not (tmp_path / "scontrol.txt").exists()


def test_before_its_time_limit_a_job_is_queued_again_and_goes_on_until_it_is_ended(
    submitted: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    begun, end = tmp_path / "begun", tmp_path / "end"
    script = submitted(privimage=f"touch {begun}; until [ -e {end} ]; do sleep 0.1; done")
    seen(begun)
    script.send_signal(signal.SIGUSR1)
    seen(tmp_path / "scontrol.txt")
    assert (tmp_path / "scontrol.txt").read_text() == "requeue 7\n"
    assert script.poll() is None, "the sweep is not cut before Slurm does"
    end.touch()
    out, _ = script.communicate(timeout=60)
    assert script.returncode == 0 and "queued again" in out


# ---- docker


def test_an_image_has_the_versions_that_are_installed_here(rendered: Callable[..., Path]) -> None:
    to = rendered("docker")
    found = dict(line.split("==") for line in (to / "constraints.txt").read_text().splitlines())
    assert found == installed()
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    tested = dict(line.split("==") for line in lines if "==" in line)
    tested = {name.replace("_", "-"): version for name, version in tested.items()}
    known = found.keys() & tested.keys()
    assert {"torch", "ray", "opacus", "optuna", "dp-accounting"} <= known and len(found) > 20
    assert {name: found[name] for name in known} == {name: tested[name] for name in known}
    assert {"obstore", "psycopg"} <= found.keys(), "what a root in a bucket and studies on a server need"
    assert "pytest" not in found and not any("+" in value for value in found.values())


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_lines_of_a_dockerfile(rendered: Callable[..., Path], device: str) -> None:
    to = rendered("docker")
    text = (to / f"Dockerfile.{device}").read_text().replace("\\\n", " ")
    lines = dict(line.split(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    assert lines["FROM"] == f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"
    install = next(line for line in text.splitlines() if "pip install" in line)
    ours = f'"$(ls /tmp/privimage-{version("privimage")}-*.whl)[sweep,bucket,postgres]"'
    assert "-c /tmp/constraints.txt" in install and ours in install and '"ray[default]"' in install
    assert ("download.pytorch.org/whl/cpu" in install) == (device == "cpu")
    assert ("NVIDIA_VISIBLE_DEVICES=all" in lines["ENV"]) == (device == "cuda")
    assert lines["USER"] == "ray" and "wget" in text
    assert json.loads(lines["CMD"]) == ["privimage", "sweep", "tiny.yaml", "--root", "/runs"]
    copied = [word for line in text.splitlines() if line.startswith("COPY") for word in line.split()[1:-1]]
    assert {name for name in copied if "*" not in name} <= {path.name for path in to.iterdir()}


def test_an_image_has_what_the_trackers_of_the_sweep_need(rendered: Callable[..., Path]) -> None:
    to = rendered("docker", trackers={"tensorboard": True, "wandb": "scans"})
    installs = next(line for line in (to / "Dockerfile.cpu").read_text().splitlines() if "ray[default]" in line)
    assert '"ray[default]" wandb &&' in installs and "mlflow" not in installs
