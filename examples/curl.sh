#!/usr/bin/env bash
# The entities of a text, of several, and of a stream, with nothing but curl: examples/curl.sh [URL]
# Whatever may pass (the site is not there, 408, 429, 502, 503, 504) is tried again for GIVE_UP_S seconds, 60 unless set.
set -euo pipefail
url="${1:-${NERSERVE_URL:-http://127.0.0.1:8000}}/api/predict"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

# What came instead of an answer, in a line: ask's status, then curl's own.
what_came() {
  if [[ $2 == 1 ]]; then
    echo "$url does not speak HTTP: is it the gRPC port? Expected the site's, which nerserve up prints"
  elif [[ $2 != 0 ]]; then
    echo "$url is not reachable (curl's status $2)"
  elif grep -q '^{"error":' "$scratch/body"; then
    echo "$1 $(cat "$scratch/body")"
  elif grep -q '"type": *"[A-Za-z]*Exception"' "$scratch/body"; then
    echo "$url is a port of TorchServe: expected the site's, which nerserve up prints"
  else
    echo "$url answered $1, not in the site's form: $(sed 's/<[^>]*>//g' "$scratch/body" | tr -s ' \r\n' ' ' | cut -c 1-60)"
  fi
}

# Prints the answer, or fails and says why.
ask() {
  local status code pause_s=1 is_waiting= problem retry_after until_s=$((SECONDS + ${GIVE_UP_S:-60}))
  while true; do
    code=0
    : >"$scratch/body" >"$scratch/head"
    status="$(curl --silent --max-time 60 --output "$scratch/body" --dump-header "$scratch/head" \
      --write-out '%{http_code}' "$url" "$@")" || code=$?
    if [[ $code == 0 && $status == 200 ]] && grep -q '^{"model":' "$scratch/body"; then
      cat "$scratch/body"
      return
    fi
    problem="$(what_came "$status" "$code")"
    retry_after="$(sed -n 's/^[Rr]etry-[Aa]fter: *\([0-9]\{1,4\}\)\r*$/\1/p' "$scratch/head")"
    pause_s=$((pause_s + ${retry_after:-0}))
    if [[ $code == 1 || ! $status =~ ^(000|408|429|502|503|504)$ ]]; then
      echo "$problem" >&2
      return 1
    elif ((SECONDS + pause_s > until_s)); then
      echo "$problem; gave up after ${GIVE_UP_S:-60} s" >&2
      return 1
    elif [[ ! $is_waiting ]]; then
      echo "$problem; trying again for up to ${GIVE_UP_S:-60} s" >&2
      is_waiting=1
    fi
    sleep "$pause_s.$((RANDOM % 10))" # so that not everybody comes back at once
    pause_s=$((pause_s < 5 ? 2 * pause_s : 5))
  done
}

echo "One text, as it is:"
ask -H 'Content-Type: text/plain; charset=utf-8' --data-binary 'Barack Obama was born in Hawaii.'

echo "People alone, from JSON:"
ask -H 'Content-Type: application/json' -d '{"text": "Kofi Annan led the United Nations.", "labels": ["PER"]}'

echo "Several texts; what is no text has an error in its place:"
ask -H 'Content-Type: application/json' -d '{"texts": ["Angela Merkel flew to Paris.", "", 42]}'

# -T - sends while it reads, --no-buffer prints each answer when it comes. A stream cannot be sent twice: no retries.
echo "A stream, a line for a line:"
printf '%s\n' '{"id": "a", "text": "IBM is in Armonk."}' '{"id": "b", "text": 42}' |
  curl --silent --show-error --fail-with-body --no-buffer -X POST -T - "$url" -H 'Content-Type: application/x-ndjson'
