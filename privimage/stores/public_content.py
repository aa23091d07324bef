"""Which images a public set was when the store's artefacts were made of them: others in the same place are refused.

Query functions, selections and generators are kept by the description of the public set (its name, folder, size). With
other images under the same description they would be served all the same, and a selection, which is a list of places
in the set, would choose at random.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from privimage.data.sets import PublicSet
from privimage.disk import make_folder, write_whole
from privimage.errors import InputError
from privimage.schema import digest
from privimage.stores.open import open_shelf


def check_public(public: PublicSet, *, identity: Mapping[str, Any], store: Path) -> None:
    """Keep in the store's folder which images `identity` describes, or see that they are still the same.

    The same on the shelf behind it: what other roots made of other images is there by the same names. Raises
    InputError if they are others.
    """
    key, content = digest(identity)[:32], digest({"images": public.fingerprint, "classes": public.classes})
    path, name, shelf = store / "public" / f"{key}.sha256", f"public/{key}/sha256", open_shelf(store)
    if path.exists() and path.read_text().strip() != content:
        raise _others(public, identity, f"{store} knows", "another --root")
    if shelf is not None:
        if shelf.get(name) is None:
            shelf.put(name, content.encode())
        if shelf.get(name) != content.encode():
            raise _others(public, identity, f"the shelf of {store} knows", "a root without it")
    if not path.exists():
        make_folder(path.parent)
        write_whole(path, content)


def _others(public: PublicSet, identity: Mapping[str, Any], known: str, other: str) -> InputError:
    return InputError(
        f"data.public: the images of {identity.get('root') or public.name} are others than those that {known} by this "
        f"description; put them back, give the changed set a folder of its own, or use {other}"
    )
