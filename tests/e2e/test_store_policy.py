"""The policies of docs/howto/anchors-s3.md, as they are printed there: the worker needs all of its own, and has nothing else."""

import copy
import json
import os
import re

import pytest

from ministack import REGION
from s3 import ROOT, checkpoint_key, error, in_days, lock_bucket, refusal

PAGE = ROOT / "docs" / "howto" / "anchors-s3.md"
LOCATION = {"CreateBucketConfiguration": {"LocationConstraint": REGION}}


def documented(name: str, bucket: str) -> str:
    """A policy as it is printed, for another bucket."""
    (policy,) = re.findall(rf"<!-- policy: {name} -->\n```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return policy.replace("example-anchors", bucket)


@pytest.fixture(scope="module")
def root(ministack):
    return ministack.root()


@pytest.fixture
def bucket(root):
    return lock_bucket(root, **LOCATION)


@pytest.fixture
def key(ministack, bucket):
    return ministack.user(documented("worker", bucket))


@pytest.fixture
def store(ministack, bucket, key, tmp_path):
    return ministack.store(tmp_path, bucket, *key)


def everything(store) -> None:
    assert store("check")["immutable"]
    stored = store.put(7, "seven\n")
    assert store.first(7) == stored | {"body": "seven\n"}
    assert store("last") == checkpoint_key(7)
    assert len(store("versions")) == 1


def test_the_policy_is_enough(store):
    everything(store)


def test_the_policy_is_enough_beside_the_buckets_own(root, store, bucket):
    policy = json.loads(documented("bucket", bucket))
    # There is no TLS here.
    policy["Statement"] = [each for each in policy["Statement"] if each["Sid"] != "OnlyOverTls"]
    root.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    everything(store)


def without(policy: str, action: str) -> str:
    policy = copy.deepcopy(json.loads(policy))
    for statement in policy["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        statement["Action"] = [each for each in actions if each != action] or ["s3:ListAllMyBuckets"]
    return json.dumps(policy)


# s3:PutObjectRetention is not among them: Amazon asks for it where an object is put with a lock, MiniStack does not.
@pytest.mark.parametrize(
    "action",
    [
        "PutObject",
        "GetObjectVersion",
        "GetObjectRetention",
        "ListBucketVersions",
        "GetBucketVersioning",
        "GetBucketObjectLockConfiguration",
    ],
)
def test_nothing_in_the_policy_is_too_much(ministack, bucket, tmp_path, action):
    policy = documented("worker", bucket)
    assert f'"s3:{action}"' in policy
    store = ministack.store(tmp_path, bucket, *ministack.user(without(policy, f"s3:{action}")))
    assert refusal(everything, store).kind == "Denied"


def test_nothing_else_is_allowed(ministack, root, store, bucket, key):
    stored = store.put(7, "seven\n")
    thief, name = ministack.client(*key), f"vault-1/{checkpoint_key(7)}"
    at = {"Bucket": bucket, "Key": name, "VersionId": stored["version_id"]}
    lock = {"ObjectLockEnabled": "Enabled"}
    attempts = {
        "delete marker": lambda: error(thief.delete_object, Bucket=bucket, Key=name),
        "delete": lambda: error(thief.delete_object, **at),
        "bypass": lambda: error(thief.delete_object, **at, BypassGovernanceRetention=True),
        "shorten": lambda: error(thief.put_object_retention, **at, Retention={"Mode": "COMPLIANCE", "RetainUntilDate": in_days(1)}),
        "downgrade": lambda: error(thief.put_object_retention, **at, Retention={"Mode": "GOVERNANCE", "RetainUntilDate": in_days(900)}),
        "legal hold": lambda: error(thief.put_object_legal_hold, **at, LegalHold={"Status": "ON"}),
        "suspend": lambda: error(thief.put_bucket_versioning, Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}),
        "loosen": lambda: error(thief.put_object_lock_configuration, Bucket=bucket, ObjectLockConfiguration=lock),
        "lifecycle": lambda: error(
            thief.put_bucket_lifecycle_configuration,
            Bucket=bucket,
            LifecycleConfiguration={"Rules": [{"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]},
        ),
        "policy": lambda: error(thief.put_bucket_policy, Bucket=bucket, Policy=documented("bucket", bucket)),
        "delete the bucket": lambda: error(thief.delete_bucket, Bucket=bucket),
        "put elsewhere": lambda: error(thief.put_object, Bucket=bucket, Key="other/x", Body=b"x"),
        "list elsewhere": lambda: error(thief.list_object_versions, Bucket=bucket, Prefix="other/"),
        "list all": lambda: error(thief.list_object_versions, Bucket=bucket),
        "another bucket": lambda: error(thief.create_bucket, Bucket=f"{bucket}-2", **LOCATION),
    }
    assert {name: attempt() for name, attempt in attempts.items()} == dict.fromkeys(attempts, "AccessDenied")
    assert store.first(7) == stored | {"body": "seven\n"}
    # Each would have worked for who may.
    root.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    assert refusal(store, "check").kind == "Configuration"


def test_the_buckets_own_policy_binds_the_accounts_people(ministack, root, store, bucket):
    stored = store.put(7, "seven\n")
    anything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    admin = ministack.client(*ministack.user(json.dumps(anything)))
    name = f"vault-1/{checkpoint_key(7)}"
    admin.delete_object(Bucket=bucket, Key=name)
    policy = json.loads(documented("bucket", bucket))
    policy["Statement"] = [each for each in policy["Statement"] if each["Sid"] != "OnlyOverTls"]
    root.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    assert error(admin.delete_object, Bucket=bucket, Key=name) == "AccessDenied"
    assert error(admin.delete_object, Bucket=bucket, Key=name, VersionId=stored["version_id"]) == "AccessDenied"
    versioning = {"Bucket": bucket, "VersioningConfiguration": {"Status": "Suspended"}}
    assert error(admin.put_bucket_versioning, **versioning) == "AccessDenied"
    lock = {"Bucket": bucket, "ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled"}}
    assert error(admin.put_object_lock_configuration, **lock) == "AccessDenied"


def test_the_service_itself_refuses_a_second_one(root, store, bucket):
    """If-None-Match: what is there and not locked is seen by nobody but the service."""
    root.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})
    root.put_object(Bucket=bucket, Key=f"vault-1/{checkpoint_key(7)}", Body=b"unlocked\n")
    assert store.first(7) is None
    refused = refusal(store.put, 7)
    assert refused.kind == "Conflict" and "412" in refused.text
    assert len(store.versions(7)) == 1


def test_a_wrong_secret_and_a_wrong_key(ministack, bucket, key, tmp_path):
    for who in ((key[0], "wrong"), ("AKIAIOSFODNN7EXAMPLE", key[1])):
        refused = refusal(ministack.store(tmp_path, bucket, *who).put, 7)
        assert refused.kind == "Denied" and key[0] not in refused.text and key[1] not in refused.text


def test_a_bucket_in_another_region(ministack, bucket, key, tmp_path):
    refused = refusal(ministack.store(tmp_path, bucket, *key, region="us-west-2"), "check")
    assert refused.kind == "Configuration" and "region" in refused.text, refused


@pytest.mark.parametrize(
    "changed",
    [
        {"bucket": "../x"},
        {"bucket": "a.b"},
        {"region": "eu west"},
        {"region": ""},
        {"prefix": "x"},
        {"prefix": "../"},
        {"prefix": "a b/"},
        {"retention_days": 0},
        {"endpoint": "http://10.0.0.1:1"},
        {"endpoint": "http://user:secret@127.0.0.1:1"},
        {"endpoint": "ftp://127.0.0.1"},
        {"ca_file": "/nowhere"},
        {"unknown": "x"},
    ],
    ids=str,
)
def test_a_configuration_that_cannot_work(ministack, tmp_path, changed):
    refused = refusal(ministack.store(tmp_path, changed.pop("bucket", "anchors"), "x", "y", **changed), "last")
    assert refused.kind == "Configuration", refused


def test_it_listens_on_this_machine_only(ministack):
    """What /proc says of the process that was started."""
    inodes = set()
    for fd in (f"/proc/{ministack.process.pid}/fd/{n}" for n in os.listdir(f"/proc/{ministack.process.pid}/fd")):
        try:
            inodes.add(os.readlink(fd))
        except OSError:
            continue
    rows = []
    for family in ("tcp", "tcp6"):
        with open(f"/proc/net/{family}", encoding="ascii") as table:
            rows += [line.split() for line in table][1:]
    listening = {row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes}
    assert listening == {f"0100007F:{ministack.port:04X}"}
