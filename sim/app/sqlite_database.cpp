#include "sim/app/sqlite_database.hpp"

#include <fmt/format.h>
#include <sqlite3.h>

namespace tessera::app {
namespace {

/// How long to wait for another program's write; writes take milliseconds.
constexpr int kBusyTimeoutMilliseconds = 60'000;

[[noreturn]] void fail(sqlite3* database, int code, const std::string& what) {
  throw SqliteError(code & 0xff, fmt::format("{}: {}", what,
                                             database != nullptr ? sqlite3_errmsg(database)
                                                                 : sqlite3_errstr(code)));
}

}  // namespace

SqliteDatabase::SqliteDatabase(const std::filesystem::path& file) {
  const int code =
      sqlite3_open_v2(file.c_str(), &handle_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
  if (code != SQLITE_OK) {
    const std::string why = handle_ != nullptr ? sqlite3_errmsg(handle_) : sqlite3_errstr(code);
    sqlite3_close(handle_);
    throw SqliteError(code & 0xff, fmt::format("cannot open {}: {}", file.generic_string(), why));
  }
  sqlite3_busy_timeout(handle_, kBusyTimeoutMilliseconds);
}

SqliteDatabase::~SqliteDatabase() { sqlite3_close(handle_); }

void SqliteDatabase::execute(const std::string& sql) {
  const int code = sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) fail(handle_, code, "cannot execute " + sql);
}

std::string SqliteDatabase::text(const std::string& sql) {
  SqliteStatement statement{*this, sql};
  return statement.step() ? statement.text(0) : "";
}

SqliteStatement::SqliteStatement(SqliteDatabase& database, const std::string& sql)
    : database_(database) {
  const int code = sqlite3_prepare_v2(database.handle(), sql.c_str(), -1, &statement_, nullptr);
  if (code != SQLITE_OK) fail(database.handle(), code, "cannot prepare " + sql);
}

SqliteStatement::~SqliteStatement() { sqlite3_finalize(statement_); }

SqliteStatement& SqliteStatement::bind(int index, const std::string& text) {
  sqlite3_bind_text(statement_, index + 1, text.data(), static_cast<int>(text.size()),
                    SQLITE_TRANSIENT);
  return *this;
}

SqliteStatement& SqliteStatement::bind(int index, std::int64_t number) {
  sqlite3_bind_int64(statement_, index + 1, number);
  return *this;
}

SqliteStatement& SqliteStatement::bind(int index, double number) {
  sqlite3_bind_double(statement_, index + 1, number);
  return *this;
}

bool SqliteStatement::step() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  sqlite3_reset(statement_);
  if (code != SQLITE_DONE) fail(database_.handle(), code, "cannot run a statement");
  return false;
}

void SqliteStatement::run() {
  while (step()) {
  }
}

std::string SqliteStatement::text(int column) const {
  const void* data = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return data == nullptr
             ? ""
             : std::string(static_cast<const char*>(data), static_cast<std::size_t>(size));
}

std::int64_t SqliteStatement::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}

double SqliteStatement::real(int column) const { return sqlite3_column_double(statement_, column); }

}  // namespace tessera::app
