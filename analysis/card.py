"""Card: the model card of an exported generator. What was promised, what it cost, what no epsilon covers."""

from __future__ import annotations

from collections.abc import Sequence

from privimage.analysis import methods, nearest, price, scale, spend, words
from privimage.analysis.bundle import CONFIG, MODEL, SAMPLES, BundleConfig
from privimage.analysis.facts import Facts
from privimage.errors import Violation
from privimage.record import Record


def write_card(found: Facts, record: Record, config: BundleConfig, *, metric: str, among: Sequence[Record]) -> str:
    """The text of card.md; `among` are the records that this one was chosen from, itself included."""
    parts = [
        _head(found, record, config), _privacy(found, record, config), _choice(found, record, metric, among),
        _quality(found, record), _how(config), _versions(record),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _head(found: Facts, record: Record, config: BundleConfig) -> str:
    public = words.plain(record.public_source) or "(not recorded)"
    sensitive = record.sensitive_id or "(not recorded)"
    channels, height, width = config.shape
    return "\n".join(
        [
            f"# Synthetic images of {sensitive}: trial {record.id} of sweep {record.sweep}", "",
            f"**{config.guarantee.sentence}** {config.guarantee.why}", "",
            f"A generator of labelled images, {channels} x {height} x {width} pixels, {config.n_classes} "
            f"labels ({', '.join(map(words.plain, config.classes))}).",
            f"Method {record.method}, network {config.size}. {_trained(record, sensitive, public)} Images that it "
            f"makes: `{SAMPLES}`.",
        ]
    )  # fmt: skip


def _trained(record: Record, sensitive: str, public: str) -> str:
    """What it was trained on. One sentence."""
    own = methods.trained(record.method, sensitive=sensitive, public=public)
    if own:
        return own
    if any(event.shared is None and event.split == "train" for event in record.events):
        return (
            f"It was trained on the sensitive set `{sensitive}` with differential privacy, with the public set "
            f"`{public}` beside it."
        )
    return (
        f"It was trained on images of the public set `{public}` that were chosen by noisy answers of the sensitive set "
        f"`{sensitive}`; no image of that was trained on."
    )


def _privacy(found: Facts, record: Record, config: BundleConfig) -> str:
    """The guarantee and what it rests on."""
    stated = config.guarantee
    return "\n".join(
        [
            "## Privacy", "",
            f"- Guarantee: {stated.number}, for {stated.covers}; computed with {stated.accountant}.",
            *[f"- {line}" for line in (_selected(found, record) if record.selection is not None else _alone(record))],
            f"- Unit of privacy: {stated.unit}. Adjacency: {stated.adjacency}.",
            f"- Events: {spend.budget_line(record)}.",
            *[f"- {sentence}" for sentence in spend.ledger_sentences(found)],
        ]
    )  # fmt: skip


def _selected(found: Facts, record: Record) -> list[str]:
    """How the winner of a private selection was chosen. It has no other price than that of the selection."""
    if record.selection is None:
        raise Violation(f"record {record.id}: is not the winner of a selection")
    by = f" by {found.objectives[0]}" if found.objectives else ""
    return [
        f"It pays for a private selection{by} among K trials, of which this is the winner. "
        f"{words.law(record.selection.law)}; it was drawn in secret before the first trial. K, the other trials and "
        "their scores are stated nowhere: stating them would void the guarantee.",
        _by_rdp(record),
    ]


def _by_rdp(record: Record) -> str:
    if record.epsilon_rdp_alone is None:
        return "RDP, the accountant of the PrivImage paper, gives no bound."
    return f"By RDP, the accountant of the PrivImage paper: epsilon {words.epsilon(record.epsilon_rdp_alone)}."


def _alone(record: Record) -> list[str]:
    return [
        f"Had this trial been the only one: epsilon {words.epsilon(record.epsilon_alone)} at delta "
        f"{record.budget.delta:g} (budget {record.budget.epsilon:g}); by RDP, the accountant of the PrivImage paper, "
        f"epsilon {spend.by_rdp(record)}. For a generator that was chosen, that alone is no guarantee.",
    ]


def _choice(found: Facts, record: Record, metric: str, among: Sequence[Record]) -> str:
    """How this generator came to be chosen, what the search cost, and what no epsilon covers."""
    lines = found.said.choice(found, record, metric, among)
    said = [*price.terms(found), *spend.not_covered(found)]
    return "\n".join(["## Privacy of the choice", "", *lines, "", *[f"- {sentence}" for sentence in said]])


def _quality(found: Facts, record: Record) -> str:
    """What was measured, beside what guessing and real images reach."""
    bases = scale.base_rows(found)
    if (real := scale.real(found)) is not None:
        bases.append(("real training images", {name: real.value(name) for name in found.metrics}))
    rows = [
        [
            words.metric(m), words.ARROWS[m.direction], words.number(m.value), str(m.n), ", ".join(m.touches),
            *(words.number(rates.get(m.name)) for _, rates in bases),
        ]
        for m in record.metrics
    ]  # fmt: skip
    titles = ["metric", "better", "value", "images", "touches", *(title for title, _ in bases)]
    lines = [f"| {' | '.join(cells)} |" for cells in (titles, ["---"] * len(titles), *rows)]
    legend = ["", words.LEGEND] if any(m.non_private for m in record.metrics) else []
    near = nearest.of_record(found.store, record)
    told = [*scale.sentences(found), *([] if near is None else [" ".join(near.sentences())])]
    said = [line for sentence in told for line in ("", sentence)]
    return "\n".join(["## Quality", "", *lines, *legend, *said])


def _how(config: BundleConfig) -> str:
    return "\n".join(
        [
            "## How to draw images", "",
            "    privimage sample THIS_FOLDER --n 1000 --seed 0 --to images.npz", "",
            f"`{MODEL}` (sha-256 {config.model_sha256}) holds the weights, `{CONFIG}` what is needed to "
            "rebuild the network. Drawing images reads no sensitive data and costs no privacy, however "
            "many are drawn.",
            *_held(config),
        ]
    )  # fmt: skip


def _held(config: BundleConfig) -> list[str]:
    """What else the bundle holds."""
    if config.sample.start != "anchors":
        return []
    if own := methods.starts(config.method):
        return ["", f"{own}; `{MODEL}` holds them (`anchors.x`, with their labels `anchors.y`)."]
    return [
        "",
        f"Drawing starts from public images, which `{MODEL}` holds as they are (`anchors.x`, with their labels "
        "`anchors.y`): keep to the licence of the public set when you pass it on.",
    ]


def _versions(record: Record) -> str:
    lines = [f"- {name} {version}" for name, version in record.versions.items()]
    started = [f"- started {record.started}"] if record.started else []
    return "\n".join(["## Made with", "", *lines, *started])
