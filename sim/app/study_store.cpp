#include "sim/app/study_store.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <nlohmann/json.hpp>
#include <system_error>
#include <thread>
#include <utility>

#include "sim/core/diagnostics.hpp"

namespace tessera::app {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int kApplication = 0x54535241;  ///< "TSRA" in the file's header.
constexpr int kSchemaVersion = 2;

/// Points by key, so that their place in the file follows from what they are.
constexpr const char* kSchema = R"(
CREATE TABLE IF NOT EXISTS studies (digest TEXT PRIMARY KEY, name TEXT NOT NULL, document TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS members (study TEXT NOT NULL, number INTEGER NOT NULL, key TEXT NOT NULL, PRIMARY KEY (study, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS points (key TEXT PRIMARY KEY, settings TEXT NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL, facts TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS quantities (key TEXT NOT NULL, place INTEGER NOT NULL, name TEXT NOT NULL, value REAL NOT NULL, lower REAL NOT NULL, upper REAL NOT NULL, unit TEXT NOT NULL, grade TEXT NOT NULL, PRIMARY KEY (key, place)) WITHOUT ROWID;
CREATE VIEW IF NOT EXISTS answers AS SELECT members.study, members.number, points.settings, points.outcome, points.reason, quantities.name, quantities.value, quantities.lower, quantities.upper, quantities.unit, quantities.grade FROM members JOIN points USING (key) LEFT JOIN quantities USING (key);
)";
constexpr const char* kTables[] = {"studies", "members", "points", "quantities"};

std::string numbers() {
  return fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {};", kApplication,
                     kSchemaVersion);
}

[[noreturn]] void fail(const fs::path& file, const std::string& message) {
  throw core::ConfigError({"--store", 0, 0},
                          fmt::format("found '{}', {}", file.generic_string(), message));
}

core::Grade grade_of(const std::string& text) {
  for (const core::Grade grade :
       {core::Grade::measured, core::Grade::fitted, core::Grade::transferred, core::Grade::assumed})
    if (core::to_string(grade) == text) return grade;
  throw std::runtime_error("a store holds the unknown grade " + text);
}

/// Until the write-ahead log is on, SQLite does not wait for others that turn it on.
void begin_log(SqliteDatabase& database) {
  constexpr int kTries = 2000;
  constexpr std::chrono::milliseconds kPause{10};
  for (int i = 0;; ++i) {
    try {
      if (database.text("PRAGMA journal_mode = WAL") == "wal") return;
    } catch (const SqliteError& error) {
      if (error.code() != SQLITE_BUSY && error.code() != SQLITE_LOCKED) throw;
    }
    if (i >= kTries) throw std::runtime_error("the store stays locked by another program");
    std::this_thread::sleep_for(kPause);
  }
}

void sync(const fs::path& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0 || fsync(descriptor) != 0) {
    const int error = errno;
    if (descriptor >= 0) ::close(descriptor);
    throw std::system_error(error, std::generic_category(), "cannot write " + path.string());
  }
  ::close(descriptor);
}

}  // namespace

std::string encode(const PointRecord& record) {
  Json quantities = Json::array();
  for (const auto& [name, e] : record.quantities)
    quantities.push_back({name, e.value, e.lower, e.upper, e.unit, core::to_string(e.grade)});
  const Json json = {record.key,    record.settings, record.outcome,
                     record.reason, record.facts,    quantities};
  const std::vector<std::uint8_t> bytes = Json::to_cbor(json);
  return {bytes.begin(), bytes.end()};
}

PointRecord decode_point(const std::string& bytes) {
  const Json json = Json::from_cbor(bytes);
  PointRecord record{json.at(0), json.at(1), json.at(2), json.at(3), json.at(4), {}};
  for (const Json& row : json.at(5))
    record.quantities.emplace_back(row.at(0).get<std::string>(),
                                   core::Estimate{row.at(1), row.at(2), row.at(3), row.at(4),
                                                  grade_of(row.at(5).get<std::string>())});
  return record;
}

struct StudyStore::Statements {
  explicit Statements(SqliteDatabase& database)
      : known(database, "SELECT key FROM points WHERE outcome <> 'failed'"),
        find(database, "SELECT settings, outcome, reason, facts FROM points WHERE key = ?"),
        quantities(database,
                   "SELECT name, value, lower, upper, unit, grade FROM quantities WHERE key = ? "
                   "ORDER BY place"),
        forget(database, "DELETE FROM points WHERE key = ? AND outcome = 'failed'"),
        put(database, "INSERT OR IGNORE INTO points VALUES (?, ?, ?, ?, ?)"),
        put_quantity(database, "INSERT OR IGNORE INTO quantities VALUES (?, ?, ?, ?, ?, ?, ?, ?)") {
  }

  SqliteStatement known;
  SqliteStatement find;
  SqliteStatement quantities;
  SqliteStatement forget;
  SqliteStatement put;
  SqliteStatement put_quantity;
};

StudyStore::StudyStore(const fs::path& file) try : file_(file), lock_(file) {
  std::error_code error;
  const fs::file_status status = fs::status(file_, error);
  if (fs::exists(status) && !fs::is_regular_file(status))
    fail(file_, "which is no file; expected a store or nothing");
  database_ = std::make_unique<SqliteDatabase>(file_);
  check();
  if (!is_canonical()) begin_writing();
  statements_ = std::make_unique<Statements>(*database_);
} catch (const SqliteError& error) {
  if (error.code() == SQLITE_NOTADB || error.code() == SQLITE_CORRUPT)
    fail(file, "which is damaged or no store; expected a store or nothing");
  fail(file, fmt::format("which cannot be used: {}", error.what()));
} catch (const std::system_error& error) {
  fail(file, fmt::format("which cannot be used: {}", error.what()));
}

StudyStore::~StudyStore() = default;

void StudyStore::check() {
  // One moment's view: another sweep may be writing the schema.
  database_->execute("BEGIN");
  const bool empty = database_->text("SELECT count(*) FROM sqlite_master") == "0";
  const std::string application = database_->text("PRAGMA application_id");
  const std::string version = database_->text("PRAGMA user_version");
  database_->execute("COMMIT");
  if (empty) return;
  if (application != std::to_string(kApplication))
    fail(file_, "which is another program's database; expected a store or nothing");
  if (version != std::to_string(kSchemaVersion))
    fail(file_, fmt::format("which is a store of version {}; expected version {}", version,
                            kSchemaVersion));
  if (database_->text("PRAGMA quick_check(1)") != "ok")
    fail(file_, "which is damaged; expected a store or nothing");
}

bool StudyStore::is_canonical() {
  return database_->text("PRAGMA journal_mode") == "delete" &&
         database_->text("SELECT count(*) FROM sqlite_master") != "0";
}

void StudyStore::begin_writing() {
  if (writing_) return;
  statements_.reset();
  begin_log(*database_);
  // A killed program loses nothing; a power cut may lose the last answers, never the file.
  database_->execute("PRAGMA synchronous = NORMAL");
  database_->execute("BEGIN IMMEDIATE");
  database_->execute(kSchema);
  database_->execute(numbers());
  database_->execute("COMMIT");
  statements_ = std::make_unique<Statements>(*database_);
  writing_ = true;
}

void StudyStore::add(const StoredStudy& study) {
  {
    SqliteStatement known{*database_, "SELECT 1 FROM studies WHERE digest = ?"};
    if (known.bind(0, study.digest).step()) return;
  }
  begin_writing();
  database_->execute("BEGIN IMMEDIATE");
  SqliteStatement{*database_, "INSERT OR IGNORE INTO studies VALUES (?, ?, ?)"}
      .bind(0, study.digest)
      .bind(1, study.name)
      .bind(2, study.document)
      .run();
  SqliteStatement member{*database_, "INSERT OR IGNORE INTO members VALUES (?, ?, ?)"};
  for (std::size_t i = 0; i < study.keys.size(); ++i)
    member.bind(0, study.digest).bind(1, static_cast<std::int64_t>(i)).bind(2, study.keys[i]).run();
  database_->execute("COMMIT");
}

std::vector<StoredStudy> StudyStore::studies() {
  std::vector<StoredStudy> list;
  SqliteStatement all{*database_, "SELECT digest, name, document FROM studies ORDER BY digest"};
  while (all.step()) list.push_back({all.text(0), all.text(1), all.text(2), {}});
  SqliteStatement keys{*database_, "SELECT key FROM members WHERE study = ? ORDER BY number"};
  for (StoredStudy& study : list) {
    keys.bind(0, study.digest);
    while (keys.step()) study.keys.push_back(keys.text(0));
  }
  return list;
}

std::set<std::string> StudyStore::known() {
  std::set<std::string> keys;
  while (statements_->known.step()) keys.insert(statements_->known.text(0));
  return keys;
}

bool StudyStore::has(const std::string& key) {
  const auto record = find(key);
  return record && record->outcome != "failed";
}

std::optional<PointRecord> StudyStore::find(const std::string& key) {
  SqliteStatement& point = statements_->find.bind(0, key);
  if (!point.step()) return std::nullopt;
  PointRecord record{key, point.text(0), point.text(1), point.text(2), point.text(3), {}};
  point.run();
  SqliteStatement& row = statements_->quantities.bind(0, key);
  while (row.step())
    record.quantities.emplace_back(
        row.text(0),
        core::Estimate{row.real(1), row.real(2), row.real(3), row.text(4), grade_of(row.text(5))});
  return record;
}

void StudyStore::put(const PointRecord& record) {
  begin_writing();
  database_->execute("BEGIN IMMEDIATE");
  statements_->forget.bind(0, record.key).run();
  statements_->put.bind(0, record.key)
      .bind(1, record.settings)
      .bind(2, record.outcome)
      .bind(3, record.reason)
      .bind(4, record.facts)
      .run();
  std::int64_t place = 0;
  for (const auto& [name, e] : record.quantities)
    statements_->put_quantity.bind(0, record.key)
        .bind(1, place++)
        .bind(2, name)
        .bind(3, e.value)
        .bind(4, e.lower)
        .bind(5, e.upper)
        .bind(6, e.unit)
        .bind(7, core::to_string(e.grade))
        .run();
  database_->execute("COMMIT");
}

bool StudyStore::close() {
  if (!lock_.take_alone()) {
    statements_.reset();
    database_.reset();
    return false;
  }
  // As the last one: whoever left before has written all that it had.
  const bool canonical = is_canonical();
  statements_.reset();
  if (!canonical) rewrite();
  database_.reset();
  return true;
}

void StudyStore::rewrite() {
  const fs::path fresh = file_.string() + ".new";
  std::error_code ignored;
  fs::remove(fresh, ignored);
  fs::remove(fresh.string() + "-journal", ignored);
  {
    SqliteDatabase canonical{fresh};
    canonical.execute(
        "PRAGMA page_size = 4096; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF");
    SqliteStatement{canonical, "ATTACH ? AS old"}.bind(0, file_.string()).run();
    canonical.execute("BEGIN");
    canonical.execute(kSchema);
    canonical.execute(numbers());
    for (const char* table : kTables)  // each in the order of its key
      canonical.execute(fmt::format("INSERT INTO main.{0} SELECT * FROM old.{0}", table));
    canonical.execute("COMMIT");
    canonical.execute("DETACH old");
  }
  sync(fresh);
  database_.reset();  // the last connection takes the log away
  fs::rename(fresh, file_);
  sync(fs::absolute(file_).parent_path());
}

}  // namespace tessera::app
