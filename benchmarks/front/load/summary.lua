-- What wrk counted, on one line: requests, microseconds, and every kind of failure together.
function done(summary, latency, requests)
  local failed = summary.errors.connect + summary.errors.read + summary.errors.write
    + summary.errors.status + summary.errors.timeout
  io.write(string.format("counted %d %d %d\n", summary.requests, summary.duration, failed))
end
