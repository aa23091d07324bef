"""Resources: what every phase of every method took, in time and memory, as in Table 4 of PrivImage.

A phase that was found in the store took nothing where it was found, so each is counted where it was computed, by
whatever trial of these runs that was: a row says what the method takes when nothing is there yet. What was computed
before them has no time here.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from privimage.analysis import typeset, words
from privimage.analysis.facts import Facts
from privimage.analysis.repetitions import Repetition, different
from privimage.analysis.table import ResultTable, TableRow
from privimage.errors import InputError
from privimage.record import StageRecord

TOTAL = "everything"
METRICS = "metrics"  # of all together: no stage, but it takes its time
MEASURING = ("reference", "score")  # stages within the time of the metrics
HEADS = ("method", "phase", "seconds", "peak MiB", "computed")
COLUMNS = ("method", "settings", "phase", "seconds", "peak_mib", "computed")
Computed = dict[tuple[str, str, str], StageRecord]  # (root, kind, key of the artefact) -> where it was computed


@dataclass(frozen=True, kw_only=True)
class PhaseCost:
    """Mean seconds, and peak memory in MiB, over the `n` times that it was computed; None where that is not known."""

    row: TableRow
    what: str
    seconds: float | None
    peak_mib: float | None
    n: int


def phases(table: ResultTable) -> list[PhaseCost]:
    """Every phase of every row, in the order in which they follow each other; then all of the row together.

    Raises InputError if one of the runs is a private selection, beside which times tell the number of its trials.
    """
    for found in table.runs:
        if not found.said.timed:
            raise InputError(
                f"{found.folder.path}: a private selection; times and memory would tell the number of its trials, so "
                "there are none: take the runs of another mode"
            )
    computed = _computed(table.runs)
    entries = different(Repetition(record=record, found=run) for run in table.runs for record in run.records)
    return [
        phase
        for row in (*table.rows, *table.open_rows)
        for phase in _of_row(row, [entry for entry in entries if entry.row == row.key], computed)
    ]


def _computed(runs: Sequence[Facts]) -> Computed:
    return {
        (_root(run), stage.name, record.artefacts[stage.name]): stage
        for run in runs for record in run.records for stage in record.stages
        if stage.origin == "built" and stage.name in record.artefacts
    }  # fmt: skip


def _root(run: Facts) -> str:
    """Runs of one root have one store; two roots compute what has the same key twice."""
    return str(run.folder.root.path.resolve())


def _of_row(row: TableRow, entries: Sequence[Repetition], computed: Computed) -> Iterator[PhaseCost]:
    records = [entry.record for entry in entries]
    kinds = dict.fromkeys(s.name for record in records for s in record.stages if s.name not in MEASURING)
    found = [_phase(row, kind, entries, computed) for kind in kinds]
    times = [took for record in records if (took := sum(metric.seconds for metric in record.metrics))]
    if times:
        found.append(PhaseCost(row=row, what=METRICS, seconds=fmean(times), peak_mib=None, n=len(times)))
    yield from found
    seconds = [phase.seconds for phase in found if phase.seconds is not None]
    peaks = [phase.peak_mib for phase in found if phase.peak_mib is not None]
    if seconds:
        total = sum(seconds) if len(seconds) == len(found) else None  # a part of it would be read as the whole
        yield PhaseCost(row=row, what=TOTAL, seconds=total, peak_mib=max(peaks, default=None), n=len(records))


def _phase(row: TableRow, kind: str, entries: Sequence[Repetition], computed: Computed) -> PhaseCost:
    keys = dict.fromkeys(
        (_root(entry.found), kind, entry.record.artefacts[kind]) for entry in entries if kind in entry.record.artefacts
    )
    stages = [computed[key] for key in keys if key in computed]
    seconds, peaks = [stage.seconds for stage in stages], [stage.peak_mib for stage in stages]
    return PhaseCost(
        row=row, what=kind, seconds=fmean(seconds) if seconds else None, peak_mib=max(peaks, default=None),
        n=len(stages),
    )  # fmt: skip


def notes(table: ResultTable) -> list[str]:
    """How the table is to be read."""
    return [
        "Seconds: the mean over the times that a phase was computed; peak: the largest memory of the process that "
        "computed it (with several workers of the first), of its GPU where there is one. A worker "
        "keeps what its libraries hold, so the peak of a short phase is that of what ran before.",
        f"{TOTAL}: of one trial when nothing is in the store yet; a dash where a phase was computed by none of these "
        "runs.",
        "Times and memory of what read sensitive images are taken as public; no epsilon covers them.",
    ]


def markdown(table: ResultTable) -> str:
    """A line a phase, and how it is to be read below."""
    lines = typeset.grid(HEADS, [_line(phase) for phase in phases(table)], right=(2, 3, 4))
    return "\n".join([*lines, "", *(f"- {note}" for note in notes(table)), ""])


def latex(table: ResultTable) -> str:
    """The same as a tabular of plain LaTeX."""
    rows = [typeset.tex_row([typeset.tex(cell) for cell in _line(phase)]) for phase in phases(table)]
    return "\n".join([
        r"\begin{tabular}{llrrr}", r"\hline", typeset.tex_row(list(HEADS)), r"\hline", *rows, r"\hline",
        r"\end{tabular}", "", r"\begin{itemize}\footnotesize",
        *(rf"\item {typeset.tex(note)}" for note in notes(table)), r"\end{itemize}", "",
    ])  # fmt: skip


def as_csv(table: ResultTable) -> str:
    """The same for programs."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in phases(table):
        writer.writerow([one.row.method, ", ".join(one.row.parts), one.what, one.seconds, one.peak_mib, one.n])
    return buffer.getvalue()


FORMATS = {"markdown": markdown, "csv": as_csv, "latex": latex}


def _line(phase: PhaseCost) -> list[str]:
    return [
        phase.row.label, phase.what, words.number(phase.seconds, digits=3), words.number(phase.peak_mib), str(phase.n)
    ]  # fmt: skip
