"""Configurations of senders that cannot be run here: they parse, and hold no key that their products do not list."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from lupa.luajit21 import LuaRuntime

from tests.integrations.recorded.wire import HERE
from tests.integrations.stage import INTEGRATIONS

FILES = (
    "fluent-bit/fluent-bit.yaml",
    "logstash/mutt.conf",
    "logstash/pipelines.yml",
    "otel-collector/config.yaml",
    "splunk-hec/cribl-outputs.yml",
    "splunk-hec/fluent-bit.yaml",
    "splunk-hec/vector.yaml",
    "telegraf/telegraf.conf",
    "vector/vector.yaml",
)
# What each product's reference lists for the section named, as far as it is used here.
LISTED = {
    "fluent-bit service": (
        "flush log_level http_server http_listen http_port storage.path storage.sync storage.backlog.mem_limit"
        " scheduler.base scheduler.cap"
    ),
    "fluent-bit parser": "name format regex time_key time_format types",
    "fluent-bit input syslog": "name tag mode listen port parser storage.type",
    "fluent-bit filter lua": "name match call code script type_int_key",
    "fluent-bit output http": (
        "name match host port uri format json_date_key json_date_format compress header log_response_payload"
        " retry_limit storage.total_limit_size tls tls.verify tls.ca_file"
    ),
    "fluent-bit output splunk": (
        "name match host port splunk_token compress event_host event_source event_sourcetype retry_limit"
        " storage.total_limit_size tls tls.verify tls.ca_file"
    ),
    "vector source syslog": "type mode address max_length path keepalive tls receive_buffer_bytes",
    "vector transform remap": "type inputs source file drop_on_error drop_on_abort reroute_dropped",
    "vector sink http": (
        "type inputs uri method compression encoding framing batch request acknowledgements buffer healthcheck tls auth"
        " payload_prefix payload_suffix"
    ),
    "vector sink splunk_hec_logs": (
        "type inputs endpoint endpoint_target default_token compression encoding host_key timestamp_key source"
        " sourcetype index indexed_fields acknowledgements buffer batch request healthcheck tls auto_extract_timestamp"
    ),
    "logstash input syslog": "port timezone ecs_compatibility",
    "logstash filter uuid": "target overwrite",
    "logstash filter mutate": "remove_field rename copy",
    "logstash output http": (
        "url http_method format content_type headers retryable_codes request_timeout connect_timeout automatic_retries"
        " ssl_certificate_authorities"
    ),
    "logstash pipeline": (
        "pipeline.id path.config pipeline.batch.size pipeline.batch.delay queue.type queue.max_bytes"
        " queue.checkpoint.writes"
    ),
    "telegraf agent": (
        "interval flush_interval flush_jitter metric_batch_size metric_buffer_limit buffer_strategy buffer_directory"
        " omit_hostname"
    ),
    "telegraf inputs.syslog": "server syslog_standard best_effort framing",
    "telegraf outputs.http": (
        "namepass url method timeout content_encoding non_retryable_statuscodes data_format json_timestamp_units"
        " json_transformation headers tls_ca"
    ),
    "cribl splunk_hec": (
        "type loadBalanced url authType textSecret token nextQueue tcpRouting concurrency maxPayloadSizeKB"
        " maxPayloadEvents compress rejectUnauthorized timeoutSec flushPeriodSec failedRequestLoggingMode safeHeaders"
        " responseRetrySettings timeoutRetrySettings responseHonorRetryAfterHeader onBackpressure pqMode pqMaxFileSize"
        " pqMaxSize pqPath pqCompress pqOnBackpressure pqStrictOrdering"
    ),
    "otel exporter": "logs_endpoint headers encoding compression timeout retry_on_failure sending_queue tls",
    "otel retry_on_failure": "enabled initial_interval max_interval max_elapsed_time multiplier randomization_factor",
    "otel sending_queue": "enabled storage queue_size num_consumers block_on_overflow sizer",
    "otel extension file_storage": "directory create_directory fsync timeout compaction",
}


def known(section: str, found: dict[str, Any]) -> None:
    """Fail for a key that the section's reference does not list."""
    assert set(found) <= set(LISTED[section].split()), section


def text(name: str) -> str:
    return (INTEGRATIONS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("title", ["Fluent Bit", "Vector", "Logstash", "Telegraf", "OpenTelemetry Collector"])
def test_each_recorded_sender_has_a_section(title: str) -> None:
    page = INTEGRATIONS.parent / "docs" / "senders.md"
    assert f"\n## {title}\n" in page.read_text(encoding="utf-8")


def test_each_shipped_file_takes_its_key_from_outside_and_says_so() -> None:
    shipped = {str(path.relative_to(INTEGRATIONS)) for name in FILES for path in (INTEGRATIONS / name).parent.iterdir()}
    assert {name for name in shipped if not name.endswith("README.md")} == set(FILES)
    for name in FILES:
        assert (INTEGRATIONS / name).parent.joinpath("README.md").is_file()
        found = text(name)
        assert re.match(r"# .+\n", found), name
        if "pipelines" not in name:
            assert "MUTT_API_KEY" in found or "mutt_api_key" in found, name
        assert "test-ingest-key" not in found


def test_fluent_bit() -> None:
    found = yaml.safe_load(text("fluent-bit/fluent-bit.yaml"))
    known("fluent-bit service", found["service"])
    for parser in found["parsers"]:
        known("fluent-bit parser", parser)
    for entry in found["pipeline"]["inputs"]:
        known("fluent-bit input syslog", entry)
        assert entry["parser"] in {parser["name"] for parser in found["parsers"]}
    [filtered], [output] = found["pipeline"]["filters"], found["pipeline"]["outputs"]
    known("fluent-bit filter lua", filtered)
    known("fluent-bit output http", output)
    assert f"function {filtered['call']}(" in filtered["code"]
    assert output["retry_limit"] == "no_limits"
    agrees("fluent-bit", output["uri"], *output["header"])
    [splunk] = yaml.safe_load(text("splunk-hec/fluent-bit.yaml"))["pipeline"]["outputs"]
    known("fluent-bit output splunk", splunk)
    agrees("splunk-hec-fluent-bit", "/services/collector/event")


@pytest.mark.parametrize(
    ("parser", "line", "fields"),
    [
        (0, "<187>Nov 30 16:00:00 sw1 %LINK-3-UPDOWN: down", ("187", "Nov 30 16:00:00", "sw1", "%LINK-3-UPDOWN: down")),
        (0, "<5>Nov  3 16:00:00 sw1 two  words", ("5", "Nov  3 16:00:00", "sw1", "two  words")),
        (
            1,
            '<187>1 2026-11-30T16:00:00.123+02:00 sw1 ios 12 ID [a b="c"][d e="f"] Überlast',
            ("187", "2026-11-30T16:00:00.123+02:00", "sw1", "Überlast"),
        ),
        (1, "<187>1 2026-11-30T16:00:00Z sw1 ios - - - down", ("187", "2026-11-30T16:00:00Z", "sw1", "down")),
    ],
)
def test_fluent_bits_parsers_read_what_devices_send(parser: int, line: str, fields: tuple[str, ...]) -> None:
    regex = yaml.safe_load(text("fluent-bit/fluent-bit.yaml"))["parsers"][parser]["regex"]
    found = re.fullmatch(regex.replace("(?<", "(?P<"), line)
    assert found
    assert tuple(found[name] for name in ("pri", "time", "hostname", "message")) == fields


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"pri": 187, "message": "down"}, {"syslog_severity": 3, "message": "down"}),
        ({"pri": 0}, {"syslog_severity": 0}),
        ({"pri": 191, "hostname": "sw1"}, {"syslog_severity": 7, "hostname": "sw1"}),
    ],
)
def test_fluent_bits_filter_makes_a_severity_of_the_priority(record: dict[str, Any], expected: dict[str, Any]) -> None:
    assert filtered(record) == (2, expected)  # (2: the record is another, its time is not)


def test_fluent_bits_filter_leaves_a_record_without_a_priority_alone() -> None:
    assert filtered({"message": "text"}) == (0, {"message": "text"})


def filtered(record: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Return what the filter's code answers in the Lua of Fluent Bit, and the record that it gives back."""
    [shipped] = yaml.safe_load(text("fluent-bit/fluent-bit.yaml"))["pipeline"]["filters"]
    assert shipped["type_int_key"] == "syslog_severity"  # else Lua's number arrives as 3.0
    lua = LuaRuntime(unpack_returned_tuples=True)
    lua.execute(shipped["code"])
    code, moment, made = lua.globals()[shipped["call"]]("devices", 1.5, lua.table_from(record))
    assert moment == 1.5
    return code, dict(made)


def test_vector() -> None:
    found = yaml.safe_load(text("vector/vector.yaml"))
    for source in found["sources"].values():
        known("vector source syslog", source)
    for transform in found["transforms"].values():
        known("vector transform remap", transform)
        assert set(transform["inputs"]) == set(found["sources"])
    sink = found["sinks"]["mutt"]
    known("vector sink http", sink)
    assert sink["inputs"] == list(found["transforms"])
    assert sink["acknowledgements"] == {"enabled": True}
    agrees("vector", sink["uri"].removeprefix("${MUTT_URL}"), *sink["request"]["headers"])
    splunk = yaml.safe_load(text("splunk-hec/vector.yaml"))["sinks"]["mutt"]
    known("vector sink splunk_hec_logs", splunk)
    assert splunk["acknowledgements"]["indexer_acknowledgements_enabled"] is False
    agrees("splunk-hec-vector", "/services/collector/event", "authorization: Splunk")


def test_logstash() -> None:
    found = list(logstash_keys(text("logstash/mutt.conf")))
    assert [section for section, _ in found] == [
        "input syslog", "filter uuid", "filter mutate", "filter mutate", "filter mutate", "output http",
    ]  # fmt: skip
    for section, keys in found:
        assert keys
        known(f"logstash {section}", dict.fromkeys(keys))
    [pipeline] = yaml.safe_load(text("logstash/pipelines.yml"))
    known("logstash pipeline", pipeline)
    assert pipeline["queue.type"] == "persisted"
    agrees("logstash", "/api/v2/ingest", "X-API-KEY")


def logstash_keys(found: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each plugin of a pipeline with its keys; fails where brackets do not match."""
    bare = re.sub(r"^\s*#.*$", "", found, flags=re.MULTILINE)
    assert bare.count("{") == bare.count("}")
    assert bare.count("[") == bare.count("]")
    stage = ""
    for line in bare.splitlines():
        if (opened := re.match(r"(input|filter|output) \{", line)) is not None:
            stage = opened[1]
        elif (plugin := re.match(r" {2,4}(\w+) \{(?: (\w+) =>)?", line)) is not None and plugin[1] != "if":
            block = bare[bare.index(line) :].split("\n  }", 1)[0] if not plugin[2] else ""
            yield f"{stage} {plugin[1]}", [plugin[2]] if plugin[2] else re.findall(r"\n {4}(\w+) =>", block)


def test_telegraf() -> None:
    found = tomllib.loads(text("telegraf/telegraf.conf"))
    known("telegraf agent", found["agent"])
    for entry in found["inputs"]["syslog"]:
        known("telegraf inputs.syslog", entry)
    [output] = found["outputs"]["http"]
    known("telegraf outputs.http", output)
    assert {400, 413} <= set(output["non_retryable_statuscodes"])
    agrees("telegraf", output["url"].removeprefix("${MUTT_URL}"), *output["headers"])


def test_otel_collector() -> None:
    found = yaml.safe_load(text("otel-collector/config.yaml"))
    exporter = found["exporters"]["otlphttp"]
    known("otel exporter", exporter)
    known("otel retry_on_failure", exporter["retry_on_failure"])
    known("otel sending_queue", exporter["sending_queue"])
    known("otel extension file_storage", found["extensions"]["file_storage"])
    assert exporter["retry_on_failure"]["max_elapsed_time"] == 0
    assert exporter["sending_queue"]["storage"] in found["service"]["extensions"]
    for pipeline in found["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= set(found[kind])
    agrees("otel-collector", exporter["logs_endpoint"].removeprefix("${env:MUTT_URL}"), *exporter["headers"])


def test_cribl() -> None:
    output = yaml.safe_load(text("splunk-hec/cribl-outputs.yml"))["outputs"]["mutt"]
    known("cribl splunk_hec", output)
    assert output["type"] == "splunk_hec"
    assert output["onBackpressure"] == "queue"
    agrees("splunk-hec-cribl", output["url"].removeprefix("http://mutt.example:8080"), "Authorization: Splunk")


def agrees(name: str, path: str, *headers: str) -> None:
    """Fail unless the recorded request goes where the configuration sends, with its headers."""
    head = (HERE / f"{name}.http").read_text(encoding="utf-8").partition("\n\n")[0].lower()
    assert f" {path} ".lower() in head
    for header in headers:
        assert header.partition(" ${")[0].lower() in head
