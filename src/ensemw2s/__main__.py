"""`python -m ensemw2s` is `ensemw2s`."""

from ensemw2s.cli import main

main()
