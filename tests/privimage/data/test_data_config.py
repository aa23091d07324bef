import copy
import pickle

import pytest

from privimage.data import PublicConfig, SensitiveConfig
from privimage.errors import InputError
from privimage.schema import parse

DIGITS = {"name": "digits", "id": "digits-v1"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "folder"}, r"^data.sensitive.root: missing; give .*one directory of images per class$"),
        ({"name": "cifar10"}, r"^data.sensitive.root: missing; give .*the published files$"),
        ({"root": "/x"}, r"^data.sensitive.root: unknown key; allowed: channels, id, name, size,"),
        ({"name": "folder", "root": "/x", "download": True}, r"^data.sensitive.download: unknown key; allowed: .*root"),
        ({"name": "mnist", "root": "/x", "test": 0.3}, "mnist has its own test split; remove test"),
        ({"validation": 0.5, "test": 0.5}, "leave nothing to train on"),
        ({"id": "Digits"}, "data.sensitive.id"),
        ({"id": "../ledger"}, "data.sensitive.id"),
        ({"channels": 2}, "data.sensitive.channels"),
        ({"name": "folder", "rooot": "/x", "root": "/y"}, "data.sensitive.rooot: unknown key, did you mean 'root'"),
        ({"name": "glyphs"}, "^data.sensitive.name: got 'glyphs'; glyphs can be the public set only"),
        ({"name": "foldr"}, r"^data.sensitive.name: got 'foldr'; unknown, did you mean 'folder'\?"),
        ({"name": 5}, "^data.sensitive.name: got 5; should be a valid string"),
    ],
)
def test_a_wrong_sensitive_set_is_one_clear_line(change, message) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse(SensitiveConfig, DIGITS | change, where="data.sensitive")
    assert "\n" not in str(caught.value)


def test_min_images_is_for_glyphs_only() -> None:
    with pytest.raises(
        InputError, match=r"^min_images: unknown key; allowed: channels, keywords, limit_classes, name,"
    ):
        parse(PublicConfig, {"name": "folder", "root": "/x", "min_images": 3})


@pytest.mark.parametrize("values", [DIGITS, {"name": "cifar10", "id": "c", "root": "/x", "validation": 0.1}])
def test_a_config_survives_being_written_and_read_again(values) -> None:
    config = parse(SensitiveConfig, values)
    assert parse(SensitiveConfig, config.model_dump(mode="json")) == config
    for copied in (pickle.loads(pickle.dumps(config)), copy.deepcopy(config), config.model_copy(update={"size": 16})):
        assert type(copied) is type(config) and copied.id == config.id
    assert pickle.loads(pickle.dumps(config)) == config
