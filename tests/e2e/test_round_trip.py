"""pg_dump and pg_restore into another cluster: everything is there, opens, verifies and goes on."""

import re

import psycopg
import pytest

from cluster import BINDIR, run_as_owner, wait_until
from consent import history, now, record, rfc3339, state, template, texts
from erasure import GONE, asked, authorise, erase, requests, schedule
from erasure import there as there_is
from vault import ONBOX, Vault, read, refused_read


def tool(cluster, name: str, *arguments, **kwargs):
    return run_as_owner(BINDIR / name, "-h", cluster.dir, "-p", cluster.port, "-U", "postgres", *arguments, **kwargs)


def counts(cluster) -> dict[str, int]:
    with cluster.connect() as admin:
        tables = [
            row[0]
            for row in admin.execute(
                # What a scrub has come to is about the files of this server, and not dumped; a sweep may go on while it is counted.
                """SELECT relname FROM pg_class WHERE relnamespace = 'identity'::regnamespace AND relkind IN ('r', 'p') AND relname NOT LIKE 'scrub_%' AND relname <> 'sweep_progress'"""
            )
        ]
        return {table: admin.execute(f"SELECT count(*) FROM identity.{table}").fetchone()[0] for table in tables}


def settle(vault) -> None:
    """What the maintenance process writes by itself would come between the dump and the count."""
    done = "SELECT EXISTS (SELECT FROM identity.settings_history) AND NOT EXISTS (SELECT FROM identity.subject_changes_pending) AS done"
    wait_until(lambda: vault.sql(done)[0]["done"], "the maintenance process to have done its work")


def restored(vault, fresh, *options):
    """Another cluster with the roles and the database of this one."""
    settle(vault)
    source, target = vault.cluster, fresh(install=False)
    roles = tool(source, "pg_dumpall", "--roles-only").stdout
    roles = re.sub(r"^(CREATE|ALTER) ROLE postgres\b.*\n", "", roles, flags=re.M)
    tool(target, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "postgres", input=roles)
    archive = source.dir / "dump"
    tool(source, "pg_dump", "-Fc", "-f", archive, "identity")
    tool(target, "pg_restore", "--exit-on-error", "-d", "identity", *options, archive)
    return target


@pytest.fixture
def source(fresh):
    vault = Vault(fresh())
    vault.kept = vault.subject("healthcare", name="Ada", ssn="900-00-0001")
    vault.shut_out = vault.login(*ONBOX)
    with vault.gateway() as one, vault.connect(vault.shut_out) as two:
        for _ in range(3):
            read(one, vault.kept, fields=["name", "ssn"])
            read(two, vault.kept)
        with one.transaction(force_rollback=True):
            read(one, vault.kept)
        refused_read(two, vault.subject(consent="withdrawn"), "42501", "consent")
        vault.leaves(one, committed=3, rolled_back=1)
        vault.leaves(two, committed=3, denied=1)
    with vault.connect(vault.dba) as dba:
        dba.execute("UPDATE identity.purpose_definitions SET description = 'second' WHERE purpose_token = 't.contact'")
        dba.execute("UPDATE identity.purpose_definitions SET description = 'third' WHERE purpose_token = 't.contact'")
    vault.revoke(vault.purpose("t.revoked"))
    vault.consenting = vault.subject("general", "pending_first_contact", name="Mary")
    vault.template = template(vault, valid_for="1 year 2 days")
    template(vault, effective_at=now(days=40))
    with vault.gateway() as gateway:
        record(gateway, vault.consenting, "given", vault.template, {"letter": "of the first"})
        record(gateway, vault.consenting, "withdrawn")
        record(gateway, vault.consenting, "given", vault.template, {"given_at": rfc3339(now()), "letter": "of the second"})
        gateway.execute("SELECT identity.eu_record(%s, true, 'contract')", (vault.consenting.id,))
    with vault.connect(vault.dba) as dba:
        dba.execute("UPDATE identity.purpose_definitions SET allowed_fields = '{name,email,phone,ssn}' WHERE purpose_token = 't.contact'")  # waits
        dba.execute("SELECT identity.caller_revoke(%s, 'a test')", (vault.shut_out,))
    vault.erased, vault.asked = vault.subject("general", "pending_first_contact", name="Grace"), vault.subject()
    with vault.gateway() as gateway:
        record(gateway, vault.erased, "given", vault.template, {"letter": "of the third"})
    erase(vault, vault.erased)
    asked(vault, vault.asked)
    vault.change(vault.kept.id, {"ssn": "900-00-0001"})
    settle(vault)
    assert vault.sql("SELECT count(*) AS n FROM identity.subject_changes WHERE candidate_id = %s", (vault.kept.id,)) == [{"n": 1}]
    return vault


@pytest.mark.parametrize("options", [(), ("--jobs=2",), ("--single-transaction",)], ids=["plain", "parallel", "one_transaction"])
def test_round_trip_into_another_cluster(source, fresh, options):
    target = restored(source, fresh, *options)
    assert counts(target) == counts(source.cluster)
    target.unlock()

    copy = Vault.__new__(Vault)  # the roles are there already
    copy.cluster, copy.admin = target, target.connect(row_factory=psycopg.rows.dict_row)
    copy.dba, copy.approver, copy.auditor, copy.worker = source.dba, source.approver, source.auditor, source.worker
    copy.verify()

    query = "SELECT version, description, changed_by, effective_at, superseded_at FROM identity.purpose_versions WHERE purpose_token = 't.contact' ORDER BY 1"
    assert copy.sql(query) == source.sql(query) and len(copy.sql(query)) == 4

    for kept in (state, history, texts):
        assert kept(copy, source.consenting) == kept(source, source.consenting)
    query = "SELECT * FROM identity.consent_versions ORDER BY kind, ordinal"
    assert copy.sql(query) == source.sql(query) and len(copy.sql(query)) == 3

    for subject in (source.erased, source.asked):
        (here,), (there,) = requests(copy, subject), requests(source, subject)
        scrub = {"scrubbed_at", "scrubbed_lsn", "residual_in_backups_until"}
        assert {k: v for k, v in here.items() if k not in scrub} == {k: v for k, v in there.items() if k not in scrub}

    taken = {row["access_id"] for row in copy.sql("SELECT access_id FROM identity.pii_access_log")}
    sessions = [copy.connect(role) for role in copy_gateways(copy)]
    with copy.connect(source.shut_out) as conn:
        refused_read(conn, source.kept, "42501", "caller_revoked")
    for conn in sessions:
        for _ in range(5):
            access_id = read(conn, source.kept, fields=["name", "ssn"])
            assert access_id not in taken, "a lane was forked"
            taken.add(access_id)
        refused_read(conn, source.kept, "42501", "purpose_revoked", "t.revoked")
        refused_read(conn, source.kept, "42501", "field_not_allowed", "t.contact", ["ssn"])  # not yet approved there either
    for conn in sessions:
        conn.close()
    copy.verify()

    copy.purpose("t.later")  # migrations go on, guards are on
    later = template(copy, version="t.later")
    with copy.connect(copy_gateways(copy)[0]) as gateway:
        read(gateway, source.consenting)
        record(gateway, source.consenting, "withdrawn")
        refused_read(gateway, source.consenting, "42501", "consent")
        refused_read(gateway, source.erased, *GONE)
        read(gateway, source.asked)
        record(gateway, source.consenting, "given", later, {"given_at": rfc3339(now())})
    assert [row["ordinal"] for row in copy.sql(query) if row["version"] == later] == [3]
    receipt = authorise(copy, requests(copy, source.asked)[0]["request_id"], schedule(copy))
    with copy.connect(copy_gateways(copy)[0]) as gateway:
        refused_read(gateway, source.asked, *GONE)
    assert receipt["requested_at"] and not there_is(copy, source.asked)
    copy.revoke("t.later")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        copy.sql("DELETE FROM identity.pii_access_log")
    partitions = "SELECT count(*) AS n FROM pg_inherits WHERE inhparent = 'identity.pii_access_log'::regclass"
    assert copy.sql(partitions) == source.sql(partitions)
    copy.verify()


def copy_gateways(vault) -> list[str]:
    rows = vault.sql(
        "SELECT rolname FROM pg_roles WHERE rolcanlogin AND pg_has_role(oid, 'identity_zone_onbox', 'member') AND NOT rolsuper AND rolname NOT IN (SELECT role FROM identity.caller_revocations) ORDER BY 1"
    )
    return [row["rolname"] for row in rows]


def test_catalog_after_the_restore_is_the_catalog_before(source, fresh):
    target = restored(source, fresh)
    query = """SELECT c.relname, c.relkind, c.relrowsecurity, c.relforcerowsecurity, c.relpersistence, pg_get_userbyid(c.relowner) AS owner, c.relacl::text AS acl,
                      (SELECT array_agg(tgname || tgenabled::text ORDER BY 1) FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal) AS triggers,
                      (SELECT array_agg(polname || polcmd::text || pg_get_expr(polqual, polrelid) ORDER BY 1) FROM pg_policy WHERE polrelid = c.oid) AS policies,
                      (SELECT array_agg(attname || attstorage::text || atttypid::regtype ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) AS columns
                 FROM pg_class c WHERE c.relnamespace = 'identity'::regnamespace ORDER BY 1"""
    with target.connect(row_factory=psycopg.rows.dict_row) as admin:
        assert admin.execute(query).fetchall() == source.sql(query)


def test_plain_sql_dump_restores_as_well(source, fresh):
    target = fresh(install=False)
    roles = tool(source.cluster, "pg_dumpall", "--roles-only").stdout
    roles = re.sub(r"^(CREATE|ALTER) ROLE postgres\b.*\n", "", roles, flags=re.M)
    plain = tool(source.cluster, "pg_dump", "identity").stdout
    tool(target, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "identity", input=roles + plain)
    assert counts(target) == counts(source.cluster)


def test_unlocking_with_other_keys_than_the_dump_was_made_with_is_refused(source, fresh):
    target = restored(source, fresh)
    with target.connect() as admin:
        admin.execute("ALTER TABLE identity.keyring DISABLE TRIGGER forward_only")
        admin.execute("UPDATE identity.keyring SET check_value = sha256(check_value)")
        with pytest.raises(psycopg.Error):
            admin.execute("SELECT identity.dev_unlock()")
