"""privimage: differentially private synthetic images, with the whole privacy bill.

What lies here is the science: data, semantics, diffusion, DP-SGD, accounting. It never imports ray;
``privimage.cluster`` does, ``privimage.sweeps`` drives it, ``privimage.analysis`` reads what was recorded. These three
are folders beside this one, and links in it: their own names may belong to others where this is installed.
"""

__version__ = "0.1.0"
