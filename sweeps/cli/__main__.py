"""`python -m privimage.sweeps.cli`: the command line without the installed command."""

from privimage.sweeps.cli import main

main()
