std = "lua54"
max_line_length = 100
files["tests"] = { std = "+busted" }
files["lua/codex/_meta"] = { unused = false, max_comment_line_length = false }
