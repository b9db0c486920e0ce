-- wrk's script: asks the lines of a file in turn, each a path, a tab and a JSON body, from line FIRST on.
--   wrk -s rotate.lua URL -- FILE FIRST
-- Ends with one line, RESULT and a JSON object, for bench/wrk.py.

local requests, at = {}, 0

function init(args)
  at = tonumber(args[2])
  wrk.headers["Content-Type"] = "application/json"
  local authorization = os.getenv("WRK_AUTHORIZATION") or ""
  if authorization ~= "" then wrk.headers["Authorization"] = authorization end
  for line in io.lines(args[1]) do
    local path, body = line:match("^(%S+)\t(.*)$")
    requests[#requests + 1] = wrk.format("POST", path, nil, body)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "seconds": %f, "refused": %d, "broken": %d, "p50_ms": %f, "p95_ms": %f, "p99_ms": %f}\n',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3
  ))
end
