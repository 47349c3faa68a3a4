--- Requests with 64 of them under way: what a client itself costs.

return require("tests.bench.lib.rpc").benchmark("rpc_many", 64, { acp = 0.4, by_hand = 0.75 })
