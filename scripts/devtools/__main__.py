"""`python -m scripts.devtools`: what scripts/muttdev.py becomes once the environment is there."""

from scripts.devtools.cli import main

main()
