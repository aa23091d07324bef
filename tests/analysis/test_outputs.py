"""Every form of output, read back by the source of that form; and an output that is killed, refused or cut short."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from killed_output import digests
from numpy.typing import NDArray
from PIL import Image
from quick import first

from privimage.analysis import synthesise
from privimage.analysis.export import pull_best
from privimage.analysis.outputs import webdataset
from privimage.analysis.outputs.output import DOOR, ImageBlocks, output_of
from privimage.analysis.synthesise import Bundle
from privimage.data import PublicConfig, load_public
from privimage.errors import InputError
from privimage.generators import sampler
from privimage.generators.sampler import blocks, draw_block, draw_images
from privimage.paths import RunFolder
from privimage.progress import silent

HERE = Path(__file__).parent
CLASSES = ("dog", "a/b", "10", "9", ".x")
READ: dict[str, dict[str, Any]] = {  # a path that is asked for -> how it is read back
    "a.npz": {"name": "npz", "root": "a.npz"},
    "a/": {"name": "folder", "root": "a"},
    "a.zip": {"name": "zip", "root": "a.zip"},
    "a.parquet": {"name": "parquet", "root": "a.parquet"},
    "a.tar": {"name": "webdataset", "root": "a.tar"},
    "a-%06d.tar": {"name": "webdataset", "root": "a-*.tar"},
}


@pytest.fixture(scope="module")
def directory(demo: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("best")
    pull_best(demo, epsilon=10, metric="accuracy[cnn]", to=to)
    return to


def drawn(n: int = 23, channels: int = 3, classes: tuple[str, ...] = CLASSES) -> tuple[NDArray[np.uint8], ImageBlocks]:
    """Random images in blocks of 10, labels in no order."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (n, channels, 8, 8), dtype=np.uint8), rng.integers(0, len(classes), n)
    return x, ImageBlocks(
        y=y, classes=classes, shape=(channels, 8, 8), blocks=lambda: (x[i : i + 10] for i in range(0, n, 10))
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("to", READ)
def test_what_is_written_is_read_back_by_the_source_of_that_form(
    to: str, channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webdataset, "SHARD", 9)
    x, made = drawn(channels=channels)
    output, path = output_of(str(tmp_path / to.rstrip("/")) + "/" * to.endswith("/"), named="to")
    assert output.names(path.name, 23) == (path.name,) or output.names(path.name, 19)[2:] == ("a-000002.tar",)
    output.write(made, tmp_path, path.name, silent)
    values = READ[to] | {"root": str(tmp_path / READ[to]["root"])}
    found = load_public(PublicConfig(**values, channels=channels, size=8), cache=tmp_path)
    images = np.stack(list(found.each()))
    if to in ("a/", "a.zip"):  # these go label by label
        order = np.argsort(made.y, kind="stable")
        assert found.classes == ("0_dog", "1_a-b", "2_10", "3_9", "4_.x")
    else:
        order = np.arange(len(x))
        assert found.classes == (CLASSES if ".tar" not in to else tuple("01234"))
    assert np.array_equal(found.y, made.y[order]) and np.array_equal(images, x[order])


def test_names_of_classes_are_those_of_directories_where_they_are_such_names(tmp_path: Path) -> None:
    _, made = drawn(classes=("cat", "dog"))
    DOOR.load("folder").write(made, tmp_path, "a", silent)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["cat", "dog"]
    assert sorted(path.name for path in (tmp_path / "a").rglob("*.png"))[::22] == ["000000.png", "000022.png"]


def test_a_zip_is_stored_and_a_picture_is_a_grid(tmp_path: Path) -> None:
    import zipfile

    _, made = drawn()
    DOOR.load("zip").write(made, tmp_path, "a.zip", silent)
    assert {info.compress_type for info in zipfile.ZipFile(tmp_path / "a.zip").infolist()} == {zipfile.ZIP_STORED}
    DOOR.load("picture").write(made, tmp_path, "a.png", silent)
    most = int(np.bincount(made.y).max())
    assert Image.open(tmp_path / "a.png").size == (7 * (most * 9 - 1), 7 * (5 * 9 - 1))


def test_what_hugging_face_has_to_be_told_stands_in_the_parquet_file(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    x, made = drawn()
    DOOR.load("parquet").write(made, tmp_path, "a.parquet", silent)
    table = pq.read_table(tmp_path / "a.parquet")
    told = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert told == {"image": {"_type": "Image"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    assert [field.name for field in table.schema.field("image").type] == ["bytes", "path"]
    assert table["image"][1].as_py()["path"] == "000001.png" and len(table) == len(x)


@pytest.mark.parametrize("to", READ)
def test_never_more_than_a_block_is_asked_for_at_once(to: str, tmp_path: Path) -> None:
    """A block may be gone as soon as the next is asked for: it is written by then, or held as files of its images."""
    x, made = drawn(40)
    room = np.zeros((10, *x.shape[1:]), np.uint8)

    def reused() -> Iterator[NDArray[np.uint8]]:
        for i in range(0, 40, 10):
            room[:] = x[i : i + 10]
            yield room

    output, path = output_of(str(tmp_path / "one" / to.rstrip("/")) + "/" * to.endswith("/"), named="to")
    for folder, parts in ((tmp_path / "one", reused), (tmp_path / "other", made.blocks)):
        folder.mkdir()
        output.write(
            ImageBlocks(y=made.y, classes=made.classes, shape=made.shape, blocks=parts), folder, path.name, silent
        )
    assert digests(tmp_path / "one") == digests(tmp_path / "other")


# ---- blocks


def test_the_command_writes_what_the_api_draws(directory: Path, tmp_path: Path) -> None:
    bundle = Bundle(directory)
    x, y = bundle.sample(n=1100, seed=4, labels=["3", "7"])
    (path,) = bundle.write(tmp_path / "a.npz", n=1100, seed=4, labels=["3", "7"])
    with np.load(path) as found:
        assert np.array_equal(found["x"], x) and np.array_equal(found["y"], y)
        assert found["classes"].tolist() == list("0123456789")
    assert digests(tmp_path).keys() == {"a.npz"}, "and leaves nothing beside it"


def test_a_block_follows_from_the_seed_and_its_number_alone(directory: Path) -> None:
    bundle = Bundle(directory)
    config, device = bundle.config.sample, next(bundle._generator.parameters()).device
    whole, labels = draw_images(bundle._generator, n=1203, config=config, seed=5, device=device)
    assert [at.start for at in blocks(1203, config)] == [0, 500, 1000]
    last = draw_block(bundle._generator, labels[1000:], number=2, config=config, seed=5, device=device)
    assert np.array_equal(whole[1000:], last)
    first, _ = draw_images(bundle._generator, n=500, config=config, seed=5, device=device)
    assert np.array_equal(whole[:500], first)
    assert not (whole[:200] == whole[500:700]).all((1, 2, 3)).any(), "no block has the noise of another"


# ---- killed


def env() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.thorough
@pytest.mark.parametrize(("to", "stride"), [("a.npz", 11), ("a/", 31), ("a-%06d.tar", 17)])
def test_killed_anywhere_and_run_again_it_ends_with_the_same_bytes(
    to: str, stride: int, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = 1003 if to != "a/" else 40
    words = (str(HERE / "killed_output.py"), str(directory), to, str(n), str(tmp_path), str(stride))
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=env(), timeout=250)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert len(report["left"]) >= 3
    for point, found in report["left"].items():
        assert found["same"] and found["ends"][0] == -signal.SIGKILL, (point, found)
        assert found["ends"][-1] == 0 or found["done"], f"{point}: only what is there already is refused"
    assert [found["ends"][-1] for found in report["left"].values()].count(0) >= 3


@pytest.mark.slow
def test_a_killed_command_goes_on_where_it_was(
    directory: Path, tmp_path: Path, privimage: Callable[..., tuple[int, str, str]]
) -> None:
    words = [sys.executable, "-m", "privimage.sweeps.cli", "sample", str(directory), "--n", "20000", "--seed", "2"]
    to, draft = tmp_path / "a.zip", tmp_path / ".a.zip.unfinished"
    command = subprocess.Popen([*words, "--to", str(to)], env=env(), stdout=subprocess.DEVNULL)
    end = time.monotonic() + 100
    while not (draft / "000002.npy").exists():
        assert command.poll() is None and time.monotonic() < end
        time.sleep(0.005)
    command.send_signal(signal.SIGKILL)
    assert command.wait() == -signal.SIGKILL and not to.exists()
    before = {path.name: path.stat().st_mtime_ns for path in draft.glob("*.npy")}
    assert 3 <= len(before) < 40
    changed: tuple[tuple[dict[str, Any], str], ...] = (
        ({"seed": 1}, "was begun with seed 2, not 1; go on with that, or remove "),
        ({"n": 1000}, "was begun with labels 0=2000 1=2000"),
        ({"labels": ["3"]}, "was begun with labels 0=2000 1=2000"),
    )
    for other, says in changed:
        with pytest.raises(InputError, match=says) as caught:
            Bundle(directory).write(to, **({"n": 20000, "seed": 2} | other))
        assert "\n" not in str(caught.value)
    code, _, said = privimage("sample", directory, "--n", 20000, "--seed", 1, "--to", to)
    assert code == 2 and f"{to}: was begun with seed 2, not 1; go on with that, or remove {draft}" in said
    again = subprocess.Popen([*words, "--to", str(to)], env=env(), stdout=subprocess.DEVNULL)
    while not (draft / "made").exists():
        assert again.poll() is None
        time.sleep(0.005)
    assert before == {name: (draft / name).stat().st_mtime_ns for name in before}, "no block was drawn twice"
    assert again.wait() == 0
    Bundle(directory).write(tmp_path / "whole" / "a.zip", n=20000, seed=2)
    assert to.read_bytes() == (tmp_path / "whole" / "a.zip").read_bytes() and not draft.exists()


def test_another_generator_does_not_go_on_and_a_damaged_block_is_named(directory: Path, tmp_path: Path) -> None:
    bundle = Bundle(directory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthesise.Draft, "make", lambda self, drawn, tell: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            bundle.write(tmp_path / "a.npz", n=20)
    other = Bundle(directory)
    other.config = other.config.model_copy(update={"trial": "another"})
    with pytest.raises(InputError, match=r"a\.npz: was begun with generator \w+, not \w+; go on with that, or remove"):
        other.write(tmp_path / "a.npz", n=20)
    block = tmp_path / ".a.npz.unfinished" / "000000.npy"
    whole = block.read_bytes()
    block.write_bytes(whole[:-5])
    with pytest.raises(InputError, match=r"000000\.npy: damaged; remove it, and run the same command again"):
        bundle.write(tmp_path / "a.npz", n=20)
    block.unlink()
    bundle.write(tmp_path / "a.npz", n=20)
    assert digests(tmp_path).keys() == {"a.npz"}


@pytest.mark.parametrize("changed", [lambda x: x[:-1], lambda x: x.astype(np.float32), lambda x: x[..., :-1]])
def test_a_block_of_another_length_or_kind_is_drawn_again(
    changed: Callable[[Any], Any], directory: Path, tmp_path: Path
) -> None:
    bundle = Bundle(directory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthesise.Draft, "make", lambda self, drawn, tell: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            bundle.write(tmp_path / "a.npz", n=20)
    block = tmp_path / ".a.npz.unfinished" / "000000.npy"
    np.save(block, changed(np.load(block)))
    bundle.write(tmp_path / "a.npz", n=20)
    assert np.array_equal(np.load(tmp_path / "a.npz")["x"], bundle.sample(n=20)[0])


def test_the_home_of_a_user_is_meant_by_a_tilde(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "best").symlink_to(directory)
    assert Bundle("~/best").write("~/x.npz", n=2) == [tmp_path / "x.npz"]
    assert (tmp_path / "x.npz").is_file() and not (tmp_path / "~").exists()


# ---- refused


@pytest.mark.parametrize(
    ("to", "n", "message"),
    [
        ("a.jpg", 1, r"a\.jpg: unknown suffix '\.jpg'; allowed: folder/, grid\.png, images\.npz, images\.parquet, "),
        ("a.png", 1001, r"a\.png: a picture shows at most 100 images a label, got 101; write \.npz"),
        ("file/a.npz", 1, r"a\.npz: cannot be written \(File exists\); give another place"),
        ("file/below/a/", 1, r"below/a: cannot be written \(Not a directory\); give another place"),
        ("full.npz", 1, r"full\.npz: is there already; remove it, or name another"),
        ("full", 1, r"full: is there already; remove it, or name another"),
        ("file.zip", 1, r"file\.zip: is there already; remove it, or name another"),
        ("link.npz", 1, r"link\.npz: is there already; remove it, or name another"),
        ("a-%06d.tar", 1, r"a-000000\.tar: is there already; remove it, or name another"),
        ("a%.tar", 1, r"a%\.tar: expected one %06d, where the number of a shard stands"),
        ("a%d%d.tar", 1, r"a%d%d\.tar: expected one %06d"),
        ("..", 1, r"to: got '.*\.\.'; name a file, or a new folder that ends in /"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_drawing(
    to: str, n: int, message: str, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("file", "file.zip", "a-000000.tar"):
        (tmp_path / name).write_text("x")
    for name in ("full", "full.npz"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("x")
    (tmp_path / "link.npz").symlink_to("nowhere")
    before = digests(tmp_path)
    monkeypatch.setattr(synthesise, "draw_block", lambda *args, **options: pytest.fail("drawn"))
    with pytest.raises(InputError, match=message) as caught:
        Bundle(directory).write(f"{tmp_path}/{to}", n=n)
    assert "\n" not in str(caught.value)
    assert digests(tmp_path) == before and not list(tmp_path.glob(".*")), "and nothing is left"


def test_an_empty_folder_is_taken_and_one_command_at_a_time(directory: Path, tmp_path: Path) -> None:
    from privimage.disk import exclusive

    (tmp_path / "a").mkdir()
    with exclusive(tmp_path / ".a.lock"), pytest.raises(InputError, match="a: another command is writing it; wait"):
        Bundle(directory).write(tmp_path / "a", n=20)
    assert Bundle(directory).write(tmp_path / "a", n=20) == [tmp_path / "a"]
    assert len(list((tmp_path / "a").rglob("*.png"))) == 20


def test_without_pyarrow_one_line_says_so(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"a\.parquet: writing tables needs the package pyarrow; install it with pip"):
        Bundle(directory).write(tmp_path / "a.parquet", n=20)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def limited() -> Iterator[Callable[[int], None]]:
    """Sets how many bytes a file may have from now on, as on a disk that is full then."""
    before, old = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, old)


@pytest.mark.parametrize(
    ("to", "room"), first([*product(READ, (100_000, 430_000)), ("a.npz", 0), ("a.png", 100_000)], 2)
)
def test_a_full_disk_is_one_line_and_afterwards_the_same_call_goes_on(
    to: str, room: int, directory: Path, tmp_path: Path, limited: Callable[[int], None]
) -> None:
    """At the start, in a block (it has 392 kB), and in the output where that is larger."""
    bundle, path = Bundle(directory), f"{tmp_path}/{to}"
    limited(room)
    try:
        bundle.write(path, n=500)
    except InputError as error:
        assert "cannot be written (File too large); " in str(error) and "give another place" in str(error)
        assert f"{tmp_path}" in str(error) and "\n" not in str(error) and not list(tmp_path.glob("a*"))
    else:
        assert room == 430_000 and ".tar" not in to
    limited(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    if not list(tmp_path.glob("a*")):
        bundle.write(path, n=500)
    bundle.write(f"{tmp_path}/whole/{to}", n=500)
    whole = {f"whole/{name}": digest for name, digest in digests(tmp_path).items() if not name.startswith("whole/")}
    assert whole == {name: digest for name, digest in digests(tmp_path).items() if name.startswith("whole/")}


def test_the_seed_of_a_block_is_that_of_no_other() -> None:
    seeds = {sampler.block_seed(seed, number) for seed in range(20) for number in range(50)}
    assert len(seeds) == 1000 and all(0 <= seed < 2**63 for seed in seeds)
    assert sampler.block_seed(2**63 - 1, 0) == 2**63 - 1
