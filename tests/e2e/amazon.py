"""MiniStack: Amazon's KMS, IAM and STS on 127.0.0.1, with signatures and policies enforced."""

import base64
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path

import botocore.session

REGION = "eu-central-1"
ACCOUNT = "000000000000"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Amazon:
    def __init__(self, directory: Path):
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self.log = directory / "ministack.log"
        own = {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "AUTH": "true",
            "MINISTACK_REGION": REGION,
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "STATE_DIR": str(directory / "state"),
            "S3_DATA_DIR": str(directory / "s3"),
        }
        environment = {"PATH": os.environ["PATH"], "HOME": str(directory)} | own
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [Path(sys.executable).parent / "ministack"], env=environment, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline and self.process.poll() is None, self.log.read_text()[-4000:]
                time.sleep(0.1)
        self.kms, self.iam = self.client("kms"), self.client("iam")

    def client(self, service: str, region: str = REGION):
        session = botocore.session.Session()
        return session.create_client(
            service, region_name=region, endpoint_url=self.address, aws_access_key_id="test", aws_secret_access_key="test"
        )

    def key(self, spec: str = "SYMMETRIC_DEFAULT", usage: str = "ENCRYPT_DECRYPT") -> str:
        return self.kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["Arn"]

    def user(self, policy: str | None) -> tuple[str, str]:
        """Access key of a new user who may do what the policy says."""
        name = f"u{secrets.token_hex(4)}"
        self.iam.create_user(UserName=name)
        if policy:
            self.iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy)
        key = self.iam.create_access_key(UserName=name)["AccessKey"]
        return key["AccessKeyId"], key["SecretAccessKey"]

    def role(self, policy: str, issuer: str) -> str:
        """A role for whom an identity provider vouches."""
        name = f"r{secrets.token_hex(4)}"
        provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer}"
        trust = {"Effect": "Allow", "Principal": {"Federated": provider}, "Action": "sts:AssumeRoleWithWebIdentity"}
        made = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}))
        self.iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=policy)
        return made["Role"]["Arn"]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def identity_token(issuer: str) -> str:
    def part(claims: dict) -> str:
        return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")

    claims = {"iss": f"https://{issuer}", "sub": "worker", "aud": "sts.amazonaws.com", "exp": int(time.time()) + 3600}
    return ".".join([part({"alg": "RS256", "typ": "JWT"}), part(claims), part({})])
