// Which route a request is for: a tree of path segments.
#pragma once

#include <map>
#include <variant>

#include "http/server.h"

namespace glovebox::http {

class Router {
 public:
  explicit Router(std::vector<Route> routes);

  struct Match {
    const Route* route = nullptr;
    std::vector<std::pair<std::string, std::string>> params;  // decoded
    // Without a route: the methods this path does have ("GET, HEAD"), or nothing where there is no
    // such path.
    std::string allow;
  };
  // A literal segment wins over a {name}, a {name} over a {rest*}. HEAD falls back to GET.
  Match find(std::string_view method, std::string_view path) const;

 private:
  struct Node {
    std::map<std::string, std::unique_ptr<Node>, std::less<>> literals;
    std::unique_ptr<Node> any;   // {name}
    std::unique_ptr<Node> rest;  // {name*}
    std::map<std::string, const Route*, std::less<>> methods;
  };
  void add(const Route& route);
  static bool walk(const Node& node, std::string_view method, std::string_view path,
                   std::vector<std::string>& taken, Match& match,
                   std::vector<std::string>& allowed);
  static bool arrive(const Node& node, std::string_view method,
                     const std::vector<std::string>& taken, Match& match,
                     std::vector<std::string>& allowed);

  std::vector<Route> routes_;
  Node root_;
};

}  // namespace glovebox::http
