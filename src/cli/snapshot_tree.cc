#include <algorithm>
#include <boost/json.hpp>
#include <map>
#include <set>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/engine_client.h"

namespace glovebox::cli {

namespace json = boost::json;

namespace {

std::string member(const json::object& record, std::string_view name) {
  const json::value* value = record.if_contains(name);
  return value && value->is_string() ? std::string(value->as_string()) : "";
}

struct Node {
  std::string label;
  std::vector<std::string> children;  // ids, oldest first
};

class Tree {
 public:
  Tree(const json::array& snapshots, const json::array& sandboxes) {
    std::int64_t now = system_clock().unix_ms();
    std::vector<std::pair<std::string, std::string>> edges;  // parent, child
    // Both lists have the newest first.
    for (std::size_t i = snapshots.size(); i-- > 0;) {
      const json::object& record = snapshots[i].as_object();
      std::string id = member(record, "id"), name = member(record, "sandbox_name");
      const json::value* created = record.if_contains("created_at");
      std::string age = created && created->is_int64() ? human_age(now - created->as_int64()) : "";
      std::string status = member(record, "status");
      nodes_[id].label =
          printable(str(id, "  of ", name.empty() ? member(record, "sandbox_id") : name, ", ", age,
                        " ago", status == "completed" ? "" : ", " + status));
      edges.emplace_back(member(record, "parent_id"), id);
    }
    for (std::size_t i = sandboxes.size(); i-- > 0;) {
      const json::object& record = sandboxes[i].as_object();
      std::string parent = member(record, "snapshot_id"), id = member(record, "id");
      if (!nodes_.contains(parent)) continue;
      std::string name = member(record, "name");
      nodes_[id].label =
          printable(str("sandbox ", name.empty() ? id : name, "  ", member(record, "status")));
      edges.emplace_back(parent, id);
    }
    for (const auto& [parent, child] : edges) {
      auto found = nodes_.find(parent);
      (found == nodes_.end() ? roots_ : found->second.children).push_back(child);
    }
  }

  std::string draw() {
    std::string out;
    for (const std::string& root : roots_) {
      out += nodes_[root].label + "\n";
      draw_children(root, "", out);
    }
    return out;
  }

 private:
  void draw_children(const std::string& id, const std::string& indent, std::string& out) {
    if (!drawn_.insert(id).second) return;  // a server's circle is not ours
    const auto& children = nodes_[id].children;
    for (std::size_t i = 0; i < children.size(); ++i) {
      bool last = i + 1 == children.size();
      out += str(indent, last ? "└── " : "├── ", nodes_[children[i]].label, "\n");
      draw_children(children[i], indent + (last ? "    " : "│   "), out);
    }
  }

  std::map<std::string, Node> nodes_;
  std::vector<std::string> roots_;
  std::set<std::string> drawn_;
};

Result<int> run(Context& context, Args& args, Output& out) {
  TRY_DO(args.done());
  TRY(engine, EngineClient::open(context));
  TRY(answer, engine->request("GET", "/snapshots"), "list");
  TRY(sandboxes, engine->list_live(), "list");
  const json::value* list = answer.if_contains("snapshots");
  if (!list || !list->is_array() ||
      !std::ranges::all_of(list->as_array(), [](const auto& item) { return item.is_object(); }))
    return Error{Code::internal, "the engine's list has no 'snapshots'"};
  if (out.json()) {
    out.object({{"snapshots", *list}, {"sandboxes", std::move(sandboxes)}});
  } else {
    out.text(Tree(list->as_array(), sandboxes).draw());
  }
  return 0;
}

}  // namespace

const Command kSnapshotTree{
    .name = "snapshot tree",
    .usage = "snapshot tree",
    .help = "Draw which snapshot came of which, and which sandboxes descend from them.",
    .run = run};

}  // namespace glovebox::cli
