"""Restores from a backup: a log that is shorter than what was anchored goes on only when both parties have signed for it, and everybody sees what was lost."""

import base64
import datetime as dt
import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from audited import audit_login, url
from cluster import Cluster
from identityctl import ends, lines, report, run, shown
from liar import Liar, Marks
from restored import Party, Restored
from tlog import Signer, checkpoint
from vault import Vault, refused
from worker import grow

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "independent"))
import formats  # noqa: E402

BAD = ("22023", "bad_argument")
CHAIN = ("XX001", "chain")


@pytest.fixture(scope="module")
def world(request, tmp_path_factory):
    """Three anchors and a backup of after the first; then restored to it. What there was at each of the two times is kept."""
    cluster = Cluster("i")
    request.addfinalizer(cluster.destroy)
    world = Restored(Vault(cluster.start().install()), tmp_path_factory.mktemp("world"))
    audit_login(world.vault)
    grow(world.vault)
    world.once()
    world.backup = world.back_up()
    for _ in range(2):
        grow(world.vault, 3)
        world.once()
    world.lost = max(world.notes())
    world.before = (world.back_up(), files(world.store))
    world.restore(world.backup)
    world.once(exit_code=1)
    world.after = (world.back_up(), files(world.store))
    return world


def at(world, moment, directory: Path) -> Restored:
    copy, store = moment
    world.restore(copy)
    put_back(world.store, store)
    world.directory = directory
    world.parties.write_text(world.operator.line + world.counsel.line)
    return world


@pytest.fixture
def restored(world, tmp_path):
    """Before it was restored."""
    return at(world, world.before, tmp_path)


@pytest.fixture
def shorter(world, tmp_path):
    """Restored, and nobody has declared anything."""
    return at(world, world.after, tmp_path)


def files(store: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in store.rglob("*") if file.is_file()}


def put_back(store: Path, files: dict[Path, bytes]) -> None:
    shutil.rmtree(store)
    store.mkdir()
    for file, content in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def of_the_text(note: str) -> tuple[list[str], dict[str, bytes]]:
    """Lines and signatures of a note, by nobody's tools but these."""
    text, signatures = note.split("\n\n")
    signed = {}
    for line in signatures.splitlines():
        dash, name, encoded = line.split(" ")
        assert dash == "\u2014"
        signed[name] = base64.b64decode(encoded)[4:]
    return text.split("\n"), signed


def test_both_declare_and_the_log_goes_on(shorter):
    """From the refusal to an audit that finds nothing but what was lost."""
    vault = shorter.vault
    refusals = [line for line in map(json.loads, shorter.command("once").stderr.splitlines()) if line.get("event") == "refused"]
    assert refusals[0]["code"] == "shorter" and "both parties declare" in refusals[0]["hint"]

    file, answer = shorter.draft()
    ends(0, answer)
    size = shorter.size()
    assert any(f"lost: {shorter.lost - size} leaves" in line for line in lines(answer, "note")), shown(answer)
    # Once is enough: what is there is not written over.
    ends(2, shorter.draft()[1])
    shorter.signed(file)
    shown_again = report("incarnation", "show", file, "--parties", shorter.parties)
    ends(0, shown_again)
    assert "reason: restored from the backup of Sunday" in lines(shown_again, "note")
    said = shorter.declare(file)
    assert f"{shorter.origin}/2" in said and f"from {size} leaves on" in said

    # What lies in the store, read without any of our code.
    note = (shorter.of(2) / "declaration").read_text()
    text, signed = of_the_text(note)
    assert text[:2] == [f"{shorter.origin}/incarnation", "2"] and text[2].startswith(f"{size} ") and text[3].startswith(f"{shorter.lost} ")
    for party in (shorter.operator, shorter.counsel):
        key = base64.b64decode(party.line.strip().split("+", 2)[2])[1:]
        Ed25519PublicKey.from_public_bytes(key).verify(signed[f"{party.role}.example"], ("\n".join(text) + "\n").encode())

    # The database knows, and so does its log.
    (row,) = shorter.declared()
    assert (row["incarnation"], row["kept_size"], row["last_size"], row["reason"]) == (2, size, shorter.lost, text[5])
    assert row["declaration"] == note and base64.b64encode(row["kept_root"]).decode() == text[2].split(" ")[1]
    event = vault.sql("SELECT * FROM identity.pii_access_log WHERE access_id = %s", (row["access_id"],))[0]
    assert (event["accessor_kind"], event["chain_kind"], event["outcome"]) == ("incarnation", "merkle", "committed")
    assert bytes(event["event_digest"]) == digest(vault, row)

    for _ in range(2):
        grow(vault)
        shorter.once()
    anchors = sorted((shorter.of(2) / "checkpoints").glob("[0-9]*[0-9]"))
    assert len(anchors) == 2 and all(shorter.opened(anchor.read_text()).origin == f"{shorter.origin}/2" for anchor in anchors)
    assert len(shorter.notes()) == 3, "what was anchored before stays"
    vault.verify()

    answer = shorter.verify("--database", url(vault))
    ends(0, answer)
    assert any(f"the leaves from {size} to {shorter.lost - 1} that were anchored" in line for line in lines(answer, "note")), shown(answer)
    assert "incarnation: 1 were declared, each by both parties" in lines(answer, "good")
    assert any("grew from each of 4 anchors" in line for line in lines(answer, "good")), shown(answer)
    # Who does not know the parties cannot say that it was rightly so.
    ends(2, shorter.verify("--database", url(vault), parties=False))
    rows = report("verify", "database", url(vault), "--anchors", "--directory", shorter.store, "--parties", shorter.parties, "--key", shorter.vkey)
    ends(0, rows)
    assert any(line.startswith("anchored: the first") for line in lines(rows, "good")), shown(rows)

    # The whole thing twice changes nothing.
    before = len(vault.sql("SELECT access_id FROM identity.pii_access_log WHERE accessor_kind = 'incarnation'"))
    shorter.declare(file)
    assert len(vault.sql("SELECT access_id FROM identity.pii_access_log WHERE accessor_kind = 'incarnation'")) == before == 1
    answer = shorter.draft("again")[1]
    ends(2, answer)
    assert any("there is nothing to declare" in line for line in lines(answer, "unchecked")), shown(answer)


def digest(vault, row: dict) -> bytes:
    """As docs/spec/events.md has it."""

    def instant(at) -> str:
        return at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    pairs = [
        ("incarnation", str(row["incarnation"])),
        ("kept_size", str(row["kept_size"])),
        ("kept_root", bytes(row["kept_root"]).hex()),
        ("last_size", str(row["last_size"])),
        ("last_root", bytes(row["last_root"]).hex()),
        ("written_at", instant(row["written_at"])),
        ("reason", row["reason"]),
        ("declaration", row["declaration"]),
        ("declared_at", instant(row["declared_at"])),
    ]
    installation = vault.sql("SELECT installation_id FROM identity.installation")[0]["installation_id"].bytes
    return formats.event_digest(installation, "incarnation", pairs)


def test_restored_to_before_the_declaration(shorter):
    """The database has forgotten that it was ever declared; what it kept then is lost once more."""
    shorter.declare(shorter.signed(shorter.draft()[0]))
    grow(shorter.vault)
    shorter.once()
    shorter.restore(shorter.backup)
    said = shorter.once(exit_code=1)
    assert "superseded" in said and "declare the next incarnation" in said
    # Nor does the declaration of before do again: it was of another end.
    file, answer = shorter.draft("third")
    ends(0, answer)
    assert shorter.signed(file).read_text().split("\n")[1] == "3"
    shorter.declare(file)
    grow(shorter.vault)
    shorter.once()
    assert [row["incarnation"] for row in shorter.declared()] == [3]
    answer = shorter.verify("--database", url(shorter.vault))
    ends(0, answer)
    assert "incarnation: 2 were declared, each by both parties" in lines(answer, "good")
    shorter.vault.verify()


def test_what_was_interrupted_is_gone_on_with(shorter):
    """Stored, and the database was away."""
    file = shorter.signed(shorter.draft()[0])
    shorter.vault.sql("SELECT identity.key_wipe_all()")
    assert "locked" in shorter.declare(file, exit_code=2)
    assert (shorter.of(2) / "declaration").exists() and shorter.declared() == []
    shorter.vault.cluster.unlock()
    assert "superseded" in shorter.once(exit_code=1)
    shorter.declare(file)
    grow(shorter.vault)
    shorter.once()
    ends(0, shorter.verify())


def test_nothing_is_declared_over_a_log_that_goes_on(restored):
    answer = restored.draft()[1]
    ends(2, answer)
    assert any("there is nothing to declare" in line for line in lines(answer, "unchecked")), shown(answer)


def test_what_does_not_count_is_not_declared(shorter, tmp_path):
    """Each attempt leaves neither store nor database with anything."""
    file, answer = shorter.draft()
    ends(0, answer)
    text, strangers = file.read_text(), tmp_path / "strangers"
    strangers.mkdir()
    others = [Party(strangers, role) for role in ("operator", "counsel")]
    theirs = strangers / "parties"
    theirs.write_text("".join(party.line for party in others))

    def signed(*parties: Party, of: str = text, by: Path = shorter.parties) -> Path:
        document = tmp_path / f"attempt{len(list(tmp_path.glob('attempt*')))}"
        document.write_text(of)
        for party in parties:
            party.sign(document, by)
        return document

    kept, last = text.split("\n")[2:4]
    both = (shorter.operator, shorter.counsel)
    swapped = signed(*both)
    swapped.write_text(swapped.read_text().replace("Sunday", "Monday"))
    first = next(iter(shorter.notes().values())).split("\n")
    attempts = {
        "unsigned": (signed(), "no declaration"),
        "the operator alone": (signed(shorter.operator), "counsel has not signed"),
        "counsel alone": (signed(shorter.counsel), "operator has not signed"),
        "two strangers": (signed(*others, by=theirs), "has not signed"),
        "another text": (swapped, "does not verify"),
        "another log": (signed(*both, of=text.replace(shorter.origin, shorter.origin[:-4] + "0000")), "another log"),
        "another number": (signed(*both, of=text.replace("\n2\n", "\n3\n")), "another incarnation"),
        "another end": (signed(*both, of=text.replace(last, " ".join(first[1:3]).replace(first[1], str(shorter.lost - 1)))), "another tree"),
        "a tree that it does not have": (
            signed(*both, of=text.replace(kept, kept.split(" ")[0] + " " + base64.b64encode(b"\x01" * 32).decode())),
            "not in the database",
        ),
    }
    for name, (document, says) in attempts.items():
        said = shorter.declare(document, exit_code=1)
        assert says in said, f"{name}: {said}"
        assert not shorter.of(2).exists() and shorter.declared() == [], name
    assert shorter.once(exit_code=1)
    # What keeps more than was anchored is not even signed.
    more = tmp_path / "more"
    more.write_text(text.replace(kept, f"{shorter.lost + 1} {kept.split(' ')[1]}"))
    answer = shorter.operator.sign(more, shorter.parties)
    ends(1, answer)
    assert any("nothing to declare" in line for line in lines(answer, "bad"))
    # Nor does one who is neither, nor one of the two for both.
    answer = others[0].sign(signed(), shorter.parties)
    ends(2, answer)
    shorter.parties.write_text(shorter.operator.line + shorter.operator.line.replace("operator", "counsel"))
    said = shorter.declare(signed(*both), exit_code=2)
    assert "each with a verifier key of its own" in said


def test_the_declared_log_cannot_be_changed_before_it_is_anchored(shorter):
    shorter.declare(shorter.signed(shorter.draft()[0]))
    vault = shorter.vault
    vault.sql("ALTER TABLE identity.ledger_nodes DISABLE TRIGGER ALL")
    vault.sql("UPDATE identity.ledger_nodes SET hash = sha256('x') WHERE level >= 5")
    vault.sql("ALTER TABLE identity.ledger_nodes ENABLE ALWAYS TRIGGER append_only")
    grow(vault)
    assert "rewritten" in shorter.once(exit_code=1)
    assert not (shorter.of(2) / "checkpoints").exists()


def test_a_database_does_not_declare_itself(shorter):
    """A superuser writes the row; the worker asks for two signatures, and the log for an event."""
    vault = shorter.vault
    vault.sql("INSERT INTO identity.ledger_incarnations VALUES (2, 1, 1, sha256('a'), 9, sha256('b'), now(), 'x', 'x', now())")
    assert "undeclared" in shorter.once(exit_code=1)
    assert not shorter.of(2).exists()
    found = [finding["detail"] for finding in vault.findings()]
    assert any("incarnation 2: it is not what was declared" in detail for detail in found), found


# -- What lies in the store ----------------------------------------------------


def put(place: Path, body: str) -> None:
    """As whoever can write there would, lock and all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = {"sha256": hashlib.sha256(body.encode()).hexdigest(), "lock_until": "2040-01-01T00:00:00.000000Z"}
    for file, content in ((place, body), (Path(f"{place}.lock"), json.dumps(lock))):
        file.unlink(missing_ok=True)
        file.write_text(content)


@pytest.fixture(scope="module")
def declared(world, tmp_path_factory):
    """A log in its second incarnation, for tests that change nothing but the store; those that restore come before."""
    at(world, world.after, tmp_path_factory.mktemp("declared"))
    world.declare(world.signed(world.draft()[0]))
    grow(world.vault)
    world.once()
    return world


@pytest.fixture
def kept(declared):
    """The store is put back after the test."""
    before = files(declared.store)
    yield declared
    put_back(declared.store, before)


def first_of(declared) -> Path:
    return sorted((declared.of(2) / "checkpoints").glob("[0-9]*[0-9]"))[0]


def test_an_auditor_names_what_is_wrong_with_an_incarnation(kept):
    ends(0, kept.verify())
    original = (kept.of(2) / "declaration").read_text()
    text, place = original.split("\n\n")[0] + "\n", kept.of(2) / "declaration"
    lone = kept.directory / "lone"
    lone.write_text(text)
    kept.operator.sign(lone, kept.parties)
    ahead = kept.opened(kept.notes()[max(kept.notes())])
    attacks = {
        "taken away": (lambda: place.unlink(), "incarnation 2 was not declared"),
        "signed by one": (lambda: put(place, lone.read_text()), "counsel has not signed"),
        "another text": (lambda: put(place, original.replace("Sunday", "Monday")), "does not verify"),
        "one that nobody declared": (lambda: put(kept.store / "incarnations/3/checkpoints" / f"{9:020}", "x"), "incarnation 3 was not declared"),
        "an incarnation of no number": (lambda: put(kept.store / "incarnations/02/declaration", original), "no name of an incarnation"),
        "beside the declaration": (lambda: put(kept.of(2) / "declaration.old", "x"), "no name of ours"),
        "the lost log goes on": (
            lambda: put(kept.place(ahead.size + 1), kept.note(type(ahead)(ahead.origin, ahead.size + 1, ahead.root))),
            "another tree than the one that was anchored last",
        ),
        "the lost log in the new one's place": (lambda: put(first_of(kept), kept.notes()[max(kept.notes())]), "it is of"),
        "an anchor of before what was kept": (
            lambda: put(kept.of(2) / "checkpoints" / f"{1:020}", kept.note(type(ahead)(f"{ahead.origin}/2", 1, ahead.root))),
            "does not continue what incarnation 2 began with",
        ),
    }
    before = files(kept.store)
    for name, (attack, says) in attacks.items():
        attack()
        answer = kept.verify()
        ends(1, answer)
        assert any(says in line for line in lines(answer, "bad")), f"{name}: {shown(answer)}"
        put_back(kept.store, before)
    ends(0, kept.verify("--database", url(kept.vault)))


def test_a_party_that_signs_checkpoints_is_no_second_one(kept):
    """Whoever has the worker's machine would need but one signature more."""
    pem = kept.directory / "worker.pem"
    pem.write_bytes(kept.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    pem.chmod(0o600)
    public = kept.directory / "worker.pub"
    public.write_bytes(kept.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    line = run("incarnation", "party", "counsel", "--public-key", public).stdout
    parties, document = kept.directory / "worker-parties", kept.directory / "worker-declaration"
    parties.write_text(kept.operator.line + line)
    document.write_text((kept.of(2) / "declaration").read_text().split("\n\n")[0] + "\n")
    kept.operator.sign(document, parties)
    ends(0, report("incarnation", "sign", document, "--parties", parties, "--key", pem))
    put(kept.of(2) / "declaration", document.read_text())
    answer = report("verify", "anchors", "--directory", kept.store, "--key", kept.vkey, "--parties", parties)
    ends(1, answer)
    assert any("also signs checkpoints" in line for line in lines(answer, "bad")), shown(answer)


# -- The rows against the anchors ------------------------------------------------


def rows_against(declared, *arguments) -> dict:
    place = ["--anchors", "--directory", declared.store, "--parties", declared.parties, "--key", declared.vkey]
    return report("verify", "database", url(declared.vault), *place, *arguments)


def test_rows_are_compared_with_the_last_anchor_of_the_store(declared):
    grow(declared.vault, 3)
    answer = rows_against(declared)
    ends(0, answer)
    assert any(line.startswith("anchored: the first") for line in lines(answer, "good")), shown(answer)
    # The three, and what the anchor itself has left.
    later = next(line for line in lines(answer, "note") if "not anchored yet" in line)
    assert int(later.split(": ")[1].split(" ")[0]) >= 4
    declared.once()
    answer = rows_against(declared)
    assert int(next(line for line in lines(answer, "note") if "not anchored yet" in line).split(": ")[1].split(" ")[0]) <= 2


def test_a_history_that_was_rewritten_as_a_whole_is_found(declared):
    """By somebody with the chain key, who left nothing inside that contradicts."""
    vault = declared.vault
    # One seal makes fewer leaves than several did: with these the new tree is no smaller than what was anchored.
    grow(vault, 8)
    ids = [row["access_id"] for row in vault.sql("SELECT access_id FROM identity.pii_access_log WHERE accessor_kind = 'purpose_change' ORDER BY access_id")]
    liar = Liar(vault, Marks(ids, ids, ids[0], ids[0], ""))
    kept = ["pii_access_log", "ledger_seals", "ledger_heads", "ledger_tiles", "ledger_leaves", "ledger_nodes", "anchor_commits"]
    for table in kept:
        vault.sql(f"CREATE TABLE public.kept_{table} AS TABLE identity.{table}")
    try:
        with liar.unguarded():
            with vault.admin.transaction():
                liar.rewrite()
                liar.forget_anchors()
        alone = report("verify", "database", url(vault))
        ends(0, alone)
        answer = rows_against(declared)
        ends(1, answer)
        assert any(line.startswith("anchored: rewritten") for line in lines(answer, "bad")), shown(answer)
    finally:
        with liar.unguarded():
            for table in kept:
                vault.sql(f"DELETE FROM identity.{table}")
                vault.sql(f"INSERT INTO identity.{table} SELECT * FROM public.kept_{table}")
                vault.sql(f"DROP TABLE public.kept_{table}")
    ends(0, rows_against(declared))


def test_a_record_of_an_anchor_that_the_store_does_not_have_is_found(kept):
    newest = sorted((kept.of(2) / "checkpoints").glob("[0-9]*[0-9]"))[-1]
    newest.unlink()
    answer = rows_against(kept)
    ends(1, answer)
    assert any("the store has no such anchor" in line for line in lines(answer, "bad")), shown(answer)


def test_an_earlier_anchor_of_another_tree_is_found(kept):
    """Signed by the true key, and not among those that the database has recorded: the last one fits all the same."""
    size = min(kept.notes()) - 1
    signer = Signer(kept.origin, kept.key.private_bytes_raw())
    put(kept.store / "checkpoints" / f"{size:020}", signer.sign(checkpoint(kept.origin, size, b"\x01" * 32)))
    answer = rows_against(kept)
    ends(1, answer)
    said = f"anchored: rewritten: the first {size} leaves are not those that were anchored"
    assert [line for line in lines(answer, "bad") if line.startswith("anchored")] == [said], shown(answer)
    ends(1, kept.verify("--database", url(kept.vault)))


# -- The function ----------------------------------------------------------------

DECLARE = "SELECT identity.incarnation_declare(%s)"


def test_the_database_takes_what_is_of_its_own_log_and_tree(declared):
    vault = declared.vault
    known = (declared.of(2) / "declaration").read_text()
    text, signatures = known.split("\n\n")
    lines_of = text.split("\n")

    def note(**other) -> str:
        names = ["log", "number", "kept", "last", "at", "reason"]
        said = dict(zip(names, lines_of, strict=True)) | {"number": "3"} | other
        return "\n".join(said.values()) + "\n\n" + signatures

    kept_size, kept_root = lines_of[2].split(" ")
    wrong = {
        "no note": (text + "\n", BAD),
        "one signature": (f"{text}\n\n{signatures.splitlines()[0]}\n", BAD),
        "another log": (note(log="identity_pgx/00000000-0000-4000-8000-000000000000/incarnation"), BAD),
        "the log without development keys": (note(log=lines_of[0].replace("DEVELOPMENT/", "")), BAD),
        "one that it is in": (note(number="2", reason="another"), BAD),
        "the first": (note(number="1"), BAD),
        "nothing lost": (note(last=lines_of[2]), BAD),
        "more kept than lost": (note(kept=f"{int(lines_of[3].split(' ')[0]) + 1} {kept_root}"), BAD),
        "a tree larger than its own": (note(kept=f"1000000 {kept_root}", last=f"2000000 {kept_root}"), CHAIN),
        "another root": (note(kept=f"{kept_size} {base64.b64encode(bytes(32)).decode()}"), CHAIN),
        "a reason that hides something": (note(reason="fine\u202eenif"), BAD),
        "a reason that is too long": (note(reason="x" * 201), BAD),
        "another form of the time": (note(at="2026-11-22T10:00:00Z"), BAD),
        "one line more": (note(reason="x\ny"), BAD),
    }
    with vault.connect(vault.login("identity_worker")) as worker:
        for name, (document, (sqlstate, reason)) in wrong.items():
            refused(worker, DECLARE, (document,), sqlstate, reason)
            assert len(declared.declared()) == 1, name
        refused(worker, DECLARE, (None,), "22004", "null_argument")
        # The same again is the same.
        assert worker.execute(DECLARE, (known,)).fetchone()[0] == 2
        # What is rolled back was not declared.
        with worker.transaction(force_rollback=True):
            assert worker.execute(DECLARE, (note(),)).fetchone()[0] == 3
        assert len(declared.declared()) == 1
        assert worker.execute("SELECT identity.ledger_checkpoint()").fetchone()[0].split("\n")[0].endswith("/2")


def test_only_the_worker_declares_and_nobody_changes_it(declared):
    vault = declared.vault
    for group in ("identity_gateway", "identity_dba", "identity_auditor", "identity_legal", "identity_approver"):
        with vault.connect(vault.login(group)) as conn:
            with pytest.raises(Exception, match="permission denied"):
                conn.execute(DECLARE, ("x",))
    with vault.connect(vault.auditor) as auditor:
        assert auditor.execute("SELECT incarnation FROM identity.ledger_incarnations").fetchall() == [(2,)]
    with vault.connect(vault.login("identity_worker")) as worker:
        for change in ("UPDATE identity.ledger_incarnations SET reason = 'x'", "DELETE FROM identity.ledger_incarnations"):
            with pytest.raises(Exception, match="permission denied"):
                worker.execute(change)
    for change in ("UPDATE identity.ledger_incarnations SET reason = 'x'", "DELETE FROM identity.ledger_incarnations", "TRUNCATE identity.ledger_incarnations"):
        with vault.cluster.connect() as superuser:
            refused(superuser, change, None, "42501", "append_only")
