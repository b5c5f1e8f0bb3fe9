"""`identityctl restore-check`: what lies in the store, against who could write there; the login it needs."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import erasure
import tombstone
from cluster import Cluster
from identityctl import ends, lines, report
from vault import Vault
from worker import Anchoring


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A store with three lists of one erasure each."""
    cluster = Cluster("r")
    try:
        vault = Vault(cluster.start().install())
        anchoring = Anchoring(vault, tmp_path_factory.mktemp("published"))
        for _ in range(3):
            erasure.erase(vault, vault.subject())
            anchoring.once()
        yield anchoring
    finally:
        cluster.destroy()


@pytest.fixture
def store(published):
    """The same, put back when the test is over."""
    before = {file: file.read_bytes() for file in published.store.rglob("*") if file.is_file()}
    yield published
    for file in published.store.rglob("*"):
        if file.is_file() and file not in before:
            file.unlink()
    for file, content in before.items():
        file.unlink(missing_ok=True)
        file.write_bytes(content)


def places(anchoring) -> list:
    return sorted((anchoring.store / "tombstones").glob("[0-9]*[0-9]"))


def change(anchoring, place, body: str) -> None:
    tombstone.put(anchoring, "tombstones", int(place.name), body)


def says(answer: dict, state: str, *words) -> bool:
    return any(all(word in line for word in words) for line in lines(answer, state))


def test_three_lists_that_follow_on_one_another(store):
    assert [len(listed) for _, listed in tombstone.lists(store)] == [1, 1, 1]
    answer = tombstone.check(store)
    ends(0, answer)
    assert says(answer, "good", "published: 3, in lists: 3") and says(answer, "good", "nobody")


def test_a_worker_that_finds_nothing_new_puts_nothing_there(store):
    before = places(store)
    store.once()
    store.once()
    assert places(store) == before


@pytest.mark.parametrize("which", [0, 1])
def test_a_list_that_was_taken_out_is_missed(store, which):
    places(store)[which].unlink()
    answer = tombstone.check(store)
    ends(1, answer)
    assert says(answer, "bad", "missing")


def test_a_changed_list_is_told(store):
    place = places(store)[1]
    body = place.read_text()
    last = body.splitlines()[-1]
    change(store, place, body.replace(last, "s " + "0" * 64))
    answer = tombstone.check(store)
    ends(1, answer)
    assert says(answer, "bad", place.name, "not what was signed")


def test_a_list_with_fewer_is_told(store):
    place = places(store)[2]
    body = place.read_text()
    change(store, place, "".join(body.splitlines(keepends=True)[:-1]))
    ends(1, tombstone.check(store))


def test_lists_that_change_places_are_told(store):
    first, second, _ = places(store)
    one, other = first.read_text(), second.read_text()
    change(store, first, other)
    change(store, second, one)
    answer = tombstone.check(store)
    ends(1, answer)
    assert says(answer, "bad", first.name, "does not belong")


def test_a_forged_list_is_told_and_nobody_is_erased_for_it(store):
    """Whoever can write into the store and has another key names somebody who was not erased."""
    vault = store.vault
    subject = vault.subject()
    (last, _), origin = tombstone.lists(store)[-1], tombstone.lists(store)[-1][0].origin
    digest = tombstone.formats.sha256(places(store)[-1].read_bytes())
    listed = [("s", tombstone.of_subject(vault, subject))]
    leaves = (last.leaves_to, last.leaves_to + 5)
    forged = tombstone.signed(Ed25519PrivateKey.generate(), origin, leaves, digest, listed)
    tombstone.put(store, "tombstones", leaves[1], forged)
    answer = tombstone.check(store, "--erase")
    ends(2, answer)
    assert says(answer, "unchecked", "none of the given keys")
    assert erasure.there(vault, subject)
    # With the worker's key it would be believed: so the try had a chance.
    tombstone.put(store, "tombstones", leaves[1], tombstone.signed(store.key, origin, leaves, digest, listed))
    answer = tombstone.check(store)
    ends(1, answer)
    assert says(answer, "bad", str(subject.id))


def test_a_list_that_overlaps_the_one_before_is_told(store):
    (last, listed), origin = tombstone.lists(store)[-1], tombstone.lists(store)[-1][0].origin
    digest = tombstone.formats.sha256(places(store)[-1].read_bytes())
    leaves = (last.leaves_to - 1, last.leaves_to + 5)
    tombstone.put(store, "tombstones", leaves[1], tombstone.signed(store.key, origin, leaves, digest, listed))
    answer = tombstone.check(store)
    ends(1, answer)
    assert says(answer, "bad", "missing, or another one")


def test_a_worker_puts_nothing_behind_a_list_that_is_not_its_own(store):
    place = places(store)[-1]
    change(store, place, place.read_text().replace("s ", "b "))
    erasure.erase(store.vault, store.vault.subject())
    before = places(store)
    told = store.once(exit_code=1)
    assert "not what was signed" in told and '"alarm":true' in told
    assert places(store) == before


def test_another_database_has_nobody_of_these(store, fresh):
    other = Vault(fresh())
    url = store.url.replace(str(store.vault.cluster.dir), str(other.cluster.dir))
    answer = report("restore-check", "--directory", store.store, "--key", tombstone.vkey(store), "--database", url)
    ends(1, answer)
    assert says(answer, "bad", "another log")


def test_a_login_that_is_no_worker_is_told_so(store):
    vault = store.vault
    url = store.url.replace(vault.worker, vault.login("identity_auditor"))
    answer = report("restore-check", "--directory", store.store, "--key", tombstone.vkey(store), "--database", url)
    ends(2, answer)
    assert says(answer, "unchecked", "identity_worker")


def test_a_place_that_is_not_the_store_is_not_good(store, tmp_path):
    answer = report("restore-check", "--directory", tmp_path, "--key", tombstone.vkey(store), "--database", store.url)
    ends(2, answer)
    assert says(answer, "unchecked", "is this the store?") and not says(answer, "good")


def test_anchors_without_lists_are_good(store):
    for file in (store.store / "tombstones").iterdir():
        file.unlink()
    answer = tombstone.check(store)
    ends(0, answer)
    assert says(answer, "good", "nobody's erasure was published")


def test_anchors_of_nobody_known_are_no_store(store):
    for file in (store.store / "tombstones").iterdir():
        file.unlink()
    vkey, key = tombstone.vkey(store), store.key
    store.key = Ed25519PrivateKey.generate()
    try:
        ends(2, tombstone.check(store))
    finally:
        store.key = key
    assert tombstone.vkey(store) == vkey


def test_a_list_that_came_late_is_no_finding(store):
    """Its writer gave it up, and the next round put a longer one from the same place."""
    (head, listed), _, _ = tombstone.lists(store)
    late = tombstone.signed(store.key, head.origin, (0, head.leaves_to - 1), bytes(32), listed)
    tombstone.put(store, "tombstones", head.leaves_to - 1, late)
    answer = tombstone.check(store)
    ends(0, answer)
    assert says(answer, "note", "came late")
    # It stands in for no other: the one that was put in time is missed.
    places(store)[1].unlink()
    answer = tombstone.check(store)
    ends(1, answer)
    assert says(answer, "bad", "missing")


def test_lists_of_a_later_incarnation_are_read_too(store):
    """Whatever declares it: a list is believed for its signature."""
    subject = store.vault.subject()
    origin = tombstone.lists(store)[0][0].origin
    listed = [("s", tombstone.of_subject(store.vault, subject))]
    later = tombstone.signed(store.key, f"{origin}/2", (0, 9), bytes(32), listed)
    tombstone.put(store, "incarnations/2/tombstones", 9, later)
    ends(0, tombstone.check(store))
    (store.store / "incarnations/2/declaration").write_text("a declaration")
    (store.store / "incarnations/2/declaration.lock").write_text(
        f'{{"sha256": "{tombstone.formats.sha256(b"a declaration").hex()}", "lock_until": "2040-01-01T00:00:00.000000Z"}}'
    )
    answer = tombstone.check(store)
    ends(1, answer)
    assert says(answer, "bad", str(subject.id))
