"""Launch: the files that start a sweep on many machines, a file a target, found by the name that is asked for."""
