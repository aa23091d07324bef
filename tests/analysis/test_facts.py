import pytest

from privimage.analysis import facts
from privimage.errors import InputError
from privimage.paths import RunFolder

FID, CNN = "fid[efficientnet-lite0]", "accuracy[cnn]"


def test_objectives_lead_in_their_order(make_run, make_record):
    folder = make_run([make_record("a")], objectives={CNN: "max"})
    found = facts.read(folder)
    assert list(found.metrics) == [CNN, FID]
    assert found.lead.name == CNN
    assert found.bill.mode == "explore"
    assert found.sensitive_ids == ["digits-v1"]
    assert facts.read(folder, by=FID).lead.name == FID


def test_a_run_without_a_sweep_file_or_records(make_run, make_record, tmp_path):
    folder = make_run([make_record("a")])
    folder.sweep.unlink()
    assert facts.read(folder).objectives == ()
    with pytest.raises(InputError, match="no records"):
        facts.read(RunFolder(path=tmp_path))
    with pytest.raises(InputError, match="metric: got 'sds'; allowed: fid"):
        facts.read(folder, by="sds")


def test_a_run_in_which_nothing_finished(make_run, make_record):
    folder = make_run([make_record("a", metrics=())])
    with pytest.raises(InputError, match="no finished trial"):
        facts.read(folder)


@pytest.mark.parametrize("text", ["{", "[" * 200_000])
def test_a_damaged_bill_is_one_line(text, make_run, make_record):
    folder = make_run([make_record("a")])
    folder.bill.write_text(text)
    with pytest.raises(InputError, match="not valid JSON; run the sweep again"):
        facts.read(folder)
