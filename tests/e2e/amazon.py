"""Amazon's KMS, IAM and STS, as MiniStack has them: keys, users and roles with policies."""

import base64
import json
import secrets
import time

from ministack import ACCOUNT, Ministack


class Amazon(Ministack):
    def __init__(self, log):
        super().__init__(log, "kms,iam,sts")
        self.kms = self.root("kms")

    def key(self, spec: str = "SYMMETRIC_DEFAULT", usage: str = "ENCRYPT_DECRYPT") -> str:
        return self.kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["Arn"]

    def role(self, policy: str, issuer: str) -> str:
        """A role for whom an identity provider vouches."""
        iam, name = self.root("iam"), f"role-{secrets.token_hex(4)}"
        provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer}"
        trust = {"Effect": "Allow", "Principal": {"Federated": provider}, "Action": "sts:AssumeRoleWithWebIdentity"}
        made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}))
        iam.put_role_policy(RoleName=name, PolicyName="only", PolicyDocument=policy)
        return made["Role"]["Arn"]


def identity_token(issuer: str) -> str:
    def part(claims: dict) -> str:
        return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")

    claims = {"iss": f"https://{issuer}", "sub": "worker", "aud": "sts.amazonaws.com", "exp": int(time.time()) + 3600}
    return ".".join([part({"alg": "RS256", "typ": "JWT"}), part(claims), part({})])
