---@meta codex.core.ws

--- WebSockets, in C (bindings/ws.c): a loadable module on libwebsockets, inside the host's loop. codex.ws
--- is what one uses; this is below it.
---@class codex.core.ws
local ws = {}

---@class codex.core.ws.Options
---@field message_limit? integer bytes; a longer message ends its connection with 1009 (256 MiB)
---@field client_limit? integer clients at once; one more gets HTTP 503 (0: any number)
---@field url_path? string that a client asks for ("/")
---@field ping_s? integer seconds of silence after which a client pings (300)

---@class codex.core.ws.Server
local Server = {}

--- Listens on a Unix socket of mode 0600; a stale one at the path is taken over. `handler` is called
--- from the loop, outside every task, with each client that connects, and with nothing once the
--- server has closed. A client that it does not start is sent away with 1011.
---@param path string
---@param options codex.core.ws.Options
---@param handler fun(connection?: codex.core.ws.Connection)
---@return codex.core.ws.Server? server
---@return string? name of the error: EADDRINUSE, ENAMETOOLONG, ENOENT, EACCES, ELIBACC ...
---@return string? text
function ws.listen(path, options, handler) end

--- Connects to the server on a Unix socket; what is given back is for closing. `handler` is called
--- from the loop with the connection, or with nil and why there is none ("": it could not connect),
--- and last with nothing: the end of the connection is the end of the client.
---@param path string
---@param options codex.core.ws.Options
---@param handler fun(connection?: codex.core.ws.Connection, why?: string)
---@return codex.core.ws.Server? client
---@return string? name of the error: ENAMETOOLONG, ENOENT (no path), ELIBACC ...
---@return string? text
function ws.connect(path, options, handler) end

--- Removes the socket of a server and closes every connection with 1001; those that do not answer
--- are dropped after half a second. Idempotent.
function Server:close() end

---@class codex.core.ws.Connection
local Connection = {}

--- Reads from now on. Called once, inside the handler. `on_event` is called from the loop:
--- "message" with its text; "drain" when after more than a MiB less is unsent again; last "closed"
--- with the reason and the code (1005: none was given, 1006: it broke off).
---@param on_event fun(kind: "message"|"drain"|"closed", text: string, code?: integer)
---@return true? ok
---@return string? name ECLOSED when the client is gone
---@return string? text
function Connection:start(on_event) end

--- Sends a text message; does not wait. What the client does not take is held in memory.
---@param text string
---@return true? ok
---@return string? name ECLOSED, EILSEQ (not UTF-8), EMEMORY
---@return string? text
function Connection:send(text) end

---@return integer bytes that were sent and that the system has not taken yet
function Connection:unsent() end

--- Stops reading or goes on. A message that has come in may still follow; a client that leaves
--- meanwhile is not noticed.
---@param pause boolean
function Connection:pause(pause) end

--- Sends what is unsent and closes; "closed" follows, within seconds. Idempotent.
---@param code? integer 1000 to 1003, 1007 to 1014, 3000 to 4999 (1000)
---@param reason? string 123 bytes at most
function Connection:close(code, reason) end

--- Ends it although what is unsent is not taken: that is lost, and "closed" follows soon.
function Connection:drop() end

return ws
