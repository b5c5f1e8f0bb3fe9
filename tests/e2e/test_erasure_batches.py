"""Many at once go the way of one: the same record for each, a bounded number of locks, flat memory, and no ciphertext in a temporary file."""

import re
from pathlib import Path

import pytest

from cluster import Cluster
from erasure import asked, events, requests, row, schedule
from retention import night_is_over
from vault import Subject, Vault

MANY = 10_000
SWEEP = "SELECT identity.retention_sweep(%s)"
# As large as fields may be: six of 1,142 bytes.
FILL = """INSERT INTO identity.subjects (candidate_id, name_ct, email_ct, phone_ct, address_ct, ssn_ct, dob_ct, dek_version, consent_status, vertical,
                 retention_period_days, created_at, updated_at)
          SELECT gen_random_uuid(), b, b, b, b, b, b, 1, 'pending_first_contact', 'unknown', 1, now() - interval '10 years', now()
            FROM generate_series(1, %s) n, LATERAL (SELECT substr(string_agg(sha256((n * 100 + m)::text::bytea), ''), 1, 1142) AS b FROM generate_series(1, 36) m) x"""


@pytest.fixture(scope="module")
def own():
    cluster = Cluster("b", {"shared_buffers": "'256MB'", "max_wal_size": "'2GB'", "log_temp_files": "0"})
    try:
        vault = Vault(cluster.start().install())
        night_is_over(vault)
        yield vault
    finally:
        cluster.destroy()


def peak(pid: int) -> int:
    """kB of memory of a backend, without what it shares."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", status)[1])


def test_batch_of_ten_thousand(own):
    authority = schedule(own, "unknown")
    own.sql(FILL, (3 * MANY,))
    with own.connect(own.worker) as worker:
        pid = worker.info.backend_pid
        worker.execute("SET work_mem = '64kB'")
        assert worker.execute(SWEEP, (100,)).fetchone()[0]["done"] == 100
        used = []
        for _ in range(2):
            worker.execute("BEGIN")
            assert worker.execute(SWEEP, (MANY,)).fetchone()[0]["done"] == MANY
            # Two for each of 1,024 buckets, and some relations.
            locks = own.sql("SELECT count(*) FILTER (WHERE locktype = 'advisory') AS buckets, count(*) AS n FROM pg_locks WHERE pid = %s", (pid,))[0]
            assert locks["buckets"] <= 2 * 1024 + 4 and locks["n"] < 2200
            worker.execute("COMMIT")
            used.append(peak(pid))
    assert used[1] - used[0] < 8_000 and used[1] < 150_000, used
    assert re.findall(r".*temporary file.*", own.cluster.log.read_text()) == []
    erased = own.sql("SELECT count(*) AS n, count(DISTINCT access_id) AS events FROM identity.erasure_requests WHERE authority = %s", (authority,))[0]
    assert erased == {"n": 2 * MANY + 100, "events": 2 * MANY + 100}
    # The rest of them is no matter here.
    assert len(own.sql("DELETE FROM identity.subjects WHERE erased_at IS NULL RETURNING candidate_id")) == MANY - 100
    own.verify()


def test_sweep_fulfils_the_request_that_stands(own):
    authority = schedule(own, "unknown")
    own.sql(FILL, (2,))
    wanted, unasked = (Subject(r["candidate_id"]) for r in own.sql("SELECT candidate_id FROM identity.subjects WHERE erased_at IS NULL"))
    request_id = asked(own, wanted, "candidate_request")
    with own.connect(own.worker) as worker:
        # The pass before goes on to its end first.
        while own.sql("SELECT 1 FROM identity.subjects WHERE erased_at IS NULL"):
            worker.execute(SWEEP, (1000,))
    (kept,), (made,) = requests(own, wanted), requests(own, unasked)
    assert (kept["request_id"], kept["state"], kept["reason"], kept["authority"]) == (request_id, "done", "candidate_request", authority)
    assert row(own, wanted)["erasure_reason"] == "candidate_request"
    assert (made["state"], made["reason"], made["request_access_id"]) == ("done", "retention_expired", None)
    assert made["requested_at"] == made["done_at"] and made["requested_by"] == made["authorised_by"]
    assert len(events(own, wanted)) == len(events(own, unasked)) == 1
    assert len(events(own, wanted, "erasure_request")) == 1 and not events(own, unasked, "erasure_request")
    own.verify()
