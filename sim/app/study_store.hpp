#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "sim/app/shared_file_lock.hpp"
#include "sim/app/sqlite_database.hpp"
#include "sim/app/study_questions.hpp"

namespace tessera::app {

/// What became of one point.
struct PointRecord {
  std::string key;       ///< Of everything that the answer depends on.
  std::string settings;  ///< JSON object of paths and values.
  std::string
      outcome;         ///< "done", the kind of a refusal, or "failed": ours, tried again next time.
  std::string reason;  ///< Why it is not done.
  std::string facts;   ///< JSON object of what is said of it besides numbers.
  Quantities quantities;
};
[[nodiscard]] std::string encode(const PointRecord& record);
[[nodiscard]] PointRecord decode_point(const std::string& bytes);

/// A study as a store knows it.
struct StoredStudy {
  std::string digest;             ///< Of `document` and `keys`.
  std::string name;               ///< File stem.
  std::string document;           ///< JSON of all that a report needs; see study_record.hpp.
  std::vector<std::string> keys;  ///< Of its points, in their order.
};

/// The answers of studies in one SQLite file that several programs may fill at the same time and
/// that survives being killed at any moment. While it is filled it keeps a write-ahead log beside
/// it; when the last program leaves, it is written anew in a canonical form: a file whose bytes
/// depend on its content and SQLite's version alone, not on the order in which answers came, on how
/// many worked on it, or on who was killed.
class StudyStore {
 public:
  /// Opens or creates the file and joins those who work on it. Throws core::ConfigError when it is
  /// something else or damaged, or cannot be made.
  explicit StudyStore(const std::filesystem::path& file);
  ~StudyStore();

  /// Makes the study known to the store. Writes nothing when it is.
  void add(const StoredStudy& study);
  [[nodiscard]] std::vector<StoredStudy> studies();

  /// Whether the point is known and has not failed.
  [[nodiscard]] bool has(const std::string& key);
  [[nodiscard]] std::set<std::string> known();
  /// The point as it is stored; none when unknown.
  [[nodiscard]] std::optional<PointRecord> find(const std::string& key);
  /// Stores a point, in the place of a failed one; another answer that is there already stays. It
  /// is there for all when this returns.
  void put(const PointRecord& record);

  /// Leaves the store. Writes it in canonical form when nobody else is at work. False when somebody
  /// else is and will do so. Only the destructor may follow.
  bool close();

  /// Whether another program worked on the store when this one opened it.
  [[nodiscard]] bool is_shared() const { return !lock_.was_first(); }

 private:
  struct Statements;
  void check();
  void begin_writing();
  [[nodiscard]] bool is_canonical();
  void rewrite();

  std::filesystem::path file_;
  SharedFileLock lock_;
  std::unique_ptr<SqliteDatabase> database_;
  std::unique_ptr<Statements> statements_;
  bool writing_ = false;
};

}  // namespace tessera::app
