"""Outputs: the forms in which synthetic images are written, a file a form, found by the path that is asked for."""
