"""DP-SGD: Poisson batches, clipped sums by interchangeable engines, and the noisy step by Opacus's optimizer."""
