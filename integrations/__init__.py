"""What hands events to MUTT from another host. Standard library alone, Python 3.9 or newer; MUTT imports none of it."""
