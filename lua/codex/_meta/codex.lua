---@meta codex
--- What `require "codex"` offers, for the language server. The facade loads each part when it is
--- first used; the parts themselves carry the long comments.

---@class codex.Instance
---@field home string the CODEX_HOME that is used
---@field exec fun(prompt: string, opts?: codex.ExecOptions): codex.Turn?, codex.Error?
---@field stream fun(prompt: string, opts?: codex.ExecOptions): codex.Stream
---@field resume fun(thread: string|codex.Turn|nil, prompt: string, opts?: codex.ExecOptions): codex.Turn?, codex.Error?
---@field fork fun(thread: string|codex.Turn, prompt?: string, opts?: codex.ExecOptions): codex.Turn?, codex.Error?
---@field review fun(opts: table): codex.Turn?, codex.Error?
---@field apply fun(task_id: string, opts?: table): codex.ProcResult?, codex.Error?
---@field sandbox fun(argv: string[], opts?: table): codex.ProcResult?, codex.Error?
---@field features fun(action?: "list"|"enable"|"disable", name?: string): table|true|nil, codex.Error?
---@field version fun(): string?, codex.Error?
---@field interactive fun(prompt?: string, opts?: table): table?, codex.Error?
---@field run fun(argv: string[]|string, opts?: table): codex.ProcResult?, codex.Error?
---@field capabilities fun(): codex.Capabilities?, codex.Error?
---@field environment fun(): table<string, string|false>?, codex.Error?
---@field paths fun(): table<string, string>
---@field updates { check: fun(opts?: codex.UpdateOptions): codex.Advisory?, codex.Error? }
---@field with fun(settings: codex.Settings): codex.Instance

---@class codex: codex.Instance
---@field spawn fun(fn: function, ...: any): codex.Task
---@field all fun(fns: (fun(): any)[]): any ...
---@field race fun(fns: (fun(): any)[]): any ...
---@field map fun(list: any[], fn: (fun(item: any, index: integer): any, any), options?: { concurrency?: integer }): any[], table<integer, any>?
---@field timeout fun(seconds: number, fn: function, ...: any): any ...
---@field sleep fun(seconds: number)
---@field limit fun(n: integer): codex.Limit
---@field signal fun(): codex.Signal
---@field await fun(start: function): any ...
---@field on fun(event: string, fn: fun(payload: string))
---@field json table
---@field log table
---@field proc table
---@field events table
---@field testing table
local codex = {}

return codex
