"""Looking at jobs, steering them, and fetching what they made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lastsam.cli.common import AsJson, CommandError, Url, console, open_client, say, show_json

__all__ = ["add_to"]

_PANEL = "Jobs"
_ACTIONS = {
    "cancel": "End a job without a result; its snapshots are kept until it is deleted.",
    "pause": "Take a snapshot of a job and free its device.",
    "resume": "Let a paused job go on from its snapshot.",
    "stop": "Finish a job now and keep the result.",
    "retry": "Queue a failed or cancelled job again.",
}

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("list", rich_help_panel=_PANEL)(list_jobs)
    app.command(rich_help_panel=_PANEL)(show)
    app.command(rich_help_panel=_PANEL)(download)
    for action, sentence in _ACTIONS.items():
        _add_action(app, action, sentence)
    app.command(rich_help_panel=_PANEL)(delete)


def list_jobs(
    status: Annotated[list[str] | None, typer.Option(help="queued, running, ...; repeatable.")] = None,
    tag: Annotated[str | None, typer.Option(help="Carrying this tag.", show_default=False)] = None,
    query: Annotated[str | None, typer.Option("-q", help="Part of id, name or file name.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 20,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first.

    lastsam list --status running --status queued
    """
    with open_client(url) as client:
        found = client.jobs(status=status or (), tag=tag, q=query, limit=limit)
    if as_json:
        show_json(found)
    elif found:
        from lastsam.render import jobs_table

        console().print(jobs_table(found))
    else:
        typer.echo("no jobs", err=True)


def show(job_id: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Show a job, and its receipt once it has succeeded."""
    from lastsam.render import job_table, receipt_table

    with open_client(url) as client:
        job = client.job(job_id)
        if as_json:
            show_json(job)
            return
        out = console()
        out.print(job_table(job))
        if job["status"] == "succeeded":
            out.print()
            out.print(receipt_table(client.receipt(job_id)))


def download(
    job_id: JobId,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="File or folder; default: here.")] = None,
    format: Annotated[str, typer.Option(help="original (as uploaded), safetensors or pt.")] = "original",
    receipt: Annotated[bool, typer.Option("--receipt", help="Fetch the receipt instead of the weights.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Fetch the refined weights, checked by their sha256. Interrupted? Run it again: it goes on where it was.

    lastsam download JOB -o refined.pt
    """
    if format not in ("original", "safetensors", "pt"):
        raise CommandError(f"There is no format {format!r}.", hint="original, safetensors or pt.")
    with open_client(url) as client:
        if receipt:
            found = client.receipt(job_id)
            if out is None:
                show_json(found)
            else:
                out.write_text(json.dumps(found, indent=2) + "\n")
            return
        with _Bar(quiet=as_json) as bar:
            path = client.download(job_id, out, format, replace=force, arrived=bar.arrived)
    if as_json:
        show_json({"job_id": job_id, "path": str(path), "bytes": path.stat().st_size, "format": format})
    else:
        say(str(path))


def delete(
    job_id: JobId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
) -> None:
    """Delete a job that has ended, with its weights and receipt."""
    if not yes:
        typer.confirm(f"Delete {job_id}, its weights and its receipt?", abort=True)
    with open_client(url) as client:
        client.delete(job_id)


def _add_action(app: typer.Typer, action: str, sentence: str) -> None:
    def act(job_id: JobId, url: Url = None, as_json: AsJson = False) -> None:
        with open_client(url) as client:
            job = getattr(client, action)(job_id)
        if as_json:
            show_json(job)
        else:
            say(f"{job['id']} is {job['status']}")

    app.command(action, help=sentence, rich_help_panel=_PANEL)(act)


class _Bar:
    """Bytes of a download on a terminal; nothing elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

        out = console(stderr=True)
        hidden = quiet or not out.is_terminal
        columns = BarColumn(), DownloadColumn(), TransferSpeedColumn()
        self._progress = Progress(*columns, console=out, disable=hidden, transient=True)
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def arrived(self, have: int, size: int) -> None:
        self._progress.update(self._task, completed=have, total=size)
