"""Export: the best private generator of a run as a folder that can be given away, with the statement of its price."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from safetensors.numpy import save as save_arrays

from privimage import reconcile
from privimage.analysis import bundle, card, facts, pareto, pictures, price, scale, spend
from privimage.analysis.bundle import Alone, BundleConfig
from privimage.analysis.facts import Facts
from privimage.analysis.synthesise import Bundle
from privimage.disk import refusal
from privimage.errors import Damaged, InputError, Violation
from privimage.generators.generator import SampleConfig
from privimage.paths import RunFolder
from privimage.privacy.guarantee import Guarantee
from privimage.privacy.ledger import Ledger
from privimage.record import Record
from privimage.schema import parse
from privimage.stores.store import Artefact


def pull_best(folder: RunFolder, *, epsilon: float | None, metric: str | None, to: Path) -> Bundle:
    """The generator of the best private record at a budget's epsilon (any if None), now written to the folder `to`.

    Search trials only, where the run has some; of a private selection that is the winner, whatever the metric.
    Without a metric, the first share of right answers decides that was measured without noise, or the first objective
    where none was. Raises InputError if there is no such record, or `to` holds files already.
    """
    found = facts.read(folder)
    metric = metric or deciding(found)
    if wrong := price.contradictions(found):
        raise InputError(
            f"{folder.path}: {wrong[0].removeprefix('WARNING: ')} Nothing can be stated, so nothing is pulled"
        )
    among = candidates(found, epsilon=epsilon, metric=metric)
    record = _best(found, among, metric=metric)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise InputError(f"{to}: exists and is not an empty folder; name a new one")
    stated = price.stated(found, record, named=epsilon is not None)
    write(found, record, among=among, stated=stated, metric=metric, to=to)
    return Bundle(to)


def deciding(found: Facts) -> str:
    """The metric that decides where a person names none: a noisy score that is the objective is the only one."""
    pulled = [record for record in found.records if record.private and record.role == "search"]
    usual = scale.usual(metric for record in pulled for metric in record.metrics)
    return found.lead.name if usual is None or found.lead.event is not None else usual.name


def choose(found: Facts, *, epsilon: float | None, metric: str) -> Record:
    """The record that `pull_best` would write."""
    return _best(found, candidates(found, epsilon=epsilon, metric=metric), metric=metric)


def candidates(found: Facts, *, epsilon: float | None, metric: str) -> list[Record]:
    """The private records that the best is chosen from, each with this metric. Raises InputError if there is none."""
    private = [record for record in found.records if record.private]
    if not private:
        raise InputError(f"{found.folder.path}: no trial has a privacy guarantee, so none may be pulled")
    rows = [record for record in private if record.role == "search"] or private
    known = pareto.measured(rows)
    if metric not in known:
        raise InputError(f"metric: got {metric!r}; allowed: {', '.join(known)}")
    having = [record for record in rows if record.value(metric) is not None]
    here = [r for r in having if epsilon is None or math.isclose(r.budget.epsilon, epsilon, rel_tol=1e-9)]
    if not here:
        epsilons = sorted({record.budget.epsilon for record in having})
        raise InputError(f"epsilon: got {epsilon!r}; allowed: {', '.join(f'{value:g}' for value in epsilons)}")
    return here


def _best(found: Facts, among: Sequence[Record], *, metric: str) -> Record:
    best = pareto.best_of(among, metric=pareto.measured(among)[metric])
    if best is None:
        raise Violation(f"{found.folder.path}: none of the records that one is chosen from has {metric}")
    return best


def write(found: Facts, record: Record, *, among: Sequence[Record], stated: Guarantee, metric: str, to: Path) -> None:
    """Write the bundle of a record that was chosen `among` these: all of it, or nothing."""
    samples = pictures.samples_of(found.store, record)
    if samples is None:
        raise InputError(f"trial {record.id}: its samples are gone from {found.store.root} or may not be shown")
    weights = releasable(found, record)
    raw = save_arrays(dict(weights.arrays))
    config = _config(found, record, samples, raw, stated)
    bundle.rebuild(
        config, raw, where=f"trial {record.id}"
    )  # refuses weights that do not fit, before they are given away
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=to.parent, prefix=".draft-"))
    except OSError as error:
        raise refusal(error, to, "written", fix="name another folder") from None
    try:
        (draft / bundle.MODEL).write_bytes(raw)
        (draft / bundle.CONFIG).write_text(config.model_dump_json(indent=1) + "\n", encoding="utf-8")
        (draft / bundle.SAMPLES).write_bytes(pictures.enlarged(samples, names=config.classes, stated=stated.sentence))
        text = card.write_card(found, record, config, metric=metric, among=among)
        (draft / bundle.CARD).write_text(text, encoding="utf-8")
        draft.chmod(0o755)
        os.replace(draft, to)  # onto a new name or an empty folder
    except OSError as error:
        raise refusal(error, to, "written") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def releasable(found: Facts, record: Record) -> Artefact:
    """The generator of a private record. Refuses what is internal, and what cost other events than recorded."""
    if not record.private:
        raise InputError(f"trial {record.id} ({record.method}) has no privacy guarantee, so it may not be pulled")
    key = record.artefacts.get("model")
    if key is None:
        raise InputError(f"trial {record.id} ({record.method}) has no generator")
    try:
        artefact = found.store.get("model", key)
    except Damaged as error:
        raise InputError(f"{error}; run the sweep again, which makes it anew from what was paid for") from None
    if artefact is None:
        raise InputError(f"trial {record.id}: its generator is gone from {found.store.root}; run the sweep again")
    if artefact.manifest.privacy == "internal":
        raise InputError(f"trial {record.id}: its generator is internal and never leaves the run folder")
    scores = Counter(metric.event for metric in record.metrics if metric.event is not None)  # come after the generator
    if Counter(artefact.manifest.events) != Counter(record.events) - scores:
        raise InputError(f"trial {record.id}: its generator was not made at the price that the record states")
    for receipt in dict.fromkeys((*artefact.manifest.receipts, *reconcile.paid_for(record))):
        ledger = Ledger(found.folder.root.ledger(receipt.set))
        if not ledger.holds(receipt):
            raise reconcile.refusal(ledger, receipt, where=found.store.folder("model", key))
    return artefact


def _config(found: Facts, record: Record, samples: pictures.Samples, raw: bytes, stated: Guarantee) -> BundleConfig:
    channels, height, width = samples.x.shape[1:]
    return BundleConfig(
        trial=record.id, sweep=record.sweep, method=record.method,
        size=record.size, shape=(channels, height, width),
        classes=samples.classes,
        sample=parse(SampleConfig, record.sampling, where=f"trial {record.id}: method.sample"),
        guarantee=stated, without_noise=spend.looks(found), alone=_alone(record),
        model_sha256=hashlib.sha256(raw).hexdigest(),
    )  # fmt: skip


def _alone(record: Record) -> Alone:
    epsilon = record.epsilon_alone if record.selection is None else None
    return Alone(epsilon=epsilon, delta=record.budget.delta, events=record.events, selection=record.selection)
