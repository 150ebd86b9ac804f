// What the files of SqliteStore share: the places of events, and the SQL that all lists have in
// common.
#pragma once

#include "brain/records.h"
#include "store/database.h"

namespace glovebox::brain {

constexpr int kSeqBits = 32;
constexpr std::int64_t kLastSeq = (std::int64_t{1} << kSeqBits) - 1;
constexpr std::int64_t place(std::int64_t session, std::int64_t seq) {
  return (session << kSeqBits) | seq;
}

// Conditions, as many as the query has, and what bind_list() binds for them; then come the caller's
// own, then the limit of list_order().
std::string list_conditions(std::string_view table, const ListQuery& query);
void bind_list(store::Statement& statement, const ListQuery& query);
std::string list_order(std::string_view table, const ListQuery& query);

std::string json_list(const std::vector<std::string>& texts);        // for json_each(?)
Result<std::vector<std::string>> texts_of(store::Statement& query);  // of the first column

template <class Row, class RowOf>
Result<std::vector<Listed<Row>>> rows_of(store::Statement& query, RowOf row_of) {
  std::vector<Listed<Row>> rows;
  for (;;) {
    TRY(more, query.step());
    if (!more) return rows;
    rows.push_back(row_of(query));
  }
}

}  // namespace glovebox::brain
