"""The parts of mutt-send and mutt-trap."""
