"""The command that serves the dashboard, or writes it as files."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ama.cli.arguments import RemoteOption, byte_count
from ama.cli.opening import open_store
from ama.cli.output import console, count
from ama.cli.progress import terminal_progress
from ama.system.encoding import to_system


def dashboard(
    remote: RemoteOption = None,
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="The port; 0: any free.")
    ] = 8640,
    host: Annotated[
        str,
        typer.Option("--host", metavar="H", help="Listen there; beyond this machine with a token."),
    ] = "127.0.0.1",
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
    export: Annotated[
        str | None,
        typer.Option(
            "--export", metavar="DIR", help="Write the pages into a directory, or update."
        ),
    ] = None,
    files: Annotated[
        int,
        typer.Option(
            "--files",
            metavar="SIZE",
            parser=byte_count,
            help="With --export: files up to this size, such as 10MB, can be downloaded.",
        ),
    ] = 0,
) -> None:
    """Show a store's models and data in a browser.

    It only reads, and listens on this machine only unless told otherwise.

    Example:
        ama dashboard --open
        ama dashboard --remote gs://our-models/ama --port 9000
        ama dashboard --export site --files 10MB
    """
    from ama.errors import InvalidInput

    if files and export is None:
        raise InvalidInput("--files says which files an export has", hint="add --export DIR")
    store = open_store(remote)
    try:
        from ama.dashboard.application import serve
        from ama.dashboard.export import export as write
    except ImportError as error:
        raise InvalidInput(
            f"the packages of the dashboard aren't installed: there is no {error.name}",
            hint="install them, where ama's source is: pip install '.[dashboard]'",
        ) from error
    if export is not None:
        done = write(store, to_system(export), files=files, progress=terminal_progress())
        if not console.report({"directory": export, **asdict(done)}):
            console.done(
                f"wrote {count(done.pages, 'page')} and {count(done.files, 'file')} to {export}:"
                f" {done.changed:,} changed, {done.removed:,} gone; begin with index.html there"
            )
        return
    serving = serve(store, host=host, port=port, progress=terminal_progress())
    if not console.report({"url": serving.url, "token": serving.token, "address": serving.address}):
        console.line(f"{store.url} is shown at {serving.address}")
        console.note("end it with Ctrl-C")
    console.flush()
    if open_browser:
        import webbrowser

        webbrowser.open(serving.address)
    try:
        serving.run()
    except KeyboardInterrupt:  # the way to end it
        console.note("ended")
