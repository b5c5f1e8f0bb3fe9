#!/bin/sh
# Called by memory.sql: the private memory of one backend, in kB, appended as "calls RssAnon".
# RssAnon and not RSS: RSS also counts each page of shared_buffers the backend happened to touch.
awk -v calls="$2" '/^RssAnon:/ { print calls, $2 }' "/proc/$1/status" >>"$3"
