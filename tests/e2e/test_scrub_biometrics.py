"""What biometric_erase and biometric_sweep take from a row is taken from the pages too, though nobody asked for an erasure of the person."""

import hashlib
import secrets

import pytest

import biometric
from biometric import Uploads, attach, consenting
from cluster import wait_until
from retention import sweep
from scrub import Past, checkpoint, scrub, scrub_all


@pytest.fixture(scope="module")
def home():
    made = Uploads(autovacuum="off")
    try:
        yield made
    finally:
        made.cluster.destroy()


def collected(home, count: int = 1, name: str = "") -> tuple[list, Past]:
    """Subjects with biometrics, of which path and hash are remembered."""
    past, subjects = Past(), []
    with home.vault.gateway() as gateway:
        for _ in range(count):
            subject = consenting(home.vault, gateway)
            path = home.write(home.path(subject, secrets.token_urlsafe(60))) if name == "ours" else f"s3://uploads/{secrets.token_urlsafe(60)}"
            hash = hashlib.sha256(secrets.token_bytes(8)).hexdigest()
            past.add_bytes(str(path)[-60:].encode())
            past.add_bytes(hash.encode())
            attach(gateway, subject, path, hash)
            subjects.append(subject)
    return subjects, past


def heap(home) -> str:
    return home.vault.sql("SELECT pg_relation_filepath('identity.subjects') AS path")[0]["path"]


def unscrubbed(home) -> tuple[str, float]:
    """As status and metrics have it."""
    state = home.vault.sql("SELECT state FROM identity.identity_status() WHERE item = 'unscrubbed erasures'")[0]["state"]
    return state, home.vault.sql("SELECT value FROM identity.metrics() WHERE name = 'identity_erasures' AND labels ->> 'state' = 'unscrubbed'")[0]["value"]


def by_hand(home, subjects) -> None:
    for subject in subjects:
        assert biometric.erase(home.vault, subject)["erased"]


def by_sweep(home, subjects) -> None:
    ids = [subject.id for subject in subjects]
    home.vault.sql("UPDATE identity.subjects SET biometric_retention_until = now() - interval '1 day' WHERE candidate_id = ANY (%s)", (ids,))
    with home.vault.connect(home.vault.worker) as worker:
        assert sweep(worker, "biometric")["done"] == len(ids)


@pytest.mark.parametrize("erase", [by_hand, by_sweep])
def test_path_and_hash_are_in_no_file_after_a_scrub(home, erase):
    subjects, past = collected(home, 3)
    erase(home, subjects)
    assert not home.vault.sql("SELECT FROM identity.erasure_requests")
    assert unscrubbed(home) == ("3 done, not scrubbed", 3)
    # What is usually done leaves them.
    home.vault.sql("VACUUM identity.subjects, identity.subject_texts")
    checkpoint(home.vault)
    assert heap(home) in past.found(home.cluster.data)
    with home.vault.connect(home.vault.worker) as worker:
        answer = scrub_all(worker)
        assert answer["state"] == "done" and answer["scrubbed"] == 0 and answer["rewritten"] > 0, answer
        assert scrub(worker)["state"] == "idle"
    checkpoint(home.vault)
    assert past.found(home.cluster.data) == set()
    assert unscrubbed(home) == ("0 done, not scrubbed", 0)
    home.vault.verify()


def test_called_again_it_makes_no_scrub_due(home):
    (subject,), _ = collected(home)
    by_hand(home, [subject])
    with home.vault.connect(home.vault.worker) as worker:
        scrub_all(worker)
        assert not biometric.erase(home.vault, subject)["erased"]
        assert scrub(worker)["state"] == "idle"


def test_whoever_is_in_the_way_is_named(home):
    (subject,), past = collected(home)
    with home.cluster.connect() as reader, home.vault.connect(home.vault.worker) as worker:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM identity.subjects")
        by_hand(home, [subject])

        def named() -> list:
            answer = scrub(worker)
            assert answer["state"] == "blocked", answer
            return [holder for holder in answer["blocked_by"] if holder.get("pid") == reader.info.backend_pid]

        wait_until(named, "the reader to be named")
        checkpoint(home.vault)
        assert past.found(home.cluster.data)
        reader.execute("COMMIT")
        scrub_all(worker)
    checkpoint(home.vault)
    assert past.found(home.cluster.data) == set()


def test_it_waits_for_the_uploaded_file(home):
    (subject,), past = collected(home, name="ours")
    path = next(home.directory.iterdir())
    path.chmod(0o400)
    by_hand(home, [subject])
    home.stuck(subject)
    with home.vault.connect(home.vault.worker) as worker:
        assert scrub(worker)["state"] == "idle" and unscrubbed(home)[1] == 1
        path.chmod(0o600)
        home.again()
        home.gone(path)
        scrub_all(worker)
    assert unscrubbed(home)[1] == 0
    checkpoint(home.vault)
    assert past.found(home.cluster.data) == set()
