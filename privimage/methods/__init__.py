"""One file, one method. A method is found by the names that its file lists in PRESETS."""
