"""The developer commands: one machine runs all of MUTT on real servers, from wheels alone."""
