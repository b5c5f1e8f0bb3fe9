"""AWS KMS as anchor-worker speaks to it, against MiniStack with signatures and IAM on."""

import base64
import datetime
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from amazon import Amazon, identity_token
from key_services import Authority, Worker, documented, forms, refuses, secret
from ministack import REGION
from test_worker_signer import ORIGIN, TEXT, sign, verifies


OTHER = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}]})


@pytest.fixture(scope="module")
def amazon(tmp_path_factory):
    with open(tmp_path_factory.mktemp("amazon") / "log", "wb") as log:
        amazon = Amazon(log)
        yield amazon
        amazon.destroy()


class Setting:
    """Two keys, and a user with exactly the policy of the docs."""

    def __init__(self, amazon, directory):
        self.amazon, self.directory = amazon, directory
        self.kek = amazon.key()
        self.checkpoints = amazon.key("ECC_NIST_EDWARDS25519", "SIGN_VERIFY")
        policy = documented("aws-kms.md", "anchor-worker.json")
        arn = "arn:aws:kms:eu-central-1:111122223333:key/"
        self.policy = policy.replace(f"{arn}KEK", self.kek).replace(f"{arn}CHECKPOINTS", self.checkpoints)
        self.id, self.secret = amazon.user(self.policy)
        self.file = secret(directory / "aws-secret", self.secret)

    def section(self, key: str, **changed) -> dict:
        credentials = {"source": "static", "access_key_id": self.id, "secret_access_key_file": self.file}
        return {"provider": "aws", "region": REGION, "key_arn": key, "endpoint": self.amazon.endpoint, "credentials": credentials} | changed

    def worker(self, environment: dict | None = None, **changed) -> Worker:
        sections = {"kek": self.section(self.kek, **changed), "signer": self.section(self.checkpoints, **changed)}
        return Worker(self.directory, environment, **sections)


@pytest.fixture
def setting(amazon, tmp_path):
    return Setting(amazon, tmp_path)


def test_the_documented_policy_is_enough(setting):
    worker = setting.worker()
    assert worker("check")["uri"] == f"aws:{setting.kek}"
    made = worker("generate", "dek", 1)
    assert worker("unwrap", "dek", 1, made["wrapped"])["check_value"] == made["check_value"]
    again = worker("rewrap", "dek", 1, made["wrapped"])["wrapped"]
    assert again != made["wrapped"]
    assert worker("unwrap", "dek", 1, again)["check_value"] == made["check_value"]
    worker("check-signer")
    verifies(sign(worker), worker("vkey", ORIGIN)["vkey"])


def test_the_documented_policy_allows_nothing_else(setting, amazon):
    client = amazon.client(setting.id, setting.secret, "kms")
    for call in (
        lambda: client.disable_key(KeyId=setting.kek),
        lambda: client.schedule_key_deletion(KeyId=setting.kek, PendingWindowInDays=7),
        lambda: client.put_key_policy(KeyId=setting.kek, PolicyName="default", Policy="{}"),
        lambda: client.create_key(),
        lambda: client.generate_data_key(KeyId=amazon.key(), KeySpec="AES_256"),
    ):
        with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
            call()
    assert amazon.kms.describe_key(KeyId=setting.kek)["KeyMetadata"]["Enabled"]


@pytest.mark.parametrize("kind, version", [("dek", 2), ("chain", 1)])
def test_a_wrapped_key_that_was_moved_does_not_unwrap(setting, kind, version):
    worker = setting.worker()
    made = worker("generate", "dek", 1)
    assert "InvalidCiphertext" in refuses(worker, "Untrue", "unwrap", kind, version, made["wrapped"])


def test_iam_denies_what_the_policy_leaves_out(setting, amazon):
    policy = json.loads(setting.policy)
    policy["Statement"][0]["Action"].remove("kms:Decrypt")
    setting.id, text = amazon.user(json.dumps(policy))
    secret(setting.file, text)
    worker = setting.worker()
    worker("check")
    assert "AccessDenied" in refuses(worker, "Denied", "generate", "dek", 1)


def test_strangers_are_denied(setting, amazon):
    wrong = {"source": "static", "access_key_id": setting.id, "secret_access_key_file": secret(setting.directory / "wrong", "wrong")}
    refuses(setting.worker(credentials=wrong), "Denied", "check")
    setting.id, text = amazon.user(OTHER)
    secret(setting.file, text)
    refuses(setting.worker(), "Denied", "check")


def test_credentials_of_the_environment(setting):
    environment = {"AWS_ACCESS_KEY_ID": setting.id, "AWS_SECRET_ACCESS_KEY": setting.secret}
    setting.worker(environment, credentials={"source": "environment"})("check")
    text = refuses(setting.worker(credentials={"source": "environment"}), "Configuration", "check")
    assert "AWS_ACCESS_KEY_ID" in text


def test_a_role_taken_with_a_token(setting, amazon):
    issuer = "issuer.example"
    role = amazon.role(setting.policy, issuer)
    token = secret(setting.directory / "token", identity_token(issuer))
    credentials = {"source": "web_identity", "endpoint": amazon.endpoint}
    environment = {"AWS_ROLE_ARN": role, "AWS_WEB_IDENTITY_TOKEN_FILE": str(token)}
    worker = setting.worker(environment, credentials=credentials)
    worker("check")
    worker("generate", "dek", 1)
    verifies(sign(worker), worker("vkey", ORIGIN)["vkey"])
    secret(token, identity_token("other.example"))
    worker("check")  # the role in hand still holds
    named = credentials | {"role_arn": role, "token_file": token}
    assert "does not give us the role" in refuses(setting.worker(credentials=named), "Denied", "check")


def test_a_disabled_key_is_waited_for(setting, amazon):
    worker = setting.worker()
    made = worker("generate", "dek", 1)
    amazon.kms.disable_key(KeyId=setting.kek)
    assert "Disabled" in refuses(worker, "Unavailable", "unwrap", "dek", 1, made["wrapped"])
    refuses(worker, "Unavailable", "check")
    amazon.kms.enable_key(KeyId=setting.kek)
    worker("unwrap", "dek", 1, made["wrapped"])


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"region": "us-east-1"}, "is declared"),
        ({"key_arn": "arn:aws:kms:us-east-1:000000000000:key/x"}, "is declared"),
        ({"key_arn": "arn:aws:kms:eu-central-1:000000000000:alias/x"}, "alias"),
        ({"key_arn": "x"}, "key_arn"),
        ({"endpoint": "http://kms.example/"}, "not https"),
    ],
)
def test_another_region_or_no_key_is_refused(setting, changed, said):
    assert said in refuses(setting.worker(**changed), "Configuration", "check")


def test_a_key_of_another_kind_is_refused(setting):
    refuses(setting.worker(key_arn=setting.checkpoints), "Configuration", "check")
    refuses(setting.worker(key_arn=setting.kek), "Configuration", "check-signer")
    missing = setting.kek[:-4] + "0000"
    refuses(setting.worker(key_arn=missing), "Denied", "check")


# -- what is no KMS ------------------------------------------------------------


class Odd:
    """A server that answers everything with the same."""

    def __init__(self, directory, status: int, body: bytes):
        odd = self
        self.asked = 0

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                odd.asked += 1
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(status)
                self.send_header("Location", "https://elsewhere.example/")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:
                    pass

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.handle_error = lambda *_: None
        self.authority = Authority(directory, "odd")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.authority.server())
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.address = f"https://127.0.0.1:{self.http.server_port}/"


def typed(name: str) -> bytes:
    return json.dumps({"__type": f"com.amazonaws.kms#{name}", "message": "x"}).encode()


@pytest.mark.parametrize(
    "status, body, kind",
    [
        (200, b"garbage", "Untrue"),
        (200, b"", "Untrue"),
        (200, b'{"Plaintext":"' + b"A" * 10_000_000 + b'"}', "Untrue"),
        (200, b'{"KeyId":"another","Plaintext":"' + base64.b64encode(bytes(32)) + b'"}', "Untrue"),
        (307, b"", "Unavailable"),
        (400, typed("ThrottlingException"), "Throttled"),
        (400, typed("KMSInvalidStateException"), "Unavailable"),
        (400, typed("ExpiredTokenException"), "Denied"),
        (400, typed("NeverHeardOfException"), "Denied"),
        (500, typed("KMSInternalException"), "Unavailable"),
        (503, b"", "Unavailable"),
    ],
)
def test_an_odd_answer_is_no_key(setting, tmp_path, status, body, kind):
    odd = Odd(tmp_path, status, body)
    worker = setting.worker(endpoint=odd.address, ca_file=odd.authority.file)
    text = refuses(worker, kind, "unwrap", "dek", 1, "00")
    assert odd.asked == 1 and "x" != text
    odd.http.shutdown()


def issued(credentials: dict, seconds: int) -> bytes:
    at = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    members = "".join(f"<{name}>{credentials[name]}</{name}>" for name in ("AccessKeyId", "SecretAccessKey", "SessionToken"))
    inner = f"<AssumeRoleWithWebIdentityResult><Credentials>{members}<Expiration>{at}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
    name = "AssumeRoleWithWebIdentityResponse"
    return f'<{name} xmlns="https://sts.amazonaws.com/doc/2011-06-15/">{inner}</{name}>'.encode()


@pytest.mark.parametrize("seconds, asked", [(3600, 1), (240, 3), (-60, 3)])
def test_a_role_is_taken_anew_before_it_ends(setting, amazon, tmp_path, seconds, asked):
    issuer = "issuer.example"
    role, token = amazon.role(setting.policy, issuer), identity_token(issuer)
    taken = amazon.root("sts").assume_role_with_web_identity(RoleArn=role, RoleSessionName="worker", WebIdentityToken=token)
    service = Odd(tmp_path, 200, issued(taken["Credentials"], seconds))
    named = {"source": "web_identity", "endpoint": service.address, "role_arn": role, "token_file": secret(tmp_path / "token", token)}
    worker = setting.worker(credentials=named, ca_file=service.authority.file)
    for _ in range(3):
        worker("check")
    assert service.asked == asked
    service.http.shutdown()


@pytest.mark.parametrize(
    "status, body, kind",
    [
        (200, b"garbage", "Untrue"),
        (200, b"<a/>", "Untrue"),
        (200, b'<!DOCTYPE a [<!ENTITY b "x">]><a>&b;</a>', "Untrue"),
        (200, b"<Credentials><AccessKeyId>a</AccessKeyId></Credentials>", "Untrue"),
        (200, b"<a>" * 20_000, "Untrue"),
        (403, b"", "Denied"),
        (429, b"", "Throttled"),
        (503, b"", "Unavailable"),
        (302, b"", "Denied"),
    ],
)
def test_what_is_no_role_is_not_used(setting, tmp_path, status, body, kind):
    service = Odd(tmp_path, status, body)
    token = secret(tmp_path / "token", "a token")
    named = {"source": "web_identity", "endpoint": service.address, "role_arn": "arn:aws:iam::000000000000:role/x", "token_file": token}
    text = refuses(setting.worker(credentials=named, ca_file=service.authority.file), kind, "check")
    assert "a token" not in text and service.asked == 1
    service.http.shutdown()


def test_no_secret_is_in_any_log(setting, amazon):
    worker = setting.worker({"LOG_SIGNABLE_BODY": "true"})
    worker("check")
    made = worker("generate", "dek", 1)
    worker("rewrap", "dek", 1, made["wrapped"])
    sign(worker)
    blob = bytes.fromhex(made["wrapped"])
    context = {"installation": "07070707-0707-0707-0707-070707070707", "kind": "dek", "version": "1"}
    key = amazon.kms.decrypt(KeyId=setting.kek, CiphertextBlob=blob, EncryptionContext=context)["Plaintext"]
    worker.close()
    log = worker.log.read_bytes()
    assert b"canonical_request" in log, "the log must hold what libraries say, or this proves nothing"
    assert not [form for form in forms(key, base64.b64encode(key), setting.secret, TEXT) if form in log]
