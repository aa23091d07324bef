"""Presets: every row of a comparison runs with settings that suit it, and says what the user wrote above them."""

from __future__ import annotations

from typing import Any

import pytest

from privimage.methods.declared import fields_of
from privimage.methods.presets import PRESETS
from privimage.methods.privimage import MethodConfig
from privimage.schema import parse

DEFAULTS = fields_of(MethodConfig())


@pytest.mark.parametrize("name", PRESETS)
def test_settings_are_fields_that_the_preset_uses(name: str) -> None:
    """A settings entry that is misspelt, or that changes nothing, would claim a care that is not taken."""
    preset, made = PRESETS[name], fields_of(parse(MethodConfig, {"name": name}))
    for field, value in preset.settings.items():
        assert preset.declaration.uses(field) and value != DEFAULTS[field]
        assert made[field] == value
    others = {field for field, value in made.items() if value != DEFAULTS[field]}
    assert others - {"name"} == set(preset.settings)


def test_what_is_written_wins_over_the_settings_and_a_null_is_written_too() -> None:
    def guidance(**values: Any) -> float:
        return parse(MethodConfig, {"name": "dpdm"} | values).sample.guidance

    assert guidance() == PRESETS["dpdm"].settings["sample.guidance"]
    assert guidance(sample={"steps": 4}) == guidance()
    assert guidance(sample={"guidance": 0.7}) == 0.7
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS["dpdm"].settings, "finetune.P_mean", -1.0)  # type: ignore[arg-type]
        assert parse(MethodConfig, {"name": "dpdm"}).finetune.P_mean == -1
        assert parse(MethodConfig, {"name": "dpdm", "finetune": {"P_mean": None}}).finetune.P_mean is None


@pytest.mark.parametrize("name", PRESETS)
def test_a_resolved_method_reads_back_as_it_is(name: str) -> None:
    """A record is read again under presets whose settings may have changed: what ran is what it says."""
    config = parse(MethodConfig, {"name": name, "sample": {"guidance": 0.5}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS[name].settings, "samples", 77)  # type: ignore[arg-type]
        assert parse(MethodConfig, config.model_dump()) == config
