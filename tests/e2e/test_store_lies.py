"""A store that says yes and did not, breaks off, is slow, or is none: nothing that was not read back counts as an anchor."""

import socket
import time

import pytest

from lying_store import Answer, CutOff, LyingStore
from ministack import REGION
from s3 import checkpoint_key, lock_bucket, refusal

ERROR = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{}</Code><Message>secret-of-the-message</Message></Error>"


@pytest.fixture
def liar(ministack):
    liar = LyingStore(ministack.port)
    yield liar
    liar.close()


@pytest.fixture
def bucket(ministack):
    return lock_bucket(ministack.root(), CreateBucketConfiguration={"LocationConstraint": REGION})


@pytest.fixture
def store(ministack, liar, bucket, tmp_path):
    return ministack.store(tmp_path, bucket, "test", "test", endpoint=liar.endpoint)


def changed(what: str, change):
    """A lie: the answer to one kind of request is changed."""

    def lie(request, forward):
        answer = forward()
        if request.what == what:
            change(answer)
        return answer

    return lie


def header(name: str, value: str | None):
    def change(answer: Answer):
        if answer.status == 200:
            answer.headers.pop(name, None)
            if value is not None:
                answer.headers[name] = value

    return change


def replaced(old: bytes, new: bytes):
    def change(answer: Answer):
        answer.body = answer.body.replace(old, new)

    return change


def nothing_put(request, forward):
    if request.what == "put":
        return Answer(200, {"x-amz-version-id": "0b1c2d3e", "etag": '"x"'})
    return forward()


def without_lock(request, forward):
    if request.what == "put":
        return Answer(200, {"x-amz-version-id": "0b1c2d3e"})
    if request.what == "retention":
        return Answer(404, body=ERROR.format("NoSuchObjectLockConfiguration").encode())
    return forward()


def yesterday(answer: Answer):
    """Until yesterday, whatever it was."""
    head, _, rest = answer.body.partition(b"<RetainUntilDate>")
    _, _, rest = rest.partition(b"</RetainUntilDate>")
    if head != answer.body:
        answer.body = head + b"<RetainUntilDate>2026-01-01T00:00:00Z</RetainUntilDate>" + rest


LIES = {
    "no version": changed("put", header("x-amz-version-id", None)),
    "the version of a bucket without versions": changed("put", header("x-amz-version-id", "null")),
    "an empty version": changed("put", header("x-amz-version-id", "")),
    "another checksum": changed("put", header("x-amz-checksum-sha256", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")),
    "other bytes": changed("get", replaced(b"seven", b"eight")),
    "more bytes": changed("get", lambda answer: setattr(answer, "body", answer.body + b"x" * (1 << 17))),
    "a shorter lock": changed("retention", yesterday),
    "governance mode": changed("retention", replaced(b"COMPLIANCE", b"GOVERNANCE")),
    "no lock": without_lock,
    "nothing was put": nothing_put,
    "a lock that is none": changed("retention", lambda answer: setattr(answer, "body", b"<Retention/>") if answer.status == 200 else None),
    "a lock of HTML": changed("retention", lambda answer: setattr(answer, "body", b"<html></html>") if answer.status == 200 else None),
    "a listing of another prefix": changed("versions", replaced(b"<Key>vault-1", b"<Key>vault-2")),
    "a listing with a document type": changed("versions", replaced(b"<ListVersionsResult", b"<!DOCTYPE x []><ListVersionsResult")),
    "a listing without end": changed("versions", replaced(b"<IsTruncated>false", b"<IsTruncated>true")),
    "a status that means nothing": changed("put", lambda answer: setattr(answer, "status", 202)),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_lie_is_no_anchor(store, liar, lie):
    # Something is there to be listed; and without the lie all is well.
    store.put(1, "one\n")
    liar.lie = lie
    refused = refusal(store.put, 7, "seven\n")
    assert refused.kind == "Untrue", refused


def test_without_a_lie_all_is_well(store, liar):
    stored = store.put(7, "seven\n")
    assert store.first(7) == stored | {"body": "seven\n"}
    (put,) = [request for request in liar.seen if request.what == "put"]
    signed = put.headers["authorization"]
    for name in (
        "if-none-match",
        "x-amz-checksum-sha256",
        "x-amz-content-sha256",
        "x-amz-object-lock-mode",
        "x-amz-object-lock-retain-until-date",
    ):
        assert put.headers[name] and name in signed
    assert put.headers["if-none-match"] == "*" and put.headers["x-amz-object-lock-mode"] == "COMPLIANCE"


def test_another_that_was_first(store, liar, ministack, bucket):
    """Put between our look and our put, where the service does not know If-None-Match."""

    def lie(request, forward):
        if request.what == "put":
            name = f"vault-1/{checkpoint_key(7)}"
            ministack.root().put_object(Bucket=bucket, Key=name, Body=b"another\n")
            return Answer(200, {"x-amz-version-id": "0b1c2d3e"})
        return forward()

    liar.lie = lie
    assert refusal(store.put, 7, "seven\n").kind == "Conflict"
    assert store.first(7)["body"] == "another\n"


@pytest.mark.parametrize("done", [False, True], ids=["and was not done", "and was done"])
def test_a_put_that_was_cut_off(store, liar, done):
    """Whether it was put is not known then; looking again tells."""

    def lie(request, forward):
        if request.what == "put":
            if done:
                forward()
            raise CutOff
        return forward()

    liar.lie = lie
    assert refusal(store.put, 7, "seven\n").kind == "Unreachable"
    liar.lie = lambda request, forward: forward()
    if done:
        assert refusal(store.put, 7, "seven\n").kind == "Conflict"
    else:
        assert store.first(7) is None
        store.put(7, "seven\n")
    assert store.first(7)["body"] == "seven\n" and len(store.versions(7)) == 1


@pytest.mark.parametrize("what", ["versions", "get", "retention"])
def test_an_answer_that_breaks_off_is_none(store, liar, what):
    store.put(7, "seven\n")

    def lie(request, forward):
        answer = forward()
        if request.what == what:
            raise CutOff(answer, len(answer.body) // 2)
        return answer

    liar.lie = lie
    assert refusal(store.first, 7).kind == "Unreachable"


def test_an_answer_that_takes_for_ever(store, liar):
    def lie(request, forward):
        time.sleep(45)
        return forward()

    liar.lie = lie
    started = time.monotonic()
    assert refusal(store.first, 7).kind == "Unreachable"
    assert time.monotonic() - started < 40


def test_nobody_there(ministack, bucket, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as held:
        endpoint = f"http://127.0.0.1:{held.getsockname()[1]}"
    store = ministack.store(tmp_path, bucket, "test", "test", endpoint=endpoint)
    assert refusal(store.put, 7).kind == "Unreachable"


STATUSES = [
    (500, "InternalError", "Unavailable"),
    (503, "SlowDown", "Throttled"),
    (503, "ServiceUnavailable", "Unavailable"),
    (429, "TooManyRequests", "Throttled"),
    (403, "AccessDenied", "Denied"),
    (403, "RequestTimeTooSkewed", "Denied"),
    (401, "Unauthorized", "Denied"),
    (412, "PreconditionFailed", "Conflict"),
    (409, "ConditionalRequestConflict", "Conflict"),
    (400, "AuthorizationHeaderMalformed", "Configuration"),
    (301, "PermanentRedirect", "Configuration"),
    (307, "TemporaryRedirect", "Configuration"),
    (404, "NoSuchBucket", "Configuration"),
    (400, "InvalidRequest", "Configuration"),
    (507, None, "Unavailable"),
]


@pytest.mark.parametrize("status, code, kind", STATUSES, ids=str)
def test_what_the_store_answers(store, liar, ministack, bucket, status, code, kind):
    body = ERROR.format(code).encode() if code else b"\x00\xff not XML"
    elsewhere = {"location": f"{ministack.endpoint}/{bucket}/elsewhere"}
    liar.lie = lambda request, forward: Answer(status, elsewhere, body) if request.what == "put" else forward()
    refused = refusal(store.put, 7, "seven\n")
    assert refused.kind == kind and str(status) in refused.text, refused
    assert "secret-of-the-message" not in refused.text
    # No redirect is followed: what is signed for one place goes to no other.
    assert not any("elsewhere" in request.path for request in liar.seen)
    assert len(liar.seen) == 2


def test_the_accounts_number_goes_with_each_request(ministack, liar, bucket, tmp_path):
    store = ministack.store(tmp_path, bucket, "test", "test", endpoint=liar.endpoint, bucket_owner="123456789012")
    store("check")
    store.put(7)
    assert {request.headers.get("x-amz-expected-bucket-owner") for request in liar.seen} == {"123456789012"}
    assert all("x-amz-expected-bucket-owner" in request.headers["authorization"] for request in liar.seen)


def test_a_bucket_that_says_it_is_elsewhere(store, liar):
    liar.lie = changed("versioning", header("x-amz-bucket-region", "us-west-2"))
    refused = refusal(store, "check")
    assert refused.kind == "Configuration" and "another region" in refused.text
    # Nor is it believed in between: what a region is for, where the anchors lie, is not for one look.
    liar.lie = changed("put", header("x-amz-bucket-region", "us-west-2"))
    refused = refusal(store.put, 7)
    assert refused.kind == "Configuration" and "another region" in refused.text
