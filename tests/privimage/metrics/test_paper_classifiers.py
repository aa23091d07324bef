import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from privimage.data.sets import PrivateSet
from privimage.data.sources.digits import read_digits
from privimage.metrics import paper_classifiers as module
from privimage.metrics.classifiers import accuracy
from privimage.metrics.paper_classifiers import ResNet9, of_sklearn, train_resnet9
from privimage.privacy.looks import Seen

SHIPPED = module.WIDTH
SEEN, CPU = Seen(split="test"), torch.device("cpu")


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setattr(module, "WIDTH", 4)


def digits(n):
    x, y = read_digits()
    index = np.random.default_rng(0).permutation(len(y))
    names = tuple("0123456789")
    test = PrivateSet(x=x[index[-500:]], y=y[index[-500:]], name="d", id="d", split="test", classes=names)
    return x[index[:n]], y[index[:n]], test


def test_the_settings_are_the_papers():
    lr, mlp = of_sklearn("paper-lr", 0), of_sklearn("paper-mlp", 0)
    assert (lr.solver, lr.max_iter, lr.C) == ("lbfgs", 50_000, 1.0)
    assert (mlp.hidden_layer_sizes, mlp.max_iter) == ((100,), 1000)
    assert (module.EPOCHS, module.BATCH, module.LEARNING_RATE, module.MOMENTUM, module.DECAY) == (
        50, 512, 0.1, 0.9, 5e-4,
    )  # fmt: skip


def test_its_weights_are_counted_by_hand(monkeypatch):
    monkeypatch.setattr(module, "WIDTH", SHIPPED)
    kernels = 9 * 3 * 64 + 25 * 64 * 128 + 2 * 9 * 128**2 + 9 * 128 * 256 + 2 * 9 * 256**2 + 9 * 256 * 128 + 128 * 10
    norms = 2 * (64 + 3 * 128 + 3 * 256 + 128)
    net = ResNet9(channels=3, side=32, n_classes=10)
    assert sum(p.numel() for p in net.parameters()) == kernels + norms == 2_274_880


def test_its_logits_are_those_of_its_layers_in_turn():
    """By functions: what adds around, what halves, and the scale of the logits."""
    torch.manual_seed(0)
    net, x = ResNet9(channels=3, side=32, n_classes=10).eval(), torch.rand(2, 3, 32, 32)
    convolutions = iter([m for m in net.modules() if isinstance(m, nn.Conv2d)])

    def layer(h, stride=1, padding=1):
        weight = next(convolutions).weight
        return functional.conv2d(h, weight, stride=stride, padding=padding).div((1 + 1e-5) ** 0.5).relu()

    h = layer(layer(2 * x - 1), stride=2, padding=2)
    h = h + layer(layer(h))
    h = functional.max_pool2d(layer(h), 2)
    h = h + layer(layer(h))
    h = layer(h, padding=0).amax((2, 3))
    (last,) = [m for m in net.modules() if isinstance(m, nn.Linear)]
    torch.testing.assert_close(net(x), 0.2 * h @ last.weight.T)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64)])
def test_it_takes_every_shape(shape, monkeypatch):
    monkeypatch.setattr(module, "EPOCHS", 1)
    x = np.random.default_rng(0).integers(0, 256, (12, *shape), dtype=np.uint8)
    net = train_resnet9(x, np.arange(12) % 3, n_classes=3, device=CPU, seed=0)
    assert net(torch.rand(2, *shape)).shape == (2, 3)


def test_the_rate_falls_to_nothing_over_all_epochs(monkeypatch):
    rates = []
    step = torch.optim.SGD.step

    def spy(self, *args):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args)

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    monkeypatch.setattr(module, "BATCH", 16)
    x = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)
    train_resnet9(x, np.arange(40) % 3, n_classes=3, device=CPU, seed=0)
    cosine = [0.05 * (1 + np.cos(np.pi * i / 100)) for i in range(100)]  # two batches an epoch
    assert rates == pytest.approx(cosine, abs=1e-9)


@pytest.mark.thorough
def test_digits_are_learned_and_random_labels_are_not(monkeypatch):
    monkeypatch.setattr(module, "BATCH", 100)
    monkeypatch.setattr(module, "EPOCHS", 12)
    x, y, test = digits(1000)
    assert accuracy(x, y, classifier="paper-cnn", test=test, by=SEEN) > 0.7
    shuffled = np.random.default_rng(1).permutation(y)
    assert accuracy(x[:500], shuffled[:500], classifier="paper-cnn", test=test, by=SEEN) < 0.25


@pytest.mark.parametrize("classifier", ["paper-lr", "paper-mlp"])
def test_those_of_sklearn_learn_digits(classifier):
    x, y, test = digits(300)
    assert accuracy(x, y, classifier=classifier, test=test, by=SEEN) > 0.75
