"""The variables of scripts/archive_old_events.py."""

from dataclasses import dataclass

from mutt.variables import var


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """Where the archive of old months lies."""

    location: str = var("ARCHIVE_LOCATION", "", "Folder (/mnt/archive) or bucket (s3://bucket/prefix) of the archive")
    s3_endpoint: str | None = var("ARCHIVE_S3_ENDPOINT", None, "URL of the S3 server; empty means Amazon's")
    s3_region: str = var("ARCHIVE_S3_REGION", "us-east-1", "Region of the bucket")
    s3_ca_cert_path: str | None = var(
        "ARCHIVE_S3_CA_CERT_PATH", None, "File of the certificate authority; empty means the system's trust store"
    )
