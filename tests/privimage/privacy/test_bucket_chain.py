"""The ledger in a bucket, on a real S3 server: whoever races, dies or loses lines, nothing is forgotten or forked."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from quick import first

from privimage.address import ADDRESS
from privimage.bucket import Bucket, conditions_hold
from privimage.errors import BudgetExceeded, InputError
from privimage.paths import Root
from privimage.privacy.bucket_chain import BucketChain
from privimage.privacy.budget import Budget, Event
from privimage.privacy.contents import Contents
from privimage.privacy.ledger import Ledger

QUERY = Event(purpose="query", split="train", sigma=5)
IDS = ("a", "b", "c", "d")
Patch = pytest.MonkeyPatch


def machine(folder: Path, url: str) -> Root:
    """A root on a machine of its own, whose ledgers lie in the bucket."""
    (folder / "ledgers").mkdir(parents=True, exist_ok=True)
    (folder / "ledgers" / ADDRESS).write_text(url + "\n")
    return Root(path=folder)


def ledger_of(folder: Path, url: str) -> Ledger:
    return Ledger(machine(folder, url).ledger("faces"))


def fill(ledger: Ledger, ids: tuple[str, ...] = IDS) -> list[bool]:
    return [ledger.charge(id=id, what=f"access {id}, 'é'", events=(QUERY,)) for id in ids]


def ids(ledger: Ledger) -> list[str]:
    return [charge.id for charge in ledger.charges()]


def test_what_one_machine_charged_another_knows(bucket_url: str, tmp_path: Path) -> None:
    one, other = ledger_of(tmp_path / "one", bucket_url), ledger_of(tmp_path / "other", bucket_url)
    assert ids(other) == [] and not other.path.exists()
    assert fill(one, IDS[:3]) == [True] * 3
    assert fill(other) == [False] * 3 + [True]
    assert ids(one) == list(IDS) == ids(other) and one.verify() == "agrees" == other.verify()
    assert one.path.read_bytes() == other.path.read_bytes()
    assert one.set_cap(Budget(epsilon=20, delta=1e-5)) and not other.set_cap(Budget(epsilon=20, delta=1e-5))
    with pytest.raises(InputError, match="has the cap"):
        other.set_cap(Budget(epsilon=2, delta=1e-5))
    line = Bucket.open(bucket_url).get("faces/00000003.json")
    assert line is not None and json.loads(line.raw)["id"] == "d"


@pytest.mark.thorough
def test_a_line_is_fetched_once_a_machine(bucket_url: str, tmp_path: Path, monkeypatch: Patch) -> None:
    one, other = ledger_of(tmp_path / "one", bucket_url), ledger_of(tmp_path / "other", bucket_url)
    many = tuple(f"{i}" for i in range(40))
    fill(one, many)
    asked = counted(monkeypatch)
    assert ids(other) == list(many) and asked["get"] == 42, "once each, the head, and the one that is not there yet"
    asked.clear()
    fill(other, ("new",))
    assert asked == {"get": 3, "swap": 1, "create": 1}, "head, last line, next line; the new line, the head"
    other.path.write_bytes(other.path.read_bytes()[:-9] + b"damage\n\n")
    assert ids(other) == [*many, "new"] and other.path.read_bytes()[-1:] == b"\n", "a damaged copy is made again"


def counted(patch: Patch) -> dict[str, int]:
    asked: dict[str, int] = {}

    def count(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Bucket, *arguments: Any, **named: Any) -> Any:
            asked[name] = asked.get(name, 0) + 1
            return real(self, *arguments, **named)

        return call

    for name in ("get", "create", "swap"):
        patch.setattr(Bucket, name, count(name, getattr(Bucket, name)))
    return asked


RACE = """
import sys, time
from pathlib import Path
from privimage.errors import BudgetExceeded
from privimage.privacy.budget import Event
from privimage.privacy.ledger import Ledger
ledger, rank, rounds = Ledger(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for i in range(rounds):
    try:
        ledger.charge(id=f"{rank}-{i}", what="own", events=(Event(purpose="query", split="train", sigma=5),))
        print(f"{rank}-{i}", flush=True)
    except BudgetExceeded:
        print("refused", flush=True)
    ledger.charge(id="both", what="both", events=(Event(purpose="query", split="train", sigma=5),))
print("end", flush=True)
"""


def started(ledger: Ledger, rank: int, rounds: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", RACE, str(ledger.path), str(rank), str(rounds)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def raced(folder: Path, url: str, *, rounds: int) -> tuple[Ledger, list[str]]:
    """Two machines that charge at once; the ledger as a third one reads it, and what the two were told."""
    ledgers = [ledger_of(folder / name, url) for name in ("one", "other")]
    fill(ledgers[0], ("both",))
    racers = [started(ledger, rank, rounds) for rank, ledger in enumerate(ledgers)]
    told: list[str] = []
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    for racer in racers:
        said, _ = racer.communicate(timeout=120)
        assert racer.returncode == 0 and said.endswith("end\n")
        told += said.split()[:-1]
    return ledger_of(folder / "third", url), told


def the_last_of_a_cap_is_spent_once(url: str, folder: Path) -> None:
    cap, rounds = Budget(epsilon=2, delta=1e-5), 6
    ledger_of(folder / "one", url).set_cap(cap)
    third, told = raced(folder, url, rounds=rounds)
    admitted = [word for word in told if word != "refused"]
    assert third.verify() == "agrees", "not over the cap, and one chain"
    assert sorted(ids(third)) == sorted([*admitted, "both"]), "what was told is what stands there"
    assert "refused" in told and len(admitted) > 2, "the race was for something"
    with pytest.raises(BudgetExceeded):
        fill(third, ("one more",))


def test_two_machines_cannot_both_spend_the_last_of_a_cap(bucket_url: str, tmp_path: Path) -> None:
    the_last_of_a_cap_is_spent_once(bucket_url, tmp_path)


UNCONDITIONAL = """
from privimage.bucket import Bucket
Bucket.create = lambda self, name, raw: (self.put(name, raw), True)[1]
Bucket.swap = lambda self, name, raw, before: (self.put(name, raw), True)[1]
Bucket.check_conditions = lambda self: None
"""


@pytest.mark.thorough
def test_without_conditions_the_race_is_lost(bucket_url: str, tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setitem(globals(), "RACE", UNCONDITIONAL + RACE)
    with pytest.raises((AssertionError, InputError, BudgetExceeded, pytest.fail.Exception)):
        for turn in range(5):
            the_last_of_a_cap_is_spent_once(f"{bucket_url}/{turn}", tmp_path / str(turn))


def test_a_lost_tail_is_noticed(bucket_url: str, tmp_path: Path) -> None:
    one, other = ledger_of(tmp_path / "one", bucket_url), ledger_of(tmp_path / "other", bucket_url)
    bucket = Bucket.open(bucket_url)
    fill(one)
    assert one.verify() == "agrees", "from here on this machine has a copy of all lines"
    last = bucket.get("faces/00000003.json")
    bucket.delete("faces/00000003.json")
    for ledger, says in ((other, "ends before line 4, which head.json knows of"), (one, "line 4 is gone")):
        for act in (ledger.charges, lambda ledger=ledger: fill(ledger, ("new",)), ledger.verify):
            with pytest.raises(InputError, match=says):
                act()
    assert last is not None
    bucket.put("faces/00000003.json", last.raw)
    assert ids(other) == list(IDS) and one.verify() == "agrees"


def test_a_bucket_that_was_put_back_to_an_earlier_time_is_noticed_by_who_knows_more(
    bucket_url: str, tmp_path: Path
) -> None:
    one, bucket = ledger_of(tmp_path / "one", bucket_url), Bucket.open(bucket_url)
    fill(one, IDS[:1])
    head = bucket.get("faces/head.json")
    fill(one)
    assert head is not None and ids(one) == list(IDS)
    bucket.put("faces/head.json", head.raw)
    with pytest.raises(InputError, match="knows of 1 lines only"):
        one.charges()
    for number in (1, 2, 3):
        bucket.delete(f"faces/{number:08d}.json")
    with pytest.raises(InputError, match="line 4 is gone"):
        one.charges()
    bucket.put("faces/head.json", b"{}")
    with pytest.raises(InputError, match=r"head\.json: damaged"):
        ledger_of(tmp_path / "other", bucket_url).charges()


def test_a_line_that_was_changed_is_named(bucket_url: str, tmp_path: Path) -> None:
    fill(ledger_of(tmp_path / "one", bucket_url))
    bucket = Bucket.open(bucket_url)
    line = bucket.get("faces/00000001.json")
    assert line is not None
    bucket.put("faces/00000001.json", line.raw.replace(b'"sigma":5.0', b'"sigma":50.0'))
    other = ledger_of(tmp_path / "other", bucket_url)
    with pytest.raises(InputError, match="line 2 breaks the hash chain") as caught:
        other.charges()
    assert bucket_url in str(caught.value) and not other.path.exists(), "nothing of it is kept"


class Killed(BaseException):
    """The process ends here: no handler runs."""


def interrupted(patch: Patch, at: int, *, after: bool) -> None:
    """The process is killed before or after request number `at` to the bucket."""
    count = 0

    def wrap(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Bucket, *arguments: Any, **named: Any) -> Any:
            nonlocal count
            count, number = count + 1, count  # requests of several threads run side by side
            if number == at and not after:
                raise Killed
            answer = real(self, *arguments, **named)
            if number == at:
                raise Killed
            return answer

        return call

    for name in ("get", "create", "swap"):
        patch.setattr(Bucket, name, wrap(getattr(Bucket, name)))


def moments(folder: Path, url: str, *, begun: int, after: bool) -> Iterator[tuple[str, list[str]]]:
    """A ledger of `begun` charges in which the next was killed at every request, and what was acted upon."""
    conditions_hold(url)
    for at in range(20):
        here, acted = f"{url}/{begun}-{after}-{at}", list(IDS[:begun])
        conditions_hold(here)
        ledger = ledger_of(folder / f"{begun}-{after}-{at}", here)
        fill(ledger, tuple(acted))
        with pytest.MonkeyPatch.context() as patch:
            interrupted(patch, at, after=after)
            try:
                fill(ledger, ("next",))
                acted.append("next")
            except Killed:
                pass
        yield here, acted
        if "next" in acted:
            assert at >= 4, "nothing was interrupted"
            return
    raise AssertionError("never finished")


@pytest.mark.parametrize("begun", first([1, 0, 2]))
@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_request_nothing_is_forgotten_or_charged_twice(
    bucket_url: str, tmp_path: Path, begun: int, after: bool
) -> None:
    states = set()
    for number, (url, acted) in enumerate(moments(tmp_path, bucket_url, begun=begun, after=after)):
        other = ledger_of(tmp_path / f"other-{number}", url)
        known = ids(other)
        assert known[: len(acted)] == acted and known[len(acted) :] in ([], ["next"])
        states.add(other.verify())
        fill(other, ("next", "more"))
        done = [id for id in acted if id != "next"]
        assert ids(other) == [*done, "next", "more"] and other.verify() == "agrees"
    assert "agrees" in states and states & {"lags", "missing"}, "one was killed between the line and the head"


def test_a_head_before_its_line_is_seen(bucket_url: str, tmp_path: Path, monkeypatch: Patch) -> None:
    """The other order of the two steps loses what was acted upon: the test above would see it."""
    create = Bucket.create

    def head_first(self: Bucket, name: str, raw: bytes) -> bool:
        if not name.startswith("faces/0"):
            return create(self, name, raw)
        line = json.loads(raw)
        head = json.dumps({"lines": line["number"] + 1, "hash": line["hash"]}).encode()
        self.put("faces/head.json", head)
        return create(self, name, raw) if self.get(name) is None else False

    monkeypatch.setattr(Bucket, "create", head_first)
    with pytest.raises((AssertionError, InputError)):
        for begun in (1, 2):
            test_killed_at_any_request_nothing_is_forgotten_or_charged_twice(
                f"{bucket_url}/{begun}", tmp_path / str(begun), begun, False
            )


@pytest.mark.thorough
def test_killed_for_real_again_and_again(bucket_url: str, tmp_path: Path) -> None:
    told, chance = [], random.Random(7)
    for life in range(6):
        racer = started(ledger_of(tmp_path / "one", bucket_url), life, 1000)
        assert racer.stdin is not None and racer.stdout is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
        told.append(racer.stdout.readline().strip())
        time.sleep(chance.uniform(0, 0.2))
        os.kill(racer.pid, signal.SIGKILL)
        told += racer.stdout.read().split()
        racer.wait()
    third = ledger_of(tmp_path / "third", bucket_url)
    known = ids(third)
    assert set(told) <= set(known) and len(set(known)) == len(known) and len(known) <= len(told) + 1 + 6
    assert third.verify() in ("agrees", "lags") and fill(third, ("more",)) == [True] and third.verify() == "agrees"


def test_what_an_id_stands_for_is_known_to_all(bucket_url: str, tmp_path: Path) -> None:
    one, other = (machine(tmp_path / name, bucket_url) for name in ("one", "other"))
    content, changed = "1" * 64, "2" * 64
    assert Contents(one, "faces").fix(content) == 0 == Contents(other, "faces").fix(content)
    for act in (Contents(other, "faces").fix, Contents(other, "faces").revision):
        with pytest.raises(InputError, match="its images are not those that faces stood for"):
            act(changed)
    assert Contents(other, "faces").adopt(changed) == 1 == Contents(one, "faces").latest
    assert Contents(one, "faces").revision(content) == 0 and Contents(one, "faces").revision(changed) == 1
    names = list(Bucket.open(bucket_url).names())
    assert names == ["internal/faces.contents"], names
    assert not (tmp_path / "one" / "ledgers" / "internal").exists(), "the key stays in the bucket"


def test_covered_lines_are_known_to_all(bucket_url: str, tmp_path: Path) -> None:
    inner = [Ledger(machine(tmp_path / name, bucket_url).covered("faces")) for name in ("one", "other")]
    fill(inner[0])
    assert fill(inner[1]) == [False] * 4
    assert (tmp_path / "other" / "ledgers" / "internal").stat().st_mode & 0o077 == 0


def test_a_bucket_that_cannot_be_used_is_one_line_that_names_the_file(tmp_path: Path, bucket_url: str) -> None:
    for address, says in (("s3://no-such-bucket-here/x", "there is no such bucket"), ("file:///mnt", "is no bucket")):
        with pytest.raises(InputError, match=says) as caught:
            ledger_of(tmp_path, address)
        assert str(tmp_path / "ledgers" / ADDRESS) in str(caught.value) and "\n" not in str(caught.value)


def test_a_server_without_conditions_is_refused_before_anything_is_written(
    bucket_url: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(Bucket, "create", lambda self, name, raw: (self.put(name, raw), True)[1])
    with pytest.raises(InputError, match="takes no notice of conditions"):
        fill(ledger_of(tmp_path, bucket_url))
    assert list(Bucket.open(bucket_url).names()) == []


def test_verbs_read_the_ledger_in_the_bucket(
    bucket_url: str, tmp_path: Path, privimage: Callable[..., tuple[int, str, str]]
) -> None:
    fill(ledger_of(tmp_path / "one", bucket_url))
    path = ledger_of(tmp_path / "other", bucket_url).path
    code, out, err = privimage("ledger", "verify", path)
    assert code == 0 and "4 lines, 4 of them charges; chain intact" in " ".join(out.split()), err
    assert privimage("ledger", "show", path)[0] == 0
    code, _, err = privimage("ledger", "show", path.with_name("nobody.jsonl"))
    assert code == 2 and "no such ledger" in " ".join(err.split())


def test_both_chains_say_the_same(bucket_url: str, tmp_path: Path) -> None:
    there, here = ledger_of(tmp_path / "one", bucket_url), Ledger(tmp_path / "x" / "faces.jsonl")
    assert isinstance(there.chain, BucketChain) and not isinstance(here.chain, BucketChain)
    for ledger in (there, here):
        fill(ledger, IDS[:2])
    assert [charge.id for charge in there.charges()] == [charge.id for charge in here.charges()]
    here.path.write_bytes(there.path.read_bytes())
    here.path.with_suffix(".head").unlink()
    assert here.chain.read().lines == there.chain.read().lines, "the copy is a ledger's file"
