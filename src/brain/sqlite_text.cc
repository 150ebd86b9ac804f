#include "brain/sqlite_text.h"

namespace glovebox::brain {

std::string list_conditions(std::string_view table, const ListQuery& query) {
  std::string sql = "1";
  if (query.from) sql += str(" AND ", table, "number ", query.ascending ? '>' : '<', " ?");
  if (query.created_from) sql += str(" AND ", table, "created_at >= ?");
  if (query.created_to) sql += str(" AND ", table, "created_at <= ?");
  if (!query.include_archived) sql += str(" AND ", table, "archived_at = 0");
  return sql;
}

std::string list_order(std::string_view table, const ListQuery& query) {
  return str(" ORDER BY ", table, "number ", query.ascending ? "ASC" : "DESC", " LIMIT ?");
}

void bind_list(store::Statement& statement, const ListQuery& query) {
  if (query.from) statement.bind(query.from);
  if (query.created_from) statement.bind(*query.created_from);
  if (query.created_to) statement.bind(*query.created_to);
}

std::string json_list(const std::vector<std::string>& texts) {
  std::string out = "[";
  for (const auto& text : texts) out += str(out.size() > 1 ? ",\"" : "\"", json_escape(text), '"');
  return out += ']';
}

Result<std::vector<std::string>> texts_of(store::Statement& query) {
  std::vector<std::string> texts;
  for (;;) {
    TRY(more, query.step());
    if (!more) return texts;
    texts.push_back(query.text(0));
  }
}

}  // namespace glovebox::brain
