"""What the forwarder cannot go on after ends it."""

import pytest

from services.moog_forwarder.sender import Sender
from services.runtime.loop import DEPENDENCY_ERRORS


def test_a_delivery_that_fails_ends_the_process_also_by_an_error_after_which_a_loop_would_try_again() -> None:
    sender = Sender.__new__(Sender)
    sender._failure = ConnectionError("refused")
    with pytest.raises(Exception, match="a delivery failed") as failure:
        sender._check()
    assert not isinstance(failure.value, DEPENDENCY_ERRORS)
