#include "tools/glob_pattern.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>

namespace glovebox::tools {

struct CharRange {
  char32_t low, high;
};

struct GlobNode {
  enum class Kind { character, any, star, set, group } kind = Kind::character;
  char32_t character = 0;
  std::vector<CharRange> ranges = {};
  bool negated = false;                                  // of a set
  char op = 0;                                           // of a group: ? * + @ !
  std::vector<std::vector<GlobNode>> alternatives = {};  // of a group
};

namespace {

using Nodes = std::vector<GlobNode>;
using Kind = GlobNode::Kind;

std::u32string code_points(std::string_view text) {
  std::u32string points;
  for (char c : valid_utf8(text)) {
    auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xc0) != 0x80) {
      points += byte < 0x80 ? byte : byte >= 0xf0 ? byte & 7 : byte >= 0xe0 ? byte & 15 : byte & 31;
    } else {
      points.back() = (points.back() << 6) | (byte & 63);
    }
  }
  return points;
}

// Everything outside ASCII counts as a letter: close enough to Unicode's own tables for file names,
// without carrying them.
constexpr CharRange kBeyond{0x80, 0x10ffff};
const std::map<std::u32string_view, std::vector<CharRange>> kClasses = {
    {U"alpha", {{'a', 'z'}, {'A', 'Z'}, kBeyond}},
    {U"alnum", {{'a', 'z'}, {'A', 'Z'}, {'0', '9'}, kBeyond}},
    {U"word", {{'a', 'z'}, {'A', 'Z'}, {'0', '9'}, {'_', '_'}, kBeyond}},
    {U"lower", {{'a', 'z'}}},
    {U"upper", {{'A', 'Z'}}},
    {U"digit", {{'0', '9'}}},
    {U"xdigit", {{'0', '9'}, {'a', 'f'}, {'A', 'F'}}},
    {U"space", {{' ', ' '}, {'\t', '\r'}}},
    {U"blank", {{' ', ' '}, {'\t', '\t'}}},
    {U"punct",
     {{'!', '#'},
      {'%', '*'},
      {',', '/'},
      {':', ';'},
      {'?', '@'},
      {'[', ']'},
      {'_', '_'},
      {'{', '{'},
      {'}', '}'}}},
    {U"cntrl", {{0, 31}, {127, 127}}},
    {U"ascii", {{0, 127}}},
    {U"graph", {{'!', '~'}, kBeyond}},
    {U"print", {{' ', '~'}, kBeyond}},
};

// The set that opens at `at`, which moves behind it; nothing when it does not close.
std::optional<GlobNode> parse_set(std::u32string_view text, std::size_t& at) {
  GlobNode node{Kind::set};
  std::size_t i = at + 1;
  if (i < text.size() && (text[i] == '!' || text[i] == '^')) {
    node.negated = true;
    ++i;
  }
  for (std::size_t first = i; i < text.size() && (text[i] != ']' || i == first);) {
    if (text.substr(i, 2) == U"[:") {
      std::size_t end = text.find(U":]", i + 2);
      auto named =
          end == text.npos ? kClasses.end() : kClasses.find(text.substr(i + 2, end - i - 2));
      if (named != kClasses.end()) {
        node.ranges.insert(node.ranges.end(), named->second.begin(), named->second.end());
        i = end + 2;
        continue;
      }
    }
    bool range = i + 2 < text.size() && text[i + 1] == '-' && text[i + 2] != ']';
    node.ranges.push_back({text[i], text[range ? i + 2 : i]});
    i += range ? 3 : 1;
  }
  if (i >= text.size()) return std::nullopt;
  at = i + 1;
  // `[x]` is how these patterns quote a character: it is the character, also where a set would not
  // match a leading dot.
  if (!node.negated && node.ranges.size() == 1 && node.ranges[0].low == node.ranges[0].high)
    return GlobNode{Kind::character, node.ranges[0].low};
  return node;
}

// Where the "(" at `open` closes, or npos.
std::size_t closing_parenthesis(std::u32string_view text, std::size_t open) {
  int depth = 0;
  for (std::size_t at = open; at < text.size(); ++at) {
    if (text[at] == '(') ++depth;
    if (text[at] == ')' && --depth == 0) return at;
  }
  return text.npos;
}

constexpr int kMaxNesting = 8;  // groups in groups; deeper ones are taken as plain text

Nodes parse(std::u32string_view text, int nesting);

GlobNode parse_group(char32_t op, std::u32string_view inside, int nesting) {
  GlobNode node{Kind::group};
  node.op = static_cast<char>(op);
  int depth = 0;
  std::size_t start = 0;
  for (std::size_t at = 0; at <= inside.size(); ++at) {
    bool end = at == inside.size();
    if (!end && inside[at] == '(') ++depth;
    if (!end && inside[at] == ')') --depth;
    if (!end && (inside[at] != '|' || depth)) continue;
    node.alternatives.push_back(parse(inside.substr(start, at - start), nesting + 1));
    start = at + 1;
  }
  return node;
}

Nodes parse(std::u32string_view text, int nesting) {
  Nodes nodes;
  for (std::size_t at = 0; at < text.size();) {
    char32_t c = text[at];
    bool group = at + 1 < text.size() && text[at + 1] == '(' && nesting < kMaxNesting &&
                 std::u32string_view(U"?*+@!").contains(c);
    std::size_t close = group ? closing_parenthesis(text, at + 1) : text.npos;
    if (close != text.npos) {
      nodes.push_back(parse_group(c, text.substr(at + 2, close - at - 2), nesting));
      at = close + 1;
      continue;
    }
    if (c == '[') {
      if (auto set = parse_set(text, at)) {
        nodes.push_back(*std::move(set));
        continue;
      }
    }
    if (c != '*' || nodes.empty() || nodes.back().kind != Kind::star)
      nodes.push_back({c == '*' ? Kind::star : c == '?' ? Kind::any : Kind::character, c});
    ++at;
  }
  return nodes;
}

// All places in the name a pattern may have reached are followed together, so nothing is ever tried
// twice.
class Match {
 public:
  static constexpr std::size_t kMaxName = 255;  // of any Linux file system, in bytes
  using Places = std::bitset<kMaxName + 1>;

  explicit Match(std::u32string_view name) : name_(name) {}

  Places after(const Nodes& nodes, Places at) {
    for (const GlobNode& node : nodes) {
      Places next;
      for (std::size_t place = 0; place <= name_.size(); ++place)
        if (at[place]) next |= after(node, place);
      at = next;
    }
    return at;
  }

 private:
  Places after(const GlobNode& node, std::size_t at) {
    Places reached;
    switch (node.kind) {
      case Kind::character:
        if (at < name_.size() && name_[at] == node.character) reached.set(at + 1);
        break;
      case Kind::any:
        if (may_take(at)) reached.set(at + 1);
        break;
      case Kind::set:
        if (may_take(at) && contains(node, name_[at])) reached.set(at + 1);
        break;
      case Kind::star: reached = anything_from(at); break;
      case Kind::group: reached = after_group(node, at); break;
    }
    return reached;
  }

  // A leading dot is only matched by a dot that stands first in the pattern.
  bool hidden(std::size_t at) const { return at == 0 && name_.starts_with('.'); }
  bool may_take(std::size_t at) const { return at < name_.size() && !hidden(at); }

  Places anything_from(std::size_t at) const {
    Places reached;
    if (hidden(at)) return reached;
    for (; at <= name_.size(); ++at) reached.set(at);
    return reached;
  }

  static bool contains(const GlobNode& set, char32_t c) {
    bool found = std::ranges::any_of(
        set.ranges, [c](CharRange range) { return range.low <= c && c <= range.high; });
    return found != set.negated;
  }

  Places after_group(const GlobNode& group, std::size_t at) {
    Places reached = once(group, at);
    if (group.op == '!') return anything_from(at) & ~reached;
    if (group.op == '*' || group.op == '+') {
      Places fresh = reached;
      while (fresh.any()) {
        Places more;
        for (std::size_t place = 0; place <= name_.size(); ++place)
          if (fresh[place]) more |= once(group, place);
        fresh = more & ~reached;
        reached |= more;
      }
    }
    if (group.op == '*' || group.op == '?') reached.set(at);
    return reached;
  }

  // One of the alternatives, once. Remembered: a group is asked from the same place by everything
  // around it.
  Places once(const GlobNode& group, std::size_t at) {
    auto& known = known_[&group];
    if (known.empty()) known.resize(name_.size() + 1);
    if (known[at]) return *known[at];
    Places from, reached;
    from.set(at);
    for (const Nodes& alternative : group.alternatives) reached |= after(alternative, from);
    known_[&group][at] = reached;
    return reached;
  }

  std::u32string_view name_;
  std::map<const GlobNode*, std::vector<std::optional<Places>>> known_;
};

}  // namespace

GlobName::GlobName(std::string_view text)
    : any_depth_(text == "**"), nodes_(parse(code_points(text), 0)) {
  for (const GlobNode& node : nodes_) literal_ = literal_ && node.kind == Kind::character;
}
GlobName::GlobName(GlobName&&) noexcept = default;
GlobName& GlobName::operator=(GlobName&&) noexcept = default;
GlobName::~GlobName() = default;

bool GlobName::matches(std::string_view name) const {
  std::u32string points = code_points(name);
  if (points.size() > Match::kMaxName) return false;
  if (literal_) return std::ranges::equal(nodes_, points, {}, &GlobNode::character);
  Match::Places start;
  start.set(0);
  return Match(points).after(nodes_, start)[points.size()];
}

}  // namespace glovebox::tools
