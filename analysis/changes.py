"""Changes: in which fields two runs differ, by dotted names, as they were settled and not as they were written.

Of the method, its trials are asked: what a file leaves to its default is there, and what a method does not use is not.
Of everything else, the resolved sweep beside the records; older ones lack the fields that came later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from privimage.analysis import methods, pareto, words
from privimage.analysis.facts import Facts
from privimage.plain_yaml import read_yaml
from privimage.record import Record

WHOLE = ("search", "objectives", "compare", "budgets")  # one entry or a list: shown as it is written
SEARCHED = "(searched)"
ABSENT = words.setting(None)
MOST = 4  # values of a field that are written out

Completed = Callable[[Mapping[str, Any]], Mapping[str, Any]]  # of a sweep as it was written: with every field of today


@dataclass(frozen=True, kw_only=True)
class Change:
    """One field, with what it is in both runs in words."""

    field: str
    a: str
    b: str


def changes(a: Facts, b: Facts, *, completed: Completed = dict) -> list[Change]:
    """The fields in which they differ. What a run is called and what a method does not use are no difference."""
    first, second = (_fields(found, completed) for found in (a, b))
    differ = [key for key in dict.fromkeys([*first, *second]) if first.get(key) != second.get(key)]
    return [
        *(Change(field=key, a=first.get(key, ABSENT), b=second.get(key, ABSENT)) for key in differ),
        *_methods(a, b),
    ]


def without_sweep(*runs: Facts) -> list[Facts]:
    """Those whose folder has no sweep file, so that only the settings of their methods can be compared."""
    return [found for found in runs if not found.folder.sweep.exists()]


def _fields(found: Facts, completed: Completed) -> dict[str, str]:
    """Everything but the method, by dotted name."""
    if not found.folder.sweep.exists():
        return {}
    sweep = completed(read_yaml(found.folder.sweep))
    rest = {key: value for key, value in sweep.items() if key not in ("name", "method", *WHOLE)}
    fields = {path: _shown(value) for path, value in pareto.flatten(rest).items()}
    for key in ("search", "objectives"):
        fields |= {f"{key}.{name}": _shown(value) for name, value in (sweep.get(key) or {}).items()}
    rows = [_row(row) for row in sweep.get("compare") or ()]
    return {
        "budgets": "; ".join(map(_shown, sweep.get("budgets") or ())),
        **fields,
        **({"compare": ", ".join(rows)} if rows else {}),
    }


def _row(row: Any) -> str:
    if not isinstance(row, Mapping):
        return str(row)
    own = row.get("set") or {}
    return f"{row.get('method')}" + (f" ({', '.join(f'{k} {_shown(v)}' for k, v in own.items())})" if own else "")


def _shown(value: Any) -> str:
    """A value in words; a list or a mapping as YAML on one line."""
    if not isinstance(value, list | Mapping):
        return words.setting(value)
    if isinstance(value, list) and not any(isinstance(part, list | Mapping) for part in value):
        return ", ".join(map(words.setting, value)) or ABSENT
    return str(yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)).strip()


def _methods(a: Facts, b: Facts) -> list[Change]:
    """The settings of what was searched, and of every comparison row that both have."""
    searched = _settings(a, _of(a, "search")), _settings(b, _of(b, "search"))
    found = _differences(*searched, prefix="") if all(searched) else []
    for name in dict.fromkeys(record.method for record in _of(a, "compare")):
        rows = [_settings(f, [r for r in _of(f, "compare") if r.method == name]) for f in (a, b)]
        found += _differences(rows[0], rows[1], prefix=f"{name}: ") if all(rows) else []
    return found


def _of(found: Facts, role: str) -> list[Record]:
    return [record for record in found.records if record.role == role]


def _differences(a: Mapping[str, str], b: Mapping[str, str], *, prefix: str) -> list[Change]:
    """In the fields that both have: one that only the other method knows follows from its name."""
    return [Change(field=f"{prefix}{key}", a=a[key], b=b[key]) for key in a if key in b and a[key] != b[key]]


def _settings(found: Facts, records: Sequence[Record]) -> dict[str, str]:
    """Every field of the method that these records use, with its value or values."""
    values: dict[str, list[str]] = {}
    for record in records:
        for path, value in pareto.flatten(methods.whole(record.setting("method") or {})).items():
            if path == "name" or methods.uses(record.method, path):
                values.setdefault(f"method.{path}", []).append(_shown(value))
    searched = {path for path in found.searched if any(record.role == "search" for record in records)}
    return {path: SEARCHED if path in searched else _several(seen) for path, seen in values.items()}


def _several(values: Iterable[str]) -> str:
    different = sorted(set(values))  # not in the order in which trials ended
    return ", ".join(different) if len(different) <= MOST else f"{len(different)} values"
