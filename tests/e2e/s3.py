"""Stores for tests: real S3 services, an independent client to attack them with, and the program that uses them as the worker does."""

import datetime
import functools
import itertools
import json
import os
import socket
import subprocess
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ROOT = Path(__file__).resolve().parents[2]
DAY = 86_400
_serial = itertools.count(1)


def free_ports(count: int) -> int:
    """The first of `count` ports in a row that nobody listens at."""
    for first in range(20_000 + os.getpid() % 5_000, 32_000):
        held = []
        try:
            for port in range(first, first + count):
                held.append(socket.create_server(("127.0.0.1", port)))
            return first
        except OSError:
            continue
        finally:
            for each in held:
                each.close()
    raise RuntimeError("no free ports")


@functools.cache
def program() -> Path:
    """The example of anchor-worker that drives a store, built once."""
    command = ["cargo", "build", "--quiet", "--locked", "-p", "anchor-worker", "--example", "store"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=900)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "examples" / "store"


def checkpoint_key(size: int) -> str:
    return f"checkpoints/{size:020}"


def in_days(days: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)


class Refused(Exception):
    def __init__(self, answer: dict):
        super().__init__(f"{answer['kind']}: {answer['text']}")
        self.kind, self.text = answer["kind"], answer["text"]


class Store:
    """The worker's side of a store, as configured."""

    def __init__(self, directory: Path, key: str = "", secret: str = "", **config):
        self.file = directory / f"store{next(_serial)}.toml"
        self.file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in config.items()))
        if config["kind"] == "s3":
            with open(self.file, "a", encoding="utf-8") as file:
                file.write('credentials = { source = "environment" }\n')
        self.environment = {"PATH": os.environ["PATH"], "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}

    def command(self, *words) -> list[str]:
        return [str(program()), str(self.file), *map(str, words)]

    def __call__(self, *words, body: str = ""):
        done = subprocess.run(self.command(*words), input=body, env=self.environment, capture_output=True, text=True, timeout=170)
        assert done.stdout, done.stderr
        answer = json.loads(done.stdout)
        if done.returncode:
            raise Refused(answer)
        return answer

    def put(self, size: int, body: str = "an anchor\n", days: float = 2) -> dict:
        return self("put", checkpoint_key(size), int(days * DAY), body=body)

    def first(self, size: int) -> dict | None:
        return self("first", checkpoint_key(size))

    def versions(self, size: int) -> list[dict]:
        return [each for each in self("versions") if each["key"] == checkpoint_key(size)]


def refusal(call, *arguments, **named) -> Refused:
    try:
        answer = call(*arguments, **named)
    except Refused as refused:
        return refused
    raise AssertionError(f"it was not refused: {answer}")


class Service:
    """An S3 service on this machine."""

    def __init__(self, endpoint: str, region: str):
        self.endpoint, self.region = endpoint, region

    def client(self, key: str, secret: str, service: str = "s3"):
        config = Config(
            s3={"addressing_style": "path"},
            retries={"max_attempts": 1},
            request_checksum_calculation="when_required",
            max_pool_connections=16,
        )
        return boto3.client(
            service, endpoint_url=self.endpoint, region_name=self.region, aws_access_key_id=key, aws_secret_access_key=secret, config=config
        )

    def store(self, directory: Path, bucket: str, key: str, secret: str, **changed) -> Store:
        config = {"kind": "s3", "bucket": bucket, "region": self.region, "prefix": "vault-1/", "endpoint": self.endpoint} | changed
        return Store(directory, key, secret, **config)


def lock_bucket(client, default: dict | None = None, **region) -> str:
    """A bucket as docs/howto/anchors-s3.md has it made, with a lock of days instead of years."""
    name = f"anchors-{os.getpid()}-{next(_serial)}"
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True, **region)
    rule = {"DefaultRetention": default or {"Mode": "COMPLIANCE", "Days": 1}}
    client.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule})
    return name


def error(call, **arguments) -> str:
    """The code that a call is refused with."""
    try:
        answer = call(**arguments)
    except ClientError as refused:
        return refused.response["Error"]["Code"]
    raise AssertionError(f"it was not refused: {answer['ResponseMetadata']['HTTPStatusCode']}")
