"""Sweeps: the YAML file, the search on Ray Tune with Optuna, and the command line."""
