"""Generators: families of networks with the loss that trains them, their codecs, and how images are drawn."""

Shape = tuple[int, int, int]  # of an image: (channels, height, width)
