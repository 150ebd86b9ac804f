#include "http/router.h"

#include <algorithm>
#include <cassert>

#include "http/text.h"

namespace glovebox::http {

// "/a/b" has the segments "a" and "b"; "/" has one, the empty one.
static std::pair<std::string_view, std::optional<std::string_view>> next_segment(
    std::string_view path) {
  auto slash = path.find('/');
  if (slash == path.npos) return {path, std::nullopt};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

static bool is_param(std::string_view segment) {
  return segment.starts_with('{') && segment.ends_with('}');
}

Router::Router(std::vector<Route> routes) : routes_(std::move(routes)) {
  for (const Route& route : routes_) add(route);
}

void Router::add(const Route& route) {
  assert(route.pattern.starts_with('/') && route.handler);
  Node* node = &root_;
  std::optional<std::string_view> rest = std::string_view(route.pattern).substr(1);
  while (rest) {
    auto [segment, after] = next_segment(*rest);
    std::unique_ptr<Node>* child = nullptr;
    if (!is_param(segment))
      child = &node->literals[std::string(segment)];
    else if (segment.ends_with("*}"))
      child = &node->rest;
    else
      child = &node->any;
    assert(child != &node->rest || !after);  // {rest*} stands at the end
    if (!*child) *child = std::make_unique<Node>();
    node = child->get();
    rest = after;
  }
  bool is_new = node->methods.emplace(route.method, &route).second;
  assert(is_new);  // two routes for the same thing
}

bool Router::arrive(const Node& node, std::string_view method,
                    const std::vector<std::string>& taken, Match& match,
                    std::vector<std::string>& allowed) {
  auto found = node.methods.find(method);
  if (found == node.methods.end() && method == "HEAD") found = node.methods.find("GET");
  if (found == node.methods.end()) {
    for (const auto& [name, route] : node.methods) {
      allowed.push_back(name);
      if (name == "GET") allowed.push_back("HEAD");
    }
    return false;
  }
  match.route = found->second;
  std::size_t next = 0;
  for (const auto& segment : split(match.route->pattern, '/')) {
    if (!is_param(segment)) continue;
    auto name = segment.substr(1, segment.size() - (segment.ends_with("*}") ? 3 : 2));
    match.params.emplace_back(name, taken[next++]);
  }
  return true;
}

bool Router::walk(const Node& node, std::string_view method, std::string_view path,
                  std::vector<std::string>& taken, Match& match,
                  std::vector<std::string>& allowed) {
  auto [segment, after] = next_segment(path);
  auto go_on = [&](const Node& child) {
    return after ? walk(child, method, *after, taken, match, allowed)
                 : arrive(child, method, taken, match, allowed);
  };
  auto literal = node.literals.find(segment);
  if (literal != node.literals.end() && go_on(*literal->second)) return true;
  if (node.any && !segment.empty()) {
    taken.push_back(percent_decode(segment));
    if (go_on(*node.any)) return true;
    taken.pop_back();
  }
  if (node.rest) {
    taken.push_back(percent_decode(path));
    if (arrive(*node.rest, method, taken, match, allowed)) return true;
    taken.pop_back();
  }
  return false;
}

Router::Match Router::find(std::string_view method, std::string_view path) const {
  Match match;
  if (!path.starts_with('/')) return match;
  std::vector<std::string> taken, allowed;
  if (walk(root_, method, path.substr(1), taken, match, allowed)) return match;
  std::ranges::sort(allowed);
  allowed.erase(std::unique(allowed.begin(), allowed.end()), allowed.end());
  for (const auto& name : allowed) match.allow += match.allow.empty() ? name : ", " + name;
  return match;
}

}  // namespace glovebox::http
