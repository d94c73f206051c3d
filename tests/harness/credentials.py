"""The keys that the services of a test are started with."""

INGEST_API_KEY = "test-ingest-key"
WEBUI_API_KEY = "test-webui-key"
MOOG_API_KEY = "test-moog-key"
