"""YAML as plain data: the core schema of YAML 1.2, within bounds that no honest file meets.

Read is what the core schema reads (1e-3 is a number, `no` is text, 010 is ten), without what could make other objects
or grow: tags, merge keys, dates, sets. Every bound is checked while the text is read, so that a small file cannot
become a large value.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from privimage.errors import InputError

MOST_BYTES = 2**19
MOST_DEPTH = 20
MOST_VALUES = 10_000  # keys and values, each alias counted as all that it stands for
MOST_INTEGER = 2**63 - 1

NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
INT = re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z")
FLOAT = re.compile(
    r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)
SIGNS = list("-+.0123456789")
BREAKS = re.compile("[\x85\u2028\u2029]")  # ends of lines in YAML 1.1, which is what the scanner knows, but not in 1.2


class _Refused(yaml.MarkedYAMLError):
    """What is YAML but not read here; its problem is said as it is."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012 - not those of YAML 1.1
    yaml_constructors = {}  # noqa: RUF012

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._values = 0
        self._size_of: dict[str, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """The next node. Raises an error if it has a tag, or if the whole grows too deep or too large."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            size = self._size_of.get(event.anchor, 0)
            if not size and event.anchor in self.anchors:
                raise _Refused(problem=f"*{short(event.anchor)} stands within itself", problem_mark=event.start_mark)
            self._grow(size, event)
            return super().compose_node(parent, index)
        if getattr(event, "tag", None) is not None:
            said = f"the tag {short(event.tag)} is not read; write the value itself"
            raise _Refused(problem=said, problem_mark=event.start_mark)
        before = self._values
        self._grow(1, event)
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise _Refused(problem=f"deeper than {MOST_DEPTH} levels", problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if getattr(event, "anchor", None):
            self._size_of[event.anchor] = self._values - before
        return node

    def _grow(self, size: int, event: Any) -> None:
        self._values += size
        if self._values > MOST_VALUES:
            raise _Refused(problem=f"more than {MOST_VALUES} keys and values", problem_mark=event.start_mark)

    def mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        """The mapping of a node; its keys are text. Raises an error if one is not, or stands twice."""
        made: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _Refused(problem="a key is text, not a list or a mapping", problem_mark=key.start_mark)
            if key.value in made:
                twice = f"the key '{short(key.value)}' stands twice"
                raise yaml.constructor.ConstructorError(None, None, twice, key.start_mark)
            made[key.value] = self.construct_object(value, deep=True)
        return made

    def sequence(self, node: yaml.SequenceNode) -> list[Any]:
        """The list of a node."""
        return [self.construct_object(value, deep=True) for value in node.value]

    def integer(self, node: yaml.ScalarNode) -> int:
        """The whole number of a node. Raises an error if it has more than 64 bits."""
        text = node.value
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        digits = text[2:] if base != 10 else text
        value = int(digits, base) if len(digits.lstrip("+-0")) <= 22 else MOST_INTEGER + 1
        if abs(value) > MOST_INTEGER:
            raise _Refused(problem=f"{short(text)} is too large for a whole number", problem_mark=node.start_mark)
        return value

    def real(self, node: yaml.ScalarNode) -> float:
        """The number of a node. Raises an error if it is not finite, or so small that it would be 0."""
        text = node.value
        value = float(text) if text[-1].isdigit() or text[-1] == "." else math.inf
        lost = value == 0 and re.search("[1-9]", re.split("[eE]", text)[0])
        if not math.isfinite(value) or lost:
            raise _Refused(problem=f"{short(text)} is not a finite number of 64 bits", problem_mark=node.start_mark)
        return value


for tag, pattern, first in (
    ("null", NULL, ["~", "n", "N", ""]),
    ("bool", BOOL, list("tTfF")),
    ("int", INT, SIGNS),
    ("float", FLOAT, SIGNS),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", pattern, first)
makers: dict[str, Any] = {
    "null": lambda loader, node: None,
    "bool": lambda loader, node: node.value.lower() == "true",
    "int": _Loader.integer,
    "float": _Loader.real,
    "str": lambda loader, node: node.value,
    "seq": _Loader.sequence,
    "map": _Loader.mapping,
}
for tag, make in makers.items():
    _Loader.add_constructor(f"tag:yaml.org,2002:{tag}", make)


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML would take for something else than text."""

    def ignore_aliases(self, data: Any) -> bool:
        """Whether a value is written out wherever it stands: always."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Text as a node, with escapes where a character would not be read back."""
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", INT, SIGNS)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, SIGNS)


def read_value(text: str, *, where: str) -> Any:
    """The plain value of YAML text. Raises InputError in one line, which `where` begins."""
    odd = BREAKS.search(text)
    if odd is not None:
        line = text.count("\n", 0, odd.start()) + 1
        raise InputError(
            f"{where}: line {line}: U+{ord(odd[0]):04X} ends a line in some versions of YAML; leave it out"
        )
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except _Refused as error:
        raise InputError(f"{where}:{_line(error)} {error.problem}") from None
    except yaml.YAMLError as error:
        problem = short(str(getattr(error, "problem", None) or error).splitlines()[0], most=120)
        raise InputError(f"{where}:{_line(error)} not valid YAML ({problem})") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises InputError if it is missing, unreadable, too large, or not a mapping."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
        text = raw.decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, expected a YAML file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not valid YAML ({error.reason}; expected UTF-8)") from None
    if len(raw) > MOST_BYTES:
        raise InputError(f"{path}: larger than {MOST_BYTES // 1024} KiB, expected a YAML file that a person wrote")
    loaded = read_value(text, where=str(path))
    if not isinstance(loaded, dict):
        raise InputError(f"{path}: expected a mapping of keys, got {type(loaded).__name__}")
    return loaded


def to_yaml(values: dict[str, Any]) -> str:
    """The text that `read_yaml` reads as these plain values.

    >>> print(to_yaml({"name": "1e3", "seeds": [0, 1e-05]}), end="")
    name: '1e3'
    seeds:
    - 0
    - 1.0e-05
    """
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def short(text: str, *, most: int = 60) -> str:
    """The text, cut to `most` characters."""
    return text if len(text) <= most else text[: most - 3] + "..."


def one_line(text: str, *, most: int) -> str:
    """The text on one line that a terminal can show, cut in the middle to `most` characters: its end is the fix.

    >>> one_line("a\\nb" + "c" * 90, most=24)
    'a\\\\nbccccccc...cccccccccc'
    """
    if len(text) > most:
        text = text[: (most - 3) // 2] + "..." + text[-((most - 3) // 2) :]
    return "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode() for c in text)


def shown_path(path: Path | str) -> str:
    """The path of a file that was found, as a message may repeat it: whole; its name may hold any bytes."""
    return one_line(str(path), most=4096)


def is_text(text: str) -> bool:
    """Whether it can be written as UTF-8: names of files and escapes of JSON may hold halves of characters.

    >>> is_text("é"), is_text("\\udcff")
    (True, False)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f" line {mark.line + 1}:" if mark is not None else ""
