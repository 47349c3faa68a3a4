local base64 = require "codex.base64"

describe("base64", function()
  it("is that of RFC 4648", function()
    local cases = {
      [""] = "", f = "Zg==", fo = "Zm8=", foo = "Zm9v", foob = "Zm9vYg==", fooba = "Zm9vYmE=",
      foobar = "Zm9vYmFy", ["\0\xff\xfe\n"] = "AP/+Cg==",
    }
    for bytes, text in pairs(cases) do
      assert.equal(text, base64.encode(bytes))
      assert.equal(bytes, base64.decode(text))
    end
  end)

  it("gives every byte back, at every length", function()
    local all = {}
    for byte = 0, 255 do all[#all + 1] = string.char(byte) end
    local bytes = table.concat(all)
    for first = 1, 8 do
      local part = bytes:sub(first)
      assert.equal(part, base64.decode(base64.encode(part)))
    end
  end)

  it("says when a text is not base64", function()
    for _, text in ipairs { "Zg", "Zg=", "Z===", "Zg=a", "Zm9v\n", "Zm-v", "====", "Zg==Zg==" } do
      assert.is_nil(base64.decode(text), text)
    end
  end)
end)
