"""privimage: differentially private synthetic images, with the whole privacy bill.

The packages under ``privimage`` are the science: data, semantics, diffusion, DP-SGD, accounting.
They never import ray; ``cluster`` does, ``sweeps`` drives it, ``analysis`` reads what was recorded.
"""

__version__ = "0.1.0"
