"""The optional dependencies of this package, as pip installed it."""

import re
from importlib import metadata


def requirements_of_extras() -> dict[str, set[str]]:
    """The packages of each extra, in lower case with "-"; empty if this package is not installed."""
    try:
        lines = metadata.requires("lyrics-asr") or []
    except metadata.PackageNotFoundError:
        return {}
    extras: dict[str, set[str]] = {}
    for line in lines:
        found = re.match(r"([\w.-]+).*extra == ['\"]([\w-]+)", line)
        if found:
            extras.setdefault(found[2], set()).add(found[1].lower().replace("_", "-"))
    return extras


def extra_with(package: str) -> str | None:
    """The smallest extra that installs a package; None if there is none."""
    extras = requirements_of_extras()
    having = [name for name, packages in extras.items() if package.lower() in packages]
    return min(having, key=lambda name: len(extras[name]), default=None)
