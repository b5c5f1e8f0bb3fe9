"""The first call of a pass says what the pass is up to, and leaves it so that the next one can go on."""

import pytest

from scrub import erase, may_erase, people, scrub, unscrubbed
from vault import Vault


@pytest.fixture
def one(fresh):
    """A vault with somebody who is erased and not scrubbed; autovacuum, which holds the horizon for a moment, is off."""
    vault = Vault(fresh({"autovacuum": "off"}))
    with vault.connect("postgres") as admin:
        ids = people(admin, 1)
    authority = may_erase(vault)
    yield vault, lambda: erase(vault, ids, authority)


def test_where_nothing_is_in_the_way_the_first_call_is_enough(one):
    vault, erased = one
    erased()
    with vault.connect(vault.worker) as worker:
        done = scrub(worker)
        assert (done["state"], done["scrubbed"], unscrubbed(vault)) == ("done", 1, 0)
        assert scrub(worker)["state"] == "idle"


def test_whoever_is_in_the_way_is_named_each_time_and_ends_it(one):
    vault, erased = one
    with vault.connect("postgres", autocommit=False) as reader, vault.connect(vault.worker) as worker:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM identity.subjects")
        erased()
        for _ in range(3):
            held = scrub(worker)
            assert held["state"] == "blocked"
            assert reader.info.backend_pid in [holder.get("pid") for holder in held["blocked_by"]]
            assert unscrubbed(vault) == 1
        reader.rollback()
        assert scrub(worker)["state"] == "done"
        assert unscrubbed(vault) == 0
