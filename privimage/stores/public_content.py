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


def check_public(public: PublicSet, *, identity: Mapping[str, Any], store: Path) -> None:
    """Keep in the store's folder which images `identity` describes, or see that they are still the same.

    Raises InputError if they are others.
    """
    path = store / "public" / f"{digest(identity)[:32]}.sha256"
    content = digest({"images": public.fingerprint, "classes": public.classes})
    if not path.exists():
        make_folder(path.parent)
        write_whole(path, content)
    elif path.read_text().strip() != content:
        raise InputError(
            f"data.public: the images of {identity.get('root') or public.name} are others than those that {store} "
            "knows by this description; put them back, give the changed set a folder of its own, or use another --root"
        )
