--- A request, and the next one when it is answered. Much of it is the system's: two processes wake
--- each other. The client in C, which only moves the bytes, shows what is left to save.

return require("tests.bench.lib.rpc").benchmark("rpc", 1, { acp = 0.75, by_hand = 0.9 })
