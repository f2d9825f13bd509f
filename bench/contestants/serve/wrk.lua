-- Asks for the paths in BENCH_PATHS by turns, and writes what was seen as JSON on the last line. Times in microseconds.
local requests, turn = {}, 0

function init()
  for path in os.getenv("BENCH_PATHS"):gmatch("%S+") do
    requests[#requests + 1] = wrk.format("GET", path)
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "duration": %d, "bytes": %d, "p50": %d, "p99": %d, "status": %d, "broken": %d, "late": %d}\n',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write, errors.timeout
  ))
end
