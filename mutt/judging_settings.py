"""What decides beside the rules: read by the alerter and the forwarder, and by the web UI that foretells them."""

from dataclasses import dataclass

from mutt.variables import var


@dataclass(frozen=True, slots=True)
class JudgingSettings:
    """The variables of other services that the web UI needs to tell what they would do; set them alike."""

    unhandled_default_team: str = var("UNHANDLED_DEFAULT_TEAM", "NETO", "Default team for unhandled")
    host_match_short: bool = var(
        "HOST_MATCH_SHORT", False, "Look a host up by its short name when the full one is not listed"
    )
    moog_profile: str = var(
        "MOOG_PROFILE", "onprem", "Shape of an alert: the product's own or the cloud's", choices=("onprem", "saas")
    )
    moog_batch_mode: str = var(
        "MOOG_BATCH_MODE",
        "single",
        "One alert a request, or an object `events` with up to moog_batch_size of them",
        choices=("single", "events"),
    )
