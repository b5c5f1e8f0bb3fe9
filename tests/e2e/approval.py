"""What tests of approval share: who takes part, and purposes to widen."""

import psycopg

from vault import RESOLVE, reason_of

UPDATE = "UPDATE identity.purpose_definitions SET {} WHERE purpose_token = %s"
WIDE, NARROW = "allowed_fields = '{name,ssn}'", "allowed_fields = '{name}'"
APPROVE = "SELECT identity.purpose_approve(%s::text, %s::int)"
LATER, MUCH_LATER = "now() + interval '1 hour'", "now() + interval '2 hours'"


def waits(vault, token: str) -> bool:
    return vault.pending(token) is not None


def opens(vault, gateway, token: str, field: str = "ssn") -> str | None:
    """The reason why the field is refused; None if it opens."""
    try:
        gateway.execute(RESOLVE, (vault.subject().id, token, [field]))
        return None
    except psycopg.Error as error:
        return reason_of(error)[1]


def update(conn, token: str, *changes: str) -> None:
    for change in changes:
        conn.execute(UPDATE.format(change), (token,))
