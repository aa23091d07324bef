import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from privimage.analysis.export import pull_best
from privimage.analysis.synthesise import Bundle
from privimage.errors import InputError
from privimage.generators import sizes
from privimage.generators.sampler import draw_images
from privimage.methods.config import DiffusionConfig


@pytest.fixture(scope="module")
def directory(demo, tmp_path_factory):
    to = tmp_path_factory.mktemp("best")
    pull_best(demo, epsilon=10, metric="accuracy[cnn]", to=to)
    return to


def copy(directory, to):
    to.mkdir()
    for path in directory.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def test_the_exported_generator_draws_what_the_original_draws(directory):
    seen = []
    x, y = Bundle(directory).sample(n=25, seed=7, device="cpu", progress=lambda done, total: seen.append((done, total)))
    original = sizes.build("dct-mlp-192", shape=(1, 28, 28), n_classes=10, seed=3)
    config = DiffusionConfig.model_validate({"sample": {"steps": 3}}).sample
    expected, labels = draw_images(original, n=25, config=config, seed=7, device=next(original.parameters()).device)
    assert np.array_equal(x, expected) and np.array_equal(y, labels)
    assert x.shape == (25, 1, 28, 28) and seen[-1] == (25, 25)


def test_equal_seeds_draw_equal_images_and_others_do_not(directory):
    first, again, other = (Bundle(directory).sample(n=10, seed=seed, device="cpu")[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.safetensors", None, "no such file"),
        ("config.json", None, "no such file"),
        ("config.json", b"{", "not valid JSON"),
        ("config.json", b"[" * 200_000, "not valid JSON"),
        ("config.json", b"[]", "expected a mapping"),
        ("config.json", b"{}", "missing"),
        ("model.safetensors", b"zero", "does not match the digest"),
    ],
)
def test_missing_and_damaged_files_are_one_line(directory, tmp_path, name, content, message):
    damaged = copy(directory, tmp_path / "copy")
    (damaged / name).unlink()
    if content is not None:
        (damaged / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        Bundle(damaged).sample(n=1, seed=0, device="cpu")
    assert "\n" not in str(error.value) and name in str(error.value)


def test_a_size_of_another_version_is_named(directory, tmp_path):
    changed = copy(directory, tmp_path / "copy")
    config = json.loads((changed / "config.json").read_text()) | {"size": "giant"}
    (changed / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="unknown model size 'giant'; allowed: dct-mlp-192"):
        Bundle(changed).sample(n=1, seed=0, device="cpu")


def anchors(x=None, y=None):
    """What changes the weights: these anchors."""
    return lambda found: {**found, **{f"anchors.{k}": v for k, v in (("x", x), ("y", y)) if v is not None}}


X, Y = torch.zeros(10, 1, 28, 28, dtype=torch.uint8), torch.arange(10)
WRONG = {
    "no labels": anchors(X),
    "a number": anchors(torch.tensor(7, dtype=torch.uint8), Y),
    "no images": anchors(y=Y),
    "below 0": anchors(X, Y - 2),
    "floats": anchors(X, Y.float()),
    "too large": anchors(X, 10**13 * Y),
    "fewer images": anchors(X[:5], Y),
    "another shape": anchors(X[:, :, 8:].contiguous(), Y),
    "images of floats": anchors(X.float(), Y),
}


@pytest.mark.parametrize("fault", WRONG)
def test_anchors_that_cannot_be_drawn_from_are_one_line(fault, directory, tmp_path):
    changed = copy(directory, tmp_path / "copy")
    raw = save_tensors(WRONG[fault](load_tensors((changed / "model.safetensors").read_bytes())))
    (changed / "model.safetensors").write_bytes(raw)
    config = json.loads((changed / "config.json").read_text()) | {"model_sha256": hashlib.sha256(raw).hexdigest()}
    config["sample"]["start"] = "anchors"
    (changed / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"model\.safetensors: these are not the weights of a dct-mlp-192"):
        Bundle(changed).sample(n=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": []}, r"config\.json\.classes: got \[\]"),
        ({"shape": [1, 10**12, 28]}, r"config\.json\.shape\.1: got 1000000000000; should be less than"),
        ({"shape": [0, 28, 28]}, r"config\.json\.shape\.0: got 0; should be greater than"),
        ({"shape": [1, 8, 8]}, r"model\.safetensors: a dct-mlp needs at least 16 pixels a side"),
        (
            {"guarantee": {"epsilon": -3}},
            r"config\.json\.guarantee\.epsilon: got -3; should be greater than or equal to 0",
        ),
        ({"guarantee": {"delta": 1}}, r"config\.json\.guarantee\.delta: got 1; should be less than 1"),
        ({"alone": {"epsilon": -3}}, r"config\.json\.alone\.epsilon: got -3; should be greater than or equal to 0"),
    ],
)
def test_a_config_that_cannot_be_is_one_line(change, message, directory, tmp_path):
    changed = copy(directory, tmp_path / "copy")
    config = json.loads((changed / "config.json").read_text())
    for key, value in change.items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    (changed / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=message) as caught:
        Bundle(changed).sample(n=1)
    assert "\n" not in str(caught.value)


def test_memory_that_there_is_not_for_a_network_is_one_line(directory, monkeypatch):
    """As torch says so; what asks for it here would take long, and on a large machine be given."""
    monkeypatch.setattr(sizes, "build", lambda *args, **options: torch.empty(1 << 60))
    with pytest.raises(InputError, match=r"model\.safetensors: no memory here for a "):
        Bundle(directory).sample(n=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n: got 0; expected a whole number from 1 to 10000000"),
        ({"n": "5"}, "^n: got '5'; expected a whole number"),
        ({"n": 2.0}, r"^n: got 2\.0; expected a whole number"),
        ({"n": True}, "^n: got True; expected a whole number"),
        ({"n": "5", "labels": [3]}, "^n: got '5'; expected a whole number"),
        ({"labels": "3"}, r"^labels: got '3'; expected a list, e\.g\. \['3'\], or a mapping"),
        ({"labels": 3}, r"^labels: got 3; expected a list, e\.g\. \['3'\], or a mapping"),
        ({"labels": None}, "^labels: got None; expected a list"),
        ({"labels": [None]}, "^label: got 'None'; the labels are 0 to 9"),
        ({"labels": {"ten": 1}}, "^label: got 'ten'; the labels are 0 to 9"),
        ({"seed": "1"}, "^seed: got '1'; expected a whole number"),
        ({"seed": 1.5}, r"^seed: got 1\.5; expected a whole number"),
        ({"seed": None}, "^seed: got None; expected a whole number"),
        ({"device": None}, "^device: got None, which"),
        ({"labels": ["10"]}, "label: got '10'; the labels are 0 to 9"),
        ({"labels": ["3", "03"]}, "twice"),
        ({"device": "abacus"}, "does not have"),
        ({"device": "meta"}, "device: got 'meta', which this machine does not have"),
        ({"seed": -1}, "seed: got -1; expected a whole number from 0 to 9223372036854775807"),
        ({"seed": 2**63}, "seed: got 9223372036854775808"),
    ],
)
def test_impossible_requests(directory, options, message):
    with pytest.raises(InputError, match=message) as caught:
        Bundle(directory).sample(**({"n": 1, "seed": 0, "device": "cpu"} | options))
    assert "\n" not in str(caught.value)


def test_labels_are_drawn_as_asked_and_the_same_again(directory):
    x, y = Bundle(directory).sample(labels=["7=3", "0=5"], seed=1)
    assert y.tolist() == [0, 7, 0, 7, 0, 7, 0, 0]
    again, _ = Bundle(directory).sample(labels=["0=5", "7=3"], seed=1)
    other, _ = Bundle(directory).sample(labels=["0=5", "7=3"], seed=2)
    assert np.array_equal(x, again) and not np.array_equal(x, other)
    assert Bundle(directory).sample(n=4, labels=["3"], seed=0)[1].tolist() == [3, 3, 3, 3]
    assert Bundle(directory).sample(n=np.int64(2), labels=np.array([3, 5]), seed=np.int64(0))[1].tolist() == [3, 5]


def test_the_verb_takes_labels_and_refuses_in_one_line(directory, tmp_path, monkeypatch, capsys):
    from privimage.sweeps.cli import main

    to = tmp_path / "some.npz"
    base = ["privimage", "sample", str(directory), "--to", str(to)]
    monkeypatch.setattr("sys.argv", [*base, "--n", "8", "--label", "1=25%", "--label", "4=75%"])
    with pytest.raises(SystemExit) as caught:
        main()
    said = capsys.readouterr().out
    assert (
        not caught.value.code
        and said.startswith(f"{to}: 8 images. ")
        and np.bincount(np.load(to)["y"]).tolist() == [0, 2, 0, 0, 6]
    )
    for words, says in (
        (["--label", "eleven"], "label: got 'eleven'; the labels are 0 to 9"),
        (["--label", "1=25%"], "the shares sum to 25%; they must sum to 100%"),
        (["--label", "1=2", "--n", "5"], "these are 2 images; n is 5; leave it out"),
        (["--label", "1=2", "--label", "3"], "give all of them alone, or a number, or a share"),
    ):
        monkeypatch.setattr("sys.argv", [*base, *words])
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr().err
        assert caught.value.code == 2 and says in said and said.count("\n") == 1


def test_the_largest_seed_draws(directory):
    assert len(Bundle(directory).sample(n=1, seed=2**63 - 1, device="cpu")[0]) == 1
