--- The one log: levels, secrets taken out, standard error unless the embedder wants it elsewhere.
---
--- CODEX_LUA_LOG (debug, info, warn, error, off) sets the level; it is `warn` otherwise.

local core = require "codex.core.log"

local M = {
  --- Sets the level and returns the one before; without an argument only returns it.
  ---@type fun(level?: "debug"|"info"|"warn"|"error"|"off"): string
  level = core.level,
  --- Never writes this text again (at least 8 bytes).
  ---@type fun(secret: string): nil, string?, string?
  secret = core.secret,
  --- Returns a text with secrets and what looks like credentials taken out.
  ---@type fun(text: string): string
  redact = core.redact,
  --- Whether what stands behind this name is a secret: apiKey, GITHUB_TOKEN, Set-Cookie; of "auth"
  --- the value decides.
  ---@type fun(name: string, value?: string): boolean
  is_secret = core.is_secret,
}

local wanted = os.getenv "CODEX_LUA_LOG"
if wanted and wanted ~= "" and not pcall(core.level, wanted) then
  local text = "CODEX_LUA_LOG: '%s' is no level (debug, info, warn, error, off)"
  core.write("warn", text:format(wanted))
end

for _, level in ipairs { "debug", "info", "warn", "error" } do
  ---@param format string as for string.format
  ---@param ... any
  M[level] = function(format, ...)
    core.write(level, select("#", ...) > 0 and format:format(...) or format)
  end
end

return M
