"""The suites of what is private, under `python -O`: no guard is an assert, which that leaves out.

The checks themselves stay: pytest writes the asserts of a file of tests as raises, under -O too.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2]
METHODS, METRICS, STORES, GUARDS = (
    f"tests/{name}.py"
    for name in (
        "conformance/test_methods",
        "conformance/test_metrics",
        "conformance/test_stores",
        "privacy/test_guards_of_noise",
    )
)
SUITES = (
    f"{METHODS}::test_what_is_declared_is_drawn_and_charged",
    f"{METHODS}::test_an_access_that_is_not_declared_is_seen",
    f"{METHODS}::test_noise_past_an_event_is_seen",
    f"{METHODS}::test_half_of_the_declared_steps_is_seen",
    f"{METRICS}::test_the_ledger_holds_what_is_declared",
    f"{METRICS}::test_what_was_not_declared_is_not_even_there",
    f"{METRICS}::test_a_family_that_does_not_keep_to_it_is_stopped",
    f"{STORES}::test_internal_is_not_on_the_shelf",
    f"{STORES}::test_a_paid_answer_that_is_lost_is_not_asked_again",
    GUARDS,
)
A_GUARD_AS_AN_ASSERT = """
'PYTEST_DONT_REWRITE: this is no check, but what is checked'

from privimage.data.sets import PrivateSet

def must_be(self, split):
    assert self.split == split, "the other split would be read"


PrivateSet.must_be = must_be
"""


def optimised(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-O", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *arguments]
    return subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=250)


@pytest.mark.timeout(600)
@pytest.mark.slow  # `make lint` refuses an assert anywhere in the packages (S101)
def test_the_suites_pass() -> None:
    done = optimised(*SUITES)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_a_guard_that_is_an_assert_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_guard_as_an_assert.py").write_text(A_GUARD_AS_AN_ASSERT)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{HERE}")
    done = optimised("-p", "a_guard_as_an_assert", GUARDS, "-k", "another and split")
    assert done.returncode == 1 and "DID NOT RAISE" in done.stdout, done.stdout[-3000:]
    assert "a score on another split" in done.stdout
