# bash completion for codex-lua
_codex_lua_commands() {
  codex-lua --help 2>/dev/null | sed -n "$1"'s/^  \([a-z][a-z0-9-]*\) .*/\1/p'
}
# The parts and options that a command's help names: _codex_lua_words COMMAND [PART]
_codex_lua_words() {
  codex-lua help "$@" 2>/dev/null | sed -n '/^Commands:/,$s/^   \([a-z][a-z-]*\) .*/\1/p
    s/^   \(-[A-Za-z], *\)\{0,1\}\(--[a-z-]*\).*/\2/p'
}
_codex_lua() {
  local word=${COMP_WORDS[COMP_CWORD]} words=("${COMP_WORDS[@]:1:COMP_CWORD-1}") found=
  [ "${words[0]}" = help ] && words=("${words[@]:1}")
  if [ ${#words[@]} -eq 0 ]; then
    COMPREPLY=($(compgen -W "$(_codex_lua_commands) help --help --version -e" -- "$word")
      $(compgen -f -X '!*.lua' -- "$word"))
    return
  fi
  # A command of the user's own is not asked for help: nobody knows what it would do.
  if _codex_lua_commands '/^Your own/q;' | grep -qxF -e "${words[0]}"; then
    found=$(_codex_lua_words "${words[0]}")
    if [[ ${words[1]} == [a-z]* ]] && grep -qxF -e "${words[1]}" <<<"$found"; then
      found=$(_codex_lua_words "${words[@]:0:2}")
    fi
  fi
  COMPREPLY=($(compgen -W "$found" -- "$word") $(compgen -f -- "$word"))
}
complete -o filenames -F _codex_lua codex-lua
