--- What codex.proc costs: starting /bin/true 1000 times, one after the other, against the fewest
--- system calls that do it.

return require("tests.bench.lib.kit").spawning("spawn", 1)
