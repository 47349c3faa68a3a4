---@meta codex.core.httpd

--- The HTTP server of the scripted model, in C (bindings/httpd.c): a loadable module on
--- libmicrohttpd, inside the host's loop and without a thread. codex.testing.model is what one
--- uses; this is below it.
---@class codex.core.httpd
local httpd = {}

---@class codex.core.httpd.Options
---@field host? string an IPv4 or IPv6 address to listen on (127.0.0.1)
---@field port? integer 0, the default: any free one
---@field body_limit? integer bytes; a longer request is answered with 413 (64 MiB)

---@class codex.core.httpd.Server
local Server = {}

--- Listens. `on_request` is called from the loop, outside every task, when a request has come in
--- whole. A request that nobody answers stays open until the server is closed; when the function
--- raises an error, its connection is dropped.
---@param options codex.core.httpd.Options
---@param on_request fun(request: codex.core.httpd.Request)
---@return codex.core.httpd.Server? server
---@return string? name of the error: EADDRINUSE, EACCES, EARGUMENT (no such address) ...
---@return string? text
function httpd.listen(options, on_request) end

---@return integer? port nil once the server is closed
function Server:port() end

--- Drops every connection and stops listening. Idempotent.
function Server:close() end

--- One request. It is over when it was answered to the end or its connection was lost; then
--- `method`, `path`, `headers` and `body` raise an error.
---@class codex.core.httpd.Request
local Request = {}

---@return string
function Request:method() end

---@return string path decoded, without the query
function Request:path() end

---@return table<string, string> headers names in lower case; of a repeated one the last
function Request:headers() end

---@return string
function Request:body() end

--- Begins the answer. Its body is streamed, so `content-length` is none of the headers.
---@param status integer 200 to 599
---@param headers? table<string, string>
---@return true? ok
---@return string? name ECLOSED when the request is over or was answered, EARGUMENT for a bad header
---@return string? text
function Request:respond(status, headers) end

--- Sends bytes of the body; does not wait. What the client does not take is held in memory.
---@param bytes string
---@return true? ok
---@return string? name ECLOSED when the answer was not begun or has ended
---@return string? text
function Request:write(bytes) end

--- Ends the answer as HTTP wants it.
function Request:finish() end

--- Drops the connection once everything is written: the client sees the stream break off.
function Request:abort() end

--- Whether the client is still there. Asks the socket: a client that left is noticed by this, or by
--- writing to it.
---@return boolean
function Request:is_open() end

return httpd
