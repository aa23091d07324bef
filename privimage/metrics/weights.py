"""The weights of feature networks: files that are known by their content, wherever they lie."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from privimage.disk import refusal
from privimage.errors import InputError
from privimage.local import LocalPath
from privimage.metrics.variants import NETWORKS
from privimage.schema import Frozen

SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"  # pytorch-fid and torch-fidelity: one file
URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
KEY = "features.inception"


class Features(Frozen):
    """Where the weights of feature networks lie, for each that needs a file; null: in torch's cache, or a download.

    Its content is fixed by the network's name, so the place is no part of any id or key.
    """

    inception: LocalPath | None = None  # the file of Inception's weights; null: torch's cache, or a download
    glove: LocalPath | None = None  # a text file of word vectors, for `privimage sds`

    @property
    def weights(self) -> Path | None:
        """The absolute path of Inception's weights: a relative one starts at the working directory, `~` at home."""
        return None if self.inception is None else Path(self.inception).expanduser().absolute()


def inception_weights(named: Path | None) -> Path:
    """The file that holds Inception's weights: the named one, else that in torch's cache, fetched if it is missing.

    Raises InputError, in one line, if there is none, or if it does not hold these weights to the last bit.
    """
    import torch  # here, so that a sweep is read without it

    cached = Path(torch.hub.get_dir()) / "checkpoints" / URL.rsplit("/", 1)[1]
    if named is None and not cached.exists():
        _fetch(cached)
    path, where = (named, KEY) if named is not None else (cached, "feature network inception")
    gone = f"fetch {URL}" if named is not None else f"remove it, or name another file by {KEY}"
    known = Known(sha256=SHA256, what="the InceptionV3 weights of 2015-12-05")
    return known.at(path, told=f"{where}: {path}", unread=f"give the path of {URL}", fix=gone)


@dataclass(frozen=True, kw_only=True)
class Known:
    """A file that is known by the digest of its content."""

    sha256: str
    what: str

    def at(self, path: Path, *, told: str, unread: str, fix: str) -> Path:
        """The path, if it holds that file to the last bit. Else InputError in one line that begins with `told`."""
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise refusal(error, told, "read", fix=unread) from None
        if found != self.sha256:
            raise InputError(
                f"{told}: damaged, or of another network: its sha256 begins with {found[:8]}, that of {self.what} with "
                f"{self.sha256[:8]}; {fix}"
            )
        return path


def _fetch(to: Path) -> None:
    import torch

    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URL, str(to), hash_prefix=SHA256, progress=False)
    except (OSError, RuntimeError, HTTPException):
        raise InputError(
            f"feature network inception: no weights at {to}, and no download; fetch {URL} and name the file by {KEY}: "
            f"PATH (or --set {KEY}=PATH), or use [{NETWORKS[0]}] in the place of [inception], which needs none"
        ) from None
