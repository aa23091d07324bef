import numpy as np
import pytest

from privimage.analysis import sds
from privimage.errors import InputError

VECTORS = {
    "cat": [1.0, 0.2, 0.0], "tabby": [0.9, 0.3, 0.1], "dog": [0.8, -0.4, 0.1], "car": [0.0, 1.0, -1.0],
    "sports": [-0.2, 0.5, 0.5], "hound": [0.7, -0.6, 0.2],
}  # fmt: skip


@pytest.fixture
def glove(tmp_path):
    path = tmp_path / "glove.txt"
    lines = [f"{word} {' '.join(map(str, values))}" for word, values in {**VECTORS, "other": [1, 2, 3]}.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


def unit(name):
    mean = np.mean([VECTORS[word] for word in name.split()], axis=0)
    return mean / np.linalg.norm(mean)


def test_it_is_the_double_sum_over_all_pairs(glove):
    labels, rows = ["cat", "dog"], [{"tabby": 0.75, "sports car": 0.25}, {"hound": 1.0}]
    vectors = sds.read_vectors(glove, names=[*labels, *(name for row in rows for name in row)])
    assert vectors.keys() == set(VECTORS)  # and no word that nobody needs
    value, by_label, unknown = sds.similarity(labels, rows, sds.by_words(vectors))
    f = {"cat": 0.5, "dog": 0.5}
    g = {"tabby": 0.375, "sports car": 0.125, "hound": 0.5}
    assert value == pytest.approx(sum(f[s] * g[t] * unit(s) @ unit(t) for s in f for t in g))
    own = [0.75 * unit("cat") @ unit("tabby") + 0.25 * unit("cat") @ unit("sports car"), unit("dog") @ unit("hound")]
    assert by_label == pytest.approx(np.mean(own)) and unknown == 0


def test_the_same_names_are_as_alike_as_can_be(glove):
    vectors = sds.read_vectors(glove, names=["cat"])
    assert sds.similarity(["cat"], [{"Cat": 3.0}], sds.by_words(vectors)) == (pytest.approx(1.0), pytest.approx(1.0), 0)


def test_words_of_the_file_may_hold_spaces(glove):
    glove.write_text(glove.read_text() + "on name@domain.com 1 2 3\ncat 9 9 9 9\n")
    assert sds.read_vectors(glove, names=["on", "cat", "name"])["cat"].tolist() == VECTORS["cat"]


def test_names_without_a_known_word_are_left_out_and_counted(glove):
    vectors = sds.read_vectors(glove, names=["cat", "dog"])
    value, _, unknown = sds.similarity(["cat"], [{"dog": 0.5, "n01440764 tench": 0.5}], sds.by_words(vectors))
    assert value == pytest.approx(unit("cat") @ unit("dog")) and unknown == 1
    with pytest.raises(InputError, match="no label, or no public class"):
        sds.similarity(["tench"], [{"dog": 1.0}], sds.by_words(vectors))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "knows none"), ("cat one two\n", "no GloVe file"), ("cat 1 2\ndog 1\n", "no GloVe file"),
        ("cat\n", "no GloVe file"), ("cat nan 1\n", "not finite"), (None, "cannot be read"),
    ],
)  # fmt: skip
def test_another_file_is_refused_in_one_line(tmp_path, text, why):
    path = tmp_path / "glove.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=f"^features.glove: .*{why}") as refused:
        sds.read_vectors(path, names=["cat", "dog"])
    assert "\n" not in str(refused.value)


def test_the_model_that_comes_with_a_package_knows_which_names_are_alike():
    pytest.importorskip("wordllama", reason="wordllama is not installed")
    embed = sds.by_names()
    value, by_label, unknown = sds.similarity(
        ["seven", "cat"], [{"7": 1.0}, {"n02123045 tabby, tabby cat": 1.0}], embed
    )
    assert by_label > 0.6 > 2 * value - by_label + 0.2 and unknown == 0  # of the others: next to nothing
    assert sds.similarity(["cat"], [{"Cat": 1.0}], embed)[0] == pytest.approx(1.0)
    assert embed("n02123045") is None


def test_without_a_file_and_without_the_package_both_are_named(monkeypatch):
    monkeypatch.setattr(sds, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"^features.glove: .*--vectors.*privimage\[words\]"):
        sds.by_names()
