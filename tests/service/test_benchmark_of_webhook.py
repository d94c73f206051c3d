"""The row of the webhook in a tiny form: it runs, and sees each alert once."""

from functools import partial

from benchmarks import webhook
from benchmarks.machine import Servers
from scripts.devtools.embedded import PostgresServer, RedisServer


def test_the_row_of_the_webhook_delivers_and_counts(own_redis: RedisServer, own_postgres: PostgresServer) -> None:
    with webhook.receiver() as receiver:
        stage = webhook.Stage(Servers(own_redis, own_postgres), receiver)
        figure = stage.measure(webhook.WARM_UP, partial(stage.mutt, {"MOOG_BATCH_MODE": "events"}, webhook.PODS), 1)
        assert figure.per_second > 0
        report = receiver.report()
    assert report["alerts"] == webhook.WARM_UP
    assert report["requests"] < webhook.WARM_UP
    assert 0 <= report["p50_ms"] <= report["most_ms"]
