"""Anchors in a real S3 service with Object Lock: against the worker's credentials in the wrong hands, and against the bucket's owner."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from s3 import checkpoint_key, error, in_days, lock_bucket, refusal

PREFIX = "vault-1/"


@pytest.fixture(scope="module")
def owner(ceph):
    return ceph.client("owner", "owner")


@pytest.fixture(scope="module")
def worker(ceph):
    return ceph.client("worker", "worker")


@pytest.fixture
def bucket(owner):
    """Both may do everything with everything here: what is refused then, the lock refuses."""
    name = lock_bucket(owner)
    everything = {"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/worker", "arn:aws:iam:::user/owner"]}, "Action": "s3:*"}
    everything["Resource"] = [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"]
    owner.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [everything]}))
    return name


@pytest.fixture
def store(ceph, bucket, tmp_path):
    return ceph.store(tmp_path, bucket, "worker", "worker")


def place(size: int) -> str:
    return PREFIX + checkpoint_key(size)


def test_an_anchor_is_put_and_read(store):
    assert store.first(7) is None and store("last") is None
    stored = store.put(7, "seven\n")
    assert stored["uri"].endswith(f"/{place(7)}") and stored["version_id"]
    first = store.first(7)
    assert first == stored | {"body": "seven\n"}
    assert abs(first["lock_until"] / 1e6 - in_days(2).timestamp()) < 60
    assert store("last") == checkpoint_key(7)
    assert store("check")["immutable"]


def attacks(client, bucket, size, version) -> dict:
    at = {"Bucket": bucket, "Key": place(size), "VersionId": version}
    until = in_days(0.01)
    lifted = {"Mode": "GOVERNANCE", "RetainUntilDate": in_days(900)}
    return {
        "delete": lambda: error(client.delete_object, **at),
        "delete, bypassing": lambda: error(client.delete_object, **at, BypassGovernanceRetention=True),
        "delete many": lambda: client.delete_objects(
            Bucket=bucket, Delete={"Objects": [{"Key": at["Key"], "VersionId": version}]}, BypassGovernanceRetention=True
        )["Errors"][0]["Code"],
        "shorten": lambda: error(client.put_object_retention, **at, Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until}),
        "shorten, bypassing": lambda: error(
            client.put_object_retention, **at, Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until}, BypassGovernanceRetention=True
        ),
        "downgrade": lambda: error(client.put_object_retention, **at, Retention=lifted),
        "downgrade, bypassing": lambda: error(client.put_object_retention, **at, Retention=lifted, BypassGovernanceRetention=True),
        "take the lock away": lambda: error(client.put_object_retention, **at, Retention={}, BypassGovernanceRetention=True),
        "suspend versioning": lambda: error(client.put_bucket_versioning, Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}),
        "delete the bucket": lambda: error(client.delete_bucket, Bucket=bucket),
    }


NAMES = list(attacks(None, "", 0, ""))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("who", ["owner", "worker"])
def test_nobody_takes_an_anchor_back(request, store, bucket, who, name):
    stored = store.put(7, "seven\n")
    client = request.getfixturevalue(who)
    code = attacks(client, bucket, 7, stored["version_id"])[name]()
    assert code in {"AccessDenied", "InvalidBucketState", "BucketNotEmpty", "MalformedXML", "InvalidRequest", "InvalidArgument"}, code
    assert store.first(7) == stored | {"body": "seven\n"}
    kept = client.get_object(Bucket=bucket, Key=place(7), VersionId=stored["version_id"])
    assert kept["Body"].read() == b"seven\n" and kept["ObjectLockMode"] == "COMPLIANCE"


UNLOCKED = {"delete, bypassing", "delete many", "shorten, bypassing", "downgrade, bypassing"}


@pytest.mark.parametrize("name", sorted(UNLOCKED))
@pytest.mark.parametrize("who", ["owner", "worker"])
def test_the_same_attacks_work_on_what_is_locked_in_governance_mode(request, worker, bucket, who, name):
    """So that the ones above are attacks at all."""
    lock = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": in_days(2)}
    version = worker.put_object(Bucket=bucket, Key=place(7), Body=b"x", **lock)["VersionId"]
    with pytest.raises((AssertionError, KeyError)):
        attacks(request.getfixturevalue(who), bucket, 7, version)[name]()


@pytest.mark.parametrize(
    "lock", [{}, {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": in_days(3000)}], ids=["default lock", "longer lock"]
)
def test_what_is_put_over_an_anchor_is_not_read(owner, store, bucket, lock):
    stored = store.put(7, "seven\n")
    shadow = owner.put_object(Bucket=bucket, Key=place(7), Body=b"another\n", **lock)["VersionId"]
    assert owner.get_object(Bucket=bucket, Key=place(7))["Body"].read() == b"another\n"
    assert store.first(7) == stored | {"body": "seven\n"}
    assert [each["version_id"] for each in store.versions(7)] == [shadow, stored["version_id"]]


def test_what_was_there_before_without_a_lock_is_not_read(ceph, owner, tmp_path):
    bucket = lock_bucket(owner)
    owner.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})
    owner.put_object(Bucket=bucket, Key=place(7), Body=b"before\n")
    owner.put_object(Bucket=bucket, Key=place(7), Body=b"lifted\n", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=in_days(900))
    store = ceph.store(tmp_path, bucket, "owner", "owner")
    assert store.first(7) is None and store("last") is None
    stored = store.put(7, "seven\n")
    assert store.first(7) == stored | {"body": "seven\n"} and len(store.versions(7)) == 3


def test_a_delete_marker_hides_nothing(owner, store, bucket):
    for size in (7, 8):
        stored = store.put(size, "seven\n")
    owner.delete_object(Bucket=bucket, Key=place(8))
    assert error(owner.get_object, Bucket=bucket, Key=place(8)) == "NoSuchKey"
    assert store.first(8) == stored | {"body": "seven\n"}
    assert store("last") == checkpoint_key(8)
    assert [each["delete_marker"] for each in store.versions(8)] == [True, False]
    assert refusal(store.put, 8).kind == "Conflict"


def test_a_second_put_is_a_conflict_and_leaves_nothing(store):
    stored = store.put(7, "seven\n")
    for body in ("seven\n", "another\n"):
        assert refusal(store.put, 7, body).kind == "Conflict"
    assert [each["version_id"] for each in store.versions(7)] == [stored["version_id"]]


def test_two_at_once_and_one_is_the_anchor(store):
    """This service ignores If-None-Match: both may have put theirs, and both see the same first."""

    def attempt(number):
        try:
            return store.put(7, f"{number}\n")
        except Exception as refused:
            return refused

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(attempt, range(6)))
    (won,) = [number for number, answer in enumerate(answers) if isinstance(answer, dict)]
    assert all(answer.kind == "Conflict" for answer in answers if not isinstance(answer, dict)), answers
    assert store.first(7) == answers[won] | {"body": f"{won}\n"}


def test_more_anchors_than_a_page(owner, store, bucket):
    def put(size):
        owner.put_object(Bucket=bucket, Key=place(size), Body=b"x")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(1, 1_021)))
    for _ in range(3):
        owner.put_object(Bucket=bucket, Key=place(1_000), Body=b"shadow")
    owner.delete_object(Bucket=bucket, Key=place(1_020))
    listed = store("versions")
    assert [each["key"] for each in listed if each["key"] != checkpoint_key(1_000)][:-2] == [
        checkpoint_key(size) for size in range(1, 1_020) if size != 1_000
    ]
    assert len(listed) == 1_020 + 3 + 1
    for hint in [(), (checkpoint_key(1_020),), (checkpoint_key(3),), (checkpoint_key(5_000),), ("checkpoints/../x",), ("other",), ("",)]:
        assert store("last", *hint) == checkpoint_key(1_020), hint


def test_other_names_and_unlocked_ones_are_not_the_last(ceph, owner, tmp_path):
    bucket = lock_bucket(owner)
    store = ceph.store(tmp_path, bucket, "owner", "owner")
    store.put(7)
    for name in ("checkpoints/zzz", "checkpoints/a b\u0001é<&>", "checkpoints/00000000000000000009.x", "zzz"):
        owner.put_object(Bucket=bucket, Key=PREFIX + name, Body=b"x")
    owner.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})
    owner.put_object(Bucket=bucket, Key=place(9), Body=b"x")
    assert store("last") == checkpoint_key(7)
    assert "checkpoints/a b\u0001é<&>" in {each["key"] for each in store("versions")}


@pytest.mark.parametrize(
    "default, says",
    [
        ({"Mode": "GOVERNANCE", "Days": 1}, "compliance mode"),
        (None, "default retention"),
        ("unlocked", "no Object Lock"),
        ("unversioned", "no versions"),
    ],
    ids=str,
)
def test_a_bucket_that_keeps_nothing_is_refused(ceph, owner, tmp_path, default, says):
    if isinstance(default, str):
        bucket = f"plain-{tmp_path.name[-20:].replace('_', '-').lower()}".strip("-")
        owner.create_bucket(Bucket=bucket)
        if default == "unlocked":
            owner.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    else:
        bucket = lock_bucket(owner, default)
        if default is None:
            owner.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})
    refused = refusal(ceph.store(tmp_path, bucket, "owner", "owner"), "check")
    assert refused.kind == "Configuration" and says in refused.text, refused


def test_a_bucket_that_is_not_there_and_a_wrong_secret(ceph, bucket, tmp_path):
    refused = refusal(ceph.store(tmp_path, "nowhere-at-all", "worker", "worker"), "last")
    assert refused.kind == "Configuration" and "no such bucket" in refused.text
    for key, secret in (("worker", "wrong"), ("nobody", "worker")):
        refused = refusal(ceph.store(tmp_path, bucket, key, secret).put, 7)
        assert refused.kind == "Denied" and secret not in refused.text and key not in refused.text
