"""`identityctl verify bundle`: proofs in files, made by a log that shares no code with ours, and every way to spoil them."""

import json
import os
import pty

import pytest

from identityctl import BARE, PROGRAM, lines, report, run, shown
from tlog import Log, Signer, checkpoint, consistency, root

ORIGIN = "identity_pgx/0190a3c1-d2e4-7f50-8a9b-b1c2d3e4f506"
LOG = Signer(ORIGIN)
OTHER = Signer(ORIGIN, b"\x07" * 32)


@pytest.fixture(scope="module")
def log():
    return Log(ORIGIN)


@pytest.fixture
def check(tmp_path):
    """check(bundle, …) writes each to a file and returns the report on them."""

    def write(*bundles, keys=(LOG,), name: str = "b") -> dict:
        files = []
        for number, bundle in enumerate(bundles):
            file = tmp_path / f"{name}{number}.json"
            file.write_bytes(bundle if isinstance(bundle, bytes) else encode(bundle))
            files.append(file)
        return report("verify", "bundle", *files, *(argument for key in keys for argument in ("--key", key.vkey)))

    return write


def encode(bundle) -> bytes:
    return json.dumps(bundle, ensure_ascii=False, separators=(",", ":")).encode()


def copy(bundle: dict) -> dict:
    return json.loads(encode(bundle))


def test_a_good_bundle_is_good(check, log):
    answer = check(log.bundle(LOG))
    assert (answer["exit"], answer["findings"]) == (0, 0), shown(answer)
    good = lines(answer, "good")
    assert len([line for line in good if line.startswith("row: ")]) == len(log.rows)
    assert len([line for line in good if line.startswith("checkpoint: ")]) == 2
    assert len([line for line in good if line.startswith("consistency: ")]) == 1
    assert all(line["state"] == "good" for line in answer["checks"])


@pytest.mark.parametrize("rows", [1, 2, 7, 300])
def test_batches_of_any_size(check, rows):
    log = Log(ORIGIN, rows)
    assert check(log.bundle(LOG, [0, 1, rows, -1]))["exit"] == 0


def test_any_bit_changed_is_noticed(tmp_path, log):
    """The bundle of one row in a batch, both checkpoints and the way between them: each bit of it counts."""
    good = encode(log.bundle(LOG, [1]))
    files = []
    for bit in range(len(good) * 8):
        file = tmp_path / f"{bit}.json"
        changed = bytearray(good)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        files.append(file)
    assert len(files) > 15_000
    for first in range(0, len(files), 150):
        some = files[first : first + 150]
        answer = report("verify", "bundle", *some, "--key", LOG.vkey)
        assert answer["exit"] == 1
        noticed = {line["detail"].split(":", 1)[0] for line in answer["checks"] if line["state"] in ("bad", "unchecked")}
        assert noticed == {str(file) for file in some}


SPOILED = {
    "another leaf": lambda b: b["rows"][1].update(leaf=b["rows"][2]["leaf"]),
    "another row's proof": lambda b: b["rows"][1].update(proof=b["rows"][2]["proof"]),
    "a row with another number": lambda b: b["rows"][1]["proof"].update(access_id="7"),
    "another salt": lambda b: b["rows"][1]["proof"].update(salt="00" * 16),
    "another hash": lambda b: b["rows"][1]["proof"].update(leaf_hash="00" * 32),
    "a batch that is gone": lambda b: b["rows"][1]["proof"].pop("batch"),
    "a batch for a row that has none": lambda b: b["rows"][0]["proof"].update(batch=b["rows"][1]["proof"]["batch"]),
    "another place in the batch": lambda b: b["rows"][1]["proof"]["batch"].update(index="1"),
    "a larger batch": lambda b: b["rows"][1]["proof"]["batch"].update(rows="4"),
    "a shorter path": lambda b: b["rows"][1]["proof"]["batch"]["path"].pop(),
    "a longer path": lambda b: b["rows"][1]["proof"]["batch"]["path"].append("00" * 32),
    "the seal of another batch": lambda b: b["rows"][1]["proof"]["batch"].update(seal_leaf=b["rows"][-1]["proof"]["batch"]["seal_leaf"]),
    "a number with a zero before it": lambda b: b["rows"][1]["proof"]["batch"].update(index="00"),
    "a number that is none": lambda b: b["rows"][1]["proof"]["batch"].update(index=0),
    "upper-case hex": lambda b: b["rows"][1]["proof"].update(salt=b["rows"][1]["proof"]["salt"].upper()),
    "a member more": lambda b: b["rows"][1].update(more=1),
    "another schema": lambda b: b.update(schema="identity_pgx/bundle/v2"),
    "no path from the old tree": lambda b: b["consistency"][0].update(path=[]),
    "a path that is too long": lambda b: b["consistency"][0]["path"].append("00" * 32),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_a_spoiled_bundle_is_refused(check, log, spoil):
    bundle = copy(log.bundle(LOG))
    spoil(bundle)
    answer = check(bundle)
    assert answer["exit"] == 1 and lines(answer, "bad"), shown(answer)


def test_one_row_spoiled_leaves_the_others_proven(check, log):
    bundle = copy(log.bundle(LOG))
    bundle["rows"][2]["leaf"] = bundle["rows"][2]["leaf"].replace("é", "e")
    answer = check(bundle)
    assert answer["findings"] == 1
    assert len([line for line in lines(answer, "good") if line.startswith("row: ")]) == len(log.rows) - 1
    (bad,) = lines(answer, "bad")
    assert "row 3 of" in bad and "access_id 102" in bad


def test_a_key_that_did_not_sign_proves_nothing(check, log):
    answer = check(log.bundle(LOG), keys=[OTHER])
    assert answer["exit"] == 2 and not lines(answer, "good"), shown(answer)


def test_one_of_two_keys_is_enough(check, log):
    assert check(log.bundle(LOG), keys=[OTHER, LOG])["exit"] == 0


def test_a_signature_of_a_given_key_that_is_wrong_spoils_the_note(check, log):
    """Two keys are given, both signed, one of the signatures is of another text."""
    bundle = copy(log.bundle(LOG))
    bundle["checkpoints"][0] += OTHER.line("another text\n")
    assert check(bundle, keys=[LOG, OTHER])["exit"] == 1


def test_an_unsigned_checkpoint_is_not_good(check, log):
    """What ledger_proof gives before anything was anchored."""
    bundle = log.bundle(LOG, [1])
    bundle["rows"][0]["proof"] = log.proof(1, log.body())
    answer = check(bundle)
    assert answer["exit"] == 2 and not any(line.startswith("row: ") for line in lines(answer, "good")), shown(answer)


def test_two_histories_of_one_log_are_noticed(check, log):
    """Each bundle is good by itself: the signer showed one tree to one and another to the other."""
    other = Log(ORIGIN)
    other.tree[0] = b"\x00" * 32
    fork = {"schema": "identity_pgx/bundle/v1", "rows": [], "checkpoints": [LOG.sign(other.body())]}
    assert check(fork)["exit"] == 0
    answer = check(log.bundle(LOG), fork)
    assert answer["exit"] == 1 and any("two histories" in line for line in lines(answer, "bad")), shown(answer)


def test_consistency_is_checked_across_files(check, log):
    whole = log.bundle(LOG)
    rows, old, link = copy(whole), copy(whole), copy(whole)
    rows["checkpoints"], rows["consistency"] = rows["checkpoints"][1:], []
    old["rows"], old["checkpoints"], old["consistency"] = [], old["checkpoints"][:1], []
    link["rows"], link["checkpoints"] = [], []
    assert check(link)["exit"] == 2
    answer = check(link, old, rows)
    assert answer["exit"] == 0 and any(line.startswith("consistency: ") for line in lines(answer, "good")), shown(answer)


def test_a_tree_that_did_not_grow_from_the_old_one_is_noticed(check, log):
    bundle = copy(log.bundle(LOG))
    bundle["checkpoints"][0] = LOG.sign(checkpoint(ORIGIN, 2, root(log.tree[1:3])))
    answer = check(bundle)
    assert answer["exit"] == 1 and any(line.startswith("consistency: ") for line in lines(answer, "bad")), shown(answer)
    assert consistency(2, log.tree)


def test_checkpoints_that_nothing_links_are_noted(check, log):
    bundle = log.bundle(LOG)
    del bundle["consistency"]
    answer = check(bundle)
    assert answer["exit"] == 0 and len(lines(answer, "note")) == 1, shown(answer)


def test_what_cannot_be_read_could_not_be_checked(tmp_path, log):
    for file in (tmp_path / "missing", tmp_path, "/dev/zero"):
        answer = report("verify", "bundle", file, "--key", LOG.vkey)
        assert answer["exit"] == 2 and answer["findings"] == 0, shown(answer)
    (tmp_path / "good").write_bytes(encode(log.bundle(LOG)))
    assert report("verify", "bundle", tmp_path / "good", tmp_path / "missing", "--key", LOG.vkey)["exit"] == 2


def test_what_is_no_bundle_is_refused_and_not_repeated(check):
    for junk in (b"", b"null", b"{}", b"[]", b"secret value", b'{"secret": 1}', b"[" * 100_000, b'{"schema":"identity_pgx/bundle/v1","rows":[{}]}'):
        answer = check(junk)
        assert answer["exit"] == 1, junk[:60]
        assert "secret" not in json.dumps(answer)
    assert check(b"\xff\xfe")["exit"] == 2


def test_arguments_that_make_no_sense_check_nothing(tmp_path):
    file = tmp_path / "b.json"
    file.write_text("{}")
    for arguments in (
        [],
        ["verify"],
        ["verify", "bundle"],
        ["verify", "bundle", file],
        ["verify", "bundle", "--key", LOG.vkey],
        ["verify", "bundle", file, "--key", "not+a+key"],
        ["verify", "bundle", file, "--key", LOG.vkey.replace("+", "+0", 1)],
        ["verify", "bundle", file, "--key", LOG.vkey, "--force"],
        ["verify", "everything"],
    ):
        done = run(*arguments)
        assert done.returncode == 2 and done.stdout == "", arguments


def test_the_report_for_people_ends_in_words_and_has_no_colours_in_a_pipe(tmp_path, log):
    file = tmp_path / "b.json"
    file.write_bytes(encode(log.bundle(LOG)))
    done = run("verify", "bundle", file, "--key", LOG.vkey)
    assert done.returncode == 0 and "\x1b" not in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "Everything that was checked is as it should be."
    file.write_bytes(encode(log.bundle(LOG)).replace(b"gw", b"GW", 1))
    done = run("verify", "bundle", file, "--key", LOG.vkey)
    assert done.returncode == 1 and "\x1b" not in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "1 finding. Keep everything as it is."


def test_a_name_that_colours_a_lie_green_is_shown_as_text(tmp_path, log):
    file = tmp_path / "\x1b[2K\x1b[32mgood"
    file.write_bytes(b"{}")
    done = run("verify", "bundle", file, "--key", LOG.vkey)
    assert done.returncode == 1 and "\x1b" not in done.stdout


def test_colours_on_a_terminal_unless_they_are_not_wanted(tmp_path, log):
    file = tmp_path / "b.json"
    file.write_bytes(encode(log.bundle(LOG)))
    arguments = ("verify", "bundle", str(file), "--key", LOG.vkey)
    assert "\x1b[1m\x1b[32mgood" in on_a_terminal(arguments, {"TERM": "xterm"})
    assert "\x1b" not in on_a_terminal(arguments, {"TERM": "xterm", "NO_COLOR": "1"})
    assert "\x1b" not in on_a_terminal(arguments, {"TERM": "dumb"})


def on_a_terminal(arguments, environment) -> str:
    child, terminal = pty.fork()
    if child == 0:
        os.execve(PROGRAM, [str(PROGRAM), *arguments], BARE | environment)
    shown = b""
    while True:
        try:
            some = os.read(terminal, 65536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not some:
            break
        shown += some
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return shown.decode()
