#!/usr/bin/env bash
# An S3 service to try out, in memory: what lies there is gone with its container. It has a bucket with Object Lock, its owner, and a worker who may do what docs/howto/anchors-s3.md
# says and no more.
set -euo pipefail

dir=${S3_DIR:-/tmp/ceph} port=${S3_PORT:-9000} rgw=${RGW:-rgw}
url=http://127.0.0.1:$port/anchors

# Without its hash of the body: what curl signs with one is not what the gateway expects.
s3() { curl -fsS --aws-sigv4 aws:amz:default:s3 --user owner:owner -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' -X PUT "$@"; }

"$rgw" start "$dir" "$port"
trap '"$rgw" stop "$dir"' EXIT
trap 'exit 0' TERM INT
for user in owner worker; do "$rgw" user "$dir" "$user"; done

s3 -H 'x-amz-bucket-object-lock-enabled: true' "$url"
s3 --data-binary @- "$url?object-lock=" <<'XML'
<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>
XML
s3 --data-binary @- "$url?policy=" <<'JSON'
{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/worker"]},
   "Action": ["s3:PutObject", "s3:PutObjectRetention", "s3:GetObjectVersion", "s3:GetObjectRetention"], "Resource": "arn:aws:s3:::anchors/*"},
  {"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/worker"]},
   "Action": ["s3:ListBucketVersions", "s3:GetBucketVersioning", "s3:GetBucketObjectLockConfiguration"], "Resource": "arn:aws:s3:::anchors"}
]}
JSON
touch "$dir/ready"
sleep infinity &
wait $!
