"""Stores: where artefacts are kept, each with its privacy class and what was paid for it."""
