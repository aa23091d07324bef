"""A large set is decoded once: change of its files is seen, nothing half done is taken for whole, all stays private."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from privimage.data import PublicConfig, SensitiveConfig, check_apart, decoded, load_public, load_sensitive
from privimage.data import decode as decoding
from privimage.data.config import HeldOutConfig
from privimage.data.held_out import hold_out
from privimage.data.mapped import Mapped
from privimage.data.pair import DataConfig, load_data
from privimage.data.sets import Chosen, Images, SensitiveData
from privimage.data.sources import source
from privimage.data.sources.folder import Folder
from privimage.errors import InputError, PrivImageError
from privimage.paths import Root
from privimage.sweeps.look import read_lines

HERE = Path(__file__).parent
Patch = pytest.MonkeyPatch


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for label in ("ann", "bob"):
        (tmp_path / "faces" / label).mkdir(parents=True)
        for i in range(40):
            Image.fromarray(rng.integers(0, 255, (16, 16), np.uint8)).save(tmp_path / "faces" / label / f"{i}.png")
    return tmp_path / "faces"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return Root(path=tmp_path / "runs").decoded("faces")


@pytest.fixture(autouse=True)
def tiny(monkeypatch: Patch) -> None:
    monkeypatch.setattr(source, "LARGE", 1000)
    monkeypatch.setattr(decoding, "BLOCK_BYTES", 2000)


def config(faces: Path, **changed: Any) -> SensitiveConfig:
    values = {"name": "folder", "root": str(faces), "id": "faces", "channels": 1, "validation": 0.3, "test": 0.3}
    return SensitiveConfig.model_validate(values | changed)


def copies(place: Path) -> list[Path]:
    """The files of pixels below a place."""
    return sorted(place.rglob("images.u1"))


def same(far: SensitiveData, near: SensitiveData) -> bool:
    parts = zip((far.train, far.validation, far.test), (near.train, near.validation, near.test), strict=True)
    assert all(isinstance(one.x, Chosen) and isinstance(one.x.of, Mapped) for one, _ in parts)
    return far.content == near.content and far.train.fingerprint == near.train.fingerprint


def counted(monkeypatch: Patch) -> list[int]:
    """The first places of the blocks that are decoded from now on."""
    real, seen = decoding.decode_block, list[int]()

    def block(one: decoding.DecodeBlock) -> tuple[int, bytes]:
        seen.append(one.start)
        return real(one)

    monkeypatch.setattr(decoding, "decode_block", block)
    return seen


# ---- what is found again


def test_the_second_start_opens_decodes_and_hashes_nothing(faces: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    values = {"name": "folder", "root": str(faces)}
    root = Root(path=tmp_path / "runs")
    data = DataConfig.model_validate(
        {"sensitive": config(faces).model_dump(), "public": values | {"channels": 1}, "stand_in": True}
    )
    first = load_data(data, root=root)
    said = read_lines(data, *first)
    monkeypatch.setattr(Folder, "open", lambda *_, **__: pytest.fail("opened"))
    monkeypatch.setattr(Folder, "left_out", lambda *_: pytest.fail("listed"))
    monkeypatch.setattr(Images, "_fingerprint", lambda *_: pytest.fail("hashed"))
    public, sensitive = load_data(data, root=root)
    assert public.fingerprint and sensitive.content == first[1].content and read_lines(data, public, sensitive) == said
    monkeypatch.setattr(Mapped, "rows", lambda *_: pytest.fail("read"))
    with pytest.raises(InputError, match="more than 1% of the sensitive images are among its images too"):
        check_apart(public, sensitive, key="data.public")
    assert len(copies(root.path)) == 2


def test_a_small_set_and_one_without_a_place_stay_arrays(faces: Path, place: Path, monkeypatch: Patch) -> None:
    assert isinstance(load_sensitive(config(faces)).train.x, np.ndarray)
    monkeypatch.setattr(source, "LARGE", 80 * 16 * 16)
    assert isinstance(load_sensitive(config(faces), place=place).train.x, np.ndarray) and not place.exists()
    monkeypatch.setattr(source, "LARGE", 80 * 16 * 16 - 1)
    assert isinstance(load_sensitive(config(faces), place=place).train.x, Chosen)


def pixel(faces: Path) -> None:
    path = faces / "ann" / "3.png"
    image = np.array(Image.open(path))
    image[0, 0] ^= 1
    Image.fromarray(image).save(path)


def same_size_and_time(faces: Path) -> None:
    path = faces / "ann" / "3.png"
    before, raw = path.stat(), bytearray(path.read_bytes())
    shutil.copy(faces / "ann" / "4.png", path)
    shown = path.read_bytes()[: len(raw)].ljust(len(raw), b"\0")
    path.write_bytes(shown)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size and path.stat().st_mtime_ns == before.st_mtime_ns


def one_more(faces: Path) -> None:
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(faces / "bob" / "new.png")


def one_less(faces: Path) -> None:
    (faces / "bob" / "7.png").unlink()


def another_label(faces: Path) -> None:
    (faces / "bob" / "7.png").rename(faces / "ann" / "moved.png")


@pytest.mark.parametrize("change", [pixel, same_size_and_time, one_more, one_less, another_label])
def test_every_change_of_a_file_is_seen(change: Callable[[Path], None], faces: Path, place: Path) -> None:
    before = load_sensitive(config(faces), place=place)
    old = copies(place)
    change(faces)
    after = load_sensitive(config(faces), place=place)
    assert after.content != before.content and same(after, load_sensitive(config(faces)))
    assert len(copies(place)) == 1 and copies(place) != old, "what no file stands for any more is gone"


def test_size_channels_seed_and_decoding_have_copies_of_their_own(faces: Path, place: Path, monkeypatch: Patch) -> None:
    for changed in ({}, {"size": 8}, {"channels": 3}, {"split_seed": 1}):
        assert same(load_sensitive(config(faces, **changed), place=place), load_sensitive(config(faces, **changed)))
    assert len(copies(place)) == 4
    load_sensitive(config(faces, validation=0.2), place=place)
    assert len(copies(place)) == 4, "the shares change no copy"
    monkeypatch.setattr(decoded, "DECODING", 2)
    load_sensitive(config(faces), place=place)
    assert len(copies(place)) == 5


def test_files_that_change_while_they_are_read_are_refused(faces: Path, place: Path, monkeypatch: Patch) -> None:
    real = decoding.decode_block

    def meanwhile(block: decoding.DecodeBlock) -> tuple[int, bytes]:
        if block.start == 0:
            one_more(faces)
        return real(block)

    monkeypatch.setattr(decoding, "decode_block", meanwhile)
    with pytest.raises(InputError, match="were changed while they were read; run the same command again"):
        load_sensitive(config(faces), place=place)
    monkeypatch.setattr(decoding, "decode_block", real)
    assert same(load_sensitive(config(faces), place=place), load_sensitive(config(faces)))


# ---- damage


def cut(copy: Path) -> None:
    os.truncate(copy / "images.u1", 80 * 256 - 1)


def flipped(copy: Path, name: str, at: int = 5) -> None:
    raw = bytearray((copy / name).read_bytes())
    raw[at] ^= 1
    (copy / name).write_bytes(raw)


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        lambda copy: flipped(copy, "images.u1"),
        lambda copy: flipped(copy, "images.u1", 80 * 256 - 1),
        *(lambda copy, name=name: flipped(copy, name) for name in ("labels", "places", "contents", "digests")),
        lambda copy: flipped(copy, "blocks.u1"),
        lambda copy: flipped(copy, "facts.json", 60),
        lambda copy: (copy / "labels").unlink(),
        lambda copy: (copy / "facts.json").unlink(),
    ],
)
def test_a_damaged_copy_is_made_anew(
    damage: Callable[[Path], None], faces: Path, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load_sensitive(config(faces), place=place)
    (copy,) = (path.parent for path in copies(place))
    damage(copy)
    assert same(load_sensitive(config(faces), place=place), load_sensitive(config(faces)))
    assert "damaged; the set is decoded again" in caplog.text and len(copies(place)) == 1 and not copy.exists()


def test_a_process_that_does_not_see_the_file_says_where_it_has_to_lie(faces: Path, place: Path) -> None:
    train = load_sensitive(config(faces), place=place).train
    train.rows(np.arange(3))  # what this process has mapped is not sent
    sent = pickle.dumps(train)
    assert len(sent) < 5000
    assert len(pickle.loads(sent).rows(np.arange(3))) == 3
    (path,) = copies(place)
    path.rename(path.with_suffix(".away"))
    with pytest.raises(InputError, match=r"no such file on this machine.*storage that all nodes share") as caught:
        pickle.loads(sent).rows(np.arange(3))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    path.write_bytes(b"short")
    with pytest.raises(InputError, match="damaged, or not to be read"):
        pickle.loads(sent).rows(np.arange(3))


# ---- what is private stays so


def test_the_copy_of_a_sensitive_set_is_for_its_owner_and_its_name_tells_nothing(faces: Path, place: Path) -> None:
    previous = os.umask(0)
    try:
        place.parent.mkdir(parents=True)
        load_sensitive(config(faces), place=place)
    finally:
        os.umask(previous)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (place.parent, place)} == {0o700}
    (copy,) = (path.parent for path in copies(place))
    shutil.rmtree(place)
    load_sensitive(config(faces), place=place)
    (again,) = (path.parent for path in copies(place))
    assert again.parent == copy.parent and again.name != copy.name, "its name is drawn, not computed from the images"
    shutil.rmtree(place)
    pixel(faces)
    load_sensitive(config(faces), place=place)
    assert copies(place)[0].parent.parent == copy.parent, "and that above it follows from the configuration alone"


# ---- what is interrupted


def elsewhere(faces: Path, place: Path, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / "decodes.py"), str(faces), str(place), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_decoding_goes_on_and_is_never_taken_for_whole(faces: Path, place: Path, monkeypatch: Patch) -> None:
    assert elsewhere(faces, place, 6).wait() == -9
    (draft,) = (path.parent for path in copies(place))
    assert not (draft / "facts.json").exists()
    flipped(draft, "images.u1", 8 * 256)  # in a block that was done, as after a power cut
    seen = counted(monkeypatch)
    assert same(load_sensitive(config(faces), place=place), load_sensitive(config(faces)))
    assert sorted(seen) == [7, *range(42, 80, 7)] and not draft.exists()


def test_what_is_left_of_other_files_is_not_gone_on_with(faces: Path, place: Path, monkeypatch: Patch) -> None:
    assert elsewhere(faces, place, 6).wait() == -9
    one_less(faces)
    seen = counted(monkeypatch)
    assert same(load_sensitive(config(faces), place=place), load_sensitive(config(faces)))
    assert sorted(seen) == [*range(0, 79, 7)]


def test_two_processes_decode_once(faces: Path, place: Path) -> None:
    both = [elsewhere(faces, place) for _ in range(2)]
    said = [process.communicate()[0].split() for process in both]
    assert sorted(int(done) for done, _ in said) == [0, 12] and said[0][1] == said[1][1]
    assert len(copies(place)) == 1 and not list(place.rglob("*.lock"))


@pytest.mark.parametrize("where", ["room", "write"])
def test_a_full_disk_is_one_line_and_leaves_nothing(where: str, faces: Path, place: Path, monkeypatch: Patch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate" if where == "room" else "pwrite", full)
        with pytest.raises(InputError, match=r"cannot be written \(No space left on device\).*make room") as caught:
            load_sensitive(config(faces), place=place)
    assert "\n" not in str(caught.value) and str(place) in str(caught.value) and not copies(place)
    assert same(load_sensitive(config(faces), place=place), load_sensitive(config(faces)))


def test_a_full_disk_ends_a_sweep_before_anything_is_charged(  # type: ignore[no-untyped-def]
    privimage, write_sweep, tmp_path: Path, monkeypatch: Patch
) -> None:
    def full(handle: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    code, out, err = privimage("sweep", write_sweep(), "--root", tmp_path / "runs")
    assert code == 2 and "No space left on device" in err.replace("\n", " ") and "Traceback" not in out + err
    assert not (tmp_path / "runs" / "ledgers").exists()


# ---- in processes of their own


def test_many_processes_write_the_same(faces: Path, place: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(decoding, "WORTH_A_PROCESS", 1)
    monkeypatch.setattr(decoding, "cores", lambda: 2)
    assert same(load_sensitive(config(faces), place=place), load_sensitive(config(faces)))


def test_an_image_that_cannot_be_decoded_there_is_named(faces: Path, place: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(decoding, "WORTH_A_PROCESS", 1)
    monkeypatch.setattr(decoding, "cores", lambda: 2)
    (faces / "bob" / "9.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"bob/9\.png: damaged, or not a PNG") as caught:
        load_sensitive(config(faces), place=place)
    assert "\n" not in str(caught.value) and not copies(place)


def test_a_process_that_ends_is_seen(tmp_path: Path) -> None:
    from privimage.processes import spread

    with pytest.raises(PrivImageError, match="ended; run the same command again"):
        list(spread(os._exit, [1, 2, 3], processes=2))
    with pytest.raises(PrivImageError, match=r"failed: TypeError$"):
        list(spread(len, [1, 2], processes=2))  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        list(spread(os.stat, [tmp_path / "gone"] * 2, processes=2))
    assert sorted(spread(abs, [-1, 2, -3], processes=2)) == [1, 2, 3]


NAPS = """
import os, time
from privimage.processes import spread
def nap(i):
    time.sleep(0.05)
    return os.getpid()
if __name__ == "__main__":
    import naps
    for pid in spread(naps.nap, range(10_000), processes=2):
        print(pid, flush=True)
"""


def test_what_works_for_a_killed_process_ends_with_it(tmp_path: Path) -> None:
    """Else it would write on into what the next process goes on with."""
    (tmp_path / "naps.py").write_text(NAPS)
    caller = subprocess.Popen([sys.executable, str(tmp_path / "naps.py")], stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    pids: set[int] = set()
    while len(pids) < 2:
        pids.add(int(caller.stdout.readline()))
    assert caller.pid not in pids and all(Path(f"/proc/{pid}").exists() for pid in pids)
    caller.kill()
    caller.wait()
    end = time.monotonic() + 20
    while time.monotonic() < end and any(alive(pid) for pid in pids):
        time.sleep(0.05)
    assert not any(alive(pid) for pid in pids)


def alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


# ---- what is made of it


def test_a_part_that_is_held_out_is_read_by_rows(faces: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    for i in range(6):
        shutil.copytree(faces / "ann", faces / f"c{i}")
    values = {"name": "folder", "root": str(faces), "channels": 1}
    held = HeldOutConfig(labels=2, share=0.5)
    far = load_public(PublicConfig.model_validate(values), cache=tmp_path / "cache")
    monkeypatch.setattr(source, "LARGE", 1 << 20)
    near = load_public(PublicConfig.model_validate(values), cache=tmp_path / "none")
    (rest, taken), (near_rest, near_taken) = hold_out(far, held), hold_out(near, held)
    assert isinstance(near.x, np.ndarray)
    assert isinstance(rest.x, Chosen) and isinstance(rest.x.of, Mapped) and isinstance(taken.train.x, Chosen)
    assert isinstance(taken.train.x.of, Mapped), "and not a choice of a choice"
    assert (rest.fingerprint, taken.train.fingerprint) == (near_rest.fingerprint, near_taken.train.fingerprint)
