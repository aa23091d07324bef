"""Inception's weights are one file, known by its content: named by a key, or in torch's cache, or refused first."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch

from privimage import metrics
from privimage.data.torchvision_shim import import_torchvision
from privimage.errors import InputError
from privimage.metrics import Features, weights
from privimage.metrics.features import _network, classified, features
from privimage.metrics.frechet import Statistics, distance
from privimage.schema import parse

X = np.random.default_rng(0).integers(0, 256, (2, 1, 28, 28), dtype=np.uint8)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of Inception's structure: the network of torch-fidelity with its random start."""
    import_torchvision()
    from torch_fidelity import feature_extractor_inceptionv3 as module

    kind = module.FeatureExtractorInceptionV3
    with pytest.MonkeyPatch.context() as patch:  # its constructor insists on weights: give it none to make some
        patch.setattr(module, "load_state_dict_from_url", lambda *_a, **_k: {})
        patch.setattr(kind, "load_state_dict", lambda *_a, **_k: None)
        for name in ("kaiming_uniform_", "uniform_"):  # slow, and any numbers will do
            patch.setattr(torch.nn.init, name, lambda tensor, *_a, **_k: tensor.data.fill_(1e-3))
        state = kind("make", ["2048"], verbose=False).state_dict()
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save(state, path)
    return path


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Where torch's cache would hold the file, offline; nothing is remembered."""

    def offline(*_args: object, **_keywords: object) -> None:
        raise URLError("offline")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    _network.cache_clear()
    yield tmp_path / "hub" / "checkpoints" / weights.URL.rsplit("/", 1)[1]
    _network.cache_clear()


@pytest.fixture(scope="module")
def its_hash(made: Path) -> str:
    return hashlib.sha256(made.read_bytes()).hexdigest()


@pytest.fixture
def expected(its_hash: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The made file is the one that is expected."""
    monkeypatch.setattr(weights, "SHA256", its_hash)


def test_the_hash_is_that_in_the_name_of_the_file() -> None:
    assert len(weights.SHA256) == 64 and weights.URL.endswith(f"-{weights.SHA256[:8]}.pth")


def test_a_named_file_is_read_wherever_it_lies(
    made: Path, cache: Path, expected: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made.parent)
    monkeypatch.setenv("HOME", str(made.parent))
    for written in (str(made), "weights.pth", "./weights.pth", "~/weights.pth"):
        assert weights.inception_weights(Features(inception=written).weights).samefile(made)
    metrics.check(["fid[inception]"], weights=made)
    out = features(X, network="inception", weights=made)
    assert out.shape == (2, 2048) and np.isfinite(out).all()


def test_a_file_in_torchs_cache_needs_no_key(made: Path, cache: Path, expected: None) -> None:
    cache.parent.mkdir(parents=True)
    cache.symlink_to(made)
    assert weights.inception_weights(None) == cache


def test_a_download_is_known_by_its_hash(made: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(url: str, to: str, hash_prefix: str, progress: bool) -> None:
        asked.append((url, hash_prefix))
        raise RuntimeError("invalid hash value")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(InputError, match="no download"):
        weights.inception_weights(None)
    assert asked == [(weights.URL, weights.SHA256)]


def test_without_weights_the_key_is_the_fix(cache: Path) -> None:
    with pytest.raises(
        InputError, match=r"^feature network inception: no weights at .*--set features\.inception=PATH"
    ) as refused:
        metrics.check(["accuracy[lr]", "fid[inception]"])
    assert "\n" not in str(refused.value) and str(cache) in str(refused.value)
    metrics.check(["accuracy[lr]"], weights=cache)  # what nothing needs is not looked for


WRONG = {
    "missing": "No such file",
    "folder": "Is a directory",
    "cut": "damaged",
    "other": "of another network",
    "empty": "damaged",
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_file_is_refused_by_key_and_path(kind: str, made: Path, cache: Path, expected: None) -> None:
    path = cache.parent.parent.parent / kind
    if kind == "folder":
        path.mkdir()
    if kind == "cut":
        path.write_bytes(made.read_bytes()[:-1])
    if kind == "other":
        torch.save({"w": torch.zeros(1)}, path)
    if kind == "empty":
        path.touch()
    with pytest.raises(InputError, match=rf"^features\.inception: {path}: .*{WRONG[kind]}.*{weights.URL}$") as refused:
        metrics.check(["fid[inception]"], weights=path)
    assert "\n" not in str(refused.value)


def test_a_wrong_file_in_the_cache_is_refused_too(cache: Path) -> None:
    """It was unpickled, whatever it held."""
    cache.parent.mkdir(parents=True)
    torch.save({"path": Path("x")}, cache)
    with pytest.raises(
        InputError, match=r"^feature network inception: .*damaged.*remove it, or name another .*inception$"
    ):
        features(X, network="inception")


def test_the_nearest_key_is_named() -> None:
    with pytest.raises(InputError, match=r"incepton: unknown key, did you mean 'inception'\?"):
        parse(Features, {"incepton": "x"})
    with pytest.raises(InputError, match=r"s3://x/w\.pth.*that is an address"):
        parse(Features, {"inception": "s3://x/w.pth"})


@pytest.mark.usefixtures("expected", "cache")
@pytest.mark.thorough
def test_what_it_would_answer_is_torch_fidelitys(made: Path) -> None:
    import_torchvision()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as Inception

    x = np.random.default_rng(0).integers(0, 256, (2, 3, 28, 28), dtype=np.uint8)
    network = Inception("i", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(made), verbose=False)
    with torch.no_grad():
        deep, logits = network.eval()(torch.from_numpy(x))
    assert features(x, network="inception", weights=made) == pytest.approx(deep.numpy(), rel=1e-5)
    mine = classified(deep.numpy(), network="inception", weights=made)
    assert mine.shape == (2, 1008) and mine == pytest.approx(logits.numpy(), rel=1e-4, abs=1e-6)


class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Images as torch-fidelity takes them: one uint8 tensor each."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = torch.from_numpy(x)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> torch.Tensor:
        return self.x[i]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("cache")
def test_the_distance_is_that_of_torch_fidelity_called_directly(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From images to the number, with weights whose features differ from image to image."""
    import_torchvision()
    from torch_fidelity import calculate_metrics

    generator, state = torch.Generator().manual_seed(0), torch.load(made)
    for name, value in state.items():
        if value.ndim > 1:
            state[name] = torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5
        elif name.endswith(("running_var", "bn.weight")):
            state[name] = torch.ones_like(value)
    path = tmp_path / "random.pth"
    torch.save(state, path)
    monkeypatch.setattr(weights, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, top, (40, 3, 28, 28), dtype=np.uint8) for top in (256, 128))
    theirs = calculate_metrics(
        input1=Rows(a), input2=Rows(b), fid=True, cuda=False, verbose=False, cache=False, batch_size=20,
        feature_extractor_weights_path=str(path),
    )["frechet_inception_distance"]  # fmt: skip
    mine = [Statistics.of(features(x, network="inception", weights=path)) for x in (a, b)]
    assert theirs > 0.1
    assert distance(*mine) == pytest.approx(theirs, rel=1e-3)
