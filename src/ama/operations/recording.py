"""What is recorded of how an asset is made: the run, and the packages that it has."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ama.format.recorded import ENVIRONMENT, MAX_ENVIRONMENT, RUN, RUN_FACTS
from ama.operations.masking import command_line, mask_text, mask_words
from ama.settings import Settings


def recorded(settings: Settings, *, run: bool, environment: bool = False) -> dict[str, Any]:
    """Return what a new asset records of this process, for its `extra`.

    Args:
        settings: The settings, which may turn the run off or on.
        run: Whether it is recorded unless the settings say otherwise.
        environment: Whether to list the installed packages.

    Returns:
        Texts without credentials, as `ama.format.recorded` reads them.
    """
    found: dict[str, Any] = {}
    if run if settings.record_run is None else settings.record_run:
        found[RUN] = _run(settings)
    if environment:
        from ama.system.packages import list_packages

        found[ENVIRONMENT] = list_packages(MAX_ENVIRONMENT)
    return found


def _run(settings: Settings) -> dict[str, str]:
    running = settings.running()
    facts = asdict(running)
    for name in ("notebook", "directory", "host", "platform"):
        facts[name] = mask_text(facts[name])[:LONGEST_PATH]
    facts["command"] = command_line(mask_words(running.command))
    return {name: text for name in RUN_FACTS if (text := _valid(facts[name]))}


LONGEST_PATH = 4096


def _valid(text: str) -> str:
    """Return a text that has a UTF-8 form: bytes that are none are written as their codes."""
    return text.encode("utf-8", "backslashreplace").decode()
