"""Card: the model card of an exported generator. What was promised, what it cost, what no epsilon covers."""

from __future__ import annotations

from analysis import spend, words
from analysis.bundle import CONFIG, MODEL, SAMPLES, BundleConfig
from analysis.facts import Facts
from privimage.record import Record
from privimage.schema import get_dotted


def write_card(found: Facts, record: Record, config: BundleConfig, *, metric: str) -> str:
    """The text of card.md."""
    parts = [
        _head(found, record, config), _privacy(record), _choice(found, record, metric), _quality(found, record),
        _how(config), _versions(record),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _head(found: Facts, record: Record, config: BundleConfig) -> str:
    public = get_dotted(record.config, "data.public.name") or "(not recorded)"
    sensitive = get_dotted(record.config, "data.sensitive.id") or "(not recorded)"
    channels, height, width = config.shape
    named = f" ({', '.join(config.classes)})" if config.classes else ""
    return "\n".join(
        [
            f"# Synthetic images of {sensitive}: trial {record.id} of sweep {record.sweep}", "",
            f"A generator of labelled images, {channels} x {height} x {width} pixels, {config.n_classes} "
            f"labels{named}.",
            f"Method {record.method}, network {config.size}. It was trained on the sensitive set "
            f"`{sensitive}` with differential privacy, with the public set `{public}` beside it. Images "
            f"that it makes: `{SAMPLES}`.",
        ]
    )  # fmt: skip


def _privacy(record: Record) -> str:
    return "\n".join(
        [
            "## Privacy of this generator alone", "",
            f"- Guarantee: epsilon {words.epsilon(record.epsilon)} at delta {record.budget.delta:g} (budget "
            f"{record.budget.epsilon:g}), computed with a PLD accountant, which is an upper bound.",
            f"- By RDP, the accountant of the PrivImage paper: epsilon {words.epsilon(record.epsilon_rdp)}.",
            f"- Unit of privacy: {words.UNIT}. Adjacency: {words.ADJACENCY}.",
            f"- Events: {spend.budget_line(record)}.",
        ]
    )  # fmt: skip


def _choice(found: Facts, record: Record, metric: str) -> str:
    """What it cost to find this trial: the sweep, and the metric that it was chosen by."""
    chosen = found.metrics[metric]
    others = len([r for r in found.records if r.private]) - 1
    lines = [
        "## Privacy of the choice", "",
        f"This trial was chosen among {words.count(others, 'other private trial')} on the same images. "
        "Whoever sees more "
        "than this one generator, or learns from the choice what the others were, is bound by the composition only:",
        "",
        *[f"- {composition}" for composition in spend.compositions(found.records)],
    ]  # fmt: skip
    if chosen.non_private:
        lines += [
            "",
            f"It was chosen by {words.metric(chosen)}, which touches the "
            f"{words.listed([t for t in chosen.touches if t.startswith('private-')])} split without noise. "
            "That choice is covered by no epsilon, neither the one above nor the composition.",
        ]
    return "\n".join([*lines, "", *[f"- {sentence}" for sentence in spend.not_covered(found)]])


def _quality(found: Facts, record: Record) -> str:
    rows = [
        f"| {words.metric(m)} | {words.ARROWS[m.direction]} | {words.number(m.value)} | {m.n} | "
        f"{', '.join(m.touches)} |"
        for m in record.metrics
    ]
    head = ["## Quality", "", "| metric | better | value | images | touches |", "|---|---|---|---|---|"]
    legend = ["", words.LEGEND] if any(m.non_private for m in record.metrics) else []
    return "\n".join([*head, *rows, *legend])


def _how(config: BundleConfig) -> str:
    return "\n".join(
        [
            "## How to draw images", "",
            "    privimage sample THIS_FOLDER --n 1000 --seed 0 --to images.npz", "",
            f"`{MODEL}` (sha-256 {config.model_sha256}) holds the weights, `{CONFIG}` what is needed to "
            "rebuild the network. Drawing images reads no sensitive data and costs no privacy, however "
            "many are drawn.",
        ]
    )  # fmt: skip


def _versions(record: Record) -> str:
    lines = [f"- {name} {version}" for name, version in record.versions.items()]
    return "\n".join(["## Made with", "", *lines, f"- started {record.started}"])
