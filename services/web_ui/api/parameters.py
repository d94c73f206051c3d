"""Parameters that several endpoints have."""

from typing import Annotated

from fastapi import Header, Path, Query

from services.web_ui.bodies import REASON_MAX

ID_MAX = 2**31 - 1

RuleId = Annotated[int, Path(alias="id", ge=1, le=ID_MAX, description="The rule's id")]
ChangeId = Annotated[int, Path(alias="id", ge=1, le=2**63 - 1, description="The change's id, as config-audit lists it")]
Host = Annotated[str, Path(description="A hostname or an address; case and a dot at the end make no difference")]
ConfigKey = Annotated[str, Path(description="The key's name, such as moog_rate_limit")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Entries in the page")]
Offset = Annotated[int, Query(ge=0, le=ID_MAX, description="Entries before the page")]
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=200,
        description="The version that the change is made for, as ETag gave it; 412 when another one is stored. "
        "Without it, or with *, the change is made to whatever is stored.",
    ),
]
# Read by change_of(), like the reason of a body; declared where there is no body.
Reason = Annotated[str | None, Query(alias="reason", max_length=REASON_MAX, description="Why; kept with the change")]
