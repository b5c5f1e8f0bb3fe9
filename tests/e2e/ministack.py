"""MiniStack: an imitation of Amazon's services that checks signatures and policies."""

import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request

from s3 import Service, free_ports

REGION = "eu-central-1"
ACCOUNT = "000000000000"


class Ministack(Service):
    """Root is whoever signs with the access key `test`, however."""

    def __init__(self, log, services: str = "s3,iam,sts"):
        self.port = free_ports(1)
        super().__init__(f"http://127.0.0.1:{self.port}", REGION)
        settings = {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "AUTH": "true",
            "SERVICES": services,
            "MINISTACK_REGION": REGION,
            # It would listen on every interface.
            "IOT_MTLS_ENABLED": "0",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ministack"],
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"} | settings,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        for _ in range(200):
            try:
                urllib.request.urlopen(f"{self.endpoint}/_ministack/health", timeout=5)
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                assert self.process.poll() is None, "MiniStack did not start"
                time.sleep(0.1)

    def root(self, service: str = "s3"):
        return self.client("test", "test", service)

    def user(self, policy: str) -> tuple[str, str]:
        """An access key of a new user with this policy and no other."""
        iam, name = self.root("iam"), f"user-{secrets.token_hex(4)}"
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="only", PolicyDocument=policy)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return key["AccessKeyId"], key["SecretAccessKey"]

    def destroy(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
