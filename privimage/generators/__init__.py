"""Generators: networks, the diffusion that trains and samples them, and their codecs."""
