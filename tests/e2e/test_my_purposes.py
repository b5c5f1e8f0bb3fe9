"""A gateway asks what it may use, and is told what would be answered."""

from approval import opens, update
from vault import FIELDS, ONBOX, refused_read


def mine(conn) -> dict:
    return {row[0]: row[1:] for row in conn.execute("SELECT * FROM identity.my_purposes()")}


def test_my_purposes_are_those_that_work_now(vault, gateway, dba, narrow, wide):
    team = vault.login()
    others, legal, gone = vault.purpose(allowed_roles=[team]), vault.purpose(auth_tier="legal"), vault.purpose()
    vault.revoke(gone)
    pending, later = "t.mine.pending", "t.mine.later"
    for token, effective in ((pending, None), (later, "2999-01-01 00:00+00")):
        dba.execute("""INSERT INTO identity.purpose_definitions (purpose_token, description, allowed_fields, allowed_roles, effective_at)
                       VALUES (%s, 'x', '{name}', '{identity_gateway}', %s) ON CONFLICT DO NOTHING""", (token, effective))
    update(dba, narrow, "rate_limit_qps = 7", "allowed_fields = '{name,ssn}'")
    listed = mine(gateway)
    assert listed[narrow] == (["name"], 7, 100) and listed[wide] == (["name", "ssn"], None, 100) and listed["t.all"] == (FIELDS, None, 1_000_000_000)
    assert listed["fill_validation"] == (["name"], 100, 10000)
    assert not {others, legal, gone, pending, later, "audit_subject_response", "rtbf_request"} & set(listed)
    vault.sql(f"GRANT {team} TO {gateway.info.user}")
    assert others in mine(gateway)
    vault.leaves(gateway)  # no row
    of_the_purpose = {"unknown_purpose", "purpose_unapproved", "purpose_revoked", "purpose_role", "tier"}
    assert not {opens(vault, gateway, token, "name") for token in mine(gateway)} & of_the_purpose


def test_gateway_cannot_use_a_purpose_of_another(vault, gateway):
    """Naming it is not enough, SET ROLE to its owner's group is not, and it is not on the list."""
    team, other = vault.login(), vault.login(*ONBOX)
    vault.sql(f"ALTER ROLE {team} NOLOGIN; GRANT {team} TO {other}")
    token = vault.purpose(allowed_roles=[team])
    refused_read(gateway, vault.subject(), "42501", "purpose_role", token)
    assert token not in mine(gateway)
    with vault.connect(other) as conn:
        assert opens(vault, conn, token, "name") is None and token in mine(conn)
        conn.execute("SET ROLE identity_gateway")
        assert token not in mine(conn)
