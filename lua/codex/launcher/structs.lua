--- Where in its messages Codex expects an object.
---
--- Codex's reader takes an array for an object as well: its elements for the members, in the order
--- in which Codex declares them. Nobody else can read such a message, so none is passed on. The
--- places are those of the schemas that real Codex writes (0.101.0, 0.153.4, 0.169.0); in a path
--- `[]` stands for every element of a list, `*` for every member of a map. Free JSON has no places.
--- tests/structs_spec.lua writes these two tables anew.

local M = {}

--- In the params of a client's request, by method.
M.params = {
  ["command/exec"] = [=[sandboxPolicy sandboxPolicy.access sandboxPolicy.readOnlyAccess size]=],
  ["command/exec/resize"] = [=[size]=],
  ["config/batchWrite"] = [=[edits[]]=],
  ["environment/add"] = [=[skills]=],
  ["execOneOffCommand"] = [=[sandboxPolicy sandboxPolicy.access sandboxPolicy.read_only_access]=],
  ["externalAgentConfig/import"] = [=[migrationItems[] migrationItems[].details
    migrationItems[].details.commands[] migrationItems[].details.hooks[]
    migrationItems[].details.mcpServers[] migrationItems[].details.plugins[]
    migrationItems[].details.sessions[] migrationItems[].details.skills[]
    migrationItems[].details.subagents[]]=],
  ["externalAgentConfig/import/recordHistory"] = [=[itemTypeResults[]
    itemTypeResults[].failures[] itemTypeResults[].successes[]]=],
  ["forkConversation"] = [=[overrides]=],
  ["initialize"] = [=[capabilities clientInfo]=],
  ["mcpServer/resource/read"] = [=[target]=],
  ["modelProvider/config/write"] = [=[settings]=],
  ["plugin/share/save"] = [=[shareTargets[]]=],
  ["plugin/share/updateTargets"] = [=[shareTargets[]]=],
  ["process/resizePty"] = [=[size]=],
  ["process/spawn"] = [=[size]=],
  ["project/create"] = [=[roots[]]=],
  ["project/import"] = [=[roots[]]=],
  ["project/update"] = [=[roots[]]=],
  ["resumeConversation"] = [=[history[] history[].action history[].content[]
    history[].ghost_commit history[].output history[].output.body[] history[].summary[]
    overrides]=],
  ["review/start"] = [=[target]=],
  ["sendUserMessage"] = [=[items[] items[].data items[].data.text_elements[]
    items[].data.text_elements[].byteRange]=],
  ["sendUserTurn"] = [=[items[] items[].data items[].data.text_elements[]
    items[].data.text_elements[].byteRange sandboxPolicy sandboxPolicy.access
    sandboxPolicy.read_only_access]=],
  ["skills/list"] = [=[perCwdExtraUserRoots[]]=],
  ["thread/fork"] = [=[approvalPolicy approvalPolicy.granular]=],
  ["thread/items/list"] = [=[cursor deferOutput]=],
  ["thread/metadata/update"] = [=[gitInfo]=],
  ["thread/queue/add"] = [=[input[] input[].text_elements[] input[].text_elements[].byteRange]=],
  ["thread/queue/update"] = [=[input[] input[].text_elements[] input[].text_elements[].byteRange]=],
  ["thread/readState/update"] = [=[operation]=],
  ["thread/realtime/appendAudio"] = [=[audio]=],
  ["thread/realtime/start"] = [=[initialItems[] transport]=],
  ["thread/resume"] = [=[approvalPolicy approvalPolicy.granular history[] history[].action
    history[].content[] history[].ghost_commit
    history[].internal_chat_message_metadata_passthrough history[].output.body[]
    history[].output[] history[].reasoning history[].summary[] initialTurnsPage]=],
  ["thread/settings/update"] = [=[approvalPolicy approvalPolicy.granular collaborationMode
    collaborationMode.settings environments[] multiAgentMode sandboxPolicy]=],
  ["thread/start"] = [=[approvalPolicy approvalPolicy.granular dynamicTools[]
    dynamicTools[].tools[] environments[] multiAgentMode selectedCapabilityRoots[]
    selectedCapabilityRoots[].location]=],
  ["threadSection/create"] = [=[appearance]=],
  ["threadSection/update"] = [=[appearance]=],
  ["turn/settings/update"] = [=[environments[]]=],
  ["turn/start"] = [=[additionalContext.* approvalPolicy approvalPolicy.granular
    collaborationMode collaborationMode.settings environments[] input[] input[].text_elements[]
    input[].text_elements[].byteRange multiAgentMode sandboxPolicy sandboxPolicy.access
    sandboxPolicy.readOnlyAccess toolOutput toolOutput.output[]]=],
  ["turn/steer"] = [=[additionalContext.* input[] input[].text_elements[]
    input[].text_elements[].byteRange]=],
}

--- In a client's answer to the server's request, by method.
M.results = {
  ["applyPatchApproval"] = [=[decision decision.approved_execpolicy_amendment decision.denied
    decision.network_policy_amendment decision.network_policy_amendment.network_policy_amendment]=],
  ["execCommandApproval"] = [=[decision decision.approved_execpolicy_amendment decision.denied
    decision.network_policy_amendment decision.network_policy_amendment.network_policy_amendment]=],
  ["item/commandExecution/requestApproval"] = [=[decision decision.acceptWithExecpolicyAmendment
    decision.applyNetworkPolicyAmendment
    decision.applyNetworkPolicyAmendment.network_policy_amendment]=],
  ["item/permissions/requestApproval"] = [=[permissions permissions.fileSystem
    permissions.fileSystem.entries[] permissions.fileSystem.entries[].path
    permissions.fileSystem.entries[].path.value permissions.network]=],
  ["item/tool/call"] = [=[contentItems[]]=],
  ["item/tool/requestUserInput"] = [=[answers.*]=],
}

return M
