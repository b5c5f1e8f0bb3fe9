"""Key services as anchor-worker speaks to them: keys that are wrapped in Vault, and everything a service may answer instead."""

import base64
import hashlib
import hmac
import json
import secrets
import time

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from key_services import Answer, Authority, Refused, Server, State, VaultService, Worker, forms, refuses, secret


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    service = VaultService(tmp_path_factory.mktemp("vault"))
    yield service
    service.close()


@pytest.fixture
def service(shared):
    yield shared
    shared.state.intercept = lambda request: None
    shared.state.sealed = False


@pytest.fixture(scope="module")
def everyday(shared):
    worker = shared.worker()
    yield worker
    worker.close()


def test_a_key_is_made_and_comes_back(everyday):
    assert everyday("check")["uri"].endswith("/v1/transit/keys/identity-kek")
    made = everyday("generate", "dek", 1)
    assert bytes.fromhex(made["wrapped"]).startswith(b"vault:v1:")
    assert everyday("unwrap", "dek", 1, made["wrapped"])["check_value"] == made["check_value"]
    assert everyday("generate", "dek", 1)["check_value"] != made["check_value"]


@pytest.mark.parametrize("kind, version", [("dek", 2), ("chain", 1)])
def test_a_wrapped_key_that_was_moved_does_not_unwrap(everyday, kind, version):
    made = everyday("generate", "dek", 1)
    assert "not wrapped by this key for this use" in refuses(everyday, "Untrue", "unwrap", kind, version, made["wrapped"])


def lp(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


def context(kind: str, version: int) -> bytes:
    """As docs/spec/kek.md has it."""
    return lp(b"identity_pgx/kek/v1") + b"\x07" * 16 + lp(kind.encode()) + version.to_bytes(4, "big")


def check_value(kind: str, version: int, key: bytes) -> str:
    message = lp(b"identity_pgx/key-check/v1") + lp(kind.encode()) + version.to_bytes(4, "big")
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def test_vault_is_told_the_documented_context(service, everyday):
    assert context("dek", 1).hex() == "000000136964656e746974795f7067782f6b656b2f76310707070707070707070707070707070700000003" "64656b00000001"
    service.state.requests.clear()
    made = everyday("generate", "chain", 258)
    everyday("rewrap", "chain", 258, made["wrapped"])
    told = {base64.b64decode(request.body["context"]) for request in service.state.requests if "context" in request.body}
    assert told == {context("chain", 258)}


def test_a_file_wraps_for_development(tmp_path):
    file = secret(tmp_path / "kek", "a1" * 32)
    cipher = AESGCM(bytes.fromhex("a1" * 32))
    worker = Worker(tmp_path, kek={"provider": "file", "key_file": file})
    assert worker("check") == {"uri": f"file:{file}", "provider": "file"}
    made = worker("generate", "dek", 1)
    wrapped = bytes.fromhex(made["wrapped"])
    assert wrapped[0] == 1 and len(wrapped) == 61
    key = cipher.decrypt(wrapped[1:13], wrapped[13:], context("dek", 1))
    assert check_value("dek", 1, key) == made["check_value"]
    ours, nonce = bytes(range(32)), bytes(12)
    theirs = b"\x01" + nonce + cipher.encrypt(nonce, ours, context("signing", 9))
    assert worker("unwrap", "signing", 9, theirs.hex())["check_value"] == check_value("signing", 9, ours)
    assert worker("unwrap", "dek", 1, worker("rewrap", "dek", 1, made["wrapped"])["wrapped"])["check_value"] == made["check_value"]
    for kind, version, changed in [("dek", 2, wrapped), ("chain", 1, wrapped), ("dek", 1, wrapped[:-1]), ("dek", 1, b"\x02" + wrapped[1:]), ("dek", 1, b"\x01")]:
        refuses(worker, "Untrue", "unwrap", kind, version, changed.hex())
    worker.close()
    assert worker.log.read_text().count("DEVELOPMENT") >= 3
    file.chmod(0o644)
    refuses(Worker(tmp_path, kek={"provider": "file", "key_file": file}), "Configuration", "check")


def test_what_is_no_wrapped_key_is_not_sent(service, everyday):
    before = len(service.state.requests)
    for wrapped in (b"", b"\xff\xfe", b"{}", b"vault:v1:" + b"A" * 5000):
        refuses(everyday, "Untrue", "unwrap", "dek", 1, wrapped.hex() or "00")
    assert len(service.state.requests) == before


def test_rewrapping_after_a_rotation_and_the_oldest_version(tmp_path):
    service = VaultService(tmp_path)
    worker, transit = service.worker(), service.admin.secrets.transit
    made = worker("generate", "chain", 3)
    transit.rotate_key("identity-kek")
    rewrapped = worker("rewrap", "chain", 3, made["wrapped"])["wrapped"]
    assert bytes.fromhex(rewrapped).startswith(b"vault:v2:")
    transit.update_key_configuration("identity-kek", min_decryption_version=2)
    assert "min_decryption_version" in refuses(worker, "Configuration", "unwrap", "chain", 3, made["wrapped"])
    assert worker("unwrap", "chain", 3, rewrapped)["check_value"] == made["check_value"]
    service.close()


@pytest.mark.parametrize(
    "options, said",
    [
        ({"derived": False}, "derived=true"),
        ({"derived": True, "exportable": True}, "may leave it"),
        ({"derived": True, "allow_plaintext_backup": True}, "may leave it"),
        ({"key_type": "ed25519"}, "aes256-gcm96"),
    ],
)
def test_a_key_that_may_not_wrap_ours_is_refused(tmp_path, options, said):
    service = VaultService(tmp_path)
    transit = service.admin.secrets.transit
    service.transit.keys.clear()
    transit.create_key("identity-kek", **({"key_type": "aes256-gcm96"} | options))
    assert said in refuses(service.worker(), "Configuration", "check")
    service.close()


ODD = {
    "garbage": (Answer(body=b"\x00\xffnot json"), "Untrue"),
    "another_form": (Answer(body=b'{"data":{"plaintext":7}}'), "Untrue"),
    "no_data": (Answer(body=b'{"data":null}'), "Untrue"),
    "empty": (Answer(body=b""), "Untrue"),
    "ten_megabytes": (Answer(body=b'{"data":{"plaintext":"' + b"A" * 10_000_000 + b'"}}'), "Untrue"),
    "nothing": (Answer(status=0), "Unreachable"),
    "short_key": (Answer(body=json.dumps({"data": {"plaintext": base64.b64encode(b"x" * 31).decode()}}).encode()), "Untrue"),
    "long_key": (Answer(body=json.dumps({"data": {"plaintext": base64.b64encode(b"x" * 33).decode()}}).encode()), "Untrue"),
    "throttled": (Answer(429, b'{"errors":[]}'), "Throttled"),
    "standby": (Answer(473, b""), "Denied"),
    "broken": (Answer(500, b'{"errors":["1 error occurred"]}'), "Unavailable"),
}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_answer_is_no_key(service, everyday, odd):
    wrapped = everyday("generate", "dek", 1)["wrapped"]
    answer, kind = ODD[odd]
    service.state.intercept = lambda request: answer if "/decrypt/" in request.path else None
    text = refuses(everyday, kind, "unwrap", "dek", 1, wrapped)
    assert odd != "ten_megabytes" or "an answer of more than" in text
    service.state.intercept = lambda request: None
    everyday("unwrap", "dek", 1, wrapped)


def test_a_key_that_would_not_come_back_is_not_used(service, everyday):
    def another(request):
        if "/datakey/" not in request.path:
            return None
        _, answer = service.state.serve(request)
        answer["data"]["plaintext"] = base64.b64encode(secrets.token_bytes(32)).decode()
        return Answer(body=json.dumps(answer).encode())

    service.state.intercept = another
    assert "wraps another key" in refuses(everyday, "Untrue", "generate", "dek", 1)


def test_redirects_are_not_followed(service, everyday, tmp_path):
    elsewhere = Server(State(), *service.authority.server())
    wrapped = everyday("generate", "dek", 1)["wrapped"]
    for status in (301, 302, 303, 307, 308):
        moved = Answer(status, headers=(("Location", f"{elsewhere.address}/v1/transit/decrypt/identity-kek"),))
        service.state.intercept = lambda request, moved=moved: moved
        assert "elsewhere" in refuses(everyday, "Unavailable", "unwrap", "dek", 1, wrapped)
    assert elsewhere.state.requests == []
    elsewhere.close()


@pytest.mark.parametrize("whose", ["expired", "not_yet", "other_authority"])
def test_a_server_that_cannot_prove_itself_hears_nothing(service, tmp_path, whose):
    authority = Authority(tmp_path, "strangers") if whose == "other_authority" else service.authority
    days, begins = {"expired": (-1, -2), "not_yet": (2, 1), "other_authority": (1, -1)}[whose]
    server = Server(service.state, *authority.server(days, begins))
    before = len(service.state.requests)
    worker = Worker(tmp_path, kek=service.section(address=server.address))
    text = refuses(worker, "Unreachable", "check")
    assert "certificate" in text
    assert len(service.state.requests) == before
    server.close()


@pytest.mark.parametrize("address", ["http://vault.example:8200", "https://user:word@vault.example", "https://vault.example/v1/secret", "vault"])
def test_an_address_that_protects_nothing_is_refused(service, tmp_path, address):
    refuses(Worker(tmp_path, kek=service.section(address=address)), "Configuration", "check")


def test_a_secret_that_others_can_read_is_refused(service, tmp_path):
    file = secret(tmp_path / "secret-id", service.secret_id)
    auth = {"method": "approle", "role_id": service.role_id, "secret_id_file": file}
    Worker(tmp_path, kek=service.section(auth=auth))("check")
    for mode in (0o640, 0o604, 0o620):
        file.chmod(mode)
        assert "chmod 600" in refuses(Worker(tmp_path, kek=service.section(auth=auth)), "Configuration", "check")


def test_a_wrong_secret_is_denied(service, tmp_path):
    auth = {"method": "approle", "role_id": service.role_id, "secret_id_file": secret(tmp_path / "secret-id", "wrong")}
    assert "does not know our role" in refuses(Worker(tmp_path, kek=service.section(auth=auth)), "Denied", "check")


def test_a_sealed_vault_is_waited_for(service, everyday):
    wrapped = everyday("generate", "dek", 1)["wrapped"]
    logins = service.logins()
    service.admin.sys.seal()
    assert refuses(everyday, "Unavailable", "unwrap", "dek", 1, wrapped) == "Vault is sealed"
    service.admin.sys.submit_unseal_key(key="x")
    everyday("unwrap", "dek", 1, wrapped)
    assert service.logins() == logins


# -- the life of a token -----------------------------------------------------


def live(worker: Worker, seconds: float) -> None:
    """Uses the session again and again, never longer apart than a token lives."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        worker("check")
        time.sleep(0.4)


def test_a_token_is_renewed_through_three_lifetimes(tmp_path):
    service = VaultService(tmp_path, ttl="2s")
    live(service.worker(), 6.5)
    (token,) = (token for token in service.state.tokens.values() if token.policies == ["anchor-worker"])
    assert service.logins() == 1
    assert token.renewals >= 3
    service.close()


def test_a_token_at_the_end_of_what_it_may_live_is_replaced(tmp_path):
    service = VaultService(tmp_path, ttl="2s", max_ttl="3s")
    live(service.worker(), 7)
    assert 2 <= service.logins() <= 6
    service.close()


def test_a_token_that_cannot_be_renewed_is_replaced(tmp_path):
    service = VaultService(tmp_path, ttl="2s", renewable=False)
    live(service.worker(), 5)
    assert 3 <= service.logins() <= 7
    assert not any(request.path.endswith("renew-self") for request in service.state.requests)
    service.close()


def test_a_token_that_ran_out_or_was_revoked_is_replaced(tmp_path):
    service = VaultService(tmp_path, ttl="1s")
    worker = service.worker()
    worker("check")
    time.sleep(2)
    worker("check")
    assert service.logins() == 2
    service.state.tokens = {service.state.root_token: service.state.tokens[service.state.root_token]}
    worker("check")
    assert service.logins() == 3
    service.close()


def test_a_token_in_a_file_is_renewed_and_read_again(tmp_path):
    service = VaultService(tmp_path)
    create = service.admin.auth.token.create
    first = create(policies=["anchor-worker"], ttl="2s")["auth"]["client_token"]
    file = secret(tmp_path / "token", first)
    worker = Worker(tmp_path, kek=service.section(auth={"method": "token", "token_file": file}))
    live(worker, 4.5)
    assert service.state.tokens[first].renewals >= 2
    del service.state.tokens[first]
    refuses(worker, "Denied", "check")
    secret(file, create(policies=["anchor-worker"], ttl="60s")["auth"]["client_token"])
    worker("check")
    assert service.logins() == 0
    service.close()


def test_a_vault_that_is_away_costs_no_token(tmp_path):
    service = VaultService(tmp_path, ttl="4s")
    worker = service.worker()
    worker("check")
    time.sleep(2.2)
    service.state.intercept = lambda request: Answer(status=0) if "renew" in request.path else None
    worker("check")
    service.state.intercept = lambda request: None
    worker("check")
    assert service.logins() == 1
    service.close()


def test_everything_happens_in_the_namespace(tmp_path):
    service = VaultService(tmp_path, namespace="people")
    worker = service.worker()
    assert worker("check")["uri"].endswith("/v1/people/transit/keys/identity-kek")
    worker("generate", "dek", 1)
    own = [request for request in service.state.requests if "datakey" in request.path or "login" in request.path]
    assert own and all(request.namespace == "people" for request in own)
    refuses(Worker(tmp_path, kek=service.section(namespace="others")), "Missing", "check")
    service.close()


def test_no_secret_is_in_any_log(tmp_path):
    service = VaultService(tmp_path, ttl="1s")
    plain, transit = [], service.transit.call

    def watched(*arguments):
        answer = transit(*arguments)
        plain.append((answer or {}).get("plaintext"))
        return answer

    service.transit.call = watched
    worker = service.worker()
    worker("check")
    wrapped = worker("generate", "dek", 1)["wrapped"]
    time.sleep(1.2)
    worker("rewrap", "dek", 1, wrapped)
    echo = json.dumps({"errors": [worker.directory.name, service.secret_id, *service.state.tokens, *filter(None, plain)]}).encode()
    for status in (400, 403, 500):
        service.state.intercept = lambda request, status=status: Answer(status, echo)
        with pytest.raises(Refused) as refused:
            worker("unwrap", "dek", 1, wrapped)
        assert not any(word in refused.value.text for word in (service.secret_id, *service.state.tokens, *filter(None, plain)))
    worker.close()
    log = worker.log.read_bytes()
    assert b"reqwest" in log or b"hyper" in log, "the log must hold what libraries say, or this proves nothing"
    keys = forms(*(base64.b64decode(text) for text in filter(None, plain)))
    assert keys
    assert not [word for word in (*service.secrets(), *keys) if word in log]
    service.close()
