"""Modes: the three ways to search, and what only one of them does."""
