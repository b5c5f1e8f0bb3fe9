"""A backend that ends without telling anybody that its transaction did: its reads are recorded all the same."""

import subprocess
import tempfile
from pathlib import Path

import psycopg
import pytest

from cluster import pg_config, root_dir
from vault import ONBOX, read

# A library as an administrator may preload one. PostgreSQL calls the callbacks of those that came last first, so this one ends the
# process before ours are called; and PostgreSQL, which is on its way out already, does not call them again.
SOURCE = r"""
#include "postgres.h"
#include "access/xact.h"
#include "fmgr.h"
PG_MODULE_MAGIC;
void _PG_init(void);
static void at_end(XactEvent event, void *argument)
{
    if (event == XACT_EVENT_ABORT) ereport(FATAL, (errmsg("the end of this process")));
}
void _PG_init(void) { RegisterXactCallback(at_end, NULL); }
"""


@pytest.fixture
def fatal():
    directory = Path(tempfile.mkdtemp(prefix="fatal", dir=root_dir()))
    directory.chmod(0o755)
    library = directory / "fatal.so"
    includes = ["-I", pg_config("includedir-server")]
    subprocess.run(["cc", "-shared", "-fPIC", "-w", *includes, "-x", "c", "-", "-o", library], input=SOURCE, text=True, check=True)
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
