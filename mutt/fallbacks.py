"""What holds for a dynamic key while Redis has no value for it."""

from collections.abc import Mapping

from mutt.dynamic_keys import DynamicKey, Value
from mutt.settings import SERVICES
from mutt.variables import variables


def fallback(key: DynamicKey, environ: Mapping[str, str]) -> tuple[Value, str]:
    """Return the value and where it comes from: `environment` or `default`.

    A key that stands for a variable falls back to that variable, and to its default, which may differ from the key's.
    """
    if key.variable is None:
        return key.default, "default"
    text = environ.get(key.variable, "").strip()
    if text:
        try:
            return key.parse(text), "environment"
        except ValueError:
            pass
    known = {variable.name: variable.default for cls in SERVICES.values() for variable, _ in variables(cls)}
    value: Value = known.get(key.variable, key.default)
    return value, "default"
