"""Mutated sweep files: what a slip, a script or somebody who means harm may make of an honest one."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

RECIPES = Path(__file__).parents[2] / "sweeps" / "recipes"
SMALL: dict[str, Any] = {
    "name": "small",
    "data": {"sensitive": {"name": "digits", "id": "digits-v1"}, "public": {"name": "glyphs"}},
    "budgets": [{"epsilon": 10, "delta": 1e-5}],
    "method": {"query": {"sigma": 10}, "finetune": {"q": 0.2, "steps": 5}},
    "search": {
        "method.query.sigma": {"log_uniform": [6, 12]},
        "method.finetune.P_mean": {"choice": [0.3, None]},
        "method.select.ratio": {"uniform": [0.1, 0.5]},
        "method.finetune.K": {"integers": [1, 8]},
    },
    "compare": ["dpdm", {"method": "selection-only", "set": {"method.sample.guidance": 0}}],
    "objectives": {"accuracy[lr]": "max"},
    "trials": 3,
}
SCORE = {"dp-accuracy[lr]": "max"}

NUMBERS = [0, -1, 1, 2, 1.5, -0.0, 1e-300, 1e-9, 1e9, 1e300, 2**53, 2**63 - 1, 10_000, 60_000, True, False]
WORDS = (  # as they stand in the text
    ".inf -.inf .nan NaN Infinity 1e400 -1e400 1e-400 1e0 1e-3 1E5 010 0o17 0x1F 1:30 1_000 +1 -0 5. .5 0b1 1e "
    "2020-01-01 2020-01-01T00:00:00Z yes no on off y n true null ~ <<"
).split()
WRITTEN = [
    *WORDS,
    "1" + "0" * 5000,
    "0." + "0" * 5000 + "1",
    "'10'",
    '"1e-3"',
    "''",
    '"\\0"',
    '"a\\nb"',
    "'\u202e'",
    "s3://bucket/x",
    "!!binary aGVsbG8=",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "!!timestamp 2020-01-01",
    "!!float 1",
    "!!int '5'",
    "!!str 5",
    "!!python/object/apply:os.system [true]",
    "!x y",
    "! z",
    "&a [*a]",
    "&a {b: *a}",
    "*nobody",
    "&x 5",
    "{<<: {epsilon: 1}}",
    "{? [a] : b}",
    "{a: 1, a: 2}",
    "[]",
    "{}",
    "[[]]",
    "{choice: []}",
    "{choice: [1]}",
    "{choice: [null, true, 1, 1.0, a]}",
    "{uniform: [1]}",
    "{uniform: [1, 2, 3]}",
    "{uniform: [5, 1]}",
    "{uniform: [-1e308, 1e308]}",
    "{uniform: 1}",
    "{log_uniform: [0, 1]}",
    "{log_uniform: [1e-320, 1e308]}",
    "{integers: [0, 9223372036854775807]}",
    "{integers: [1.5, 2]}",
    "{integers: [a, b]}",
    "{choice: [1], uniform: [1, 2]}",
    "x" * 100_000,
    "'" + "ü" * 3000 + "'",
    "[" * 3000,
    "[" * 18 + "]" * 18,
    "{a: " * 3000,
    "- " * 500 + "x",
    "|\n  text\n  more",
    ">-\n  text",
]
FRAGMENTS = ["!!", "&a ", "*a", "<<: *a\n", "? ", "|", ">", "%TAG ! x\n", "\t", "\x00", "\ufeff", "---\n", "...\n"]
FRAGMENTS += ["[", "]", "{", "}", ":", ",", "#", "'", '"', "\\", "@", "`", "- ", "\n", "\r", "\x85", "\u2028", "\ud800"]


def bombs() -> Iterator[str]:
    """Small files that would become large values, or deep ones, or take long."""
    levels = [f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * 9) + "]" for i in range(1, 9)]
    lol = "a0: &a0 [lol, lol, lol]\n" + "\n".join(levels)
    yield lol
    yield yaml.safe_dump(SMALL) + lol
    yield "name: &n [x]\n" + "\n".join(f"k{i}: {{a: *n, b: *n}}" for i in range(5000))
    yield "name: &n " + "x" * 50_000 + "\nmetrics: [" + "*n," * 5000 + "]"
    yield "[" * 100_000
    yield "{a: " * 100_000
    yield "- " * 100_000
    yield "".join("  " * i + f"a{i}:\n" for i in range(900))
    yield "a: " + "9" * 400_000
    yield "a: '" + "x" * 400_000
    yield "? " * 10_000
    yield "#" * 500_000
    yield "\n".join(f"k{i}: 1" for i in range(50_000))
    yield "k" * 400_000 + ": 1"
    yield "x" * 1_000_000
    yield "!" * 100_000
    yield "&a " * 10_000


def large() -> Iterator[dict[str, Any]]:
    """Files that ask for more than can be run, or priced."""
    many = {"choice": [round(0.1 + i / 1e4, 5) for i in range(100)]}
    row = {"method": "dpdm", "set": {"method.finetune.lr": 0.1}}
    yield SMALL | {"trials": 10_000, "seeds": list(range(50))}
    yield SMALL | {"compare": [row] * 60_000}
    yield SMALL | {"compare": [{**row, "set": {"method.finetune.lr": 1e-5 * (i + 1)}} for i in range(3000)]}
    yield SMALL | {"seeds": list(range(60_000))}
    yield SMALL | {"budgets": [{"epsilon": 1 + i / 1000, "delta": 1e-5} for i in range(1000)]}
    yield SMALL | {"search": {"method.finetune.q": many, "method.finetune.steps": {"integers": [1, 32]}}}
    yield SMALL | {"search": {f"method.query.function.{f}": {"integers": [2, 30]} for f in ("steps", "batch")}}
    yield SMALL | {"search": {"method.query.sigma": {"choice": [5 + i for i in range(5000)]}}}
    yield SMALL | {"metrics": ["accuracy[lr]"] * 10_000}
    yield SMALL | {"objectives": {f"accuracy[{i}]": "max" for i in range(1000)}}
    yield SMALL | {"search": {f"method.x{i}": {"choice": [1]} for i in range(5000)}}
    yield SMALL | {"name": "x" * 10_000}
    yield SMALL | {"compare": [{"method": "dpdm", "set": {f"method.finetune.steps{i}": 1 for i in range(5000)}}]}


def bases() -> list[dict[str, Any]]:
    """Honest files, one of every mode."""
    public = {"tuning": {"mode": "public", "stand_in": {"share": 0.1}}}
    found = [SMALL, SMALL | public, SMALL | {"tuning": {"mode": "select"}, "objectives": SCORE, "compare": []}]
    return found + [yaml.safe_load((RECIPES / f"{name}.yaml").read_text()) for name in ("demo", "digits")]


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a tree of mappings and lists."""
    for key, below in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield (*path, key)
        yield from places(below, (*path, key))


class Raw(str):
    """Text that is put into the file as it is."""


def mutate(values: Any, rng: random.Random) -> Any:
    """The values with one place changed."""
    values = json.loads(json.dumps(values))
    path = rng.choice(list(places(values)))
    above = values
    for key in path[:-1]:
        above = above[key]
    key = path[-1]
    here = above[key]
    changes: list[Callable[[], Any]] = [
        lambda: rng.choice(NUMBERS),
        lambda: Raw(rng.choice(WRITTEN)),
        lambda: Raw(rng.choice(WRITTEN)),
        lambda: [here],
        lambda: {"a": here},
        lambda: {key: here} if isinstance(key, str) else None,
        lambda: [here] * rng.choice([2, 10, 1000]),
        lambda: str(here),
        lambda: here * rng.choice([-1, 0.5, 2, 2, 10, 1e6, 1e-6]) if isinstance(here, int | float) else here,
        lambda: here * rng.choice([1, 2]) if isinstance(here, int) else here,
        lambda: here[:1] if isinstance(here, list | str) else here,
        lambda: _at(values, rng.choice(list(places(values)))),
    ]
    if rng.random() < 0.1 and isinstance(above, dict):
        above[rng.choice([key + "x", key[:-1], "", "a" * 500, "\n", key.upper()])] = above.pop(key)
    elif rng.random() < 0.1:
        del above[key]
    else:
        above[key] = rng.choice(changes)()
    return values


def _at(values: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        values = values[key]
    return json.loads(json.dumps(values))


def text_of(values: Any) -> str:
    """As flow YAML, raw text where it stands."""
    if isinstance(values, Raw):
        return str(values)
    if isinstance(values, dict):
        return "{" + ", ".join(f"{json.dumps(str(key))}: {text_of(value)}" for key, value in values.items()) + "}"
    if isinstance(values, list):
        return "[" + ", ".join(map(text_of, values)) + "]"
    return json.dumps(values)


def scratched(text: str, rng: random.Random) -> str:
    """The text with a few characters gone, doubled, or fragments of YAML put in between."""
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(text) + 1)
        until = at + rng.choice([0, 1, 1, 5, 40])
        text = text[:at] + rng.choice(["", text[at:until] * 2, *rng.choices(FRAGMENTS, k=3)]) + text[until:]
    return text


def mutated(count: int, *, seed: int) -> Iterator[str]:
    """So many mutated files."""
    rng, honest = random.Random(seed), bases()
    texts = [yaml.safe_dump(values) for values in honest]
    for number in range(count):
        if number % 4 == 3:
            yield scratched(rng.choice(texts), rng)
            continue
        values = rng.choice(honest[: 3 if number % 4 else None])
        for _ in range(rng.choice([1, 1, 2, 3])):
            values = mutate(values, rng) if values else values
        yield text_of(values)
