"""The JSON Schema for editors accepts what the door for files accepts, and no misspelt key."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator, meta

from privimage import doors
from privimage.data import PublicConfig, SensitiveConfig
from privimage.data.sources.source import SOURCES
from privimage.errors import InputError
from privimage.methods.method import METHODS, load
from privimage.methods.resolve import resolve
from privimage.plain_yaml import read_value, read_yaml, to_yaml
from privimage.schema import set_at
from privimage.sweeps.sweep import load_sweep

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "sweeps" / "recipes").glob("*.yaml"))
SCHEMA = ROOT / "sweeps" / "recipes" / "schema.json"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
Values = dict[str, Any]
Path_ = tuple[str | int, ...]

DEMO = read_yaml(RECIPES[0])
WHOLE = json.loads(SCHEMA.read_text())
VALIDATOR = Draft202012Validator(WHOLE)


def errors(values: Any) -> list[str]:
    return [
        f"{'.'.join(map(str, error.instance_path))}: {error.message[:200]}" for error in VALIDATOR.iter_errors(values)
    ]


def test_the_shipped_file_is_what_the_command_says(
    privimage: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "_theirs", lambda group, path: ())
    code, out, err = privimage("schema")
    assert (code, err) == (0, "")
    same = "privimage schema > sweeps/recipes/schema.json, with no plug-in installed, makes it anew"
    assert out == SCHEMA.read_text(), same
    meta.validate(json.loads(out))
    code, out, _ = privimage("schema", "--to", tmp_path / "schema.json")
    assert code == 0 and str(tmp_path / "schema.json") in out
    assert (tmp_path / "schema.json").read_text() == SCHEMA.read_text()


def test_editors_find_it_beside_the_recipes() -> None:
    for recipe in RECIPES:
        named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", recipe.read_text())
        assert named and (recipe.parent / named[1]).samefile(SCHEMA)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_accepted_as_it_is_and_as_it_is_kept(recipe: Path) -> None:
    assert errors(read_yaml(recipe)) == []
    kept = to_yaml(load_sweep(recipe).model_dump(mode="json"))
    assert errors(read_value(kept, where=str(recipe))) == []


def test_every_file_on_a_page_is_accepted() -> None:
    blocks = [block for page in PAGES for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)]
    found = [read_value(block, where="a page") for block in blocks if "budgets:" in block]
    assert found and [errors(values) for values in found] == [[]] * len(found)


def test_the_sweep_of_these_tests_is_accepted(tiny_values: Callable[[], Values]) -> None:
    assert errors(tiny_values()) == []


# ---- misspelt keys: in files that have every key there is


def sources(role: type[SensitiveConfig] | type[PublicConfig]) -> Iterator[Values]:
    """Every source in that role, with all its fields."""
    for name in SOURCES.names():
        if role.role in SOURCES.load(name).roles:
            fields = role.chosen({"name": name}).model_fields
            given = {"name": name, "id": "a-set", "root": "a/folder", "part": "letters"}
            yield {field: given.get(field, info.default) for field, info in fields.items()}


def leaves(values: Values, above: str = "method") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        yield (f"{above}.{key}", value)
        if isinstance(value, dict):
            yield from leaves(value, f"{above}.{key}")


def whole_method(name: str) -> Values:
    return json.loads(resolve({"name": name}).model_dump_json())


def dimension(value: Any) -> Values:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return {"choice": [value]}
    return {"integers": [value, value]} if isinstance(value, int) else {"log_uniform": [value or 1e-9, value or 1e-9]}


def files() -> Iterator[Values]:
    """Files that have, together, every key of every model."""
    rows = [
        {"method": name, "set": {key: value for key, value in leaves(whole_method(name)) if key != "method.name"}}
        for name in METHODS.names()
    ]
    for name in METHODS.names():
        if load(name).private:
            yield DEMO | {"method": whole_method(name)}
    searched = [(key, dimension(v)) for key, v in leaves(whole_method("privimage+d")) if not isinstance(v, dict)]
    for part in (searched[::2], searched[1::2]):  # no file may search over all of them
        yield DEMO | {"search": dict(part), "features": {"inception": "a/file.pth", "glove": "a/file.txt"}}
    yield from (DEMO | {"compare": [row]} for row in rows)
    yield DEMO | {
        "search": {"method.query.sigma": {"uniform": [1, 2]}},
        "seeds": [0, 1],
        "resources": {"gpu": 0.5, "cuda_graphs": True},
        "studies": "postgresql://me@host:5432/studies",
        "trackers": {"tensorboard": True, "mlflow": "http://host:5000", "wandb": "scans"},
    }
    share = {"workers": 2, "cpu": 1, "gpu": 1, "memory": 8, "cuda_graphs": True}
    shares = {name: share for name in ("pretrain", "finetune", "sample")}
    yield DEMO | {"resources": {**share, **shares, "driver": "head", "queued": 2}}
    yield DEMO | {"resources": {"default": share, **shares}}
    data = DEMO["data"] | {"stand_in": False, "revision": 1}
    yield from (DEMO | {"data": data | {"sensitive": values}} for values in sources(SensitiveConfig))
    yield from (DEMO | {"data": data | {"public": values}} for values in sources(PublicConfig))
    yield DEMO | {"tuning": {"mode": "explore", "covers": "trial", "sampler": "tpe", "seed": 1}}
    yield DEMO | {"tuning": {"mode": "select", "eta": 0.5, "sampler": "random"}}
    public = {"mode": "public", "sampler": "tpe", "seed": 1}
    yield DEMO | {"tuning": public | {"stand_in": {"name": "held-out", "share": 0.2, "seed": 3}}}
    for values in sources(SensitiveConfig):
        own = SOURCES.load(values["name"]).model_fields
        kept = {key: value for key, value in values.items() if key in own and key not in ("size", "channels")}
        yield DEMO | {"tuning": public | {"stand_in": kept | {"share": 0.2, "seed": 3}}}


def keys(values: Any, path: Path_ = ()) -> Iterator[Path_]:
    """The places of all keys."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield (*path, key)
            yield from keys(value, (*path, key))
    elif isinstance(values, list):
        for i, value in enumerate(values):
            yield from keys(value, (*path, i))


def misspelt(values: Values, path: Path_) -> Values:
    """The file with two letters of one key exchanged, or one more where they are alike or alone."""
    changed = copy.deepcopy(values)
    at: Any = changed
    for part in path[:-1]:
        at = at[part]
    key = str(path[-1])
    i = next((i for i in range(len(key) - 1, 0, -1) if key[i] != key[i - 1] and key[i - 1 : i + 1].isalpha()), None)
    wrong = f"{key}s" if i is None else f"{key[: i - 1]}{key[i]}{key[i - 1]}{key[i + 1 :]}"
    assert wrong not in at
    at[wrong] = at.pop(path[-1])
    return changed


def test_a_file_with_every_key_is_accepted_and_with_any_of_them_misspelt_is_not() -> None:
    checked: set[tuple[Path_, str]] = set()
    for values in files():
        assert errors(values) == []
        for path in keys(values):
            part = path, json.dumps(values[str(path[0])])
            if part not in checked:
                assert not VALIDATOR.is_valid(misspelt(values, path)), path
            checked.add(part)
    assert len(checked) > 300


def test_those_files_have_every_key_that_a_file_can_have() -> None:
    known = {str(key) for values in files() for *_, key in keys(values)}

    def properties(schema: Any) -> Iterator[str]:
        if isinstance(schema, dict):
            yield from (key for key in schema.get("properties", {}) if isinstance(schema["properties"], dict))
            for inner in schema.values():
                yield from properties(inner)
        elif isinstance(schema, list):
            for inner in schema:
                yield from properties(inner)

    every = set(properties(WHOLE)) - set(WHOLE["properties"]["objectives"]["properties"])
    assert len(every) > 80 and every <= known


@pytest.mark.thorough
def test_the_door_refuses_what_is_misspelt_too(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    values = DEMO | {"method": whole_method("privimage+d")}
    for path in keys(values):
        file.write_text(to_yaml(misspelt(values, path)))
        with pytest.raises(InputError):
            load_sweep(file)


# ---- values: what an editor shows as right is what the door takes

VALUES = {
    "trials": ["3", "3.0", "1e1", "2.5", "'3'", "true", "null", "-1"],
    "name": ["x", "3", "null", "a b", "-a", "a/b", "A.b_c-1", "store", "stores", "''", "'a\\n'", "a" * 80, "a" * 81],
    "seeds": ["[0, 1]", "[]", "0", "[-1]", "[1, 1]", "[1, 1.0]", str([*range(100)]), str([*range(101)])],
    "metrics": ["['accuracy[lr]']", "['accuracy[lx]']", "[]", "null", "['accuracy[lr]', 'accuracy[lr]']"],
    "objectives": ["{'accuracy[lr]': max}", "{'accuracy[lr]': min}", "{}", "{'accuracy[lx]': max}"],
    "budgets": ["[{epsilon: 1, delta: 1e-5}, {epsilon: 2, delta: 1e-5}]", "[]", "[1]",
                "[{epsilon: 1, delta: 1e-5}, {epsilon: 1.0, delta: 0.00001}]", "[{epsilon: 1, delta: 1e-5}, {}]"],
    "budgets.0.delta": ["1e-5", "0.01", "0.02", "0", "1e-16", "'1e-5'"],
    "budgets.0.epsilon": ["2e1", "1e-3", "1000", "'1'", "0", ".5"],
    "resources.gpu": ["0.5", "-1", "null"],
    "resources.finetune": ["{gpu: 0.5}", "{gpu: -1}", "null", "{}", "{gpu: null}", "[]"],
    "resources.driver": ["head", "null", "'node:a'", "3", "''"],
    "resources.queued": ["1", "3", "null", "0", "1.5", "-1", "x"],
    "tuning": ["{mode: explore}", "{}", "{mode: best}", "{covers: all}", "null", "{mode: explore, eta: 1}"],
    "tuning.stand_in": ["{name: held-out, share: 0.5}", "{mode: public}"],
    "data.sensitive.id": ["a", "a/b", "A", "a b", ".a", "a.b_c-1", "3", "''", "a" * 100, "a" * 101],
    "data.public": ["{name: folder, root: some/where}", "{name: folder, root: s3://some/where}",
                    "{name: folder, root: 's3:/some'}", "{name: folder, root: C/s3}", "{name: folder, root: ''}"],
    "features": ["{inception: weights.pth}", "{inception: 'https://a.b/c'}", "{inception: ''}", "{inception: null}"],
    "data.sensitive.size": ["28", "null", "'28'", "7"],
    "data.sensitive.channels": ["1", "2", "null"],
    "data.sensitive.name": ["glyphs", "digit"],
    "data.public.limit_classes": ["100", "1", "null"],
    "method": ["{}", "{name: dpdm}", "{name: real}", "{name: dpmd}", "null", "[]"],
    "method.samples": ["1e3", "9", "'1000'"],
    "method.query.function.augment": ["false", "0", "'no'", "null"],
    "method.finetune.P_mean": ["null", "-1", "a"],
    "method.model.size": ["dct-mlp-192", "dct-mlp-193", "null"],
    "method.finetune.optimizer": ["adam", "sgd"],
    "search": [
        "{}", "null", "{method.name: {choice: [privimage+d, dpdm]}}", "{method.name: {choice: [real]}}",
        "{method.query.sigma: {uniform: [1, 2]}}", "{method.query.sigma: {uniform: [1, 2], choice: [3]}}",
        "{method.query.sigma: {log_uniform: [1, 2]}}", "{method.query.sigma: {integers: [1, 2]}}",
        "{method.query.sigma: {integers: [1, 2.5]}}", "{method.query.sigma: {uniform: [0, 2]}}",
        "{method.query.sigma: {log_uniform: [0, 2]}}", "{method.query.sigma: {uniform: [1, 2, 3]}}",
        "{method.query.k1: {uniform: [1, 2]}}", "{method.query.k1: {integers: [1, 2]}}",
        "{method.query.sigma: {choice: []}}", "{method.query.sigma: {choice: [1, 1]}}", "{method.query.sigma: [1]}",
        "{method.query.sigma: {choice: ['1']}}", "{method.finetune.P_mean: {choice: [null, 1]}}",
        "{method.finetune.optimizer: {choice: [adam]}}", "{method.finetune.optimizer: {integers: [1, 2]}}",
        "{method.query: {choice: [1]}}", "{query.sigma: {choice: [1]}}", "{trials: {choice: [1]}}",
        "{method.query.function.augment: {choice: [true, false]}}",
    ],
    "compare": [
        "[real]", "[reel]", "[{method: dpdm}]", "[{method: dpdm, set: {method.finetune.lr: 1}}]", "null",
        "[{method: dpdm, set: {method.finetune.lr: '1'}}]", "[{method: dpdm, set: {method.finetune: {lr: 1}}}]",
        "[{method: dpdm, set: {finetune.lr: 1}}]", "[{method: dpdm, set: {method.name: real}}]",
        "[{method: real, set: {method.finetune.lr: 1}}]", "[{method: real, set: {method.samples: 100}}]",
        "[{method: dpdm, set: null}]", "[{set: {}}]", "[real, real]", "[real, dpdm]",
        "[{method: dpdm, set: {method.samples: 99}}, {method: dpdm, set: {method.samples: 99}}]",
        "[{method: dpdm, set: {method.samples: 99}}, {method: dpdm, set: {method.samples: 98}}]",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("key", "text"), [(key, text) for key, texts in VALUES.items() for text in texts])
def test_a_value_is_right_for_editors_where_it_is_for_the_door(key: str, text: str, tmp_path: Path) -> None:
    values = set_at(DEMO, key.split("."), read_value(text, where=key))
    file = tmp_path / "sweep.yaml"
    file.write_text(to_yaml(values))
    try:
        load_sweep(file)
        taken = True
    except InputError:
        taken = False
    assert (errors(values) == []) == taken
