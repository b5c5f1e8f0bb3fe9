"""A log with other columns than it was made with: rows are formed below SQL, so they no longer fit, and nothing is read."""

import psycopg
import pytest

from vault import Vault, read, reason_of, refused_read

RECORDER = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'identity_pgx recorder'"


@pytest.mark.parametrize(
    "change",
    [
        "ADD COLUMN extra int",
        "DROP COLUMN event_digest",
        "ALTER COLUMN repeats TYPE bigint",
        "ALTER COLUMN request_trace_id TYPE bytea USING NULL",
    ],
    ids=["added", "dropped", "wider", "another type"],
)
@pytest.mark.parametrize("session", ["old", "new"])
def test_a_log_with_other_columns_refuses_reads(fresh, change, session):
    vault = Vault(fresh())
    subject, withdrawn, role = vault.subject(), vault.subject(consent="withdrawn"), vault.login("identity_gateway", "identity_zone_onbox")
    recorder = vault.sql(RECORDER)
    gateway = vault.connect(role)
    read(gateway, subject)
    vault.sql(f"ALTER TABLE identity.pii_access_log {change}")
    if session == "new":
        gateway.close()
        gateway = vault.connect(role)
    refused_read(gateway, subject, "53000", "audit_unwritable")
    refused_read(gateway, withdrawn, "42501", "consent")
    with pytest.raises(psycopg.Error) as caught:
        vault.change(subject.id, vertical="finance")
    assert reason_of(caught.value) == ("53000", "audit_unwritable")
    assert vault.outcomes(role) == {"committed": 1}
    assert vault.sql(RECORDER) == recorder, "the recorder ended"
    assert "was terminated by signal" not in vault.cluster.log.read_text()
    gateway.close()
