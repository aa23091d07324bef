"""How the per-example gradients of each kind of layer are computed: one file a rule. A new layer is a file, listed here."""

from __future__ import annotations

from torch import nn

from privimage.dpsgd.rules.conv2d import Conv2dRule
from privimage.dpsgd.rules.embedding import EmbeddingRule
from privimage.dpsgd.rules.group_norm import GroupNormRule
from privimage.dpsgd.rules.linear import LinearRule
from privimage.dpsgd.rules.rule import Rule

RULES: dict[type[nn.Module], Rule] = {
    nn.Conv2d: Conv2dRule(),
    nn.Embedding: EmbeddingRule(),
    nn.GroupNorm: GroupNormRule(),
    nn.Linear: LinearRule(),
}
