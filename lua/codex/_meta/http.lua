---@meta codex.core.http

--- The HTTP client, in C (bindings/http.c): a loadable module on libcurl, inside the host's loop.
--- codex.http is what one uses; this is below it.
---@class codex.core.http
local http = {}

---@class codex.core.http.Client
local Client = {}

--- Makes a client. Its transfers share connections, which it keeps until it is closed.
---@return codex.core.http.Client? client
---@return string? name of the error: EMEMORY
---@return string? text
function http.open() end

---@param url string
---@return string? origin scheme, host and port; nil when it is no URL of http or https
function http.origin(url) end

---@param url string
---@param location string as a response has it
---@return string? url that it leads to; nil when that is none of http or https
---@return boolean? stays whether scheme, host and port are the same
function http.resolve(url, location) end

---@class codex.core.http.Options
---@field url string
---@field method? string "GET"
---@field headers? (string|false)[] names and values in turn, 64 pairs; false takes away what libcurl sends
---@field body? string
---@field user_agent? string
---@field proxy? string "" for none; nil: as the environment says
---@field ca_file? string certificates to trust in place of the system's
---@field unix_socket? string
---@field compressed? boolean ask for compression; the body is unpacked
---@field until_head? boolean timeout_ms ends with the headers
---@field idempotent? boolean may be sent again where a kept connection proves to be dead
---@field max_bytes? integer of the unpacked body; 0, the default: no limit
---@field timeout_ms? integer 0, the default: no limit, as in the two below
---@field connect_timeout_ms? integer libcurl's own limit (300 s) where it is 0
---@field idle_ms? integer without a byte in either direction, while somebody reads

--- Starts a transfer. `handler` is called from the loop, outside every task: when the headers or
--- bytes of the body have come, and once more when it has ended.
---@param options codex.core.http.Options
---@param handler fun()
---@return codex.core.http.Transfer? transfer
---@return string? name of the error: ECLOSED, EMEMORY, EARGUMENT
---@return string? text
function Client:start(options, handler) end

--- Ends every transfer and drops every connection. Idempotent.
function Client:close() end

---@class codex.core.http.Transfer
local Transfer = {}

--- What came before the body; nothing as long as it has not come.
---@return integer? status of the final response
---@return string[]? headers names in lower case and values in turn, as they came
---@return string? url the last one, without user and password
---@return integer? retry_after seconds; 0: it was not said
function Transfer:head() end

--- Takes what is there of the body. Where nobody does, the transfer stands still at 256 KiB.
---@return string? bytes nil when there are none now
function Transfer:read() end

--- How it ended; nothing while it runs. The text holds nothing of what was sent.
---@return "done"|"dns"|"proxy"|"connect"|"connect_timeout"|"tls"|"cut"|"url"|"protocol"|"too_long"|"head"|"timeout"|"idle"|"cancelled"|"memory"|"other"|nil
---@return string? text
---@return number? seconds
function Transfer:outcome() end

--- Ends it, unless it has ended. What came can still be read. Idempotent.
function Transfer:close() end

return http
