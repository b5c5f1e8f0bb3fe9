#!/usr/bin/env bash
# A Ceph RADOS Gateway of one machine: an S3 service that enforces Object Lock as Amazon's does. Everything is in memory or below DIR, listens on 127.0.0.1 only, and is
# gone after `stop`.
#
#   tests/ceph/rgw.sh start DIR PORT   S3 at http://127.0.0.1:PORT; PORT+1 and PORT+2 are the monitor's
#   tests/ceph/rgw.sh user  DIR NAME   makes a user whose access key and secret are both NAME
#   tests/ceph/rgw.sh stop  DIR
#
# Needs ceph-mon, ceph-osd, ceph-common and radosgw, with no service of theirs running.
set -euo pipefail

command=${1:?start, user or stop} dir=${2:?a directory}
export CEPH_CONF=$dir/ceph.conf

configure() {
  local port=$1 v2=$(($1 + 1)) v1=$(($1 + 2))
  mkdir -p "$dir"/{mon,osd,run,log}
  # cephx stays on: without it radosgw waits for ever.
  cat >"$CEPH_CONF" <<CONF
[global]
fsid = $(cat /proc/sys/kernel/random/uuid)
mon host = [v2:127.0.0.1:$v2/0,v1:127.0.0.1:$v1/0]
ms bind ipv6 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pg autoscale mode = off
mon allow pool size one = true
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 1073741824
mon data = $dir/mon
mon data avail crit = 1
osd data = $dir/osd
run dir = $dir/run
admin socket = $dir/run/\$name.asok
pid file = $dir/run/\$name.pid
log file = $dir/log/\$name.log
crash dir = $dir/log
keyring = $dir/keyring

[client.rgw.a]
rgw frontends = beast endpoint=127.0.0.1:$port
CONF
  keys mon. --create-keyring --cap mon 'allow *'
  keys client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
  keys client.rgw.a --cap mon 'allow rw' --cap osd 'allow rwx'
  keys osd.0 --cap mon 'allow profile osd' --cap osd 'allow *'
  monmaptool --create --clobber --fsid "$(awk '/^fsid/ { print $3 }' "$CEPH_CONF")" --addv a "[v2:127.0.0.1:$v2,v1:127.0.0.1:$v1]" "$dir/monmap" >/dev/null
}

keys() { ceph-authtool "$dir/keyring" --gen-key -n "$@" >/dev/null; }

start() {
  local port=$1 osd waited
  osd=$(cat /proc/sys/kernel/random/uuid)
  configure "$port"
  ceph-mon --mkfs -i a --monmap "$dir/monmap" --keyring "$dir/keyring"
  ceph-mon -i a
  timeout 60 ceph osd new "$osd" >/dev/null
  ceph-osd -i 0 --mkfs --osd-uuid "$osd" >/dev/null 2>&1
  ceph-osd -i 0 >/dev/null 2>&1
  setsid radosgw -f -n client.rgw.a >"$dir/log/rgw.out" 2>&1 </dev/null &
  echo $! >"$dir/run/rgw.pid"
  for ((waited = 0; waited < 120; waited++)); do
    if curl -s -o /dev/null "http://127.0.0.1:$port/"; then return; fi
    sleep 0.5
  done
  tail -n 20 "$dir"/log/rgw.out >&2
  echo "error: the gateway did not start" >&2
  exit 1
}

stop() {
  local file pid
  for file in "$dir"/run/{rgw,osd.0,mon.a}.pid; do
    [ -f "$file" ] || continue
    pid=$(cat "$file")
    kill "$pid" 2>/dev/null || continue
    for _ in {1..40}; do
      # A zombie has ended, and nobody but its parent can do more about it.
      case $(ps -o stat= -p "$pid") in '' | Z*) break ;; esac
      sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
  done
}

case $command in
  start) start "${3:?a port}" ;;
  user) timeout 60 radosgw-admin user create --uid="${3:?a name}" --display-name="$3" --access-key="$3" --secret-key="$3" >/dev/null ;;
  stop) stop ;;
  *) echo "usage: $0 start|user|stop DIR [PORT|NAME]" >&2; exit 2 ;;
esac
