"""The test server of Vault's API, driven by PyPI hvac: a client that is not ours agrees with it."""

import base64

import hvac
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from key_services import VaultService

CONTEXT = base64.b64encode(b"one use").decode()
OTHER = base64.b64encode(b"another use").decode()


@pytest.fixture
def service(tmp_path):
    service = VaultService(tmp_path)
    yield service
    service.close()


@pytest.fixture
def transit(service):
    return service.admin.secrets.transit


def test_a_data_key_comes_back_for_its_own_use_only(transit):
    made = transit.generate_data_key("identity-kek", "plaintext", context=CONTEXT)["data"]
    assert len(base64.b64decode(made["plaintext"])) == 32
    opened = transit.decrypt_data("identity-kek", made["ciphertext"], context=CONTEXT)["data"]
    assert opened["plaintext"] == made["plaintext"]
    with pytest.raises(hvac.exceptions.InvalidRequest, match="message authentication failed"):
        transit.decrypt_data("identity-kek", made["ciphertext"], context=OTHER)
    with pytest.raises(hvac.exceptions.InvalidRequest, match="missing 'context'"):
        transit.decrypt_data("identity-kek", made["ciphertext"])


def test_rotation_rewrapping_and_the_oldest_version(transit):
    made = transit.generate_data_key("identity-kek", "plaintext", context=CONTEXT)["data"]
    assert made["ciphertext"].startswith("vault:v1:")
    transit.rotate_key("identity-kek")
    rewrapped = transit.rewrap_data("identity-kek", made["ciphertext"], context=CONTEXT)["data"]["ciphertext"]
    assert rewrapped.startswith("vault:v2:")
    transit.update_key_configuration("identity-kek", min_decryption_version=2)
    with pytest.raises(hvac.exceptions.InvalidRequest, match="disallowed by policy"):
        transit.decrypt_data("identity-kek", made["ciphertext"], context=CONTEXT)
    assert transit.decrypt_data("identity-kek", rewrapped, context=CONTEXT)["data"]["plaintext"] == made["plaintext"]


def test_a_signature_verifies(transit):
    text = b"identity_pgx/x\n1\nroot\n"
    signed = transit.sign_data("identity-checkpoints", base64.b64encode(text).decode())["data"]["signature"]
    public = transit.read_key("identity-checkpoints")["data"]["keys"]["1"]["public_key"]
    Ed25519PublicKey.from_public_bytes(base64.b64decode(public)).verify(base64.b64decode(signed.removeprefix("vault:v1:")), text)


def test_a_role_has_its_policy_and_no_more(service):
    client = service.client("", "none")
    client.auth.approle.login(service.role_id, service.secret_id)
    assert client.lookup_token()["data"]["policies"] == ["default", "anchor-worker"]
    client.auth.token.renew_self()
    client.secrets.transit.generate_data_key("identity-kek", "plaintext", context=CONTEXT)
    for forbidden in (
        lambda: client.secrets.transit.rotate_key("identity-kek"),
        lambda: client.secrets.transit.update_key_configuration("identity-kek", min_decryption_version=1),
        lambda: client.secrets.transit.create_key("identity-other"),
        lambda: client.secrets.transit.encrypt_data("identity-kek", CONTEXT, context=CONTEXT),
    ):
        with pytest.raises(hvac.exceptions.Forbidden):
            forbidden()
    with pytest.raises(hvac.exceptions.InvalidRequest):
        service.client("", "none").auth.approle.login(service.role_id, "wrong")


def test_a_namespace_is_its_own(tmp_path):
    service = VaultService(tmp_path, namespace="people")
    try:
        assert service.admin.secrets.transit.read_key("identity-kek")["data"]["derived"] is True
        with pytest.raises(hvac.exceptions.InvalidPath):
            service.client("").secrets.transit.read_key("identity-kek")
    finally:
        service.close()


def test_a_sealed_vault_does_nothing(service):
    assert service.admin.sys.is_sealed() is False
    service.admin.sys.seal()
    assert service.admin.sys.is_sealed() is True
    with pytest.raises(hvac.exceptions.VaultDown, match="Vault is sealed"):
        service.admin.secrets.transit.read_key("identity-kek")
    service.admin.sys.submit_unseal_key(key="x")
    service.admin.secrets.transit.read_key("identity-kek")
