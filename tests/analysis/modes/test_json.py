"""`--json`: one document on standard output, with the fields that docs/json.md shows and no more than the text."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from privimage.analysis import facts
from privimage.paths import RunFolder
from privimage.privacy.ledger import Ledger
from privimage.progress import Progress
from privimage.sweeps import progress
from privimage.sweeps.cli.documents.best import BestDocument
from privimage.sweeps.cli.documents.document import Document
from privimage.sweeps.cli.documents.front import FrontDocument
from privimage.sweeps.cli.documents.ledger import LedgerDocument
from privimage.sweeps.cli.documents.plan import PlanDocument
from privimage.sweeps.cli.documents.status import StatusDocument
from privimage.sweeps.progress import RowDone, Running, Standing

DOCUMENTS: tuple[type[Document], ...] = (StatusDocument, PlanDocument, FrontDocument, BestDocument, LedgerDocument)
PAGE = Path(__file__).parents[3] / "docs" / "json.md"
SECRETS = ("4321", "8765", 'seconds":4', "internal")  # times and sizes of trials, and where a selection lies


@pytest.fixture
def told(privimage):
    """Runs one verb with --json: its document, which is all that it prints."""

    def run(kind, *words, code=0):
        ended, said, complained = privimage(*words, "--json")
        assert ended == code, complained
        return kind.model_validate(json.loads(said))

    return run


def standing(*, at: float) -> Standing:
    rows = (
        RowDone(label="dpdm", done=1, total=2, compared=True),
        RowDone(label="search at epsilon 1", done=0, total=3),
    )
    now = Progress(stage="generator", done=9, total=20)
    running = tuple(Running(label="search at epsilon 1", now=now) for _ in range(2))
    return Standing(at=at, phase="sweep", rows=rows, running=running, left=200.0)


def test_status_of_a_run_that_has_ended_and_of_one_that_runs(explored, copied, told):
    folder: RunFolder = copied(explored)
    found = told(StatusDocument, "status", folder.path)
    assert found.state == "unknown" and not found.rows and found.trials_per_hour is None
    assert found.guarantees[0].epsilon == facts.read(folder).bill.epsilon(1e-5)
    assert found.statement[0].startswith("State epsilon") and not found.warnings
    (one, ten) = found.best
    records = facts.read(folder).records
    for best in (one, ten):
        values = {
            r.id: r.value(best.metric) for r in records if r.role == "search" and r.budget.epsilon == best.epsilon
        }
        assert best.not_private and best.value == values[best.trial] == min(values.values())
    assert [(use.stage, use.computed, use.found) for use in found.stages] == [("generator", len(records), 0)]
    (spent,) = found.spent
    assert spent.sensitive == "digits-v1" and spent.epsilon is not None and spent.delta == 1e-5

    progress.write(folder.progress, standing(at=time.time()))
    found = told(StatusDocument, "status", folder.path)
    assert found.state == "running" and found.seconds_left == 200
    assert [(row.done, row.running, row.waiting, row.total) for row in found.rows] == [(1, 0, 1, 2), (0, 2, 1, 3)]
    assert [(one.stage, one.done, one.total) for one in found.running] == [("generator", 9, 20)] * 2
    progress.write(folder.progress, standing(at=time.time() - 100))
    found = told(StatusDocument, "status", folder.path)
    assert found.state == "stopped" and not found.running
    done = [sum(r.method == "dpdm" for r in records), sum(r.role == "search" for r in records) // 2]
    assert [row.done for row in found.rows] == done == [2, 3], "told by its records, as it wrote no last word"


def test_a_selection_tells_no_more_than_its_text(selected, told, privimage, copied):
    folder: RunFolder = copied(selected)
    found = told(StatusDocument, "status", folder.path)
    assert not found.stages and found.trials_per_hour is None and len(found.best) == 2
    hidden = {record.id for record in facts.records_file.load(folder.internal_records)}
    for words in (("status", folder.path), ("front", folder.path), ("ledger", "show", ledger_of(folder).path)):
        _, said, _ = privimage(*words, "--json")
        assert not any(id in said for id in hidden) and not any(secret in said for secret in SECRETS)
    front = told(FrontDocument, "front", folder.path)
    assert [row.best_of for row in front.rows if row.method == "privimage+d"] == [None, None]


def ledger_of(folder: RunFolder) -> Ledger:
    return Ledger(folder.root.ledger("digits-v1"))


def test_front_best_and_ledger_say_what_their_text_says(explored, copied, told, privimage, tmp_path):
    folder: RunFolder = copied(explored)
    front = told(FrontDocument, "front", folder.path)
    assert folder.front("png").exists() and Path(front.table).exists() and front.metric == "fid[efficientnet-lite0]"
    _, said, _ = privimage("front", folder.path)
    assert all(row.trial[:8] in said for row in front.rows)
    real = next(row for row in front.rows if row.method == "real")
    assert real.epsilon_to_state is None and real.epsilon_alone is None
    best = told(BestDocument, "best", folder.path, "--to", tmp_path / "best", "--epsilon", 10)
    assert Path(best.card).exists() and best.guarantee.sentence == best.statement[0]
    ledger = ledger_of(folder)
    spent = told(LedgerDocument, "ledger", "show", ledger.path, "--details")
    assert len(spent.lines) == len(ledger.lines()) and spent.lines[0].number == 1 and spent.details
    assert f"Epsilon {spent.epsilon:.3g}"[:10] in spent.statement[0] and spent.cap is None


def test_a_plan_that_is_refused_is_a_document_and_a_line_and_exit_2(told, privimage, tmp_path):
    words = ("plan", "demo", "--root", tmp_path / "runs")
    plan = told(PlanDocument, *words, "--no-estimate")
    assert not plan.refused and plan.refusal is None and plan.effort is None and plan.stages and plan.guarantees
    code, said, complained = privimage(*words, "--set", "budgets=[{epsilon: 0.0001, delta: 1e-5}]", "--json")
    plan = PlanDocument.model_validate(json.loads(said))
    assert code == 2 and plan.refused and complained == f"REFUSED: {plan.refusal}\n" and not plan.guarantees


@pytest.mark.parametrize(
    "words", [("status", "none"), ("front", "none"), ("ledger", "show", "none"), ("plan", "none.yaml")]
)
def test_errors_stay_one_line(words, privimage):
    code, said, complained = privimage(*words, "--json")
    assert code == 2 and said == "" and complained.count("\n") == 1


def test_the_page_shows_every_field_of_every_document():
    examples = [
        json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    ]
    assert [one["document"] for one in examples] == [kind.model_fields["document"].default for kind in DOCUMENTS]
    for kind, example in zip(DOCUMENTS, examples, strict=True):
        found = kind.model_validate(example)
        assert json.loads(found.model_dump_json()) == example, "a field is missing, or one more is shown"
