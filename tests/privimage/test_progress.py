import io
import sys

import pytest

from privimage import progress


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("patience", "shown"), [(0.0, True), (60.0, False)])
def test_a_bar_only_when_it_takes_long(monkeypatch, patience, shown) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", patience)
    assert list(progress.tracked(range(5), total=5, label="reading")) == [0, 1, 2, 3, 4]
    assert ("reading" in screen.getvalue()) is shown


def test_no_bar_without_a_terminal(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.0)
    assert list(progress.tracked("ab", total=2, label="reading")) == ["a", "b"]
    assert sys.stderr.getvalue() == ""
