-- What wrk sends: the requests of a file in turn. At the end one line of JSON for benchmarks/generator.py.
local requests, position = {}, 0

function init(arguments)
    local file = assert(io.open(arguments[1], "rb"))
    for length in function() return file:read("*l") end do
        requests[#requests + 1] = file:read(tonumber(length))
    end
    file:close()
    io.stdout:write("ready\n")
    io.stdout:flush()
end

function request()
    position = position % #requests + 1
    return requests[position]
end

function done(summary, latency)
    local failed = summary.errors
    io.stdout:write(string.format(
        '{"answered": %d, "refused": %d, "failed": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "p999_ms": %f}\n',
        summary.requests, failed.status, failed.connect + failed.read + failed.write + failed.timeout,
        summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency:percentile(99.9) / 1e3))
end
