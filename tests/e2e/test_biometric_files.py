"""The uploaded file is destroyed with the biometrics that came in it, once that has committed; and nothing else ever is."""

import os
import socket
import subprocess
import threading
import time

import psycopg
import pytest

from biometric import ERASE, Uploads, attach, collected, consenting, erase, events, policy, refused_attach, waiting
from cluster import give_to_owner, wait_until
from consent import BAD
from vault import read, refused

SECRET = b"somebody's face"


@pytest.fixture(scope="module")
def uploads():
    made = Uploads()
    try:
        yield made
    finally:
        made.cluster.destroy()


@pytest.fixture
def server(uploads):
    """The list is empty before, and what is recorded verifies."""
    assert not waiting(uploads.vault)
    policy(uploads.vault)  # an erasure of a whole subject may have brought a newer schedule
    yield uploads
    uploads.vault.verify()


@pytest.fixture
def sender(uploads):
    conn = uploads.vault.gateway()
    yield conn
    conn.close()


def uploaded(server, sender, content: bytes = SECRET * 10000):
    subject = consenting(server.vault, sender)
    path = server.write(server.path(subject), content)
    attach(sender, subject, path)
    return subject, path


def unwritable(server, sender):
    """An upload whose subject's biometrics are erased, and that cannot be destroyed yet."""
    subject, path = uploaded(server, sender)
    path.chmod(0o400)
    erase(server.vault, subject)
    server.stuck(subject)
    return subject, path


def ended(server, subject) -> dict:
    return events(server.vault, subject)[-1]


# -- what is ours --------------------------------------------------------------------
def test_file_is_overwritten_and_gone_soon_after_the_commit(server, sender):
    subject, path = uploaded(server, sender)
    with open(path, "rb") as held:  # what an unlinked file held can still be read by whoever has it open
        answer = erase(server.vault, subject)
        assert answer["file"] == "waiting"
        server.gone(path)
        held.seek(0)
        content = held.read()
    assert content == bytes(len(SECRET) * 10000)
    event = ended(server, subject)
    assert (event["kind"], event["file"], event["erasure"]) == ("file", "destroyed", int(answer["access_id"]))
    row = server.vault.sql("SELECT accessor_kind, chain_kind, purpose_token, candidate_id FROM identity.pii_access_log WHERE access_id = %s", (event["access_id"],))[0]
    assert tuple(row.values()) == ("biometric_erase", "merkle", "biometric_erasure", subject.id)
    assert erase(server.vault, subject) == answer | {"erased": False, "file": "destroyed"}


@pytest.mark.parametrize("size", [0, 1, 4095, 1 << 20, (3 << 20) + 17])
def test_file_of_any_size_is_destroyed(server, sender, size):
    subject, path = uploaded(server, sender, b"x" * size)
    erase(server.vault, subject)
    server.gone(path)
    assert ended(server, subject)["file"] == "destroyed"


def test_file_in_a_directory_of_the_subject_is_destroyed_and_the_directory_stays(server, sender):
    subject = consenting(server.vault, sender)
    path = server.write(server.make(server.directory / str(subject.id)) / "face.bin")
    other = server.write(path.with_name("voice.bin"))
    attach(sender, subject, path)
    erase(server.vault, subject)
    server.gone(path)
    assert other.read_bytes() == b"face" * 5000


def test_file_that_is_not_there_is_recorded_as_missing(server, sender):
    subject = consenting(server.vault, sender)
    attach(sender, subject, server.path(subject))
    erase(server.vault, subject)
    wait_until(lambda: not waiting(server.vault), "the list to be worked off")
    assert ended(server, subject)["file"] == "missing"
    in_no_directory = consenting(server.vault, sender)
    attach(sender, in_no_directory, server.directory / "nowhere" / str(in_no_directory.id))
    erase(server.vault, in_no_directory)
    wait_until(lambda: not waiting(server.vault), "the list to be worked off")
    assert ended(server, in_no_directory)["file"] == "missing"


@pytest.mark.parametrize("elsewhere", ["s3://bucket/{id}", "{id}.bin", "/elsewhere/{id}.bin", "{directory}-other/{id}.bin", "../{id}", "file://{directory}/{id}"])
def test_file_elsewhere_is_left_to_the_application_and_said_to_be(server, sender, elsewhere):
    subject = consenting(server.vault, sender)
    attach(sender, subject, elsewhere.format(id=subject.id, directory=server.directory))
    assert erase(server.vault, subject)["file"] == "elsewhere"
    assert not waiting(server.vault) and ended(server, subject)["file"] == "elsewhere"


# -- what is not ---------------------------------------------------------------------
@pytest.mark.parametrize(
    "path",
    [
        "{directory}",
        "{directory}/",
        "{directory}/face.bin",
        "{directory}/{other}.bin",
        "{directory}/x{id}",
        "{directory}//{id}",
        "{directory}/./{id}",
        "{directory}/{id}/",
        "{directory}/{id}/../../etc/passwd",
        "{directory}/../{name}/{id}",
        "/elsewhere/../{id}",
        "/tmp/../{directory}/{id}",
        "//{directory}/{id}",
    ],
)
def test_path_into_the_directory_that_is_not_straight_to_the_subjects_file_is_refused(server, sender, path):
    subject, other = consenting(server.vault, sender), server.vault.subject()
    bad = path.format(directory=server.directory, name=server.directory.name, id=subject.id, other=other.id)
    refused_attach(sender, subject, *BAD, path=bad)
    assert collected(server.vault, subject)["biometric_data_path"] is None


def test_nobody_has_the_file_of_another_subject_destroyed(server, sender):
    victim, path = uploaded(server, sender)
    thief = consenting(server.vault, sender)
    refused_attach(sender, thief, *BAD, path=path)
    erase(server.vault, thief)
    time.sleep(1.5)
    assert path.read_bytes() == SECRET * 10000
    assert collected(server.vault, victim)["biometric_data_path"] == str(path)


@pytest.fixture
def bystander(server, tmp_path_factory):
    """A file outside, of the server's own user: nothing but our care protects it."""
    directory = server.make(server.directory.with_name(server.directory.name + f"-outside-{time.monotonic_ns()}"))
    path = server.write(directory / "accounts", b"not a face")
    yield path
    assert path.read_bytes() == b"not a face" and path.stat().st_nlink == 1


def stuck(server, sender, prepare, trouble: str, mend):
    """Something is put where the file was; the server leaves it alone, says what is in the way, and goes on when that is out of the way."""
    subject, path = uploaded(server, sender)
    kept = prepare(subject, path)
    answer = erase(server.vault, subject)
    assert server.stuck(subject) == trouble
    time.sleep(1.2)
    status = [row for row in server.vault.sql("SELECT * FROM identity.identity_status()") if row["item"] == "biometric files"][0]
    assert status["state"] == "1 to destroy" and status["hint"] == f"access_id {answer['access_id']}: {trouble}"
    warned = f"the uploaded file of erasure {answer['access_id']} is not destroyed yet: {trouble}"
    log = server.cluster.log.read_text()
    assert log.count(warned) == 1, "once, and not every second"
    assert str(path) not in log and path.name not in log and str(path) not in status["hint"]
    assert events(server.vault, subject)[-1]["kind"] == "erase"
    mend(subject, path, kept)
    server.again()
    wait_until(lambda: not waiting(server.vault), "the list to be worked off")
    assert ended(server, subject)["kind"] == "file"
    return path


def test_symbolic_link_in_place_of_the_file_is_not_followed(server, sender, bystander):
    def prepare(subject, path):
        path.unlink()
        path.symlink_to(bystander)

    path = stuck(server, sender, prepare, "it is no plain file", lambda subject, path, _: path.unlink())
    assert not os.path.lexists(path)


def test_symbolic_link_on_the_way_is_not_followed(server, sender):
    subject = consenting(server.vault, sender)
    outside = server.make(server.directory.with_name(f"{server.directory.name}-away-{subject.id}"))
    there = server.write(outside / "face.bin", b"not a face")
    way = server.directory / str(subject.id)
    path = server.write(server.make(way) / "face.bin")
    attach(sender, subject, path)
    path.unlink()
    way.rmdir()
    way.symlink_to(outside)
    erase(server.vault, subject)
    assert server.stuck(subject) == "a name on the way to it is no directory that can be opened"
    assert there.read_bytes() == b"not a face"
    way.unlink()
    server.again()
    wait_until(lambda: not waiting(server.vault), "the list to be worked off")
    assert there.read_bytes() == b"not a face"


def test_hard_link_to_another_file_is_left_alone(server, sender):
    other = server.write(server.directory / "accounts", b"not a face")

    def prepare(subject, path):
        path.unlink()
        os.link(other, path)

    stuck(server, sender, prepare, "it has more than one name", lambda subject, path, _: path.unlink())
    assert other.read_bytes() == b"not a face"
    other.unlink()


@pytest.mark.parametrize("kind", ["directory", "fifo", "socket"])
def test_what_is_no_file_is_left_alone_and_nobody_waits_for_it(server, sender, kind):
    def prepare(subject, path):
        path.unlink()
        if kind == "directory":
            server.make(path)
            server.write(path / "inside", b"not a face")
        elif kind == "fifo":
            os.mkfifo(path)
            give_to_owner(path)
        else:
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(str(path))
            give_to_owner(path)
            return listening

    def mend(subject, path, kept):
        if kind == "directory":
            assert (path / "inside").read_bytes() == b"not a face"
            (path / "inside").unlink()
            path.rmdir()
        else:
            assert path.exists()
            path.unlink()

    stuck(server, sender, prepare, "it is no plain file", mend)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices and gives files away")
def test_device_is_left_alone(server, sender):
    def prepare(subject, path):
        path.unlink()
        os.mknod(path, 0o666 | 0o020000, os.makedev(1, 3))

    try:
        stuck(server, sender, prepare, "it is no plain file", lambda subject, path, _: path.unlink())
    except PermissionError:
        pytest.skip("devices cannot be made here")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices and gives files away")
def test_file_of_somebody_else_is_left_alone(server, sender):
    def prepare(subject, path):
        os.chown(path, 12345, 12345)
        path.chmod(0o666)

    def mend(subject, path, _):
        assert path.read_bytes() == SECRET * 10000
        give_to_owner(path)

    path = stuck(server, sender, prepare, "it belongs neither to the server nor to the owner of the directory", mend)
    assert not path.exists()


def test_file_that_cannot_be_written_is_tried_again(server, sender):
    def mend(subject, path, _):
        path.chmod(0o600)

    path = stuck(server, sender, lambda subject, path: path.chmod(0o400), "it cannot be opened for writing", mend)
    assert not path.exists()


def test_file_whose_directory_cannot_be_written_is_tried_again(server, sender):
    def prepare(subject, path):
        server.directory.chmod(0o500)

    def mend(subject, path, _):
        assert path.read_bytes() == bytes(len(SECRET) * 10000), "at least its content is gone"
        server.directory.chmod(0o700)

    path = stuck(server, sender, prepare, "it is overwritten and cannot be removed", mend)
    assert not path.exists()


def test_directory_that_is_not_there_is_no_absence_of_its_files(server, sender):
    moved = server.directory.with_name(server.directory.name + "-moved")

    def mend(subject, path, _):
        moved.rename(server.directory)

    path = stuck(server, sender, lambda subject, path: server.directory.rename(moved), "identity_pgx.biometric_directory cannot be opened", mend)
    assert not path.exists()


def test_file_that_is_too_large_is_left_alone(server, sender):
    def prepare(subject, path):
        with open(path, "r+b") as file:
            file.truncate((1 << 30) + 1)

    stuck(server, sender, prepare, "it is larger than 1 GB", lambda subject, path, _: os.truncate(path, 100))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_disk_error_while_overwriting_is_tried_again(server, sender):
    """A file with a hole on a full disk: zeros find no room."""
    subject = consenting(server.vault, sender)
    way = server.make(server.directory / str(subject.id))
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(way)], capture_output=True).returncode:
        way.rmdir()
        pytest.skip("nothing can be mounted here")
    try:
        way.chmod(0o777)
        path = server.write(way / "face.bin", b"")
        with open(path, "r+b") as file:
            file.truncate(1 << 20)
        attach(sender, subject, path)
        erase(server.vault, subject)
        assert server.stuck(subject) == "it cannot be overwritten"
        assert path.exists()
        os.truncate(path, 100)
        server.again()
        server.gone(path)
    finally:
        subprocess.run(["umount", str(way)])


def test_file_that_cannot_go_keeps_no_other_waiting(server, sender):
    first, blocked = unwritable(server, sender)
    second, path = uploaded(server, sender)
    erase(server.vault, second)
    wait_until(lambda: not path.exists(), "the other file to be destroyed")
    wait_until(lambda: [row["candidate_id"] for row in waiting(server.vault)] == [first.id], "the other one to be off the list")
    blocked.chmod(0o600)
    # Nobody has to ask: it is tried again by itself.
    server.gone(blocked)


def test_file_that_cannot_go_for_long_is_tried_less_often(server, sender):
    subject, path = unwritable(server, sender)
    tried = "SELECT tried_at FROM identity.files_to_destroy"
    # As if it had been there for ten minutes: the next time is a minute after the last.
    server.vault.sql("UPDATE identity.files_to_destroy SET queued_at = queued_at - interval '10 minutes'")
    last = server.vault.sql(tried)
    time.sleep(7)
    assert server.vault.sql(tried) == last
    path.chmod(0o600)
    server.vault.sql("UPDATE identity.files_to_destroy SET tried_at = tried_at - interval '1 minute'")
    server.gone(path)


# -- when ----------------------------------------------------------------------------
def test_nothing_is_destroyed_before_the_commit_nor_after_a_rollback(server, sender):
    subject, path = uploaded(server, sender)
    with server.vault.connect(server.vault.worker) as worker:
        with worker.transaction(force_rollback=True):
            worker.execute(ERASE, (subject.id, "rtbf_request"))
            time.sleep(2)
            assert path.read_bytes() == SECRET * 10000
        worker.execute("BEGIN")
        worker.execute("SAVEPOINT a")
        worker.execute(ERASE, (subject.id, "rtbf_request"))
        worker.execute("ROLLBACK TO a")
        worker.execute("COMMIT")
    time.sleep(2)
    assert path.read_bytes() == SECRET * 10000 and not waiting(server.vault)
    assert collected(server.vault, subject)["biometric_data_path"] == str(path)
    erase(server.vault, subject)
    server.gone(path)


def test_nothing_is_destroyed_while_the_keys_are_locked(server, sender):
    subject, path = unwritable(server, sender)
    server.vault.sql("SELECT identity.key_wipe_all()")
    try:
        path.chmod(0o600)
        server.again()
        time.sleep(2.5)
        assert path.exists(), "what cannot be recorded is not done"
    finally:
        server.cluster.unlock()
    server.gone(path)


def test_new_upload_under_the_old_name_waits_for_the_old_ones_end(server, sender):
    subject, path = unwritable(server, sender)
    refused_attach(sender, subject, "23505", "biometric_already_collected", path=path)
    other = server.write(server.path(subject, "second.bin"))
    attach(sender, subject, other)
    path.chmod(0o600)
    server.again()
    server.gone(path)
    assert other.exists(), "only the erased one went"
    erase(server.vault, subject)
    server.gone(other)
    server.write(path)
    attach(sender, subject, path)
    read(sender, subject)
    erase(server.vault, subject)
    server.gone(path)


def test_many_files_at_once(server, sender):
    subjects = [uploaded(server, sender, b"x") for _ in range(60)]
    version_of = {subject.id: None for subject, _ in subjects}
    threads = []
    for part in range(4):

        def work(part=part):
            for subject, _ in subjects[part::4]:
                erase(server.vault, subject)

        threads.append(threading.Thread(target=work))
        threads[-1].start()
    for thread in threads:
        thread.join(60)
    wait_until(lambda: not waiting(server.vault), "the list to be worked off", timeout=30)
    assert not any(path.exists() for _, path in subjects)
    ends = server.vault.sql("SELECT candidate_id, file FROM identity.biometric_history WHERE kind = 'file' AND candidate_id = ANY (%s)", (list(version_of),))
    assert sorted(row["candidate_id"] for row in ends) == sorted(version_of) and {row["file"] for row in ends} == {"destroyed"}


# -- after a crash -------------------------------------------------------------------
def test_file_is_destroyed_after_a_crash_between_commit_and_destruction():
    server = Uploads()
    vault = server.vault
    try:
        with vault.gateway() as sender:
            subject, path = unwritable(server, sender)
        server.cluster.kill()
        path.chmod(0o600)
        server.cluster.start()
        assert path.exists()
        server.cluster.unlock()
        vault.admin = server.cluster.connect(row_factory=psycopg.rows.dict_row)
        server.gone(path)
        assert events(vault, subject)[-1]["file"] == "destroyed"
        vault.verify()
    finally:
        server.cluster.destroy()


@pytest.mark.parametrize("setting", ["relative/uploads", "/", "/tmp/../tmp", "/tmp/", "/tmp//x"])
def test_setting_that_is_no_straight_path_makes_no_file_ours(fresh, setting):
    from vault import Vault

    vault = Vault(fresh({"identity_pgx.biometric_directory": f"'{setting}'"}))
    policy(vault)
    with vault.gateway() as sender:
        subject = consenting(vault, sender)
        path = f"/tmp/{subject.id}"
        attach(sender, subject, path)
    assert erase(vault, subject)["file"] == "elsewhere" and not waiting(vault)


def test_list_goes_by_the_directory_of_the_day():
    server = Uploads()
    vault = server.vault
    try:
        with vault.gateway() as sender:
            subject, path = unwritable(server, sender)
        path.chmod(0o600)
        server.cluster.configure({"identity_pgx.biometric_directory": "'/nowhere'"})
        server.cluster.restart()
        server.cluster.unlock()
        vault.admin = server.cluster.connect(row_factory=psycopg.rows.dict_row)
        server.again()
        wait_until(lambda: server.stuck(subject) == "it is not under identity_pgx.biometric_directory", "it to be told")
        assert path.exists()
    finally:
        server.cluster.destroy()


def test_no_session_sets_the_directory(server, sender):
    for statement in ("SET identity_pgx.biometric_directory = '/'", "SET identity_pgx.biometric_classifications = on"):
        with pytest.raises(psycopg.Error) as caught:
            sender.execute(statement)
        assert caught.value.sqlstate in ("55P02", "42501")


# -- with the whole subject ----------------------------------------------------------
def test_file_goes_with_the_whole_subject_and_the_receipt_says_so(server, sender):
    from erasure import RECEIPT
    from erasure import erase as erase_subject

    vault = server.vault
    subject, path = uploaded(server, sender)
    path.chmod(0o400)
    receipt = erase_subject(vault, subject)
    assert receipt["biometric_file"] == "waiting"
    server.stuck(subject)
    path.chmod(0o600)
    server.again()
    server.gone(path)
    assert sender.execute(RECEIPT, (subject.id,)).fetchone()[0]["biometric_file"] == "destroyed"
    assert vault.sql("SELECT count(*) AS n FROM identity.subject_texts WHERE candidate_id = %s", (subject.id,))[0]["n"] == 0
    assert [event["kind"] for event in events(vault, subject)] == ["attach", "erase", "file"]
    policy(vault)  # the erasure's own policy has brought a newer schedule
    elsewhere = consenting(vault, sender)
    attach(sender, elsewhere)
    assert erase_subject(vault, elsewhere)["biometric_file"] == "elsewhere"
    with vault.connect(vault.worker) as worker:
        refused(worker, ERASE, (subject.id, "rtbf_request"), "P0002", "subject_erased")
    refused_attach(sender, subject, "P0002", "subject_erased", path=path)


SCRUB = "SELECT identity.erasure_scrub(1000000)"


def test_scrub_in_the_transaction_that_erases_destroys_nothing(server, sender):
    subject, path = uploaded(server, sender)
    with server.vault.connect(server.vault.worker) as worker:
        with worker.transaction(force_rollback=True):
            worker.execute(ERASE, (subject.id, "rtbf_request"))
            worker.execute("SAVEPOINT a")
            answer = worker.execute(SCRUB).fetchone()[0]
            assert answer["files"] == 1 and path.read_bytes() == SECRET * 10000
            worker.execute("RELEASE a")
            worker.execute(SCRUB)
        assert path.read_bytes() == SECRET * 10000 and not waiting(server.vault)
        erase(server.vault, subject)
        server.gone(path)


def test_scrub_destroys_files_too_and_its_rollback_brings_none_back(server, sender):
    subject, path = unwritable(server, sender)
    holds = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = 1048 AND pid = pg_backend_pid()"  # the lock of who destroys files
    with server.vault.connect(server.vault.worker) as worker:
        worker.execute("BEGIN")
        wait_until(lambda: worker.execute(SCRUB) and worker.execute(holds).rowcount == 1, "the maintenance process to be kept out")
        path.chmod(0o600)
        server.again()
        time.sleep(1.5)
        assert path.exists()
        worker.execute(SCRUB)
        assert not path.exists()
        worker.execute("ROLLBACK")
    server.gone(path)
    assert ended(server, subject)["file"] == "missing"


def test_no_request_is_scrubbed_while_the_file_of_its_subject_is_there(server, sender):
    from erasure import erase as erase_subject

    vault = server.vault
    subject, path = uploaded(server, sender)
    path.chmod(0o400)
    erase_subject(vault, subject)
    server.stuck(subject)
    other = vault.subject()
    erase_subject(vault, other)

    def scrubbed(who) -> bool:
        return vault.sql("SELECT scrubbed_at FROM identity.erasure_requests WHERE candidate_id = %s", (who.id,))[0]["scrubbed_at"] is not None

    def scrub() -> dict:
        with vault.connect(vault.worker) as worker:
            return worker.execute(SCRUB).fetchone()[0]

    def pass_over(who):
        return scrub() and scrubbed(who)

    wait_until(lambda: pass_over(other), "the other one's request to be scrubbed", timeout=60)
    assert not scrubbed(subject) and scrub()["files"] == 1
    vault.sql("CHECKPOINT")
    data = [file.read_bytes() for file in (server.cluster.data / "base").rglob("*") if file.is_file()]
    assert any(path.name.encode() in content for content in data), "the list names it"
    path.chmod(0o600)
    server.again()
    server.gone(path)
    wait_until(lambda: pass_over(subject), "the request to be scrubbed", timeout=60)
    vault.sql("CHECKPOINT")
    for file in (server.cluster.data / "base").rglob("*"):
        assert not file.is_file() or path.name.encode() not in file.read_bytes(), file
