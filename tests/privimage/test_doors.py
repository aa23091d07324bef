"""Doors: members of a folder and of installed packages, by name, without importing what is not asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import privimage
from privimage import doors
from privimage.doors import Door, declared
from privimage.errors import InputError


def refuses(member: object) -> str | None:
    return None if isinstance(member, int | float) else f"got {type(member).__name__}, not a number"


NUMBERS: Door[float] = Door(kind="number", folder="toys/numbers", refuses=refuses)


class House:
    """A folder of ours with two member files, and the packages that a user installed."""

    def __init__(self, root: Path) -> None:
        self.site = root / "site"
        self.site.mkdir()

    def install(self, package: str, text: str, points: str) -> None:
        """What pip leaves of a package with one module: the module, and which entry points it has."""
        (self.site / f"{package}.py").write_text(text)
        info = self.site / f"{package}-0.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1\n")
        (info / "entry_points.txt").write_text(f"[privimage.numbers]\n{points}\n")
        doors._theirs.cache_clear()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    ours = tmp_path / "privimage" / "toys" / "numbers"
    ours.mkdir(parents=True)
    (ours / "one.py").write_text('"""One."""\nimport nothing_of_that_name\nMEMBERS = {"one": 1, "uno": 1}\n')
    (ours / "helper.py").write_text('"""No member."""\nOTHER = 3\n')
    (ours / "two.py").write_text('"""Two."""\n\nMEMBERS: dict[str, float] = {\n    "two-and-more": 2.5,\n}\n')
    monkeypatch.setattr(doors, "HERE", tmp_path / "privimage")
    monkeypatch.setattr(privimage, "__path__", [*privimage.__path__, str(tmp_path / "privimage")])
    made = House(tmp_path)
    monkeypatch.syspath_prepend(made.site)
    doors._ours.cache_clear()
    before = set(sys.modules)
    yield made
    doors._ours.cache_clear()
    doors._theirs.cache_clear()
    for name in set(sys.modules) - before:
        sys.modules.pop(name)


def test_names_are_known_without_importing_and_a_member_is_loaded_alone(house: House) -> None:
    house.install("adds", "raise RuntimeError('imported')", "three = adds:THREE")
    assert NUMBERS.names() == ("one", "three", "two-and-more", "uno")
    assert NUMBERS.load("two-and-more") == 2.5
    assert "privimage.toys.numbers.two" in sys.modules
    assert not {"adds", "privimage.toys.numbers.one"} & sys.modules.keys()


def test_an_installed_package_adds_members(house: House) -> None:
    house.install("adds", "THREE, FOUR = 3, 4", "three = adds:THREE\nfour = adds:FOUR")
    house.install("more", "FOUR = 4\n", "again = more:FOUR\nand-again = more:FOUR")
    assert [NUMBERS.load(name) for name in ("three", "four", "again", "and-again")] == [3, 4, 4, 4]


def test_an_unknown_name_is_told_with_the_nearest(house: House) -> None:
    with pytest.raises(InputError, match=r"^number 'two-and-mor': unknown, did you mean 'two-and-more'\?$"):
        NUMBERS.load("two-and-mor")
    with pytest.raises(InputError, match=r"^number 'x': unknown; known: one, two-and-more, uno$"):
        NUMBERS.load("x")


def test_a_name_that_two_claim_is_refused_and_the_others_work(house: House) -> None:
    house.install("adds", "THREE = 3", "two-and-more = adds:THREE\nthree = adds:THREE")
    with pytest.raises(InputError, match=r"^number 'two-and-more': claimed by adds:THREE \(adds 0\.1\) and privimage"):
        NUMBERS.load("two-and-more")
    assert NUMBERS.load("three") == 3
    house.install("other", "THREE = 33", "three = other:THREE")
    with pytest.raises(
        InputError, match=r"'three': claimed by adds:THREE \(adds 0\.1\) and other:THREE \(other 0\.1\)"
    ):
        NUMBERS.load("three")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise RuntimeError('one\\ntwo')", r"cannot be loaded \(RuntimeError: one\\ntwo\); mend or uninstall it"),
        ("import nothing_of_that_name", r"cannot be loaded \(ModuleNotFoundError: .*\); mend or uninstall it"),
        ("OTHER = 3", r"cannot be loaded \(AttributeError: .*\); mend or uninstall it"),
        ("THREE = '3'", "is no number: got str, not a number"),
    ],
)
def test_a_broken_package_is_named_in_one_line(house: House, text: str, said: str) -> None:
    house.install("broken", text, "three = broken:THREE")
    with pytest.raises(InputError, match=rf"^number 'three': broken:THREE \(broken 0\.1\) {said}$") as caught:
        NUMBERS.load("three")
    assert "\n" not in str(caught.value)


def test_what_is_wrong_with_one_of_ours_is_no_fault_of_the_user(house: House) -> None:
    with pytest.raises(ModuleNotFoundError, match="nothing_of_that_name"):
        NUMBERS.load("one")


def test_what_one_door_admits_another_door_looks_at_itself(house: House) -> None:
    """Of one group of entry points, and the very same object."""
    house.install("adds", "THREE = 3", "three = adds:THREE")
    assert NUMBERS.load("three") == 3
    words: Door[str] = Door(kind="word", folder="words/numbers", refuses=lambda member: f"got {member}, no word")
    assert words.group == NUMBERS.group
    for _ in range(2):
        with pytest.raises(InputError, match=r"^word 'three': adds:THREE \(adds 0\.1\) is no word: got 3, no word$"):
            words.load("three")
    assert NUMBERS.load("three") == 3


@pytest.mark.parametrize("value", ["dict(a=1)", "{name: 1}", "{'a': 1, **OTHERS}", "{1: 2}"])
def test_names_that_are_not_written_out_are_refused(tmp_path: Path, value: str) -> None:
    path = tmp_path / "some.py"
    path.write_text(f'"""Some."""\nMEMBERS = {value}\n')
    with pytest.raises(ValueError, match="names are written out"):
        declared(path)
