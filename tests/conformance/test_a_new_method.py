"""A method of one file, in a package of its own: found by its name, planned, billed, run, resumed and reported.

The file is written to a folder and found as an installed package's would be. Nothing else knows of it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
from toy_packages import install

from privimage.analysis import methods
from privimage.errors import InputError
from privimage.methods.declared import Ask, Declaration, Stage
from privimage.methods.method import METHODS, load
from privimage.paths import Root
from privimage.privacy.bill import Bill
from privimage.sweeps.plan import make_plan
from privimage.sweeps.sweep import load_sweep

METHOD = '''
"""Mean images: the noisy sum of the images of every label, and copies of it under public noise."""

import numpy as np
from pydantic import Field

from privimage.methods.declared import Ask, Stage
from privimage.methods.context import Context
from privimage.methods.method import Method, MethodConfig, Synthetic
from privimage.stores.store import Built


class MeanConfig(MethodConfig):
    rounds: int = Field(default=1, ge=1)
    grain: float = Field(default=0.1, ge=0, le=1)


class Mean(Method):
    what = "noisy mean images"
    role = "rival"
    config = MeanConfig
    stages = (
        Stage(
            kind="means",
            world=("sensitive", "draw"),
            asks=Ask(purpose="mean images", steps="rounds"),
        ),
        Stage(kind="samples", fields=("grain", "samples"), world=("seed",)),
    )

    def images(self, context: Context) -> Synthetic:
        train, event, n = context.sensitive.train, context.events["means"], context.config.samples
        labels = len(train.classes)

        def ask(entropy, progress):
            sums = np.zeros((labels, *train.shape))
            for label, image in zip(train.y, train.each()):
                sums[label] += image / 255
            each = [event.perturb(sums, sensitivity=sums[0].size**0.5, stream=entropy.stream(f"round {i}"))
                    for i in range(event.steps)]
            return Built(arrays={"means": np.mean(each, axis=0)}, privacy=context.privacy, events=(event,))

        def draw(progress):
            y, rng = np.arange(n) % labels, np.random.default_rng(context.seed)
            shown = means[y] / np.abs(means).max() + context.config.grain * rng.normal(size=(n, *train.shape))
            x = (255 * shown.clip(0, 1)).astype(np.uint8)
            return Built(arrays={"x": x, "y": y}, privacy=context.privacy, events=context.paid)

        inputs, stages = context.inputs, context.stages
        asked = stages.private("means", inputs.of("means"), what=event.purpose, events=(event,), build=ask)
        means = asked.arrays["means"]
        made = stages.public("samples", inputs.of("samples"), draw).arrays
        return Synthetic(x=made["x"], y=made["y"], inputs=inputs)


mean = Mean()
'''


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", METHOD, monkeypatch)


def test_it_is_found_by_name(installed: None) -> None:
    assert "mean" in METHODS.names() and load("mean").what == "noisy mean images"
    assert load("mean").private and load("mean").solved and not load("mean").shares
    assert methods.role("mean") == "rival"


def billed(file: Path, root: Path) -> Bill:
    plan = make_plan(load_sweep(file), root=Root(path=root))
    assert not plan.refused, plan.refusal or plan.quotes
    assert plan.bill is not None
    return plan.bill


def test_a_sweep_of_it_is_planned_and_billed(installed: None, write_sweep: Callable[..., Path], tmp_path: Path) -> None:
    own = {"name": "mean", "samples": 40}
    search = {"method.rounds": {"choice": [1, 3]}, "method.grain": {"uniform": [0, 1]}}
    file = write_sweep(method=own, search=search, trials=6)
    bill = billed(file, tmp_path)
    assert bill.queries == () and all(len(study.trainings) == 2 for study in bill.studies)
    assert [study.trainings_asked for study in bill.studies] == [2, 2], "the grain is post-processing"
    (stages,) = ([(s.stage, s.computed) for s in make_plan(load_sweep(file), root=Root(path=tmp_path)).stages],)
    assert stages == [("means", 4), ("samples", 12)]
    file = write_sweep(method=own, search={"method.rounds": {"integers": [1, 100]}})
    for quote in make_plan(load_sweep(file), root=Root(path=tmp_path)).quotes:
        assert quote.refusal is not None and quote.refusal.startswith("search.method.rounds: decides what a trial asks")


@pytest.mark.thorough
def test_it_is_a_row_beside_another_family(installed: None, write_sweep: Callable[..., Path], tmp_path: Path) -> None:
    """A row takes of the sweep's method what it knows; what is searched of another method is not its own."""
    rows: list[Any] = ["mean", {"method": "mean", "set": {"method.rounds": 2}}]
    sweep = load_sweep(write_sweep(compare=rows))
    made = [sweep.example(budget=sweep.budgets[0], overrides=sweep.overrides_of(row)).method for row in sweep.compare]
    assert [config.model_dump() for config in made] == [
        {"name": "mean", "samples": 40, "rounds": rounds, "grain": 0.1} for rounds in (1, 2)
    ]
    assert [len(study.rows) for study in billed(write_sweep(compare=rows), tmp_path).studies] == [2, 2]
    both = {"method.name": {"choice": ["privimage+d", "mean"]}, "method.query.sigma": {"choice": [6, 12]}}
    assert len(billed(write_sweep(search=both | {"method.grain": {"choice": [0, 1]}}), tmp_path).studies) == 2
    with pytest.raises(InputError, match=r"compare\.0\.set: method\.grian: unknown key, did you mean 'grain'\?"):
        load_sweep(write_sweep(compare=[{"method": "mean", "set": {"method.grian": 2}}]))
    with pytest.raises(InputError, match=r"grian"):
        load_sweep(write_sweep(search=both | {"method.grian": {"choice": [0, 1]}}))


def test_one_trial_asks_what_it_declares_and_a_second_only_draws(installed: None, tmp_path: Path) -> None:
    values = {**toys.VALUES, "method": {"name": "mean", "samples": 30, "rounds": 2}}
    what = toys.Trial.model_validate(values)
    record, stages = toys.ran(tmp_path / "run", what, public=toys.public_set(), sensitive=toys.sensitive_set())
    (charge,) = stages.ledger.charges()
    assert charge.events == record.events == (what.asked["means"],) and charge.what == "mean images"
    assert 1.499 < (record.epsilon_alone or 0) <= 1.5 and record.value("accuracy[lr]") is not None
    grainy = what.model_copy(update={"method": what.method.model_copy(update={"grain": 0.5})})
    again, stages = toys.ran(tmp_path / "run", grainy, public=toys.public_set(), sensitive=toys.sensitive_set())
    assert [(stage.name, stage.origin) for stage in again.stages][:2] == [("means", "hit"), ("samples", "built")]
    assert again.id != record.id and len(stages.ledger.charges()) == 1
    arrays = stages.store.get("samples", again.artefacts["samples"])
    assert arrays is not None and np.bincount(arrays.arrays["y"]).tolist() == [10, 10, 10]


WRONG: dict[str, tuple[str, str, str]] = {
    "noise of its own choice": ('steps="rounds")', 'steps="rounds", sigma=3)', "takes its noise from the budget"),
    "a shared seed": ('world=("sensitive", "draw"),\n            asks=Ask(purpose="mean images", steps="rounds")',
                              'world=("sensitive", "seed"),\n            asks=Ask(purpose="mean images", sigma=3, '
                              'shared=True)', "cannot depend on"),
    "one answer for trials of a selection": ('"sensitive", "draw"', '"sensitive",', "depends on draw"),
    "a set that no key knows": ('"sensitive", "draw"', '"draw",', "depends on sensitive"),
    "shared, with noise from the budget": ('steps="rounds")', 'shared=True)', "names its noise"),
    "a field that is not there": ('steps="rounds")', 'steps="round")', "has no field round"),
    "two stages of one kind": ('kind="samples"', 'kind="means"', "two stages have one kind"),
    "no words": ('    what = "noisy mean images"\n', "", "has to say `what`"),
    "no method": ("mean = Mean()", "mean = MeanConfig(name='mean')", "an instance of"),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_no_method_is_refused_with_the_reason(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after, says = WRONG[fault]
    assert before in METHOD
    name = "m" + "".join(word[0] for word in fault.split())  # of its own: a module is imported once
    text = METHOD.replace(before, after).replace("\nmean = ", f"\n{name} = ")
    install(tmp_path / "site", text, monkeypatch, name=name)
    with pytest.raises(InputError, match=says) as caught:
        load(name)
    assert "\n" not in str(caught.value) and f"method '{name}'" in str(caught.value)


def test_a_shared_question_that_hangs_on_the_noise_of_another_is_refused() -> None:
    """It would be another question at every noise of the first, and the bill counts one."""
    first = Stage(kind="counts", world=("sensitive",), asks=Ask(purpose="counts", sigma="counts", shared=True))
    more = Stage(kind="noisier", fields=("counts",))
    second = Stage(kind="mean", asks=Ask(purpose="mean", sigma="mean", shared=True))
    assert Declaration(stages=(first, second)).refusal is None
    refusal = Declaration(stages=(first, more, second)).refusal
    assert refusal == "stage mean: a shared question cannot depend on the noise of a shared answer"


def test_the_file_is_short() -> None:
    assert len([line for line in METHOD.splitlines() if line.strip()]) <= 50
