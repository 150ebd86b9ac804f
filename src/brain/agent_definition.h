// What an agent is made of (§2 of the API): what clients send is checked and filled in, so that
// whatever is stored has every member. Only for .cc files of this folder.
#pragma once

#include <boost/json/fwd.hpp>

#include "brain/records.h"

namespace glovebox::brain {

// Of POST /v1/agents; a definition has all members of the API's agent but id, type, version, times.
Result<boost::json::object> make_definition(const boost::json::object& body);
// Of POST /v1/agents/{id}: what is absent stays. `version` is not looked at.
Result<boost::json::object> change_definition(boost::json::object current,
                                              const boost::json::object& body);
// Of a session's agent_with_overrides: what is given replaces the agent's own as a whole. Of a
// session's update: `tools` and `mcp_servers` alone.
Result<boost::json::object> override_definition(boost::json::object current,
                                                const boost::json::object& overrides);
// An error where this server could not run it, whatever it is good for elsewhere.
Result<void> check_runnable(const boost::json::object& definition);
// What a session keeps of its agent.
boost::json::object session_agent(const AgentRow& row, boost::json::object definition);

// agent_definition_tools.cc
Result<boost::json::array> normal_tools(const boost::json::value* tools);
Result<boost::json::array> normal_mcp_servers(const boost::json::value* servers);
// Each server is used by a toolset, and each toolset names a server.
Result<void> check_mcp(const boost::json::array& tools, const boost::json::array& servers);

}  // namespace glovebox::brain
