"""A directory as a store of anchors: not immutable, and careful all the same."""

import base64
import hashlib
import json
import os
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from s3 import ROOT, Store, checkpoint_key, in_days, refusal


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "anchors"
    root.mkdir()
    return root


@pytest.fixture
def store(root, tmp_path):
    return Store(tmp_path, kind="directory", path=str(root), prefix="vault-1/")


def place(root, size: int):
    return root / "vault-1" / checkpoint_key(size)


def test_an_anchor_is_put_and_read(store, root):
    assert store.first(7) is None and store("last") is None and store("versions") == []
    stored = store.put(7, "seven\n")
    first = store.first(7)
    assert first == stored | {"body": "seven\n"}
    assert first["uri"] == f"file://{place(root, 7)}"
    assert abs(first["lock_until"] / 1e6 - in_days(2).timestamp()) < 60
    assert store("last") == checkpoint_key(7)
    checked = store("check")
    assert not checked["immutable"] and "NOT immutable" in checked["text"]
    assert place(root, 7).read_text() == "seven\n"
    assert stat.S_IMODE(place(root, 7).stat().st_mode) == 0o444
    assert sorted(file.name for file in place(root, 7).parent.iterdir()) == [f"{7:020}", f"{7:020}.lock"]


def test_the_example_of_the_specification(store, root):
    page = (ROOT / "docs" / "spec" / "anchor.md").read_text()
    body = page.split("and its body, 269 bytes:\n\n```\n")[1].split("```")[0]
    assert len(body.encode()) == 269
    stored = store.put(2, body)
    digest = hashlib.sha256(body.encode())
    assert stored["version_id"] == digest.hexdigest() and base64.b64encode(digest.digest()).decode() in page
    said = json.loads(place(root, 2).with_name(f"{2:020}.lock").read_text())
    assert list(said) == ["sha256", "lock_until"] and f'{{"sha256":"{said["sha256"]}","lock_until":"' in page


def test_a_second_put_is_a_conflict(store, root):
    store.put(7, "seven\n")
    for body in ("seven\n", "another\n"):
        assert refusal(store.put, 7, body).kind == "Conflict"
    assert store.first(7)["body"] == "seven\n"


def test_several_at_once_and_one_is_the_anchor(store, root):
    def attempt(number):
        try:
            return store.put(size, f"{number}\n")
        except Exception as refused:
            return refused

    with ThreadPoolExecutor(8) as pool:
        for size in range(1, 13):
            answers = list(pool.map(attempt, range(8)))
            (won,) = [number for number, answer in enumerate(answers) if isinstance(answer, dict)]
            assert all(answer.kind == "Conflict" for answer in answers if not isinstance(answer, dict)), answers
            assert store.first(size) == answers[won] | {"body": f"{won}\n"}
    assert len(list(place(root, 1).parent.iterdir())) == 2 * 12


def test_the_last_of_several(store, root):
    for size in (3, 20, 100):
        store.put(size)
    place(root, 500).write_text("no lock\n")
    (root / "vault-1" / "checkpoints" / "notes").write_text("x")
    for hint in [(), (checkpoint_key(3),), (checkpoint_key(100),), (checkpoint_key(400),), ("checkpoints/../../x",)]:
        assert store("last", *hint) == checkpoint_key(100), hint


def test_a_changed_file_is_not_read(store, root):
    store.put(7, "seven\n")
    place(root, 7).chmod(0o644)
    place(root, 7).write_text("eight\n")
    refused = refusal(store.first, 7)
    assert refused.kind == "Untrue" and "changed" in refused.text


def test_a_link_is_not_followed(store, root, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("outside\n")
    store.put(7, "seven\n")
    place(root, 7).unlink()
    place(root, 7).symlink_to(outside)
    assert refusal(store.first, 7).kind == "Untrue"
    # Nor written through, wherever it leads.
    for size, target in ((8, outside), (9, tmp_path / "new")):
        place(root, size).symlink_to(target)
        assert refusal(store.put, size, "eight\n").kind in {"Conflict", "Untrue"}
    assert outside.read_text() == "outside\n" and not (tmp_path / "new").exists()


def test_a_directory_that_is_a_link_is_not_entered(store, root, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (root / "vault-1").symlink_to(elsewhere)
    for call in (lambda: store.put(7), lambda: store.first(7), lambda: store("last")):
        assert refusal(call).kind == "Untrue"
    assert list(elsewhere.iterdir()) == []


def test_a_lock_that_is_a_link_locks_nothing(store, root, tmp_path):
    store.put(7, "seven\n")
    lock = place(root, 7).with_name(f"{7:020}.lock")
    (tmp_path / "lock").write_text(lock.read_text())
    lock.unlink()
    lock.symlink_to(tmp_path / "lock")
    assert refusal(store.first, 7).kind == "Untrue"


def test_a_pipe_holds_nobody_up(store, root):
    store.put(7, "seven\n")
    place(root, 7).unlink()
    os.mkfifo(place(root, 7))
    assert refusal(store.first, 7).kind == "Untrue"


def test_what_a_crash_left_behind_is_no_anchor(store, root):
    """Killed between any two steps: what is not in its place whole does not count, and the next one puts it."""
    place(root, 7).parent.mkdir(parents=True)
    place(root, 7).with_name(f".{7:020}.part").write_text("sev")
    place(root, 7).with_name(f"{7:020}.lock").write_text('{"sha256": "00", "lock_until": "2030-01-01T00:00:00Z"}')
    assert store.first(7) is None
    stored = store.put(7, "seven\n")
    assert store.first(7) == stored | {"body": "seven\n"}
    assert len(list(place(root, 7).parent.iterdir())) == 2


def where(mount: str, store, *words, then: str = "true") -> subprocess.CompletedProcess:
    """The program, where something was mounted over the directory; nobody else sees that."""
    alone = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("whoever runs this may not mount anything, or is in a chroot that is no mount point")
    command = " ".join(f"'{word}'" for word in store.command(*words))
    script = f"{mount} || exit 9; {command}; result=$?; {then}; exit $result"
    return subprocess.run([*alone, "sh", "-c", script], input="x" * 60_000, env=store.environment, capture_output=True, text=True)


def test_a_full_disk(store, root):
    full = f"mount -t tmpfs -o size=32k none {root}"
    done = where(full, store, "put", checkpoint_key(7), 86400, then=f"ls -A {place(root, 7).parent}")
    answer, *left = done.stdout.splitlines()
    assert done.returncode == 1 and '"Unavailable"' in answer and "disk is full" in answer, done
    # Of what did not fit nothing stays.
    assert left == [f"{7:020}.lock"]


def test_a_disk_that_may_not_be_written(store, root):
    mount = f"mount --bind {root} {root} && mount -o remount,ro,bind {root}"
    for words in (("put", checkpoint_key(7), 86400), ("check",)):
        done = where(mount, store, *words)
        assert done.returncode == 1 and '"Denied"' in done.stdout, done


def test_a_directory_that_is_not_there(tmp_path):
    for path in (tmp_path / "nowhere", tmp_path / "file"):
        (tmp_path / "file").write_text("x")
        refused = refusal(Store(tmp_path, kind="directory", path=str(path)), "last")
        assert refused.kind == "Configuration" and "no directory" in refused.text
