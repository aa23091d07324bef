"""DP-NTK and PEARL: as DP-MERF, in other features; that of PEARL with a critic that weighs them."""

from __future__ import annotations

from typing import ClassVar

from privimage.matching.config import CharacteristicConfig, CriticConfig, NtkConfig
from privimage.methods.matching import MatchingConfig, MatchingMethod, trained_for
from privimage.methods.method import MethodConfig


class NtkMethodConfig(MatchingConfig):
    """With the network whose gradients are asked."""

    ntk: NtkConfig = NtkConfig()


class PearlConfig(MatchingConfig):
    """With the frequencies and the critic."""

    characteristic: CharacteristicConfig = CharacteristicConfig()
    critic: CriticConfig = CriticConfig()


class NtkMethod(MatchingMethod):
    """See above."""

    config: ClassVar[type[MethodConfig]] = NtkMethodConfig


class PearlMethod(MatchingMethod):
    """See above."""

    config: ClassVar[type[MethodConfig]] = PearlConfig


MEMBERS = {  # steps: as there
    "dp-ntk": NtkMethod(
        features="ntk",
        what="a generator that meets noisy means of gradients of a fixed random network",
        settings=trained_for(5000),
    ),
    "pearl": PearlMethod(
        features="characteristic",
        fields=("critic",),
        what="a generator that meets a noisy characteristic function, where a critic weighs the frequencies",
        settings=trained_for(6000),
    ),
}
