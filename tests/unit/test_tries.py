from mutt.tries import ADDRESSES, BURST, SECONDS, FailedTries, network


def test_a_few_tries_are_free_and_then_they_come_one_by_one() -> None:
    tries = FailedTries()
    for _ in range(BURST):
        assert tries.wait("10.0.0.1", 0.0) == 0
        tries.failed("10.0.0.1", 0.0)
    assert tries.wait("10.0.0.1", 0.0) == SECONDS
    assert tries.wait("10.0.0.1", SECONDS) == 0


def test_one_address_never_keeps_another_out() -> None:
    tries = FailedTries()
    for _ in range(100):
        tries.failed("10.0.0.1", 0.0)
    assert tries.wait("10.0.0.2", 0.0) == 0
    assert tries.wait("::ffff:10.0.0.1", 0.0) > 0


def test_addresses_beyond_the_memory_push_out_the_oldest() -> None:
    tries = FailedTries()
    for number in range(ADDRESSES + 1):
        for _ in range(BURST):
            tries.failed(f"host-{number}", 0.0)
    assert tries.wait("host-0", 0.0) == 0
    assert tries.wait("host-1", 0.0) > 0


def test_a_machine_with_ipv6_is_its_64() -> None:
    assert network("2001:db8::1") == network("2001:db8::ffff") != network("2001:db8:0:1::1")
    assert network("unix") == "unix"
