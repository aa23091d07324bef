"""Weights of a query function from a file: whose they must be, what a wrong file says, how keys know their content."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from toys import public_set, sensitive_set, stages_at, trial

from privimage import query_weights
from privimage.data.torchvision_shim import import_torchvision
from privimage.errors import InputError
from privimage.histogram import noisy_histogram, query_function
from privimage.methods.method import Sizes
from privimage.methods.resolve import resolve
from privimage.query import SemanticsConfig
from privimage.query_network import Residual
from privimage.query_weights import known_weights
from privimage.run_trial import context_of
from privimage.schema import parse
from privimage.trial import check

CLASSES = public_set().classes


def published(n_classes: int = 12, seed: int = 0) -> dict[str, Tensor]:
    """As torchvision publishes weights, but that nobody trained them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        found: dict[str, Tensor] = import_torchvision().models.resnet18(num_classes=n_classes).state_dict()
        return found


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return published()


@pytest.fixture
def path(state: dict[str, Tensor], tmp_path: Path) -> Path:
    torch.save(state, tmp_path / "resnet18.pth")
    return tmp_path / "resnet18.pth"


def config(path: Path, **values: Any) -> SemanticsConfig:
    return parse(
        SemanticsConfig, {"network": "resnet18", "weights": str(path), **values}, where="method.query.function"
    )


@pytest.mark.thorough
def test_published_weights_see_224_pixels_as_torchvision_prepares_them(path: Path, state: dict[str, Tensor]) -> None:
    from privimage.semantics import QueryFunction

    weights = known_weights(config(path), classes=CLASSES)
    function = QueryFunction.load(weights, network="resnet18", channels=3, n_classes=12, device=torch.device("cpu"))
    assert isinstance(function.net, Residual) and function.net.side == 224
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 224, 224), dtype=np.uint8)
    net = import_torchvision().models.resnet18(num_classes=12).eval()
    net.load_state_dict(state)
    prepare = import_torchvision().transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.no_grad():
        torch.testing.assert_close(function.net(torch.from_numpy(x) / 255), net(prepare(torch.from_numpy(x) / 255)))


def test_names_say_which_output_is_which_class_and_others_are_left_out(path: Path, tmp_path: Path) -> None:
    wide = published(n_classes=20)
    torch.save(wide, path)
    names = ["other"] * 20
    order = np.random.default_rng(0).permutation(20)[:12]
    for place, name in zip(order, CLASSES, strict=True):
        names[place] = name
    (tmp_path / "names.txt").write_text("\n".join(n if n != "other" else f"other {i}" for i, n in enumerate(names)))
    found = known_weights(config(path, names=str(tmp_path / "names.txt")), classes=CLASSES)
    assert torch.equal(found["net.fc.weight"], wide["fc.weight"][order])
    assert torch.equal(found["net.fc.bias"], wide["fc.bias"][order])


def damaged(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])


def rewritten(change: Callable[[dict[str, Tensor]], Any]) -> Callable[[Path], None]:
    return lambda path: torch.save(change(published()), path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (damaged, "damaged, or no file of weights"),
        (lambda path: path.write_bytes(b"no weights"), "damaged, or no file of weights"),
        (rewritten(lambda s: [1, 2]), "holds no state dict"),
        (rewritten(lambda s: {"state_dict": s}), "holds no state dict"),
        (rewritten(lambda s: {**s, "fc.weight": s["fc.weight"][:, :-1]}), "fc.weight is not as it should be"),
        (rewritten(lambda s: {k: v for k, v in s.items() if k != "layer3.0.conv1.weight"}), "layer3.0.conv1.weight"),
        (rewritten(lambda s: {k: v for k, v in s.items() if k != "conv1.weight"}), "conv1.weight is not"),
        (rewritten(lambda s: s | {"fc.bias": s["fc.bias"] * float("nan")}), "not finite"),
        (rewritten(lambda s: published(n_classes=7)), "has 7 classes, and the public set 12; name a text file by"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(spoil: Callable[[Path], None], said: str, path: Path) -> None:
    spoil(path)
    with pytest.raises(InputError) as error:
        known_weights(config(path), classes=CLASSES)
    text = str(error.value)
    assert text.startswith(f"method.query.function.weights: {path}: ") and said in text and "\n" not in text


def test_a_file_of_another_network_says_so(path: Path) -> None:
    with pytest.raises(InputError, match=r"no state dict of torchvision's resnet50: .* name its network by"):
        known_weights(config(path, network="resnet50"), classes=CLASSES)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a"], "has 1 lines, and the weights 12 classes"),
        (["x", *CLASSES[1:]], "has no class 'c0'"),
        (["c1", *CLASSES[1:]], "'c1' stands there twice"),
    ],
)
def test_wrong_names_are_one_line(names: list[str], said: str, path: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\n".join(names))
    with pytest.raises(InputError, match=f"^method.query.function.names: .*names.txt: {said}"):
        known_weights(config(path, names=str(tmp_path / "names.txt")), classes=CLASSES)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"weights": "/none/there.pth", "network": "resnet18"}, "weights: /none/there.pth: cannot be read"),
        ({"digest": "0" * 64}, "names and digest are of a file of weights"),
        ({"weights": "{path}"}, "weights are of a network of torchvision"),
        ({"weights": "s3://a/b.pth", "network": "resnet18"}, "that is an address"),
        ({"weights": 3, "network": "resnet18"}, "weights: got 3"),
        ({"network": "resnet20"}, "network: got 'resnet20'"),
        ({"augment": "flip"}, "augment: got 'flip'"),
    ],
)
def test_what_a_file_cannot_say_is_refused(values: dict[str, Any], said: str, path: Path) -> None:
    written = {key: value.format(path=path) if isinstance(value, str) else value for key, value in values.items()}
    with pytest.raises(InputError) as error:
        resolve({"name": "privimage+d", "query": {"function": written}})
    assert said in str(error.value) and "\n" not in str(error.value) and "method.query.function" in str(error.value)


# ---- keys


def keys(path: Path, **function: Any) -> tuple[str, Any]:
    made = trial(method__query__function={"network": "resnet18", "weights": str(path), **function})
    return made.id, made.questions


def test_a_key_knows_the_content_and_not_the_place(path: Path, tmp_path: Path) -> None:
    first, plain = keys(path), trial(method__query__function={"network": "resnet18"})
    (tmp_path / "elsewhere").mkdir()
    other = shutil.copy(path, tmp_path / "elsewhere" / "copy.pth")
    assert keys(Path(other)) == first != (plain.id, plain.questions)
    assert keys(path, steps=7, augment=False, precision="bf16") == first, "what says nothing of these weights"
    torch.save(published(seed=1), path)
    assert keys(path)[0] != first[0] and keys(path)[1].keys() != first[1].keys()
    assert str(tmp_path) not in repr(first)


def test_a_resolved_configuration_reads_back_where_the_file_is_not(path: Path) -> None:
    made = resolve({"name": "privimage+d", "query": {"function": {"network": "resnet18", "weights": str(path)}}})
    path.unlink()
    assert resolve(made.model_dump()) == made


def test_a_file_that_changed_since_is_not_taken(path: Path) -> None:
    before = config(path)
    torch.save(published(seed=1), path)
    with pytest.raises(InputError, match="not as it was"):
        known_weights(before, classes=CLASSES)


# ---- before anything is charged


def test_a_wrong_file_is_refused_by_the_check_of_a_trial(path: Path) -> None:
    sizes = Sizes(n_train=40, n_labels=3, n_public=12, classes=CLASSES)
    what = trial(method__query__function={"network": "resnet18", "weights": str(path)})
    check(what, sizes)
    torch.save(published(n_classes=7), path)
    with pytest.raises(InputError, match="has 7 classes"):
        check(trial(method__query__function={"network": "resnet18", "weights": str(path)}), sizes)


def test_weights_that_see_other_classes_are_refused_and_nothing_is_charged(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_weights, "LOOKED_AT", 12)
    stages = stages_at(tmp_path)
    what = trial(method__query__function={"network": "resnet18", "weights": str(path)})
    context = context_of(what, public=public_set(), sensitive=sensitive_set(), stages=stages)
    with pytest.raises(InputError, match=r"sees the class of \d+ of 12 public images, which is hardly more than"):
        noisy_histogram(context.public, context.sensitive.train, query=context.config.query, context=context)
    assert not stages.ledger.charges()


@pytest.mark.thorough
def test_weights_that_agree_are_kept_and_the_file_is_not_read_again(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_weights, "LOOKED_AT", 2)
    monkeypatch.setattr(query_weights, "SURE", -10)  # nobody trained them
    stages = stages_at(tmp_path)
    what = trial(method__query__function={"network": "resnet18", "weights": str(path)})
    context = context_of(what, public=public_set(), sensitive=sensitive_set(), stages=stages)
    args: Any = {"query": context.config.query, "inputs": context.inputs, "stages": stages}
    function = query_function(context.public, **args)
    assert torch.equal(function.net.state_dict()["net.fc.bias"], published()["fc.bias"])
    path.unlink()
    assert torch.equal(query_function(context.public, **args).net.state_dict()["net.fc.bias"], published()["fc.bias"])
