"""Which trackers a sweep has: the words of its file. No tracker is loaded here."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field
from pydantic_core import PydanticCustomError

from privimage.errors import InputError
from privimage.field_types import Constraint
from privimage.schema import SAID, Frozen

PACKAGES = {"tensorboard": "tensorboardX", "mlflow": "mlflow", "wandb": "wandb"}  # of every tracker
NO_PASSWORD = (
    "trackers.mlflow: a password does not belong in the file of a sweep, which is kept and shown; leave it out, and "
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
)
USE = "use http://HOST:PORT or sqlite:////PATH, or leave it out"


def _open(address: str | None) -> None:
    """Raise an error that does not repeat the address: a password may stand in it."""
    try:
        host = "none" if address is None else urlsplit(address).netloc
    except ValueError:
        address = host = ""
    if "@" in host:
        raise PydanticCustomError(SAID, "{why}", {"why": NO_PASSWORD})
    if address == "":
        raise PydanticCustomError(SAID, "{why}", {"why": f"trackers.mlflow: no address; {USE}"})


Address = Annotated[str | None, Constraint(_open, {"pattern": "^(?![a-z+]+://[^/]*@)."})]
Project = Annotated[str, Field(min_length=1, max_length=128)]


class Trackers(Frozen):
    """Where finished trials are shown as well: each of them takes what the mode lets a run show, and no more."""

    tensorboard: bool = False  # event files in the run's folder
    mlflow: Address = None  # its tracking URI: http://HOST:PORT, or sqlite:////PATH
    wandb: Project | None = None  # the project, in whatever account this machine is logged in to

    @property
    def names(self) -> tuple[str, ...]:
        """Those that the file names."""
        return tuple(name for name in PACKAGES if getattr(self, name))

    def check_installed(self) -> None:
        """Raise InputError if a package is missing."""
        for name in self.names:
            if find_spec(PACKAGES[name]) is None:
                package = PACKAGES[name]
                raise InputError(f"trackers.{name}: {package} is not installed; pip install {package}, or leave it out")
