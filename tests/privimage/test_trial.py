"""A whole trial on toy sets: its identity, its record, its epsilon, and that nothing is done twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from opacus.accountants import PRVAccountant
from toys import trial

from privimage.data.sets import PublicSet, SensitiveData
from privimage.errors import BudgetExceeded, InputError
from privimage.methods.method import Sizes
from privimage.privacy.accounting import epsilon
from privimage.privacy.ledger import Ledger
from privimage.query import SemanticsConfig
from privimage.record import Record
from privimage.run_trial import run
from privimage.schema import IDENTITY, digest, get_dotted, parse, set_dotted
from privimage.stages import Stages
from privimage.stores.file import FileStore
from privimage.trial import Trial, check
from privimage.workers import Workers


def ran(
    root: Path, what: Trial, public: PublicSet, sensitive: SensitiveData, role: Literal["search", "compare"] = "search"
) -> tuple[Record, Stages]:
    store = FileStore(root / "store")
    stages = Stages(workers=Workers.alone(), store=store, cache=store, ledger=Ledger(root / "ledger.jsonl"))
    return run(what, public=public, sensitive=sensitive, stages=stages, sweep="toy", role=role), stages


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trial")


@pytest.fixture(scope="module")
def first(root: Path, public: PublicSet, sensitive_data: SensitiveData) -> tuple[Record, Stages]:
    return ran(root, trial(), public, sensitive_data)


def leaves(values: Any, path: str = "") -> list[str]:
    if not isinstance(values, dict):
        return [path]
    return [leaf for key, value in values.items() for leaf in leaves(value, f"{path}.{key}" if path else key)]


# ---- identity


def test_the_id_is_the_same_in_other_processes(pair: dict[str, Any]) -> None:
    for report in pair["reports"]:  # with another hash seed
        assert report["trial_id"] == parse(Trial, report["trial"]).id and len(report["trial_id"]) == 16


def test_every_field_is_part_of_the_id() -> None:
    dump, (question,) = trial().model_dump(mode="json"), trial().questions
    named = trial().model_dump(mode="json", context=IDENTITY)
    identified = {**named, "data": trial().identity}  # where images lie, and how they got there, is no part of it
    assert digest(identified)[:16] == trial().id
    later = {f"method.query.function.{name}" for name in SemanticsConfig.since}  # none has another value than before
    places = later | {"data.stand_in"}  # digits and glyphs come with the package; see tests/conformance/test_sources.py
    assert {*leaves(dump)} - {*leaves(identified)} == places | {"data.revision"}
    others = {
        digest(set_dotted(identified, leaf, ["changed", get_dotted(dump, leaf)]))[:16] for leaf in leaves(identified)
    }
    assert len(others | {trial().id}) == len(leaves(identified)) + 1 > 40

    def fields(model: Any, path: str = "") -> set[str]:
        inner = ((name, getattr(model, name), f"{path}.{name}" if path else name) for name in type(model).model_fields)
        return {
            leaf for _, value, at in inner for leaf in (fields(value, at) if hasattr(value, "model_fields") else {at})
        }

    public = type(trial().data.public).model_fields.items()
    null = {f"data.public.{name}" for name, field in public if field.exclude_if}  # so that its identity stays
    assert null == {"data.public.separator", "data.public.keywords"}
    assert fields(trial()) - null == {
        leaf.replace(f".{question}", "") for leaf in leaves(dump)
    }  # nothing else is left out of the dump


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 1},
        {"asked": 5},
        {"budget__delta": 1e-6},
        {"method__query__sigma": 11},
        {"metrics": ["accuracy[cnn]"]},
    ],
)
def test_another_trial_has_another_id(changed: dict[str, Any]) -> None:
    assert trial(**changed).id != trial().id


def test_equal_numbers_of_other_types_are_the_same_trial() -> None:
    assert trial(method__query__sigma=10.0, budget__epsilon=1.50).id == trial().id


def test_the_identity_of_the_data_is_its_configuration() -> None:
    identity = trial().identity
    assert identity["sensitive"]["id"] == "toy-v1" and "download" not in identity["sensitive"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"metrics": ["accuracy[cn]"]}, r"^metrics: .*did you mean 'accuracy\[cnn\]'"),
        ({"metrics": []}, r"^metrics: "),
        ({"method__name": "dpgans"}, r"^method\.name: got 'dpgans'; allowed: all-images, "),
        ({"method__model__size": "xl"}, r"^method\.model\.size: got 'xl'; allowed: "),
        ({"method__finetune__qq": 1}, r"^method\.finetune\.qq: unknown key, did you mean 'q'\?"),
    ],
)
def test_bad_values_are_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        trial(**changed)


@pytest.mark.parametrize("asked", [0.0, -1.0, 10.5])
def test_the_query_is_asked_with_noise_and_not_more_than_wanted(asked: float) -> None:
    with pytest.raises(InputError, match="asked_sigma"):
        trial(asked=asked)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(InputError, match="seed"):
        trial(seed=-1)


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"method__finetune__q": 0.001}, r"method\.finetune\.q"),
        ({"method__select__ratio": 0.01}, r"method\.select\.ratio"),
        ({"method__query__k1": 13}, r"method\.query\.k1"),
        ({"method__samples": 10, "n_labels": 6}, r"method\.samples"),
        ({"budget__delta": 1e-2, "n_train": 100}, r"^budgets: delta 0\.01: with 100 training images use at most 1e-03"),
        ({"budget__epsilon": 0.1}, r"method\.query\.sigma"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_charged(changed: dict[str, Any], key: str) -> None:
    n_labels, n_train = changed.pop("n_labels", 3), changed.pop("n_train", 40)
    with pytest.raises(InputError, match=key) as caught:
        check(trial(**changed), Sizes(n_train=n_train, n_labels=n_labels, n_public=12))
    assert isinstance(caught.value, BudgetExceeded) == ("budget__epsilon" in changed)
    check(trial(), Sizes(n_train=40, n_labels=3, n_public=12))


def test_the_delta_of_a_public_stand_in_is_that_of_the_sensitive_set() -> None:
    check(trial(data__stand_in=True), Sizes(n_train=200_000, n_labels=3, n_public=12))
    with pytest.raises(InputError, match="with 200000 training images use at most 5e-07"):
        check(trial(), Sizes(n_train=200_000, n_labels=3, n_public=12))


# ---- the record


def test_the_record_states_what_was_paid(first: tuple[Record, Stages]) -> None:
    record, stages = first
    assert record.id == trial().id and record.private and record.versions["torch"] == torch.__version__
    query, sgd = record.events
    assert (query.purpose, query.sigma, sgd.q, sgd.steps) == ("query", 10.0, 0.25, 2)
    assert 1.5 - 1e-3 < (record.epsilon_alone or 0) <= 1.5 < (record.epsilon_rdp_alone or 0)
    charges = stages.ledger.charges()
    assert {paid.id for paid in record.paid} == {charge.id for charge in charges}
    asked = query.model_copy(update={"sigma": 6.0})
    assert [charge.events for charge in charges] == [(asked,), (sgd,)]  # as it was asked
    assert stages.ledger.epsilon(1e-5) == epsilon([asked, sgd], 1e-5)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_epsilon_of_the_record_is_that_of_another_accountant(first: tuple[Record, Stages]) -> None:
    accountant = PRVAccountant()
    accountant.history = [(event.sigma, event.q, event.steps) for event in first[0].events]
    assert first[0].epsilon_alone == pytest.approx(accountant.get_epsilon(1e-5, eps_error=0.005), abs=0.01)


def test_the_metrics_say_what_they_touched(first: tuple[Record, Stages]) -> None:
    (metric,) = first[0].metrics
    assert metric.name == "accuracy[lr]" and metric.non_private and 0 <= metric.value <= 1


def test_every_artefact_has_its_class_and_its_events(first: tuple[Record, Stages]) -> None:
    record, stages = first
    seen = {}
    for kind, key in record.artefacts.items():
        artefact = stages.store.get(kind, key)
        assert artefact is not None, kind
        seen[kind] = (artefact.manifest.privacy, [event.purpose for event in artefact.manifest.events])
    assert seen["query-function"] == ("public", [])
    assert seen["histogram"] == seen["selection"] == seen["pretrained"] == ("released", ["query"])
    assert seen["generator"] == seen["samples"] == ("released", ["query", "dp-sgd"])


def test_no_entropy_is_left_when_a_trial_is_done(first: tuple[Record, Stages]) -> None:
    assert not list((first[1].store.root / "internal").glob("*.seed"))


def test_the_same_trial_again_computes_and_pays_nothing(
    first: tuple[Record, Stages], root: Path, public: PublicSet, sensitive_data: SensitiveData
) -> None:
    before = first[1].ledger.path.read_bytes()
    again, stages = ran(root, trial(), public, sensitive_data)
    assert {record.origin for record in again.stages} == {"hit"}
    assert stages.ledger.path.read_bytes() == before
    assert (again.events, again.paid, again.epsilon_alone, again.artefacts) == (
        first[0].events, first[0].paid, first[0].epsilon_alone, first[0].artefacts,
    )  # fmt: skip
    assert [metric.value for metric in again.metrics] == [metric.value for metric in first[0].metrics]


def test_another_query_noise_asks_nothing_new(
    first: tuple[Record, Stages], root: Path, public: PublicSet, sensitive_data: SensitiveData
) -> None:
    other, stages = ran(root, trial(method__query__sigma=14), public, sensitive_data)
    asked = [charge for charge in stages.ledger.charges() if charge.events[0].purpose == "query"]
    assert len(asked) == 1 and len(stages.ledger.charges()) == 3  # one more DP-SGD
    assert {record.name for record in other.stages if record.origin == "hit"} == {"query-function", "histogram"}
    assert set(other.paid) & set(first[0].paid) == {paid for paid in first[0].paid if "query" in paid.what}


def test_another_sampler_pays_nothing(
    first: tuple[Record, Stages], root: Path, public: PublicSet, sensitive_data: SensitiveData
) -> None:
    before = first[1].ledger.path.read_bytes()
    other, stages = ran(root, trial(method__sample__steps=3), public, sensitive_data)
    assert stages.ledger.path.read_bytes() == before and other.paid == first[0].paid


def test_rows_without_privacy_say_so(root: Path, public: PublicSet, sensitive_data: SensitiveData) -> None:
    for name in ("nonprivate-tune", "real"):
        record, stages = ran(root, trial(method__name=name), public, sensitive_data, role="compare")
        assert record.epsilon_alone is None and not record.private
        assert f"row {name}" in {line.what for line in stages.ledger.looks()}
        classes = {}
        for kind, key in record.artefacts.items():
            artefact = stages.store.get(kind, key)
            classes[kind] = artefact.manifest.privacy if artefact else None
        for kind in {"generator", "model", "samples"} & set(classes):
            assert classes[kind] == "internal"
        source = "private-train" if name == "real" else "synthetic"  # what was scored, said as it is
        assert all(m.touches == (source, "private-test") for m in record.metrics)


def test_a_trial_leaves_the_global_numpy_state(
    tmp_path: Path, public: PublicSet, sensitive_data: SensitiveData
) -> None:
    before, torch_before = np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index]
    record, stages = ran(tmp_path, trial(method__name="dpdm"), public, sensitive_data)
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index]
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert [event.purpose for event in record.events] == ["dp-sgd"] and len(stages.ledger.charges()) == 1


def test_the_same_trial_in_another_folder_has_other_noise(
    tmp_path: Path, public: PublicSet, sensitive_data: SensitiveData
) -> None:
    weights = []
    for folder in "ab":
        record, stages = ran(tmp_path / folder, trial(method__name="dpdm"), public, sensitive_data)
        artefact = stages.store.get("generator", record.artefacts["generator"])
        assert artefact is not None
        weights.append(artefact.arrays["first.weight"])
    assert np.abs(weights[0] - weights[1]).mean() > 1e-5


def test_an_error_shows_no_pixels(sensitive_data: SensitiveData) -> None:
    bright = replace(sensitive_data.train, x=np.full_like(sensitive_data.train.x, 211))
    shown = repr(
        SensitiveData(train=bright, validation=replace(bright, split="validation"), test=replace(bright, split="test"))
    )
    assert "211" not in shown and "array" not in shown
