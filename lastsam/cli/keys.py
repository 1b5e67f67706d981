"""`lastsam keys`: API keys, written straight into the installation's database by its operator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lastsam.cli.common import AsJson, CommandError, console, say, settings, show_json

if TYPE_CHECKING:
    from lastsam_jobs.database import Database
    from lastsam_jobs.tables import ApiKey

__all__ = ["app"]

app = typer.Typer(help="API keys of the installation in LASTSAM_HOME.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="read, submit or admin; repeatable. Default: read and submit.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and show it, this once.

    lastsam keys create alice --scope read --scope submit
    """
    from lastsam_jobs.keys import SCOPES, create_key

    scopes = tuple(dict.fromkeys(scope or ("read", "submit")))
    if unknown := [given for given in scopes if given not in SCOPES]:
        raise CommandError(f"There is no scope {unknown[0]!r}.", hint=f"Known: {', '.join(SCOPES)}.")
    if not 0 < len(name) <= 200:
        raise CommandError("A key's name has 1 to 200 characters.")
    with _database() as database, database.write() as session:
        row, secret = create_key(session, name=name, scopes=scopes)
        shown = _shown(row)
    if as_json:
        show_json({**shown, "key": secret})
    else:
        typer.echo(secret)
        typer.echo(f"{shown['id']}, {', '.join(scopes)}. It is not kept anywhere: copy it now.", err=True)


@app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List the keys; what they are is not kept."""
    from lastsam_jobs.keys import list_keys as every

    with _database() as database, database.read() as session:
        found = [_shown(row) for row in every(session)]
    if as_json:
        show_json(found)
        return
    from rich.table import Table

    from lastsam.printable import printable

    table = Table(box=None, pad_edge=False)
    for heading in ("id", "name", "scopes", "created", "revoked"):
        table.add_column(heading)
    for key in found:
        table.add_row(
            key["id"], printable(key["name"]), " ".join(key["scopes"]), key["created_at"], key["revoked_at"] or "-"
        )
    console().print(table)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id, key_...")], as_json: AsJson = False
) -> None:
    """Refuse a key from now on; what it made stays."""
    from lastsam_jobs.keys import revoke_key

    with _database() as database, database.write() as session:
        shown = _shown(revoke_key(session, key_id))
    if as_json:
        show_json(shown)
    else:
        say(f"{shown['id']} ({shown['name']}) is revoked")


@contextmanager
def _database() -> Iterator[Database]:
    from lastsam_jobs.database import Database
    from lastsam_jobs.migrate import upgrade

    url = settings().database_url
    assert url is not None
    database = Database(url)
    try:
        upgrade(database)
        yield database
    finally:
        database.dispose()


def _shown(row: ApiKey) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "scopes": row.scopes,
        "created_at": row.created_at.isoformat(timespec="seconds"),
        "revoked_at": row.revoked_at and row.revoked_at.isoformat(timespec="seconds"),
    }
