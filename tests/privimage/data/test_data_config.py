import pytest

from privimage.data import PublicConfig, SensitiveConfig
from privimage.errors import InputError
from privimage.schema import parse

DIGITS = {"name": "digits", "id": "digits-v1"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "folder"}, "name folder needs root.*one directory per class"),
        ({"name": "cifar10"}, "name cifar10 needs root.*torchvision"),
        ({"root": "/x"}, "digits comes with the package; remove root"),
        ({"name": "folder", "root": "/x", "download": True}, "cannot be downloaded"),
        ({"name": "mnist", "root": "/x", "test": 0.3}, "mnist has its own test split; remove test"),
        ({"validation": 0.5, "test": 0.5}, "leave nothing to train on"),
        ({"id": "Digits"}, "data.sensitive.id"),
        ({"id": "../ledger"}, "data.sensitive.id"),
        ({"channels": 2}, "data.sensitive.channels"),
        ({"rooot": "/x"}, "did you mean 'root'"),
    ],
)
def test_a_wrong_sensitive_set_is_one_clear_line(change, message) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse(SensitiveConfig, DIGITS | change, where="data.sensitive")
    assert "\n" not in str(caught.value)


def test_min_images_is_for_glyphs_only() -> None:
    with pytest.raises(InputError, match="min_images is for glyphs only"):
        parse(PublicConfig, {"name": "folder", "root": "/x", "min_images": 3})


@pytest.mark.parametrize("values", [DIGITS, {"name": "cifar10", "id": "c", "root": "/x", "validation": 0.1}])
def test_a_config_survives_being_written_and_read_again(values) -> None:
    config = parse(SensitiveConfig, values)
    assert parse(SensitiveConfig, config.model_dump(mode="json")) == config
