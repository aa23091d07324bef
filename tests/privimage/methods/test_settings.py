"""Settings: every method runs with those that suit it, and says what the user wrote above them."""

from __future__ import annotations

import pytest

from privimage.methods.config import DiffusionConfig
from privimage.methods.declared import fields_of
from privimage.methods.method import METHODS, MethodConfig, load
from privimage.methods.resolve import adopted, fitting, replaced, resolve

NAMES = METHODS.names()


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_fields_that_the_method_uses(name: str) -> None:
    """A settings entry that is misspelt, or that changes nothing, would claim a care that is not taken."""
    method, made = load(name), fields_of(resolve({"name": name}))
    defaults = fields_of(method.config(name=name))
    for field, value in method.settings.items():
        assert method.declaration.uses(field) and value != defaults[field]
        assert made[field] == value
    assert {field for field, value in made.items() if value != defaults[field]} == set(method.settings)


def test_what_is_written_wins_over_the_settings_and_a_null_is_written_too() -> None:
    def guidance(**values: object) -> float:
        config = resolve({"name": "dpdm"} | values)
        assert isinstance(config, DiffusionConfig)
        return config.sample.guidance

    assert guidance() == load("dpdm").settings["sample.guidance"]
    assert guidance(sample={"steps": 4}) == guidance()
    assert guidance(sample={"guidance": 0.7}) == 0.7
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(load("dpdm").settings, "finetune.P_mean", -1.0)  # type: ignore[arg-type]
        assert fields_of(resolve({"name": "dpdm"}))["finetune.P_mean"] == -1
        assert fields_of(resolve({"name": "dpdm", "finetune": {"P_mean": None}}))["finetune.P_mean"] is None


@pytest.mark.parametrize("name", NAMES)
def test_a_resolved_method_reads_back_as_it_is(name: str) -> None:
    """A record is read again under settings that may have changed: what ran is what it says."""
    config = resolve({"name": name, "samples": 50})
    with pytest.MonkeyPatch.context() as patch:
        if isinstance(config, DiffusionConfig):
            patch.setitem(load(name).settings, "sample.steps", 77)  # type: ignore[arg-type]
        assert resolve(config.model_dump()) == config == replaced(config, {})


def test_of_another_methods_part_a_method_takes_what_it_knows() -> None:
    part = {"name": "x", "samples": 50, "query": {"sigma": 3}, "select": {"ratio": 0.1, "new": 1}}
    assert fitting(part, DiffusionConfig) == {**part, "select": {"ratio": 0.1}}
    assert fitting(part, load("real").config) == {"name": "x", "samples": 50}


@pytest.mark.parametrize(("name", "field"), [("privimage+m", "means"), ("dp-mepf", "means"), ("pe", "evolve")])
def test_what_is_said_of_a_query_function_that_nothing_looks_through_asks_nothing_anew(name: str, field: str) -> None:
    """Broken, a search over it would be charged for every value, for the same answer."""

    def settled(network: str, **function: object) -> MethodConfig:
        return resolve({"name": name, field: {"network": network}, "query": {"function": function}}).settled(1)

    assert settled("efficientnet-lite0", steps=7) == settled("efficientnet-lite0")
    assert settled("query", steps=7) != settled("query")


def test_what_the_histogram_is_asked_with_is_kept_whatever_network_the_means_have() -> None:
    config = resolve(
        {"name": "privimage+qm", "means": {"network": "efficientnet-lite0"}, "query": {"function": {"steps": 7}}}
    )
    assert fields_of(config.settled(1))["query.function.steps"] == 7


def test_a_network_of_one_kind_is_not_taken_for_one_of_the_other() -> None:
    """What a sweep says of a diffusion leaves a GAN its own size, and all else as it is written; and the other way."""
    part = {"name": "privimage+d", "samples": 50, "model": {"size": "unet-xs"}, "finetune": {"steps": 3}}
    other, gan = load("privimage+d"), load("dpgan")
    kept = adopted(part, method=gan, other=other)
    assert kept == {**part, "model": {}} and part["model"], "what was written is left as it is"
    assert adopted(part, method=load("dpdm"), other=other) == part
    assert adopted({"model": {"size": "gan-xs"}}, method=other, other=gan) == {"model": {}}
    assert adopted({"model": 3}, method=gan, other=other) == {"model": 3}
    assert adopted(part, method=load("real"), other=gan) == {"name": "privimage+d", "samples": 50}
