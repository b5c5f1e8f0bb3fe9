"""The review queue and its forecast: who waits, and nothing else; quick when many do. And what of reviews survives a dump."""

from erasure import erase
from test_review import FORECAST, QUEUE, REVIEW, review
from test_round_trip import counts, restored
from test_vertical import observe
from vault import Vault, refused


def test_queue_shows_who_waits_oldest_first_and_nothing_else(fresh):
    vault = Vault(fresh())
    waiting = [vault.subject("unknown", "pending_backfill_review") for _ in range(3)]
    gone = vault.subject("unknown")
    for vertical in ("general", "healthcare"):
        vault.subject(vertical)
    erase(vault, gone)
    vault.sql("UPDATE identity.subjects SET created_at = now() - interval '3 days' WHERE candidate_id = %s", (waiting[2].id,))
    for group in ("identity_reviewer", "identity_auditor"):
        with vault.connect(vault.login(group)) as conn:
            rows = conn.execute(QUEUE).fetchall()
            assert [row[0] for row in rows] == [waiting[2].id, waiting[0].id, waiting[1].id]
            assert rows[0][2].days == 3 and {row[3] for row in rows} == {"pending_backfill_review"}
            columns = conn.execute("SELECT * FROM identity.vertical_review_queue").description
            assert [column.name for column in columns] == ["candidate_id", "created_at", "age", "consent_status"]
            length, oldest, per_day, end = conn.execute(FORECAST).fetchone()
            assert (length, oldest, per_day, end) == (3, rows[0][1], 0.0, None)
    with vault.connect(vault.login("identity_reviewer")) as conn:
        review(conn, waiting[2], "general")
        assert [row[0] for row in conn.execute(QUEUE)] == [waiting[0].id, waiting[1].id]
        length, _oldest, per_day, end = conn.execute(FORECAST).fetchone()
        assert (length, per_day) == (2, 1.0)
        assert 1.9 < (end - conn.execute("SELECT now()").fetchone()[0]).total_seconds() / 86400 < 2.1
        review(conn, waiting[0], "finance")
        observe(vault.gateway(), waiting[1], "RN")
        assert conn.execute(FORECAST).fetchone() == (0, None, 2.0, None)
        # An index would keep the function from the others by itself; the planner is the reader's to steer.
        conn.execute("SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off")
        leak = """CREATE FUNCTION pg_temp.leak(uuid) RETURNS boolean COST 0.0000001 LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'saw %', $1; END $$"""
        conn.execute(leak)
        assert conn.execute("SELECT candidate_id FROM identity.vertical_review_queue WHERE pg_temp.leak(candidate_id)").fetchall() == []


def test_forecast_counts_the_last_two_weeks(fresh):
    vault = Vault(fresh())
    vault.subject("unknown")
    vault.sql("""INSERT INTO identity.vertical_history (access_id, candidate_id, kind, before, after, generation, changed_by, changed_at)
                 SELECT -n, gen_random_uuid(), 'review', CASE WHEN n % 10 = 0 THEN 'general' ELSE 'unknown' END, 'finance', 1, 'x', now() - n * interval '1 hour'
                   FROM generate_series(1, 1000) n""")
    with vault.connect(vault.login("identity_reviewer")) as conn:
        length, _oldest, per_day, end = conn.execute(FORECAST).fetchone()
        assert length == 1 and 21.4 < per_day < 21.8  # nine of each ten hours
        assert 0 < (end - conn.execute("SELECT now()").fetchone()[0]).total_seconds() < 86400


def test_queue_of_a_hundred_thousand_is_fast(fresh):
    vault = Vault(fresh())
    vault.sql("""INSERT INTO identity.subjects (candidate_id, dek_version, consent_status, vertical, retention_period_days, created_at, updated_at)
                 SELECT gen_random_uuid(), 1, 'pending_backfill_review', CASE WHEN n % 5 = 0 THEN 'unknown' ELSE 'general' END, 400, now() - n * interval '1 s', now()
                   FROM generate_series(1, 500000) n""")
    vault.sql("VACUUM ANALYZE identity.subjects")
    with vault.connect(vault.login("identity_reviewer")) as conn:
        for query in (QUEUE + " LIMIT 50", QUEUE + " LIMIT 50 OFFSET 1000", "SELECT count(*) FROM identity.vertical_review_queue"):
            plan = "\n".join(row[0] for row in explain(conn, query))
            assert "subjects_unreviewed" in plan and "Seq Scan" not in plan and "Sort" not in plan, plan
        assert conn.execute(FORECAST).fetchone()[0] == 100000
        assert len(conn.execute(QUEUE + " LIMIT 50").fetchall()) == 50


def explain(conn, query: str) -> list[tuple[str]]:
    return conn.execute("EXPLAIN (ANALYZE, COSTS OFF) " + query).fetchall()


def test_dump_and_restore_keep_patterns_history_and_queue(fresh):
    vault = Vault(fresh())
    gateway, reviewer = vault.gateway(), vault.connect(vault.login("identity_reviewer"))
    waiting, escalated, reviewed = vault.subject("unknown"), vault.subject("unknown"), vault.subject("unknown")
    observe(gateway, escalated, "RN")
    review(reviewer, reviewed, "finance", "a note")
    with vault.connect(vault.dba) as dba:
        dba.execute("INSERT INTO identity.vertical_patterns (pattern, kind) VALUES ('zebrafish', 'word')")
        dba.execute("UPDATE identity.vertical_patterns SET enabled = false WHERE pattern = 'LVN'")
        dba.execute("DELETE FROM identity.vertical_patterns WHERE pattern = 'EMT'")
    observer = gateway.info.user
    gateway.close()
    target = restored(vault, fresh)
    assert counts(target) == counts(vault.cluster)
    target.unlock()
    with target.connect(user=reviewer.info.user) as conn:
        assert [row[0] for row in conn.execute(QUEUE)] == [waiting.id]
        refused(conn, REVIEW, (escalated.id, "general", "x"), "42501", "role_conflict")
    with target.connect(user=observer) as conn:
        assert observe(conn, reviewed, "EMT, LVN") == "finance"
        assert observe(conn, reviewed, "zebrafish") == "healthcare"
    with target.connect() as admin:
        assert not [row for row in admin.execute("SELECT * FROM identity.ledger_verify(true)").fetchall() if not row[1]]
    reviewer.close()
