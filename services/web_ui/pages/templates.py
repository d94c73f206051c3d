"""The templates' environment: everything is escaped, and what is undefined is an error."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mutt import visible, words
from services.runtime.health import VERSION
from services.web_ui.assets import static

ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent.parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.globals.update(static=static, pieces=visible.pieces, version=VERSION)
ENVIRONMENT.filters.update(
    shape=Markup,  # of icons.html alone: its shapes are constants
    number=words.count,
    age=words.age,
    share=words.share,
    utc=words.utc,
    clock=words.clock,
    rate=words.rate,
)
