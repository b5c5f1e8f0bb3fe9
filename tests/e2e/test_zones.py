"""Where an answer may go follows the session user and the outer user, so SET ROLE can only narrow."""

import psycopg
import pytest

from vault import CLOUD, ONBOX, RESOLVE, read, refused, refused_read, uuid7

ZONES = {
    "none": (),
    "cloud": ("identity_zone_cloud",),
    "onbox": ("identity_zone_onbox",),
    "both": ("identity_zone_cloud", "identity_zone_onbox"),
}
ON_BOX_ONLY = ["unknown", "healthcare"]
CLOUD_OK = ["general", "finance", "other"]


@pytest.mark.parametrize("vertical", ON_BOX_ONLY)
def test_cloud_gateway_cannot_see(vault, vertical):
    subject = vault.subject(vertical)
    with vault.gateway(*CLOUD) as cloud:
        error = refused_read(cloud, subject, "P0002", "subject_unavailable")
        missing = refused(cloud, RESOLVE, (uuid7(), "t.all", ["name"]), "P0002", "subject_unavailable")
        # Somebody hidden and somebody absent get the same words.
        assert (error.diag.message_primary, error.diag.message_detail, error.diag.message_hint) == (
            missing.diag.message_primary,
            missing.diag.message_detail,
            missing.diag.message_hint,
        )
        vault.leaves(cloud, denied=2)


@pytest.mark.parametrize("vertical", CLOUD_OK)
def test_cloud_gateway_sees(vault, vertical):
    subject = vault.subject(vertical)
    with vault.gateway(*CLOUD) as cloud:
        read(cloud, subject)
        (row,) = vault.leaves(cloud, committed=1)
        assert (row["zone"], row["vertical"]) == ("cloud", vertical)


@pytest.mark.parametrize("vertical", ON_BOX_ONLY + CLOUD_OK)
def test_onbox_gateway_sees(vault, gateway, vertical):
    subject = vault.subject(vertical)
    read(gateway, subject)
    (row,) = vault.leaves(gateway, committed=1)
    assert row["zone"] == "onbox"
    assert row["phi_fields"] == (["name"] if vertical in ON_BOX_ONLY else [])


def test_gateway_without_a_zone_sees_nobody(vault):
    with vault.gateway("identity_gateway") as nowhere:
        refused_read(nowhere, vault.subject("general"), "P0002", "subject_unavailable")
        (row,) = vault.leaves(nowhere, denied=1)
        assert row["zone"] == "none"


def test_gateway_in_both_zones_gets_the_narrower(vault):
    with vault.gateway(*ONBOX, "identity_zone_cloud") as both:
        read(both, vault.subject("general"))
        refused_read(both, vault.subject("healthcare"), "P0002", "subject_unavailable")


def expected_zone(session: set, outer: set) -> str:
    # Being a member of the outer role, the session user is in all of its zones as well.
    session = session | outer
    if "identity_zone_cloud" in session | outer:
        return "cloud"
    return "onbox" if "identity_zone_onbox" in session & outer else "none"


@pytest.mark.parametrize("outer", ZONES)
@pytest.mark.parametrize("session", ZONES)
def test_set_role_only_narrows(vault, session, outer):
    healthcare, general = vault.subject("healthcare"), vault.subject("general")
    target = vault.login("identity_gateway", *ZONES[outer])
    role = vault.login("identity_gateway", target, *ZONES[session])
    before = expected_zone(set(ZONES[session]) | set(ZONES[outer]), set(ZONES[session]) | set(ZONES[outer]))
    after = expected_zone(set(ZONES[session]), set(ZONES[outer]))
    committed = denied = 0
    with vault.connect(role) as conn:
        for zone, statement in ((before, "RESET ROLE"), (after, f"SET ROLE {target}"), (before, "RESET ROLE")):
            conn.execute(statement)
            for subject, zones in ((general, ("cloud", "onbox")), (healthcare, ("onbox",))):
                if zone in zones:
                    read(conn, subject)
                    committed += 1
                else:
                    refused_read(conn, subject, "P0002", "subject_unavailable")
                    denied += 1
    rows = vault.leaves(role, committed=committed, denied=denied)
    assert {row["zone"] for row in rows} == {before, after}
    assert {row["accessor_outer"] for row in rows} == {role, target}
    order = ["none", "cloud", "onbox"]
    assert order.index(after) <= order.index(before)


def test_set_role_narrows_the_purposes_too(vault):
    subject = vault.subject()
    team, plain = vault.login(*ONBOX), vault.login(*ONBOX)
    purpose = vault.purpose(fields=["name"], allowed_roles=[team])
    with vault.connect(vault.login(team, plain)) as conn:
        read(conn, subject, purpose)
        conn.execute(f"SET ROLE {plain}")
        refused_read(conn, subject, "42501", "purpose_role", purpose)
        conn.execute(f"SET ROLE {team}")
        read(conn, subject, purpose)


def test_noinherit_member_gains_nothing_by_set_role(vault):
    """Whatever a NOINHERIT login may use before SET ROLE, afterwards it is not more than the target alone."""
    subject = vault.subject("healthcare")
    target = vault.login(*CLOUD)
    role = vault.login(*ONBOX)
    vault.sql(f"ALTER ROLE {role} NOINHERIT")
    vault.sql(f"GRANT {target} TO {role}")
    with vault.connect(role) as conn:
        conn.execute(f"SET ROLE {target}")
        refused_read(conn, subject, "P0002", "subject_unavailable")


def test_role_set_by_the_administrator_at_login_narrows_as_well(vault):
    subject = vault.subject("healthcare")
    role, target = vault.login(*ONBOX), vault.login("identity_gateway")
    vault.sql(f"GRANT {target} TO {role}; ALTER ROLE {role} SET role = '{target}'")
    with vault.connect(role) as conn:
        assert conn.execute("SELECT current_user").fetchone() == (target,)
        refused_read(conn, subject, "P0002", "subject_unavailable")
        conn.execute("SET ROLE NONE")
        read(conn, subject)


def test_set_role_to_a_zone_or_gateway_group_itself(vault, gateway):
    subject = vault.subject("healthcare")
    gateway.execute("SET ROLE identity_gateway")  # a member of no zone
    refused_read(gateway, subject, "P0002", "subject_unavailable")
    gateway.execute("SET ROLE identity_zone_onbox")  # may not execute
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        gateway.execute(RESOLVE, (subject.id, "t.all", ["name"]))
    gateway.execute("RESET ROLE")
    read(gateway, subject)


@pytest.mark.parametrize("owner", ["identity_owner", "identity_reader", "identity_keeper", "postgres"])
def test_set_role_to_an_owner_is_impossible(vault, gateway, owner):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        gateway.execute(f"SET ROLE {owner}")


def test_definer_function_lends_its_owner_nothing(vault):
    """A SECURITY DEFINER wrapper of a gateway reaches us, but zone and purpose follow who stands outside it."""
    subject = vault.subject()
    owner = vault.login(*ONBOX)
    vault.sql(f"CREATE SCHEMA wrap_{owner} AUTHORIZATION {owner}")
    with vault.connect(owner) as conn:
        conn.execute(f"""CREATE FUNCTION wrap_{owner}.resolve(uuid) RETURNS jsonb SECURITY DEFINER LANGUAGE sql AS
                         $$ SELECT pii FROM identity.pii_resolve($1, 't.all', '{{name}}') $$""")
        conn.execute(f"GRANT USAGE ON SCHEMA wrap_{owner} TO PUBLIC")
    with vault.gateway("identity_zone_onbox") as stranger:
        refused(stranger, f"SELECT wrap_{owner}.resolve(%s)", (subject.id,), "42501", "purpose_role")
        (row,) = vault.leaves(stranger, denied=1)
        assert (row["accessor_role"], row["accessor_outer"]) == (stranger.info.user, stranger.info.user)


def test_superuser_through_the_functions_gets_nothing(vault):
    subject = vault.subject()
    boss = vault.login()
    vault.sql(f"ALTER ROLE {boss} SUPERUSER")
    with vault.connect(boss) as conn:
        refused_read(conn, subject, "42501", "purpose_role")
        for group in ("identity_gateway", "identity_zone_onbox", "identity_reader", "identity_keeper", "identity_owner"):
            conn.execute(f"SET ROLE {group}")
            with pytest.raises(psycopg.Error):
                conn.execute(RESOLVE, (subject.id, "t.all", ["name"])).fetchall()
        conn.execute(f"SET ROLE {vault.login(*ONBOX)}")
        refused_read(conn, subject, "42501", "purpose_role")
    assert "committed" not in vault.outcomes(boss)


def test_superuser_with_memberships_is_a_gateway_like_any_other(vault):
    subject = vault.subject("healthcare")
    boss = vault.login(*ONBOX)
    vault.sql(f"ALTER ROLE {boss} SUPERUSER")
    with vault.connect(boss) as conn:
        read(conn, subject)
        vault.leaves(boss, committed=1)


def test_vertical_is_visible_from_every_zone_and_recorded(vault):
    subject = vault.subject("healthcare")
    with vault.gateway(*CLOUD) as cloud:
        row = cloud.execute("SELECT vertical, consent_status, route FROM identity.pii_vertical(%s)", (subject.id,)).fetchone()
        assert row == ("healthcare", "given", "onbox_only")
        (row,) = vault.leaves(cloud, committed=1)
        assert (row["accessor_kind"], row["candidate_id"], row["fields_accessed"]) == ("vertical", subject.id, [])
