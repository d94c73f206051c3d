"""Looks for what may be wrong where MUTT runs, changes nothing, and says what to do: `python -m services.doctor`."""
