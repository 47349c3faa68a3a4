--- An HTTP client: a request that is waited for, and responses that are read as they come.
---
---     local http = require "codex.http"
---     local response = assert(http.get("https://example.org/version.json"))
---     print(response.status, response:json().version)
---
---     local stream <close> = assert(http.stream { url = url, method = "POST", body = { a = 1 } })
---     for event in stream:events() do print(event.event, event.data) end
---
--- HTTP/1.1. No cookies are kept, no ~/.netrc is read, proxies are those of http_proxy, https_proxy
--- and no_proxy. An error names the scheme, host and port of a URL and nothing more: paths and
--- queries of webhooks are secrets, as headers and bodies are.

local async = require "codex.async"
local core = require "codex.core.http"
local E = require "codex.error"
local json = require "codex.json"
local options = require "codex.options"
local redirect = require "codex.wire.redirect"
local uv = require "luv"

local M = {}

local LIMIT = 16 * 1024 * 1024 -- bytes of a body
local MAX_HEADERS = 64 -- of the binding
local PASSED_OVER = 64 * 1024 -- bytes of a body that nobody wants
local TOKEN = "^[%w!#$%%&'*+.^_`|~-]+$" -- RFC 9110, 5.6.2
local user_agent = "codex-lua/" .. require("codex.core.host").version

-- ---- What is asked for --------------------------------------------------------------------------

---@class codex.HttpRetry what is idempotent is tried again when it failed or was refused for the
---  moment; other methods only when nothing was sent yet
---@field attempts? integer in all (3)
---@field on? integer[] statuses to try again for (408, 429, 500, 502, 503, 504)
---@field base? number seconds before the second attempt (0.5), doubled each time, with jitter; more
---  where the server says so (Retry-After)
---@field max? number longest wait in seconds (60); when the server wants more, its answer stands
---@field always? boolean also POST and PATCH, which may then be done twice

---@class codex.HttpOptions
---@field url? string http or https; a user and password in it are sent (Basic), and told nobody
---@field method? string "GET"; those that all know may be in lower case
---@field headers? table<string, string|number|string[]|false> false: do not send it at all
---@field body? string|table a table is sent as JSON; HEAD has none
---@field timeout? number seconds for one attempt (30); of a stream: until its headers are there
---@field connect_timeout? number seconds until there is a connection (10)
---@field idle_timeout? number seconds without a byte
---@field redirects? integer so many are followed (0), never from https to http. The method stays,
---  but 303 makes it GET (of HEAD: HEAD), and 301 and 302 make POST one. None of `headers` goes to
---  another scheme, host or port, and no body
---@field redirect_body? boolean where the method stays, the body goes there, too, with its type
---@field max_bytes? integer longest body (16 MiB; of a stream: any)
---@field compressed? boolean false: do not ask for compression
---@field proxy? string|false a URL; false: none
---@field ca_file? string certificates to trust in place of the system's ($CURL_CA_BUNDLE,
---  $SSL_CERT_FILE)
---@field unix_socket? string connect to this socket, whatever the host is
---@field retry? codex.HttpRetry

local idempotent = options.set { "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE" }
local known = options.set {
  "url", "method", "headers", "body", "timeout", "connect_timeout", "idle_timeout", "redirects",
  "redirect_body", "max_bytes", "compressed", "proxy", "ca_file", "unix_socket", "retry",
}
local known_json = options.set { "max_values" }
local known_retry = options.set { "attempts", "on", "base", "max", "always" }

local function natural(where, opts, name, least)
  local value = options.typed(where, opts, name, "number")
  if value and (math.type(value) ~= "integer" or value < least or value > 1 << 53) then
    options.raise(("%s: option '%s' must be an integer from %d on"):format(where, name, least))
  end
  return value
end

local function add_header(where, list, name, value)
  if type(value) == "number" then value = tostring(value) end
  local is_text = type(value) == "string" and not value:find "[\0\r\n]"
  if type(name) ~= "string" or not name:find(TOKEN) or not (is_text or value == false) then
    local text = "%s: option 'headers': '%s' must be a name with a text of one line"
    options.raise(text:format(where, type(name) == "string" and name or type(name)))
  end
  list[#list + 1] = name
  list[#list + 1] = value
end

--- Names and values in turn.
local function header_list(where, opts, content_type)
  local list = {}
  for name, value in pairs(options.typed(where, opts, "headers", "table") or {}) do
    local values = type(value) == "table" and value or { value }
    for _, one in ipairs(values) do add_header(where, list, name, one) end
    if type(name) == "string" and name:lower() == "content-type" then content_type = nil end
  end
  if content_type then add_header(where, list, "Content-Type", content_type) end
  if #list > 2 * MAX_HEADERS then
    options.raise(("%s: option 'headers': %d at most"):format(where, MAX_HEADERS))
  end
  return list
end

local usual = options.set { "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT" }

local function method_of(where, opts)
  local method = options.typed(where, opts, "method", "string") or "GET"
  if usual[method:upper()] then method = method:upper() end
  if method == "HEAD" and opts.body then
    options.raise(where .. ": option 'body': HEAD has none")
  end
  if not method:find(TOKEN) or method == "CONNECT" then
    options.raise(where .. ": option 'method' must be one of HTTP")
  end
  return method
end

local function default(value, otherwise) return value > 0 and value or otherwise end

local function retry_of(where, opts)
  if not opts.retry then return { attempts = 1, on = {} } end
  local retry = options.check(where .. ": retry", opts.retry, known_retry)
  local at = where .. ": retry"
  return {
    attempts = natural(at, retry, "attempts", 1) or 3,
    base = default(options.milliseconds(at, retry, "base"), 500) / 1000,
    max = default(options.milliseconds(at, retry, "max"), 60000) / 1000,
    on = options.set(options.typed(at, retry, "on", "table") or { 408, 429, 500, 502, 503, 504 }),
    always = options.typed(at, retry, "always", "boolean"),
  }
end

--- Of an empty variable, as of one that is not set, nothing is known.
local function from_environment(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

local function check_types(where, opts)
  for _, name in ipairs { "url", "ca_file", "unix_socket" } do
    options.typed(where, opts, name, "string")
  end
  options.typed(where, opts, "body", "string", "table")
  options.typed(where, opts, "compressed", "boolean")
  options.typed(where, opts, "redirect_body", "boolean")
  if opts.url == nil then options.raise(where .. ": option 'url' is needed") end
  if opts.proxy ~= false then options.typed(where, opts, "proxy", "string") end
end

--- The options as the binding knows them, and how often to try.
local function prepare(where, opts, is_stream)
  opts = options.check(where, opts or {}, known)
  check_types(where, opts)
  local is_json = type(opts.body) == "table"
  local text = is_json and json.encode(opts.body) or opts.body
  local limit, method = natural(where, opts, "max_bytes", 1), method_of(where, opts)
  local timeout_ms = default(options.milliseconds(where, opts, "timeout"), 30000)
  return {
    url = opts.url, method = method, idempotent = idempotent[method] == true, body = text,
    user_agent = user_agent,
    headers = header_list(where, opts, is_json and "application/json" or nil),
    timeout_ms = timeout_ms, whole_ms = timeout_ms,
    connect_timeout_ms = default(options.milliseconds(where, opts, "connect_timeout"), 10000),
    idle_ms = options.milliseconds(where, opts, "idle_timeout"), until_head = is_stream,
    redirects = natural(where, opts, "redirects", 0) or 0, redirect_body = opts.redirect_body,
    max_bytes = limit or not is_stream and LIMIT or 0, compressed = opts.compressed ~= false,
    proxy = opts.proxy == false and "" or opts.proxy or nil, unix_socket = opts.unix_socket,
    ca_file = opts.ca_file or from_environment "CURL_CA_BUNDLE" or from_environment "SSL_CERT_FILE",
  }, retry_of(where, opts)
end

-- ---- One attempt --------------------------------------------------------------------------------

--- Seconds that connections are kept for requests to come, counted from the last one's end.
M.keep_alive = 30

local shared -- the client of all transfers; it keeps their connections
local rest -- the timer that closes it
local running = 0

--- Closes the connections that are kept for requests to come. They keep no script from ending, and
--- are closed by themselves after `http.keep_alive` seconds without a request.
function M.close_idle()
  if not shared or running > 0 then return end
  shared:close()
  rest:close()
  shared, rest = nil, nil
end

local function forget() shared, rest, running = nil, nil, 0 end

local function open()
  local client, name, text = core.open()
  if not client then return nil, name, text end
  shared, rest = client, uv.new_timer()
  async.at_end(forget)
  return shared
end

local function enter()
  running = running + 1
  rest:stop()
end

local function leave()
  running = running - 1
  if running > 0 then return end
  rest:start(math.floor(M.keep_alive * 1000), 0, M.close_idle)
  rest:unref()
end

local kinds = {
  timeout = "timeout", connect_timeout = "timeout", idle = "idle", cancelled = "closed",
  redirects = "protocol", url = "protocol", protocol = "protocol", too_long = "protocol",
  head = "protocol",
}
local own_words = {
  connect_timeout = "there was no connection in time", cancelled = "the response was closed",
}

local function failure(what, word, text)
  local kind = kinds[word] or "io"
  local code = word == "connect_timeout" and "connect" or word
  if code == kind or code == "cancelled" then code = nil end
  return E.new(kind, ("%s: %s"):format(what, own_words[word] or text), { code = code })
end

--- Begins a transfer. What the binding keeps knows nothing of the response: one that nobody holds
--- any more is collected, and that ends the transfer.
local function start(o, changed)
  local transfer, is_over, name, text
  if not shared then
    local client
    client, name, text = open()
    if not client then return nil, name, text end
  end
  enter()
  transfer, name, text = shared:start(o, function()
    if not is_over and transfer:outcome() then
      is_over = true
      leave()
    end
    changed:notify()
  end)
  if not transfer then leave() end
  return transfer, name, text
end

---@class codex.HttpResponse
---@field status integer
---@field headers table<string, string|string[]> names in lower case; a repeated one is joined with
---  ", ", `set-cookie` is always a list
---@field url string where it came from in the end, without user and password
---@field body? string of http.request
---@field duration? number seconds, once it is there whole
---@field retry_after? number seconds, where the server asks for it
---@field error? codex.Error why reading ended early
local Response = {}
Response.__index = require("codex.base.class").methods(Response)
Response.__name = "codex.http.response"

local function joined(list)
  local headers = {}
  for i = 1, #list, 2 do
    local name, value = list[i], list[i + 1]
    local before = headers[name]
    if name == "set-cookie" then
      headers[name] = before or {}
      table.insert(headers[name], value)
    else
      headers[name] = before and before .. ", " .. value or value
    end
  end
  return headers
end

local function take_head(response)
  local status, list, url, seconds = response._transfer:head()
  if not status then return false end
  response.status, response.headers, response.url = status, joined(list), url
  if seconds > 0 then response.retry_after = seconds end
  return true
end

--- How the transfer ended: true, or nil and why; nothing while it runs.
local function outcome(response)
  local word, text, seconds = response._transfer:outcome()
  if not word then return end
  response.duration = response._spent + seconds
  if word == "done" then return true end
  response.error = response.error or failure(response._what, word, text)
  return nil, response.error
end

--- Waits for the headers. `spent`: seconds that went by on the way here.
local function ask(o, spent)
  local origin = not o.url:find("\0", 1, true) and core.origin(o.url)
  if not origin then
    return nil, E.new("protocol", "this is no URL of http or https", { code = "url" })
  end
  local what = ("%s %s"):format(o.method, origin)
  local changed = async.signal()
  local transfer, name, text = start(o, changed)
  if not transfer then return nil, E.new("io", what .. ": " .. text, { code = name }) end
  local response = setmetatable({
    _transfer = transfer, _changed = changed, _what = what, _spent = spent,
    _limit = o.max_bytes > 0 and o.max_bytes or LIMIT,
  }, Response)
  local guard <close> = setmetatable({}, { -- luacheck: ignore 211
    __close = function() if not response.status then transfer:close() end end,
  })
  while not take_head(response) do
    local _, err = outcome(response)
    if err then return nil, err end
    changed:wait()
  end
  return response
end

-- ---- A response ---------------------------------------------------------------------------------

--- The next bytes of the body, as they come. nil at its end; with an error when that came early.
--- What is not read stops the server: at most some 256 KiB are held.
---@async
---@return string? bytes
---@return codex.Error?
function Response:read()
  while true do
    local bytes = not self._is_closed and self._transfer:read()
    if bytes then return bytes end
    local ok, err = outcome(self)
    if ok or err then return nil, err end
    self._changed:wait()
  end
end

local function too_long(response)
  response.error = failure(response._what, "too_long", "it is longer than the limit")
  response:close()
  return nil, response.error
end

--- All that was not read yet, up to `max_bytes` (16 MiB).
---@async
---@return string?
---@return codex.Error?
function Response:rest()
  local pieces, total = {}, 0
  for bytes in function() return self:read() end do
    pieces[#pieces + 1] = bytes
    total = total + #bytes
    if total > self._limit then return too_long(self) end
  end
  if self.error then return nil, self.error end
  return table.concat(pieces)
end

--- Iterates over values of `parse`, which is called with pieces of the body, and with nil at its
--- end, and returns a list. Leaving the loop ends the transfer.
local function iterate(response, parse)
  local list, at, is_over = {}, 0, false
  local function following()
    while at >= #list do
      if is_over then return nil end
      local bytes = response:read()
      is_over = bytes == nil
      list, at = parse(bytes), 0
      if not list then return (too_long(response)) end
    end
    at = at + 1
    return list[at]
  end
  return following, nil, nil, response
end

--- Iterates over lines, without LF or CRLF; the last may have none. When the loop has ended,
--- `response.error` is nil or says why that was early.
---@async
---@return fun(): string?
function Response:lines()
  local lines = require("codex.core.lines").new(self._limit)
  return iterate(self, function(bytes)
    if bytes then lines:feed(bytes) else lines:finish() end
    local list = {}
    while true do
      local line, name = lines:next()
      if name then return nil end
      if not line then return list end
      list[#list + 1] = line
    end
  end)
end

--- Iterates over server-sent events. When the loop has ended, `response.error` is nil or says why
--- that was early.
---@async
---@return fun(): codex.ServerEvent?
function Response:events()
  local parser = require("codex.sse").parser(self._limit)
  return iterate(self, function(bytes) return parser:feed(bytes or "") end)
end

--- The body, read as JSON.
---@async
---@param opts? { max_values?: integer } as of json.decode: a million unless it says otherwise
---@return any value
---@return codex.Error? error of kind `protocol` (code: EJSON, EDEPTH, ETOOMANY)
function Response:json(opts)
  opts = options.check("codex.http.response:json", opts or {}, known_json)
  local most = natural("codex.http.response:json", opts, "max_values", 1)
  local body, err = self.body, nil
  if not body then body, err = self:rest() end
  if not body then return nil, err end
  local value, text, name = json.decode(body, { max_values = most })
  if value ~= nil then return value end
  return nil, E.new("protocol", ("%s: %s"):format(self._what, text), { code = name })
end

--- Ends the transfer, where it has not ended. Does not wait. Idempotent.
function Response:close()
  self._is_closed = true
  self._transfer:close()
end

Response.__close = Response.close
Response.__gc = Response.close

-- ---- Requests -----------------------------------------------------------------------------------

--- Reads what a redirect says to people, where that is short, so that the connection serves again.
local function pass_over(response)
  local size = tonumber(response.headers["content-length"])
  if size and size <= PASSED_OVER then response:rest() end
  response:close()
end

--- The same request at another place, and what is left of its time.
local function at_following(o, response, began)
  local following = redirect.following(o, response.status, response.headers.location)
  local spent = (uv.hrtime() - began) / 1e9
  if not following then
    return nil, failure(response._what, "redirects", "it redirects to where we do not go")
  end
  following.timeout_ms = math.max(o.whole_ms - math.floor(spent * 1000), 1)
  return following, nil, spent
end

--- Waits for the headers of the response that redirects, if any are followed, lead to.
local function attempt(o)
  local began, left, spent = uv.hrtime(), o.redirects, 0
  while true do
    local response, err = ask(o, spent)
    if not response or o.redirects == 0 then return response, err end
    if not redirect.leads_on(response.status, response.headers.location) then return response end
    pass_over(response)
    if left == 0 then
      return nil, failure(response._what, "redirects", "there are more redirects than the limit")
    end
    left = left - 1
    o, err, spent = at_following(o, response, began)
    if not o then return nil, err end
  end
end

local unsent = { dns = true, connect = true }

local function may_repeat(o, retry, response, err)
  if err and unsent[err.code] then return true end
  if not (o.idempotent or retry.always) then return false end
  if response then return retry.on[response.status] end
  return err.code == "cut" or err.kind == "timeout" or err.kind == "idle"
end

--- Seconds until attempt n + 1, or nil when there is none.
local function pause_after(n, o, retry, response, err)
  if n >= retry.attempts or not may_repeat(o, retry, response, err) then return nil end
  local seconds = math.min(retry.base * 2 ^ (n - 1), retry.max) * (0.5 + math.random() / 2)
  local wanted = response and response.retry_after or 0
  if wanted > retry.max then return nil end
  return math.max(seconds, wanted)
end

local function perform(o, retry, once)
  local n = 0
  while true do
    n = n + 1
    local response, err = once(o)
    local seconds = pause_after(n, o, retry, response, err)
    if not seconds then return response, err end
    if response then response:close() end
    async.sleep(seconds)
  end
end

local function whole(o)
  local response <close>, err = attempt(o)
  if not response then return nil, err end
  response.body, err = response:rest()
  if err then return nil, err end
  return response
end

--- Sends a request and waits for the whole response. A status from 400 on is a response, too.
---@async
---@param opts codex.HttpOptions
---@return codex.HttpResponse?
---@return codex.Error? kinds `io` (code: dns, connect, tls, proxy, cut ...), `timeout`, `idle`,
---  `protocol` (code: url, redirects, too_long, head ...)
function M.request(opts)
  local o, retry = prepare("codex.http.request", opts, false)
  return perform(o, retry, whole)
end

--- Sends a request and waits for the headers of the response. The rest is read by `read`, `lines`
--- or `events`; closing it, or leaving a loop over these, ends the transfer.
---@async
---@param opts codex.HttpOptions
---@return codex.HttpResponse?
---@return codex.Error?
function M.stream(opts)
  local o, retry = prepare("codex.http.stream", opts, true)
  return perform(o, retry, attempt)
end

local function with(where, opts, more)
  local all = {}
  for name, value in pairs(options.check(where, opts, known)) do all[name] = value end
  for name, value in pairs(more) do all[name] = value end
  return all
end

---@async
---@param url string
---@param opts? codex.HttpOptions
---@return codex.HttpResponse?
---@return codex.Error?
function M.get(url, opts)
  local o, retry = prepare("codex.http.get", with("codex.http.get", opts, { url = url }), false)
  return perform(o, retry, whole)
end

---@async
---@param url string
---@param body? string|table a table is sent as JSON
---@param opts? codex.HttpOptions
---@return codex.HttpResponse?
---@return codex.Error?
function M.post(url, body, opts)
  local where, more = "codex.http.post", { url = url, body = body, method = "POST" }
  local o, retry = prepare(where, with(where, opts, more), false)
  return perform(o, retry, whole)
end

return M
