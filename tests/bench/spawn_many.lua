--- As spawn, with 200 children at the same time.

return require("tests.bench.lib.kit").spawning("spawn_many", 200)
