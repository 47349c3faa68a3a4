local files = require "codex.files"
local peers = require "tests.support.peers"
local uv = require "luv"

local dir = peers.root .. "/build/files-spec"

local function names()
  local list, request = {}, assert(uv.fs_scandir(dir))
  for name in function() return uv.fs_scandir_next(request) end do list[#list + 1] = name end
  table.sort(list)
  return list
end

describe("a file", function()
  before_each(function()
    os.execute("rm -rf " .. peers.quote(dir))
    assert(files.make_dir(dir .. "/a/b"))
  end)

  it("is written whole, for the user alone, with nothing left beside it", function()
    assert(files.write(dir .. "/x", "one"))
    assert(files.write(dir .. "/x", ("two"):rep(100000)))
    assert.equal(("two"):rep(100000), files.read(dir .. "/x"))
    assert.equal(tonumber("600", 8), uv.fs_stat(dir .. "/x").mode & tonumber("777", 8))
    assert.same({ "a", "x" }, names())
  end)

  it("that cannot be written is an error that names it, and leaves nothing", function()
    local ok, err = files.write(dir .. "/a", "x") -- a folder is in the way
    assert.is_nil(ok)
    assert.equal("io", err.kind)
    assert.truthy(err.message:find(dir .. "/a", 1, true))
    assert.same({ "a" }, names())
    ok, err = files.read(dir .. "/nothing")
    assert.is_nil(ok)
    assert.equal("ENOENT", err.code)
  end)

  it("is private and short-lived where it is temporary", function()
    local path
    do
      local temporary <close> = assert(files.temporary("secret", dir .. "/t"))
      path = temporary.path
      assert.equal("secret", files.read(path))
      assert.equal(tonumber("600", 8), uv.fs_stat(path).mode & tonumber("777", 8))
    end
    assert.is_nil(uv.fs_stat(path))
  end)
end)

describe("a folder", function()
  it("is made with those above it, for the user alone; one that is there is fine", function()
    os.execute("rm -rf " .. peers.quote(dir))
    assert(files.make_dir(dir .. "/x/y/z"))
    assert(files.make_dir(dir .. "/x/y/z"))
    assert.equal("ENOENT", select(2, files.make_dir "/proc/no/such").code)
    assert.equal(tonumber("700", 8), uv.fs_stat(dir .. "/x").mode & tonumber("777", 8))
    assert(files.write(dir .. "/x/file", ""))
    local ok, err = files.make_dir(dir .. "/x/file/below")
    assert.is_nil(ok)
    assert.equal("io", err.kind)
  end)
end)
