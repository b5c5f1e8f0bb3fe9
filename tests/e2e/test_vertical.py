"""What a text may do to a subject's vertical: raise it to healthcare, and nothing else."""

import os
import threading

import psycopg
import pytest

from erasure import erase
from test_canary import CHATTY, encodings
from vault import CLOUD, Vault, refused, uuid7

OBSERVE = "SELECT identity.text_observe(%s::uuid, %s::text, %s::text)"
VERTICALS = ["unknown", "general", "finance", "other", "healthcare"]
ORDINARY = "Rust engineer in Silver Spring, MD 20910. Modern URN tooling, hospitality start-up, patient with people."


def observe(conn, candidate, content: str, source: str = "resume") -> str:
    return conn.execute(OBSERVE, (getattr(candidate, "id", candidate), source, content)).fetchone()[0]


def state(vault, subject) -> tuple[str, int]:
    row = vault.sql("SELECT vertical, generation FROM identity.subjects WHERE candidate_id = %s", (subject.id,))[0]
    return row["vertical"], row["generation"]


@pytest.mark.parametrize("group", ["onbox", "cloud"])
@pytest.mark.parametrize("vertical", VERTICALS)
def test_text_escalates_upward_only_and_once(vault, vertical, group):
    gateway = vault.gateway(*(() if group == "onbox" else CLOUD))
    subject = vault.subject(vertical)
    before = state(vault, subject)
    assert observe(gateway, subject, ORDINARY) == vertical
    assert state(vault, subject) == before
    assert observe(gateway, subject, "Jane Roe, RN, patient care", "call_log") == "healthcare"
    escalated = vertical != "healthcare"
    assert state(vault, subject) == ("healthcare", before[1] + escalated)
    for text in (ORDINARY, "", "general", "Jane Roe, RN"):
        assert observe(gateway, subject, text) == "healthcare"
    assert state(vault, subject) == ("healthcare", before[1] + escalated)
    rows = vault.leaves(gateway, committed=int(escalated))
    for row in rows:
        assert (row["accessor_kind"], row["chain_kind"], row["vertical"]) == ("vertical_escalation", "merkle", "healthcare")
        assert (row["candidate_id"], row["generation"]) == (subject.id, before[1] + 1) and row["event_digest"]
        history = vault.sql("SELECT * FROM identity.vertical_history WHERE access_id = %s", (row["access_id"],))[0]
        assert (history["kind"], history["source"], history["before"], history["after"]) == ("escalation", "call_log", vertical, "healthcare")
        numbers = [int(number) for number in history["patterns"].split(",")]
        named = vault.sql("SELECT pattern FROM identity.vertical_pattern_changes WHERE change_no = ANY (%s)", (numbers,))
        assert {row["pattern"] for row in named} == {"RN", "patient care"}
    gateway.close()


HEALTHCARE = [
    "Jane Roe, RN", "Jane Roe, R.N.", "BSN 2014", "LPN, CNA", "Jane Roe, MD", "Jane Roe, M.D.", "at a hospital", "Physician's office", "NURSE", "clinical rotation", "patient  care",
    "patient-care", "HIPAA", "ICU nights", "EMT-B", "phlebotomist", "Pharmacist", "surgeon", "dental hygienist", "nur-\nse", "n\u00adur\u200bse", "ｎｕｒｓｅ", "ոսrѕе", "𝐑𝐍", "ΗΙΡΑΑ",
    "emergency\n\tdepartment", "RHIA/BSN",
]  # fmt: skip
OTHER = [
    "", " ", "modern", "URN", "RNs of years", "born", "Baltimore, MD 21201", "Silver Spring MD", "MD 20850", "DC, MD, VA", "rn", "md", "hospitality", "nursery", "I am patient. Care to meet?",
    "NP-complete", "DO NOT CALL", "PT, PA, ER, OT", "bug triage on AWS EMR", "React, Rust, R", "clinging", "\u200b", "🙂", "护士", "DROP TABLE identity.subjects; --",
]  # fmt: skip


@pytest.mark.parametrize("text", HEALTHCARE)
def test_texts_of_healthcare_work_escalate(vault, gateway, text):
    assert observe(gateway, vault.subject(), f"Summary: {text}, since 2009") == "healthcare"


def test_other_texts_do_not_escalate(vault, gateway):
    subject = vault.subject()
    for text in OTHER:
        assert observe(gateway, subject, text) == "general", text
    vault.leaves(gateway)


def test_refusals_leave_a_row_and_no_change(vault, gateway):
    subject, erased = vault.subject(), vault.subject()
    erase(vault, erased)
    secret = "Canary" + os.urandom(8).hex()
    bad = [
        (None, "resume", secret, "22004", "null_argument"),
        (subject.id, None, secret, "22004", "null_argument"),
        (subject.id, "resume", None, "22004", "null_argument"),
        (subject.id, secret, "RN", "22023", "bad_argument"),
        (subject.id, "", "RN", "22023", "bad_argument"),
        (subject.id, "jane@example.org", "RN", "22023", "bad_argument"),
        (subject.id, "résumé", "RN", "22023", "bad_argument"),
        (subject.id, "x" * 33, "RN", "22023", "bad_argument"),
        (subject.id, "resume", "RN " + "x" * 2**20, "22023", "bad_argument"),
        (uuid7(), "resume", "RN " + secret, "P0002", "subject_unavailable"),
        (erased.id, "resume", "RN " + secret, "P0002", "subject_erased"),
        (erased.id, "resume", secret, "P0002", "subject_erased"),
    ]
    for candidate, source, content, sqlstate, reason in bad:
        refused(gateway, OBSERVE, (candidate, source, content), sqlstate, reason, secrets=[secret])
    assert state(vault, subject)[0] == "general"
    rows = vault.leaves(gateway, denied=len(bad))
    assert {row["accessor_kind"] for row in rows} == {"vertical_escalation"}


def test_compressed_gigabyte_is_refused_before_it_is_unpacked(vault, gateway):
    subject = vault.subject()
    vault.sql("CREATE TABLE IF NOT EXISTS public.large AS SELECT repeat('nurse ', 40000000) AS content")
    vault.sql("GRANT SELECT ON public.large TO PUBLIC")
    before = peak_memory(gateway.info.backend_pid)
    with pytest.raises(psycopg.Error) as caught:
        gateway.execute("SELECT identity.text_observe(%s::uuid, 'resume', content) FROM public.large", (subject.id,))
    assert caught.value.diag.message_detail == "reason: bad_argument"
    assert peak_memory(gateway.info.backend_pid) - before < 100_000
    assert state(vault, subject)[0] == "general"


def peak_memory(pid: int) -> int:
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1])


def test_largest_texts_are_searched_to_the_end(vault, gateway):
    for filler in ("x", " ", "R.", "\u0301", "\ufdfa", "Silver Spring MD ", "a-\n"):
        text = filler * ((2**20 - 10) // len(filler.encode()))
        subject = vault.subject()
        assert observe(gateway, subject, text) == "general", repr(filler)
        assert observe(gateway, subject, text + " RN") == "healthcare", repr(filler)


def test_roll_back_undoes_row_and_escalation_together(vault, gateway):
    subject = vault.subject()
    with gateway.transaction(force_rollback=True):
        assert observe(gateway, subject, "RN") == "healthcare"
    assert state(vault, subject)[0] == "general"
    assert not vault.sql("SELECT 1 FROM identity.vertical_history WHERE candidate_id = %s", (subject.id,))
    vault.leaves(gateway)
    assert observe(gateway, subject, "RN") == "healthcare"
    vault.leaves(gateway, committed=1)
    vault.verify()


def test_escalation_binds_a_cloud_gateway_in_mid_transaction(vault, gateway):
    subject, cloud = vault.subject(), vault.gateway(*CLOUD)
    query = "SELECT pii FROM identity.pii_resolve(%s, 't.all', '{name}')"
    cloud.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    assert cloud.execute(query, (subject.id,)).fetchone()
    observe(gateway, subject, "RN")
    refused(cloud, query, (subject.id,), "P0002", "subject_unavailable")
    cloud.close()


def test_texts_at_once_escalate_once(vault, gateway):
    subject, answers = vault.subject(), []
    gateways = [vault.gateway() for _ in range(3)]
    before = state(vault, subject)[1]
    gateway.execute("BEGIN")
    observe(gateway, subject, "RN")
    threads = [threading.Thread(target=lambda conn=conn: answers.append(observe(conn, subject, "RN"))) for conn in gateways]
    for thread, conn in zip(threads, gateways):
        thread.start()
        vault.wait_backend(conn.info.user, "wait_event_type = 'Lock'")
    gateway.execute("COMMIT")
    for thread in threads:
        thread.join()
    assert answers == ["healthcare"] * 3
    assert state(vault, subject) == ("healthcare", before + 1)
    assert len(vault.sql("SELECT 1 FROM identity.vertical_history WHERE candidate_id = %s", (subject.id,))) == 1
    for conn in gateways:
        vault.leaves(conn)
        conn.close()


@pytest.mark.parametrize("settings", [{}, CHATTY], ids=["default", "chatty"])
def test_text_and_note_are_found_nowhere(fresh, settings):
    cluster = fresh({"wal_level": "'logical'"} | settings)
    vault = Vault(cluster)
    secrets = {name: f"Canary-{name}-{os.urandom(8).hex()}" for name in ("hit", "none", "large", "null", "erased", "source", "unqualified", "rolled")}
    control = "control-" + os.urandom(8).hex()
    vault.sql("CREATE TABLE public.control (value text)")
    vault.admin.execute("INSERT INTO public.control VALUES (%s)", (control,))
    subject, gateway = vault.subject(), vault.gateway()
    for _ in range(7):  # past the switch to a generic plan
        observe(gateway, subject, f"{secrets['none']} engineer")
    with gateway.transaction(force_rollback=True):
        observe(gateway, subject, f"nurse {secrets['rolled']}")
    observe(gateway, subject, f"RN nurse {secrets['hit']}")
    observe(gateway, subject, secrets["large"] * 20000)
    for params in ((None, "resume", secrets["null"]), (uuid7(), "resume", "RN " + secrets["erased"]), (subject.id, secrets["source"], "RN")):
        with pytest.raises(psycopg.Error):
            gateway.execute(OBSERVE, params)
    with vault.gateway() as other:
        other.execute("SET search_path = identity")
        other.execute("SELECT text_observe(%s, 'resume', %s)", (subject.id, secrets["unqualified"]))
    vault.sql("CHECKPOINT")
    wanted = [form for secret in secrets.values() for form in encodings(secret.encode())]
    for moment in ("running", "stopped"):
        files = {path: path.read_bytes() for path in cluster.dir.rglob("*") if path.is_file()}
        assert any(control.encode() in data for path, data in files.items() if "/base/" in str(path)), "the search does not reach the heap"
        leaks = {str(path) for path, data in files.items() if any(form in data for form in wanted)}
        assert not leaks, (moment, leaks)
        if moment == "running":
            cluster.stop()
