"""Checkpoints signed where the database cannot: the notes verify with another implementation, and a wrong signature goes nowhere."""

import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from key_services import Answer, VaultService, Worker, refuses, secret

ORIGIN = "identity_pgx/00000000-0000-7000-8000-000000000001"
TEXT = f"{ORIGIN}\n12\n{base64.b64encode(bytes(32)).decode()}\n"


def sign(worker: Worker, text: str = TEXT, origin: str = ORIGIN) -> str:
    return worker("sign", origin, text.encode().hex())["note"]


def verifies(note: str, vkey: str) -> None:
    """C2SP signed-note, by PyPI cryptography."""
    name, key_id, encoded = vkey.split("+", 2)
    algorithm, public = base64.b64decode(encoded)[:1], base64.b64decode(encoded)[1:]
    assert algorithm == b"\x01" and hashlib.sha256(name.encode() + b"\n\x01" + public).digest()[:4].hex() == key_id
    text, _, lines = note.rpartition("\n\n")
    mark, signer, signature = lines.removesuffix("\n").split(" ")
    assert (mark, signer) == ("—", name)
    signature = base64.b64decode(signature)
    assert signature[:4].hex() == key_id
    Ed25519PublicKey.from_public_bytes(public).verify(signature[4:], (text + "\n").encode())


@pytest.fixture
def service(tmp_path):
    service = VaultService(tmp_path)
    yield service
    service.close()


def test_vault_signs(service):
    worker = service.worker()
    worker("check-signer")
    note = sign(worker)
    assert note.startswith(TEXT + "\n— ")
    verifies(note, worker("vkey", ORIGIN)["vkey"])


def test_a_file_signs_for_development(service, tmp_path):
    signer = {"provider": "file", "key_file": secret(tmp_path / "seed", "11" * 32)}
    worker = Worker(tmp_path, kek=service.section(), signer=signer)
    worker("check-signer")
    verifies(sign(worker), worker("vkey", ORIGIN)["vkey"])
    worker.close()
    assert "DEVELOPMENT" in worker.log.read_text()


def test_a_rotated_key_signs_when_the_configuration_says_so(service, tmp_path):
    first = service.worker()
    vkey = first("vkey", ORIGIN)["vkey"]
    service.admin.secrets.transit.rotate_key("identity-checkpoints")
    verifies(sign(service.worker()), vkey)
    second = Worker(tmp_path, kek=service.section(), signer=service.section("identity-checkpoints") | {"key_version": 2})
    assert second("vkey", ORIGIN)["vkey"] != vkey
    verifies(sign(second), second("vkey", ORIGIN)["vkey"])


def test_what_is_no_checkpoint_of_the_log_is_not_signed(service):
    worker = service.worker()
    worker("check-signer")
    before = len(service.state.requests)
    for text in (TEXT.replace("\n12\n", "\n012\n"), TEXT.removesuffix("\n"), "a letter\n", TEXT.replace("-000000000001", "-000000000002")):
        assert "no checkpoint of this log" in refuses(worker, "Untrue", "sign", ORIGIN, text.encode().hex())
    assert len(service.state.requests) == before


@pytest.mark.parametrize("key", ["identity-kek", "missing", "derived", "exportable"])
def test_a_key_that_may_not_sign_is_refused(service, key):
    transit = service.admin.secrets.transit
    if key == "derived":
        transit.create_key(key, key_type="ed25519", derived=True)
    elif key == "exportable":
        transit.create_key(key, key_type="ed25519", exportable=True)
    service.admin.sys.create_or_update_acl_policy("anchor-worker", json.dumps({"path": {"transit/*": {"capabilities": ["read", "update"]}}}))
    worker = Worker(service.directory, kek=service.section(), signer=service.section(key))
    refuses(worker, "Missing" if key == "missing" else "Configuration", "check-signer")


@pytest.mark.parametrize("lie", ["another_key", "another_text", "another_version", "garbage", "short"])
def test_a_signature_that_does_not_verify_goes_nowhere(service, lie):
    worker = service.worker()
    worker("check-signer")
    key = service.transit.keys["identity-checkpoints"]
    other = service.admin.secrets.transit
    other.create_key("another", key_type="ed25519")
    right = key.sign(TEXT.encode(), 1)
    signature = {
        "another_key": service.transit.keys["another"].sign(TEXT.encode(), 1),
        "another_text": key.sign(TEXT.replace("\n12\n", "\n13\n").encode(), 1),
        "another_version": right.replace(":v1:", ":v2:"),
        "garbage": "vault:v1:%%%",
        "short": "vault:v1:" + base64.b64encode(b"short").decode(),
    }[lie]
    body = json.dumps({"data": {"signature": signature}}).encode()
    service.state.intercept = lambda request: Answer(body=body) if "/sign/" in request.path else None
    refuses(worker, "Untrue", "sign", ORIGIN, TEXT.encode().hex())


def test_a_public_key_that_changes_under_way_signs_nothing(service):
    worker = service.worker()
    vkey = worker("vkey", ORIGIN)["vkey"]
    key = service.transit.keys["identity-checkpoints"]
    key.versions[0] = bytes(range(32))
    assert "does not verify" in refuses(worker, "Untrue", "sign", ORIGIN, TEXT.encode().hex())
    assert worker("vkey", ORIGIN)["vkey"] == vkey
