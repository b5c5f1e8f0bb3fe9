"""A process that ends in the middle of a transaction, without telling anybody: what it had read or taken is recorded all the same."""

import subprocess
import tempfile
from pathlib import Path

import psycopg
import pytest

from cluster import give_to_owner, pg_config, root_dir, wait_until
from vault import ONBOX, Vault, read

# A library as an administrator may preload one. PostgreSQL calls the callbacks of those that came last first, so this one ends the
# process before ours are called; and PostgreSQL, which is on its way out already, does not call them again.
SOURCE = r"""
#include "postgres.h"
#include "access/xact.h"
#include "fmgr.h"
#include "postmaster/bgworker.h"
#include <unistd.h>
PG_MODULE_MAGIC;
void _PG_init(void);
static void at_end(XactEvent event, void *argument)
{
    bool recorder = MyBgworkerEntry && strstr(MyBgworkerEntry->bgw_name, "recorder");
    if (recorder ? event == XACT_EVENT_PRE_COMMIT && unlink(MARK) == 0 : event == XACT_EVENT_ABORT && !MyBgworkerEntry)
        ereport(FATAL, (errmsg("the end of this process")));
}
void _PG_init(void) { RegisterXactCallback(at_end, NULL); }
"""


@pytest.fixture
def fatal():
    directory = Path(tempfile.mkdtemp(prefix="fatal", dir=root_dir()))
    directory.chmod(0o755)
    give_to_owner(directory)
    library = directory / "fatal.so"
    options = ["-I", pg_config("includedir-server"), f'-DMARK="{directory}/mark"']
    subprocess.run(["cc", "-shared", "-fPIC", "-w", *options, "-x", "c", "-", "-o", library], input=SOURCE, text=True, check=True)
    return library


def test_reads_of_a_backend_that_ended_within_its_abort_are_recorded(vault, fatal):
    role, subject = vault.login(*ONBOX), vault.subject()
    vault.sql(f"ALTER ROLE {role} SET session_preload_libraries = '{fatal}'")
    started = vault.sql("SELECT pg_postmaster_start_time() AS at")
    conn = vault.connect(role)
    conn.execute("BEGIN")
    read(conn, subject)
    conn.execute("SAVEPOINT a")
    read(conn, subject)
    with pytest.raises(psycopg.Error):
        conn.execute("ROLLBACK")
    assert conn.closed
    vault.leaves(role, rolled_back=2)
    assert vault.sql("SELECT pg_postmaster_start_time() AS at") == started, "the server itself went down"
    with vault.gateway() as other:  # the lane it had is another's now
        read(other, subject)
    vault.verify()


def test_what_a_recorder_took_and_did_not_live_to_write_is_written_by_the_next(fresh, fatal):
    vault = Vault(fresh({"shared_preload_libraries": f"'identity_pgx,{fatal}'"}))
    withdrawn, mark = vault.subject(consent="withdrawn"), fatal.parent / "mark"
    role = vault.login(*ONBOX)
    vault.wait_well()
    mark.touch()
    # Refused, a session with that library ends; so the refusal comes from a statement that takes the error.
    with vault.connect(role) as conn:
        conn.execute(f"""DO $$ BEGIN PERFORM identity.pii_resolve('{withdrawn.id}', 't.all', '{{name}}');
                         EXCEPTION WHEN insufficient_privilege THEN NULL; END $$""")
    wait_until(lambda: not mark.exists(), "the recorder to take it and to end")
    vault.leaves(role, denied=1)
    assert "the end of this process" in vault.cluster.log.read_text()
    vault.verify()
