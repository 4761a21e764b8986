#include "sim/app/kernel_cache.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <utility>

#include "sim/core/sha256.hpp"

namespace tessera::app {
namespace {

/// Of the tables below and of the encoding; another version's file is begun anew.
constexpr int kSchemaVersion = 1;
/// How long to wait for another program's write; writes take milliseconds.
constexpr int kBusyTimeoutMilliseconds = 20'000;

/// The file itself is unusable, as opposed to a full disk or a missing permission.
class DamagedFile : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

[[noreturn]] void throw_sqlite(sqlite3* database, int code, const std::string& what) {
  const std::string text =
      fmt::format("{}: {}", what, database ? sqlite3_errmsg(database) : sqlite3_errstr(code));
  const int primary = code & 0xff;
  if (primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB || primary == SQLITE_ERROR ||
      primary == SQLITE_SCHEMA)
    throw DamagedFile(text);
  throw std::runtime_error(text);
}

/// Held while one program replaces the file that all of them use.
class FileLock {
 public:
  explicit FileLock(const std::filesystem::path& file)
      : descriptor_(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
    if (descriptor_ < 0 || flock(descriptor_, LOCK_EX) != 0)
      throw std::runtime_error("cannot lock " + file.string());
  }
  ~FileLock() { close(descriptor_); }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int descriptor_;
};

class Statement {
 public:
  Statement(sqlite3* database, const char* sql) : database_(database) {
    const int code = sqlite3_prepare_v2(database, sql, -1, &statement_, nullptr);
    if (code != SQLITE_OK) throw_sqlite(database, code, "cannot prepare");
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  void bind_text(int index, const std::string& text) {
    sqlite3_bind_text(statement_, index, text.data(), static_cast<int>(text.size()),
                      SQLITE_TRANSIENT);
  }
  void bind_blob(int index, const std::string& bytes) {
    sqlite3_bind_blob(statement_, index, bytes.data(), static_cast<int>(bytes.size()),
                      SQLITE_TRANSIENT);
  }
  /// Whether there is a row.
  bool step() {
    const int code = sqlite3_step(statement_);
    if (code != SQLITE_ROW && code != SQLITE_DONE) throw_sqlite(database_, code, "cannot read");
    return code == SQLITE_ROW;
  }
  void reset() { sqlite3_reset(statement_); }
  [[nodiscard]] int integer(int column) const { return sqlite3_column_int(statement_, column); }
  [[nodiscard]] std::string bytes(int column) const {
    const void* data = sqlite3_column_blob(statement_, column);
    const int size = sqlite3_column_bytes(statement_, column);
    return data ? std::string(static_cast<const char*>(data), static_cast<std::size_t>(size)) : "";
  }

 private:
  sqlite3* database_;
  sqlite3_stmt* statement_ = nullptr;
};

using Json = nlohmann::json;

}  // namespace

struct KernelCache::Database {
  explicit Database(const std::filesystem::path& file) {
    const int code =
        sqlite3_open_v2(file.c_str(), &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
    try {
      if (code != SQLITE_OK) throw_sqlite(handle, code, "cannot open " + file.string());
      sqlite3_busy_timeout(handle, kBusyTimeoutMilliseconds);
      prepare();
    } catch (...) {
      find.reset();
      store.reset();
      sqlite3_close(handle);
      throw;
    }
  }
  ~Database() {
    find.reset();
    store.reset();
    sqlite3_close(handle);
  }
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  void execute(const std::string& sql) {
    const int code = sqlite3_exec(handle, sql.c_str(), nullptr, nullptr, nullptr);
    if (code != SQLITE_OK) throw_sqlite(handle, code, "cannot execute " + sql);
  }

  void prepare() {
    execute("PRAGMA journal_mode = WAL");
    // A killed program loses nothing; a power cut may lose the last results, never the file.
    execute("PRAGMA synchronous = NORMAL");
    execute("BEGIN IMMEDIATE");
    if (version() == 0) {
      execute(
          "CREATE TABLE IF NOT EXISTS kernels (key TEXT PRIMARY KEY, result BLOB NOT NULL, "
          "digest TEXT NOT NULL) WITHOUT ROWID");
      execute(fmt::format("PRAGMA user_version = {}", kSchemaVersion));
    }
    execute("COMMIT");
    if (const int found = version(); found != kSchemaVersion)
      throw DamagedFile(
          fmt::format("it has version {}, this program writes {}", found, kSchemaVersion));
    find.emplace(handle, "SELECT result, digest FROM kernels WHERE key = ?");
    store.emplace(handle, "INSERT OR REPLACE INTO kernels VALUES (?, ?, ?)");
  }

  /// Reads every page, because a damaged one is otherwise found only when it is needed.
  void check() {
    Statement statement{handle, "PRAGMA quick_check(1)"};
    if (!statement.step() || statement.bytes(0) != "ok") throw DamagedFile("its pages are damaged");
  }

  int version() {
    Statement statement{handle, "PRAGMA user_version"};
    return statement.step() ? statement.integer(0) : 0;
  }

  sqlite3* handle = nullptr;
  std::optional<Statement> find;
  std::optional<Statement> store;
};

KernelCache::KernelCache(const std::filesystem::path& directory, Warn warn)
    : file_(directory / "kernels.sqlite"), warn_(std::move(warn)) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error)
    throw std::runtime_error(
        fmt::format("cannot make the cache directory {}: {}", directory.string(), error.message()));
  try {
    const FileLock lock{file_.string() + ".lock"};  // nobody replaces the file meanwhile
    open();
  } catch (const DamagedFile& damaged) {
    rebuild(damaged.what());
  }
}

KernelCache::~KernelCache() = default;

void KernelCache::open() { database_ = std::make_unique<Database>(file_); }

void KernelCache::rebuild(const std::string& why) {
  database_.reset();
  const FileLock lock{file_.string() + ".lock"};
  try {
    open();
    database_->check();
    return;  // another program was first
  } catch (const DamagedFile&) {
    database_.reset();
  }
  warn_(fmt::format("the kernel cache {} is begun anew: {}", file_.string(), why));
  for (const char* suffix : {"", "-wal", "-shm"}) {
    std::error_code ignored;
    std::filesystem::remove(file_.string() + suffix, ignored);
  }
  open();
}

std::optional<gpu::KernelResult> KernelCache::find(const std::string& key) {
  if (!database_) return std::nullopt;
  try {
    Statement& statement = *database_->find;
    statement.reset();
    statement.bind_text(1, key);
    if (!statement.step()) return std::nullopt;
    const std::string bytes = statement.bytes(0);
    const bool intact = statement.bytes(1) == core::sha256(bytes);
    statement.reset();
    if (intact) return decode(bytes);
    warn_("a damaged entry of the kernel cache is simulated again");
  } catch (const DamagedFile& damaged) {
    rebuild(damaged.what());
  }
  return std::nullopt;
}

void KernelCache::store(const std::string& key, const gpu::KernelResult& result) {
  if (!database_) return;
  const std::string bytes = encode(result);
  try {
    Statement& statement = *database_->store;
    statement.reset();
    statement.bind_text(1, key);
    statement.bind_blob(2, bytes);
    statement.bind_text(3, core::sha256(bytes));
    statement.step();
    statement.reset();
  } catch (const DamagedFile& damaged) {
    rebuild(damaged.what());
  } catch (const std::runtime_error& error) {  // a full disk, a directory taken away
    warn_(
        fmt::format("the kernel cache {} is not used any more: {}", file_.string(), error.what()));
    database_.reset();
  }
}

std::optional<std::filesystem::path> default_cache_directory() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && *cache)
    return std::filesystem::path(cache) / "tessera";
  if (const char* home = std::getenv("HOME"); home && *home)
    return std::filesystem::path(home) / ".cache" / "tessera";
  return std::nullopt;
}

std::string cache_key(const TimerIdentity& identity, const KernelQuery& query) {
  const gpu::ExecutionContext& c = query.context;
  // Hexadecimal floats: two shares that differ in the last bit are two contexts.
  const std::string context =
      fmt::format("{} {} {} {:a} {:a} {:a} {:a} {:a} {:a} {:a} {}", c.sms, c.warm_activations,
                  c.warm_weights, c.activation_reuse_bytes, c.weight_reuse_bytes, c.launches_before,
                  c.operand_activity, c.hbm_share, c.l2_share, c.enqueue_us, c.exact);
  std::string text;
  for (const std::string& part :
       {identity.device, identity.fits, identity.kernels, identity.model_version,
        std::string(identity.fidelity == gpu::Fidelity::cycle ? "cycle" : "analytical"),
        workload::describe(query.op), context, query.implementation})
    text += fmt::format("{}:{}\n", part.size(), part);
  return core::sha256(text);
}

std::string key_text(const device::DeviceSpec& d) {
  std::string text = fmt::format("{} {}\n", d.name, device::to_string(d.generation));
  const auto add = [&](std::initializer_list<double> values) {
    for (const double value : values) text += fmt::format("{:a} ", value);  // every bit
    text += '\n';
  };
  const auto add_types = [&](const std::map<core::DataType, double>& values) {
    for (const auto& [type, value] : values)
      text += fmt::format("{} {:a} ", core::to_string(type), value);
    text += '\n';
  };
  const auto number = [](auto quantity) { return static_cast<double>(quantity.value()); };
  const device::SmSpec& sm = d.sm;
  for (const int size : sm.gpc_sizes) text += fmt::format("{} ", size);
  add({static_cast<double>(sm.count), number(sm.registers), number(sm.shared_memory),
       number(sm.shared_memory_per_cta), number(sm.tensor_memory),
       static_cast<double>(sm.max_warps), static_cast<double>(sm.max_ctas),
       static_cast<double>(sm.fp32_lanes), static_cast<double>(sm.sfu_lanes),
       static_cast<double>(sm.conversion_lanes), sm.shared_memory_rate});
  add_types(sm.tensor_flops);
  add({number(d.clock.boost), number(d.clock.minimum), number(d.clock.quoted),
       number(d.clock.memory)});
  add({number(d.l2.size), static_cast<double>(d.l2.partitions), static_cast<double>(d.l2.slices),
       d.l2.bytes_per_cycle, number(d.l2.near_latency), number(d.l2.far_latency)});
  add({number(d.hbm.size), number(d.hbm.peak_rate), d.hbm.reachable, number(d.hbm.latency)});
  add({number(d.nvlink.rate), d.nvlink.reachable, number(d.nvlink.latency)});
  add({number(d.power.limit), number(d.power.response), number(d.power.idle),
       d.power.fp32_pj_per_flop, d.power.shared_memory_pj_per_byte, d.power.l2_pj_per_byte,
       d.power.hbm_pj_per_byte, d.power.nvlink_pj_per_byte, d.power.voltage_exponent});
  add_types(d.power.tensor_pj_per_flop);
  return text;
}

std::string encode(const gpu::KernelResult& r) {
  Json stalls = Json::array();
  for (const auto& [resource, share] : r.stalls)
    stalls.push_back({static_cast<int>(resource), share});
  const Json record = {r.cycles.value(),
                       r.clock.value(),
                       r.time.value(),
                       r.lower.value(),
                       r.upper.value(),
                       static_cast<int>(r.grade),
                       static_cast<int>(r.binding),
                       r.implementation,
                       r.flops,
                       r.hbm_bytes,
                       r.l2_bytes,
                       r.energy.value(),
                       r.power.value(),
                       r.counters,
                       stalls,
                       r.events};
  const std::vector<std::uint8_t> bytes = Json::to_cbor(record);
  return {bytes.begin(), bytes.end()};
}

gpu::KernelResult decode(std::string_view bytes) try {
  const Json record = Json::from_cbor(bytes.begin(), bytes.end());
  gpu::KernelResult r;
  r.cycles = core::Cycles<core::SmClock>{record.at(0).get<std::int64_t>()};
  r.clock = core::Hertz{record.at(1).get<double>()};
  r.time = core::Time{record.at(2).get<std::int64_t>()};
  r.lower = core::Time{record.at(3).get<std::int64_t>()};
  r.upper = core::Time{record.at(4).get<std::int64_t>()};
  r.grade = static_cast<core::Grade>(record.at(5).get<int>());
  r.binding = static_cast<gpu::Resource>(record.at(6).get<int>());
  r.implementation = record.at(7).get<std::string>();
  r.flops = record.at(8).get<double>();
  r.hbm_bytes = record.at(9).get<double>();
  r.l2_bytes = record.at(10).get<double>();
  r.energy = core::Joules{record.at(11).get<double>()};
  r.power = core::Watts{record.at(12).get<double>()};
  r.counters = record.at(13).get<std::map<std::string, double>>();
  for (const Json& stall : record.at(14))
    r.stalls[static_cast<gpu::Resource>(stall.at(0).get<int>())] = stall.at(1).get<double>();
  r.events = record.at(15).get<std::uint64_t>();
  return r;
} catch (const Json::exception& error) {
  throw std::runtime_error(fmt::format("not an encoded kernel result: {}", error.what()));
}

CachedKernelTimer::CachedKernelTimer(gpu::KernelTimer& timer, KernelCache* cache,
                                     TimerIdentity identity)
    : timer_(timer), cache_(cache), identity_(std::move(identity)) {}

const gpu::KernelResult* CachedKernelTimer::look_up(const std::string& key) {
  if (const auto found = known_.find(key); found != known_.end()) {
    ++statistics_.memory_hits;
    return &found->second;
  }
  if (!cache_) return nullptr;
  const auto stored = cache_->find(key);
  if (!stored) return nullptr;
  ++statistics_.disk_hits;
  return &known_.emplace(key, *stored).first->second;
}

void CachedKernelTimer::keep(const std::string& key, const gpu::KernelResult& result) {
  ++statistics_.simulated;
  statistics_.events += result.events;
  known_.emplace(key, result);
  if (cache_) cache_->store(key, result);
}

gpu::KernelResult CachedKernelTimer::run(const workload::Operator& op,
                                         const gpu::ExecutionContext& context,
                                         const std::string& implementation) {
  const std::lock_guard guard{mutex_};
  const std::string key = cache_key(identity_, {op, context, implementation});
  if (const gpu::KernelResult* known = look_up(key)) return *known;
  if (const auto lost = lost_.find(key); lost != lost_.end()) (void)lost->second.get();
  const auto begin = std::chrono::steady_clock::now();
  const gpu::KernelResult result = timer_.run(op, context, implementation);
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  statistics_.wall_seconds += elapsed.count();
  keep(key, result);
  return result;
}

std::optional<gpu::KernelResult> CachedKernelTimer::find(const KernelQuery& query) {
  const std::lock_guard guard{mutex_};
  const std::string key = cache_key(identity_, query);
  if (const gpu::KernelResult* known = look_up(key)) return *known;
  if (const auto lost = lost_.find(key); lost != lost_.end()) (void)lost->second.get();
  return std::nullopt;
}

void CachedKernelTimer::run_many(const std::vector<KernelQuery>& queries, int jobs,
                                 const Progress& progress) {
  const std::lock_guard guard{mutex_};
  std::vector<std::pair<std::string, const KernelQuery*>> missing;
  std::set<std::string> seen;
  for (const KernelQuery& query : queries) {
    const std::string key = cache_key(identity_, query);
    if (seen.insert(key).second && !look_up(key) && !lost_.contains(key))
      missing.emplace_back(key, &query);
  }
  if (missing.empty()) return;
  // FLOPs stand for how long a simulation takes; long ones last would leave workers idle.
  std::stable_sort(missing.begin(), missing.end(), [](const auto& a, const auto& b) {
    return workload::flops(a.second->op) > workload::flops(b.second->op);
  });
  const auto begin = std::chrono::steady_clock::now();
  std::size_t done = 0;
  core::Bytes memory{};
  const auto outcomes = work_in_processes(
      missing.size(), jobs,
      [&](std::size_t i) {
        const KernelQuery& query = *missing[i].second;
        return encode(timer_.run(query.op, query.context, query.implementation));
      },
      [&](std::size_t i, const WorkOutcome& outcome) {
        if (outcome.kind == WorkOutcome::Kind::done) keep(missing[i].first, decode(outcome.bytes));
        if (progress) progress(++done, missing.size());
      },
      &memory);
  statistics_.workers_memory = std::max(statistics_.workers_memory, memory);
  for (std::size_t i = 0; i < missing.size(); ++i) {
    if (outcomes[i].kind == WorkOutcome::Kind::done) continue;
    WorkOutcome& lost = lost_[missing[i].first] = outcomes[i];
    if (lost.kind == WorkOutcome::Kind::crashed)
      lost.reason = workload::describe(missing[i].second->op) + ": " + lost.reason;
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  statistics_.wall_seconds += elapsed.count();
}

gpu::KernelResult SurveyKernelTimer::run(const workload::Operator& op,
                                         const gpu::ExecutionContext& context,
                                         const std::string& implementation) {
  const KernelQuery query{op, context, implementation};
  if (seen_.insert(cache_key({}, query)).second) asked_.push_back(query);
  if (auto known = known_.find(query)) return *known;
  missing_.push_back(query);
  return estimates_.run(op, context, implementation);
}

std::optional<std::vector<KernelQuery>> survey_kernels(
    CachedKernelTimer& known, gpu::KernelTimer& estimates,
    const std::function<void(gpu::KernelTimer&)>& model,
    const std::function<void(const std::vector<KernelQuery>&)>& simulate) {
  // Estimates that stand in for missing kernels can lead a model to ask for others, rarely twice.
  constexpr int kMostSurveys = 3;
  for (int pass = 0; pass < kMostSurveys; ++pass) {
    SurveyKernelTimer survey{known, estimates};
    model(survey);
    if (survey.missing().empty()) return survey.asked();
    simulate(survey.missing());
  }
  return std::nullopt;
}

}  // namespace tessera::app
