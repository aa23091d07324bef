from privimage.analysis import facts, spend, words
from privimage.privacy.accounting import epsilon
from privimage.privacy.budget import Event

FID, CNN = "fid[efficientnet-lite0]", "accuracy[cnn]"
QUERY = Event(purpose="query", split="train", sigma=5.0, shared="00ff")
SGD = Event(purpose="dp-sgd", split="train", sigma=2.0, q=0.5, steps=50)
OPEN = Event(purpose="training", split="train", sigma=0.0, q=0.5, steps=50)


def test_the_budget_line_names_every_event_and_both_accountants(make_record):
    line = spend.budget_line(make_record("a", spent=9.999512))
    query, sgd = (words.epsilon(epsilon([event], 1e-5)) for event in (QUERY, SGD))
    assert line == (
        f"query sigma=5 -> epsilon {query}; dp-sgd sigma=2 q=0.5 steps=50 -> epsilon {sgd}; "
        "together epsilon 9.9996 (PLD) <= 10 at delta 1e-05; RDP 11"
    )


def test_the_budget_line_of_a_derived_query_and_of_one_event(make_record):
    derived = make_record("a", events=(QUERY.scaled(2),), paid=make_record("b").paid)
    line = spend.budget_line(derived)
    assert line.startswith("query sigma=10 (derived from one answer of the sweep at sigma=5); together")


def test_the_budget_line_hides_neither_an_overdraft_nor_a_missing_guarantee(make_record):
    assert "EXCEEDS the budget of 10" in spend.budget_line(make_record("a", spent=10.01))
    assert "NO privacy guarantee" in spend.budget_line(make_record("a", events=(QUERY, OPEN), spent=None))
    assert spend.budget_line(make_record("a", events=(), spent=0)) == "no access to sensitive data: epsilon 0"


def test_what_is_not_covered_names_metrics_steering_and_rows(make_record, make_facts):
    records = [make_record("a"), make_record("r", method="real", role="compare", events=(OPEN,), spent=None)]
    text = " ".join(spend.not_covered(make_facts(records)))
    assert f"the values of {FID}† and {CNN}†" in text
    assert f"The search was steered by {FID}† and {CNN}†, which read the test split" in text
    assert "1 comparison row without privacy (real)" in text
    assert "Caution" not in text and "WARNING" not in text


def test_a_search_without_sensitive_metrics_costs_nothing_more(make_record, make_metric, make_facts):
    record = make_record("a", metrics=(make_metric(FID, 3, "synthetic", "public"),))
    text = " ".join(spend.not_covered(make_facts([record])))
    assert "the choice costs nothing more" in text and "the values of" not in text


def test_a_search_that_reads_training_images_is_a_warning(make_record, make_metric, make_facts):
    record = make_record("a", metrics=(make_metric(FID, 3, "private-train"),))
    assert any(s.startswith("WARNING") for s in spend.not_covered(make_facts([record])))


def test_the_ledger_is_checked_against_the_records(demo, make_run, make_record):
    first, everything = spend.ledger_sentences(facts.read(demo))
    assert "verifies, and all 13 accesses" in first
    assert everything.startswith("Everything that all runs ever asked of digits-v1 costs epsilon")

    folder = make_run([make_record("a")])
    ledger = folder.root.ledger("digits-v1")
    whole = ledger.read_text()
    ledger.write_text(whole.splitlines(keepends=True)[0])
    assert "does not verify" in spend.ledger_sentences(facts.read(folder))[0]
    ledger.with_suffix(".head").unlink()
    assert "WARNING: 1 access of this run" in spend.ledger_sentences(facts.read(folder))[0]
    ledger.write_text(whole.replace('"sigma":5.0', '"sigma":50.0'))
    assert "does not verify" in spend.ledger_sentences(facts.read(folder))[0]
    ledger.unlink()
    assert "not beside this run" in spend.ledger_sentences(facts.read(folder))[0]
