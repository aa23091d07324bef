"""Recipes: the sweep files that come with the package, each by its name."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "recipes"


def names() -> tuple[str, ...]:
    """The names of all recipes, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def find(file: Path) -> Path:
    """The file, or the recipe of that name where there is no such file."""
    shipped = FOLDER / f"{file.name.removesuffix('.yaml')}.yaml"
    return shipped if not file.exists() and file.parent == Path(".") and shipped.exists() else file
