"""A server with a slot for every lane there can be. After the last lane comes none, and it goes on where it was all the same."""

from ledger import again
from vault import Vault, read

LAST = 32767


def test_the_last_lane_goes_on_after_a_restart(fresh):
    vault = Vault(fresh({"max_connections": str(LAST + 1), "max_locks_per_transaction": "10", "max_pred_locks_per_transaction": "10"}))

    def rows() -> int:
        """How many rows the last lane has, after everybody who is there has added one. PostgreSQL gives the highest slot away first."""
        subject = vault.subject()
        sessions = [vault.gateway() for _ in range(4)]
        for session in sessions:
            read(session, subject)
        for session in sessions:
            session.close()
        lane = vault.sql("SELECT count(*) AS n, max(seq) AS last FROM identity.pii_access_log WHERE access_id >> 48 = %s", (LAST,))[0]
        assert lane["n"] == lane["last"]
        return lane["n"]

    before = rows()
    vault.cluster.restart()
    again(vault)
    assert 0 < before < rows()
    vault.verify()
