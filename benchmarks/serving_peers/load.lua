-- Posts the bodies of a folder in turn and prints what came of it as one line of JSON.
-- wrk ... -s load.lua URL -- FOLDER NUMBER_OF_BODIES CONTENT_TYPE

local requests = {}
local next_one = 0

function init(args)
  local headers = { ["Content-Type"] = args[3] }
  for i = 1, tonumber(args[2]) do
    local file = assert(io.open(args[1] .. "/" .. (i - 1), "rb"))
    requests[i] = wrk.format("POST", nil, headers, file:read("*a"))
    file:close()
  end
end

function request()
  next_one = next_one % #requests + 1
  return requests[next_one]
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "p50_ms": %.4f, "p99_ms": %.4f, "failed": %d}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
