"""The ledger on a standby, after its promotion, and restored into another cluster: the same tree, which goes on."""

from cluster import Cluster
from ledger import SEAL, check, checkpoint, copy_of, seal, some_rows
from test_round_trip import restored
from test_standby import standby_of
from vault import Vault, refused


def test_a_standby_cannot_seal_and_goes_on_after_promotion(fresh):
    primary = Vault(fresh())
    ids = some_rows(primary)
    size, _ = seal(primary)
    standby = Cluster("sb")
    try:
        standby_of(primary.cluster, standby)
        standby.start()
        with standby.connect(primary.worker) as worker:
            refused(worker, SEAL, None, "25006", "read_only")
            refused(worker, "SELECT identity.ledger_proof(%s)", (ids[0],), "55000", "locked")
            assert checkpoint(copy_of(primary, standby)).size == size
        primary.cluster.stop("immediate")
        with standby.connect() as admin:
            admin.execute("SELECT pg_promote()")
        standby.unlock()
        copy = copy_of(primary, standby)
        assert seal(copy)[0] > size
        check(copy)
        lines = copy.sql("SELECT leaf::jsonb ->> 'timeline' AS timeline, leaf::jsonb ->> 'system_identifier' AS system FROM identity.ledger_seals ORDER BY batch")
        assert [line["timeline"] for line in lines] == ["1", "2"] and len({line["system"] for line in lines}) == 1
    finally:
        standby.destroy()


def test_dumped_and_restored_elsewhere_proofs_and_seals_go_on(fresh):
    source = Vault(fresh())
    ids = some_rows(source)
    size, before = seal(source)
    target = restored(source, fresh)
    target.unlock()
    copy = copy_of(source, target)
    now = checkpoint(copy)
    assert (now.size, now.root) == (size, before)
    with copy.connect(copy.worker) as worker:
        worker.execute("SELECT identity.ledger_proof(%s)", (ids[0],))
        assert worker.execute(SEAL).fetchone()[0] > size  # the unlocking
        worker.execute("SELECT identity.ledger_consistency(%s, %s)", (size, size + 1))
    check(copy)
