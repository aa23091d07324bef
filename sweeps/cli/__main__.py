"""`python -m sweeps.cli`: the command line without the installed command."""

from sweeps.cli import main

main()
