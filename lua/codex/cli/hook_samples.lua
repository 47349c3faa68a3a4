--- What Codex 0.169.0 wrote to hooks on standard input, one of each event (a spec holds them
--- against the captures in tests/fixtures): samples for `codex-lua hook test`.

return {
  interrupt = [[{
    "session_id": "01a1fbb6-3fd2-7ba1-9bcf-e493908cbe8f",
    "turn_id": "01a1fbb6-4a8d-7163-9e34-9ed9ce6e6594",
    "transcript_path": null,
    "cwd": "/home/dev/project",
    "hook_event_name": "Interrupt",
    "model": "gpt-5.5",
    "permission_mode": "default"
  }]],
  permission_request = [[{
    "session_id": "01a1fbb6-3fd2-7ba1-9bcf-e493908cbe8f",
    "turn_id": "01a1fbb6-4117-7892-98b2-dca04be58330",
    "transcript_path": null,
    "cwd": "/home/dev/project",
    "hook_event_name": "PermissionRequest",
    "model": "gpt-5.5",
    "permission_mode": "default",
    "tool_name": "Bash",
    "tool_input": {"command": "echo esc", "description": "why not"}
  }]],
  post_compact = [[{
    "session_id": "01a1fbb6-3fd2-7ba1-9bcf-e493908cbe8f",
    "turn_id": "01a1fbb6-42b6-7092-83f3-eb41c18e78b8",
    "transcript_path": null,
    "cwd": "/home/dev/project",
    "hook_event_name": "PostCompact",
    "model": "gpt-5.5",
    "trigger": "manual"
  }]],
  post_model_request = [[{
    "session_id": "01a1fbb6-3fd2-7ba1-9bcf-e493908cbe8f",
    "turn_id": "01a1fbb6-4001-7893-9436-c1bf3b79da9a",
    "cwd": "/home/dev/project",
    "transcript_path": null,
    "model": "gpt-5.5",
    "hook_event_name": "PostModelRequest",
    "status": "completed",
    "error": null,
    "token_usage": {
      "input_tokens": 0,
      "cached_input_tokens": 0,
      "cache_write_input_tokens": 0,
      "output_tokens": 0,
      "reasoning_output_tokens": 0,
      "total_tokens": 0
    }
  }]],
  post_tool_use = [[{
    "session_id": "01a1fbb6-3fd2-7ba1-9bcf-e493908cbe8f",
    "turn_id": "01a1fbb6-4001-7893-9436-c1bf3b79da9a",
    "transcript_path": null,
    "cwd": "/home/dev/project",
    "hook_event_name": "PostToolUse",
    "model": "gpt-5.5",
    "permission_mode": "default",
    "tool_name": "Bash",
    "tool_input": {"command": "echo hi"},
    "tool_response": "hi\n",
    "tool_use_id": "call_1_2"
  }]],
  pre_compact = [[{
    "session_id": "01a1fbb6-3fd2-7ba1-9bcf-e493908cbe8f",
    "turn_id": "01a1fbb6-42b6-7092-83f3-eb41c18e78b8",
    "transcript_path": null,
    "cwd": "/home/dev/project",
    "hook_event_name": "PreCompact",
    "model": "gpt-5.5",
    "trigger": "manual"
  }]],
  pre_model_request = [[{
    "session_id": "01a1fbb6-3fd2-7ba1-9bcf-e493908cbe8f",
    "turn_id": "01a1fbb6-4001-7893-9436-c1bf3b79da9a",
    "cwd": "/home/dev/project",
    "transcript_path": null,
    "model": "gpt-5.5",
    "hook_event_name": "PreModelRequest"
  }]],
  pre_tool_use = [[{
    "session_id": "01a1fbb6-3fd2-7ba1-9bcf-e493908cbe8f",
    "turn_id": "01a1fbb6-4001-7893-9436-c1bf3b79da9a",
    "transcript_path": null,
    "cwd": "/home/dev/project",
    "hook_event_name": "PreToolUse",
    "model": "gpt-5.5",
    "permission_mode": "default",
    "tool_name": "Bash",
    "tool_input": {"command": "echo hi"},
    "tool_use_id": "call_1_2"
  }]],
  session_end = [[{
    "session_id": "01a1fbb6-3fd2-7ba1-9bcf-e493908cbe8f",
    "transcript_path": null,
    "cwd": "/home/dev/project",
    "hook_event_name": "SessionEnd",
    "reason": "other"
  }]],
  session_start = [[{
    "session_id": "01a1fbb6-3fd2-7ba1-9bcf-e493908cbe8f",
    "transcript_path": null,
    "cwd": "/home/dev/project",
    "hook_event_name": "SessionStart",
    "model": "gpt-5.5",
    "permission_mode": "default",
    "source": "startup"
  }]],
  stop = [[{
    "session_id": "01a1fbb6-3fd2-7ba1-9bcf-e493908cbe8f",
    "turn_id": "01a1fbb6-4001-7893-9436-c1bf3b79da9a",
    "transcript_path": null,
    "cwd": "/home/dev/project",
    "hook_event_name": "Stop",
    "model": "gpt-5.5",
    "permission_mode": "default",
    "stop_hook_active": false,
    "last_assistant_message": "cmd done"
  }]],
  subagent_start = [[{
    "session_id": "01a1fbb6-3fd2-7ba1-9bcf-e493908cbe8f",
    "turn_id": "01a1fbb6-4238-7421-84e4-55451718712f",
    "transcript_path": null,
    "cwd": "/home/dev/project",
    "hook_event_name": "SubagentStart",
    "model": "gpt-5.5",
    "permission_mode": "default",
    "agent_id": "01a1fbb6-4231-72c3-883f-ce1659f92e29",
    "agent_type": "default"
  }]],
  subagent_stop = [[{
    "session_id": "01a1fbb6-3fd2-7ba1-9bcf-e493908cbe8f",
    "turn_id": "01a1fbb6-4238-7421-84e4-55451718712f",
    "transcript_path": null,
    "agent_transcript_path": null,
    "cwd": "/home/dev/project",
    "hook_event_name": "SubagentStop",
    "model": "gpt-5.5",
    "permission_mode": "default",
    "stop_hook_active": false,
    "agent_id": "01a1fbb6-4231-72c3-883f-ce1659f92e29",
    "agent_type": "default",
    "last_assistant_message": "hello"
  }]],
  user_prompt_submit = [[{
    "session_id": "01a1fbb6-3fd2-7ba1-9bcf-e493908cbe8f",
    "turn_id": "01a1fbb6-4001-7893-9436-c1bf3b79da9a",
    "transcript_path": null,
    "cwd": "/home/dev/project",
    "hook_event_name": "UserPromptSubmit",
    "model": "gpt-5.5",
    "permission_mode": "default",
    "prompt": "cmd"
  }]],
}
