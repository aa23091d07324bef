"""Going on with a run: whether its folder holds the same sweep, its ledger, and the noise of its shared questions."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from privimage import lines
from privimage.disk import write_whole
from privimage.errors import Damaged, InputError
from privimage.mirror import mirror_of
from privimage.paths import Root, RunFolder
from privimage.plain_yaml import read_yaml
from privimage.privacy.ledger import Ledger
from privimage.schema import digest, parse
from privimage.stores.open import open_store
from privimage.stores.store import Store
from privimage.sweeps.price import answer_kinds, least_sigmas, noise_fields
from privimage.sweeps.sweep import Sweep

RESTORE = "restore it from a backup, or choose another name for the sweep"


def check_root(sweep: Sweep, root: Root) -> None:
    """Raise InputError if the sweep hides something that a root in a bucket would tell."""
    mirror = mirror_of(root.path)
    if mirror is not None and sweep.tuning.hidden:
        raise InputError(
            f"tuning.mode: got '{sweep.tuning.mode}', whose number of trials is a secret, and {mirror.bucket.url} "
            "would tell it by the times of its objects; give a --root on a disk"
        )


def check_same(sweep: Sweep, folder: RunFolder) -> None:
    """Raise InputError if the folder holds another sweep.

    More trials or rows are another sweep too: whether they are added may depend on what was seen, and the price that
    is stated was fixed before anything was. A public search may go on: it asks nothing.
    """
    growing = {"resources"} | ({"trials"} if sweep.tuning.grows else set())
    resolved = dumped(sweep)
    if folder.sweep.exists():
        before = _begun(folder)
        changed = [key for key in resolved if key not in growing and digest(resolved[key]) != digest(before[key])]
        if changed == ["data"] and _revision(resolved) != _revision(before):
            raise InputError(
                f"{folder.path}: was begun on revision {_revision(before)} of the images of {sweep.data.sensitive.id}, "
                f"these are revision {_revision(resolved)}; choose another name"
            )
        if changed:
            raise InputError(
                f"{folder.path}: holds a sweep with another '{changed[0]}', and its price was fixed before its first "
                "answer; choose another name (what was answered is not asked again)"
            )
        if sweep.tuning.grows:
            _check_search_goes_on(resolved, before, folder)


def dumped(sweep: Sweep, *, without: Collection[str] = ()) -> dict[str, Any]:
    """The sweep as plain values, its data by what it is and not by where it lies.

    Without the weights of feature networks, which are known by their sha256 wherever their file lies, and without the
    places where the run is shown to others.
    """
    values = sweep.model_dump(mode="json", exclude={"data", "features", "studies", "trackers", *without})
    return {**values, "data": sweep.data.identity}


def _revision(values: dict[str, Any]) -> int:
    return int(values["data"]["sensitive"]["revision"])


def at_revision(sweep: Sweep, revision: int) -> Sweep:
    """The sweep on these images. Raises InputError if the file says that they are others."""
    given = sweep.data.revision
    if given and given != revision:
        raise InputError(f"data.revision: got {given}; the images are those of revision {revision}; remove it")
    return sweep.model_copy(update={"data": sweep.data.model_copy(update={"revision": revision})})


def _begun(folder: RunFolder) -> dict[str, Any]:
    """The sweep that the folder was begun with. Raises InputError if its file is damaged."""
    try:
        values = read_yaml(folder.sweep)
    except InputError as error:
        raise InputError(f"{error}; {RESTORE}") from None
    try:
        return dumped(parse(Sweep, values))
    except InputError as error:
        raise InputError(f"{folder.sweep}: is no sweep of this version ({error}); {RESTORE}") from None


def _check_search_goes_on(resolved: dict[str, Any], before: dict[str, Any], folder: RunFolder) -> None:
    """Raise InputError if a public search that has ended would go on: what it found is run on the sensitive set."""
    if bool(resolved["trials"]) != bool(before["trials"]):
        raise InputError(
            f"trials: got {resolved['trials']}; {folder.path} was begun with {before['trials']}; put it back"
        )
    if resolved["trials"] > before["trials"] and folder.stand_in.settings.exists():
        raise InputError(
            f"trials: got {resolved['trials']}; the search of {folder.path} ended with {before['trials']}, and what it "
            "found is run on the sensitive set once; choose another name"
        )


def reservation_of(sweep: Sweep) -> str:
    """The name under which the whole bill of a sweep is reserved in the ledger, where that has a cap."""
    return digest({"sweep": dumped(sweep, without={"resources", "trials", "compare"})})


def ledger_of(sweep: Sweep, root: Root) -> Ledger:
    """The ledger of the sweep's sensitive set."""
    data, path = sweep.data, root.ledger(sweep.data.sensitive.id)
    return Ledger(
        path, under=reservation_of(sweep), division=data.division, revision=data.revision, timeless=sweep.tuning.hidden
    )


def asked_sigma(sweep: Sweep, folder: RunFolder) -> dict[str, float]:
    """The noise multiplier of every shared question: of an answer in the store that is precise enough, else the least
    that anything needs.

    Of several usable answers the noisiest is taken: it was the cheapest. A run keeps to what it first took. Raises
    InputError if that is not precise enough any more: every trial that is done would be another one, and asked again.
    """
    needed = least_sigmas(sweep)
    if not folder.asked_sigma.exists():
        known = _answered(open_store(folder.root.store), answer_kinds(sweep))
        return {q: max((s for s in known.get(q, ()) if s <= sigma), default=sigma) for q, sigma in needed.items()}
    kept = _kept_sigmas(folder)
    for question, sigma in needed.items():
        asked = kept.get(question)
        if asked is None or asked > sigma:
            begun = "does not ask that question" if asked is None else f"asks that question with {asked:g}"
            raise InputError(
                f"{' or '.join(noise_fields(sweep))}: got {sigma:g} in a row or in the search, but {folder.path} "
                f"{begun}; give at least that, or choose another name"
            )
    return kept


def _answered(store: Store, kinds: Collection[str]) -> dict[str, list[float]]:
    """The noise multipliers of all answers to shared questions in the store."""
    found: dict[str, list[float]] = {}
    try:
        for manifest in (manifest for kind in kinds for manifest in store.find(kind)):
            for event in manifest.events:
                if event.shared is not None:
                    found.setdefault(event.shared, []).append(event.sigma)
    except Damaged as error:
        raise InputError(f"{error}, and asking again would cost privacy; restore it from a backup") from None
    return found


def _kept_sigmas(folder: RunFolder) -> dict[str, float]:
    """What the run first took. Raises InputError if its file is damaged."""
    found = lines.parse(folder.asked_sigma.read_bytes().rstrip(b"\n"))
    if found is None:
        raise InputError(
            f"{folder.asked_sigma}: damaged, and with another noise a question would be asked again; {RESTORE}"
        )
    return {question: float(sigma) for question, sigma in json.loads(found)["asked_sigma"].items()}


def keep_sigmas(folder: RunFolder, asked: Mapping[str, float]) -> None:
    """Write down the noise multipliers that the run takes, sealed: half of a number would be another question."""
    write_whole(folder.asked_sigma, lines.sealed(json.dumps({"asked_sigma": dict(asked)})).decode())
