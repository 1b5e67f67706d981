from __future__ import annotations

import pytest
from sqlalchemy import text

from lastsam_jobs.database import Database
from lastsam_jobs.errors import NotFound, Unauthorized
from lastsam_jobs.keys import create_key, list_keys, revoke_key, verify_key


def test_a_key_opens_until_it_is_revoked(database: Database) -> None:
    with database.write() as session:
        made, secret = create_key(session, name="ci", scopes=("read",))
    with database.read() as session:
        assert verify_key(session, secret).id == made.id
    with database.write() as session:
        revoke_key(session, made.id)
    with database.read() as session, pytest.raises(Unauthorized):
        verify_key(session, secret)
    with database.read() as session:
        assert [(key.name, key.scopes, key.revoked_at is not None) for key in list_keys(session)] == [
            ("ci", ["read"], True)
        ]


def test_the_secret_has_256_bits_and_is_kept_nowhere(database: Database) -> None:
    with database.write() as session:
        _, secret = create_key(session, name="a")
        _, other = create_key(session, name="b")
    assert secret.startswith("lsk_")
    assert len(secret) == 4 + 43  # 32 bytes in base64url
    assert secret != other
    with database.read() as session:
        kept = repr(session.execute(text("SELECT * FROM api_keys")).all())
    assert secret not in kept
    assert secret[4:] not in kept


@pytest.mark.parametrize("wrong", ["", "lsk_", "lsk_" + "A" * 43, "' OR 1=1 --"])
def test_anything_else_is_refused_without_repeating_it(database: Database, wrong: str) -> None:
    with database.write() as session:
        create_key(session, name="a")
    with database.read() as session, pytest.raises(Unauthorized) as caught:
        verify_key(session, wrong)
    assert not wrong or wrong not in str(caught.value)


def test_revoking_twice_keeps_the_first_time(database: Database) -> None:
    with database.write() as session:
        made, _ = create_key(session, name="a")
        first = revoke_key(session, made.id).revoked_at
    with database.write() as session:
        assert revoke_key(session, made.id).revoked_at == first


def test_an_unknown_scope_or_key_is_named(database: Database) -> None:
    with database.write() as session:
        with pytest.raises(ValueError, match="root"):
            create_key(session, name="a", scopes=("read", "root"))
        with pytest.raises(NotFound, match="key_none"):
            revoke_key(session, "key_none")
