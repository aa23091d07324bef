"""Public and sensitive images as two distinct types, and the loaders that make them from a configuration."""

from privimage.data.config import HeldOutConfig, PublicConfig, SensitiveConfig
from privimage.data.held_out import hold_out
from privimage.data.load import check_there, load_public, load_sensitive
from privimage.data.sets import PrivateSet, PublicSet, SensitiveData, check_apart, contents_of, split_by_content

__all__ = [
    "HeldOutConfig",
    "PrivateSet",
    "PublicConfig",
    "PublicSet",
    "SensitiveConfig",
    "SensitiveData",
    "check_apart",
    "check_there",
    "contents_of",
    "hold_out",
    "load_public",
    "load_sensitive",
    "split_by_content",
]
