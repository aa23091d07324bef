"""The FID of the paper: 5,000 synthetic images against the training split, which no other metric reads.

It takes memorised images for good ones: a copy of the training split is at distance 0. And it is read, without noise,
from the very images that a guarantee protects: a look in the ledger, and nothing that may steer a search.
"""

from __future__ import annotations

from privimage.metrics.fid import Fid


class PaperFid(Fid):
    """paper-fid[NETWORK], at least 0: of the first 5,000 images, or of all where there are fewer."""

    what = "Frechet distance of features, to the training images"
    reads = ("train",)
    most = 5000


MEMBERS = {"paper-fid": PaperFid()}
