#!/usr/bin/env bash
# The entities of a text, of several, and of a stream, with nothing but curl: examples/curl.sh [URL]
set -euo pipefail
url="${1:-${NERSERVE_URL:-http://127.0.0.1:8000}}/api/predict"

# --fail-with-body: a 4xx or 5xx ends with status 22, and its {"error": ...} is printed all the same.
# --retry: once more on 408, 429, 500, 502, 503 and 504, after the seconds of Retry-After where the answer has them.
ask() {
  curl --silent --show-error --fail-with-body --max-time 60 --retry 4 --retry-max-time 60 "$@"
}

echo "One text, as it is:"
ask "$url" -H 'Content-Type: text/plain; charset=utf-8' --data-binary 'Barack Obama was born in Hawaii.'

echo "People alone, from JSON:"
ask "$url" -H 'Content-Type: application/json' -d '{"text": "Kofi Annan led the United Nations.", "labels": ["PER"]}'

echo "Several texts; what is no text has an error in its place:"
ask "$url" -H 'Content-Type: application/json' -d '{"texts": ["Angela Merkel flew to Paris.", "", 42]}'

# -T - sends while it reads, --no-buffer prints each answer when it comes. A stream cannot be sent twice: no retries.
echo "A stream, a line for a line:"
printf '%s\n' '{"id": "a", "text": "IBM is in Armonk."}' '{"id": "b", "text": 42}' |
  curl --silent --show-error --fail-with-body --no-buffer -X POST -T - "$url" -H 'Content-Type: application/x-ndjson'
