"""What a start does not pay for: the clients of what it may never ask."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "spared"),
    [
        ("services.alerter_service", {"hvac", "requests", "cryptography.x509"}),
        ("scripts.devtools.cli", {"aiohttp", "hvac", "psycopg", "redis", "yaml"}),
    ],
)
def test_a_start_imports_no_client_of_what_it_may_never_ask(module: str, spared: set[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert spared & set(done.stdout.split()) == set()
