"""How each kind of layer gets its per-example gradients: one file a rule. A new layer is a file, listed here."""

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
