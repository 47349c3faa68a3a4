--- Runs busted inside the host: `build/codex-lua tests/run.lua [BUSTED OPTIONS] [SPEC...]`.
---
--- Busted then is the main task, so that specs may wait. tests/support/hygiene.lua watches that a
--- test leaves nothing open.

package.path = "./?.lua;" .. package.path
require "busted.runner" { standalone = false }
