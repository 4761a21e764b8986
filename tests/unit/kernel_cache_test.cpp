#include "sim/app/kernel_cache.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "sim/core/diagnostics.hpp"

using namespace tessera;
using app::CachedKernelTimer;
using app::KernelCache;
using app::KernelQuery;
using app::TimerIdentity;

namespace {

/// A directory that goes away with the test.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tessera_XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

gpu::KernelResult sample(double seed) {
  gpu::KernelResult r;
  r.cycles = core::Cycles<core::SmClock>{123'456'789'012};
  r.clock = core::Hertz{1.755e9 / 3 + seed};
  r.time = core::Time{987'654'321};
  r.lower = core::Time{900'000'000};
  r.upper = core::Time{1'100'000'000};
  r.grade = core::Grade::transferred;
  r.binding = gpu::Resource::hbm;
  r.implementation = "deepgemm";
  r.flops = 0.1 + 0.2;
  r.hbm_bytes = 1e300;
  r.l2_bytes = 5e-324;
  r.energy = core::Joules{1.0 / 3};
  r.power = core::Watts{700};
  r.counters = {{"dram__bytes_read.sum", 1.0 / 7}, {"sm__cycles_elapsed.max", 42}};
  r.stalls = {{gpu::Resource::tensor, 0.25}, {gpu::Resource::l2, 1.0 / 9}};
  r.events = 77;
  return r;
}

bool equal(const gpu::KernelResult& a, const gpu::KernelResult& b) {
  return app::encode(a) == app::encode(b);
}

/// Counts what it is asked; m = 13 refuses, m = 666 kills the process.
class FakeTimer : public gpu::KernelTimer {
 public:
  gpu::KernelResult run(const workload::Operator& op, const gpu::ExecutionContext&,
                        const std::string&) override {
    ++calls;
    const auto& gemm = std::get<workload::Gemm>(op);
    if (gemm.m == 13) throw core::Refusal(core::RefusalKind::outside_model, "13 rows");
    if (gemm.m == 666) kill(getpid(), SIGKILL);
    return sample(static_cast<double>(gemm.m));
  }
  int calls = 0;
};

KernelQuery query(std::int64_t m) {
  return {workload::Gemm{.m = m, .n = 64, .k = 64}, gpu::ExecutionContext{}, ""};
}

TimerIdentity identity() { return {"device", "fits", "kernels", gpu::Fidelity::cycle, "1"}; }

struct Warnings {
  std::vector<std::string> texts;
  KernelCache::Warn collect() {
    return [this](const std::string& text) { texts.push_back(text); };
  }
};

}  // namespace

TEST_CASE("a kernel result survives encoding bit by bit", "[kernel_cache]") {
  const gpu::KernelResult before = sample(0);
  const gpu::KernelResult after = app::decode(app::encode(before));
  CHECK(after.cycles == before.cycles);
  CHECK(after.clock == before.clock);
  CHECK(after.flops == before.flops);
  CHECK(after.hbm_bytes == before.hbm_bytes);
  CHECK(after.l2_bytes == before.l2_bytes);
  CHECK(after.energy == before.energy);
  CHECK(after.counters == before.counters);
  CHECK(after.stalls == before.stalls);
  CHECK(after.grade == before.grade);
  CHECK(after.binding == before.binding);
  CHECK(equal(after, before));
  CHECK_THROWS_AS(app::decode("no such thing"), std::runtime_error);
  CHECK_THROWS_AS(app::decode(""), std::runtime_error);
}

TEST_CASE("the key changes with everything that the answer depends on", "[kernel_cache]") {
  const std::string base = app::cache_key(identity(), query(1));
  CHECK(base == app::cache_key(identity(), query(1)));
  CHECK(base.size() == 64);
  std::vector<std::pair<TimerIdentity, KernelQuery>> others(13, {identity(), query(1)});
  others[0].second = query(2);
  others[1].second.implementation = "x";
  others[2].second.context.sms = 112;
  others[3].second.context.hbm_share = std::nextafter(1.0, 0.0);
  others[4].second.context.l2_share = 0.5;
  others[5].second.context.warm_weights = true;
  others[6].second.context.launches_before = 3;
  others[7].second.context.exact = true;
  others[8].first.fidelity = gpu::Fidelity::analytical;
  others[9].first.model_version = "2";
  others[10].first.fits = "other";
  others[11].first.device = "devicefits";  // parts do not run into each other
  others[11].first.fits = "";
  others[12].first.kernels = "other";
  for (const auto& [other_identity, other_query] : others)
    CHECK(app::cache_key(other_identity, other_query) != base);
}

TEST_CASE("what one run simulated the next one reads", "[kernel_cache]") {
  const TemporaryDirectory directory;
  Warnings warnings;
  FakeTimer fake;
  gpu::KernelResult cold;
  {
    KernelCache cache{directory.path() / "a" / "b", warnings.collect()};
    CachedKernelTimer timer{fake, &cache, identity()};
    cold = timer.run(query(5).op, {});
    CHECK(equal(timer.run(query(5).op, {}), cold));
    CHECK(timer.statistics().memory_hits == 1);
    CHECK(timer.statistics().simulated == 1);
  }
  KernelCache cache{directory.path() / "a" / "b", warnings.collect()};
  CachedKernelTimer timer{fake, &cache, identity()};
  CHECK(equal(timer.run(query(5).op, {}), cold));
  CHECK(timer.statistics().disk_hits == 1);
  CHECK(timer.statistics().simulated == 0);
  CHECK(fake.calls == 1);
  CHECK(warnings.texts.empty());
}

TEST_CASE("many kernels on workers: each once, the bad ones alone", "[kernel_cache]") {
  const TemporaryDirectory directory;
  Warnings warnings;
  KernelCache cache{directory.path(), warnings.collect()};
  FakeTimer fake;
  CachedKernelTimer timer{fake, &cache, identity()};
  std::vector<KernelQuery> queries;
  for (const std::int64_t m : {1, 13, 2, 666, 3, 1}) queries.push_back(query(m));
  std::size_t last_done = 0;
  timer.run_many(queries, 2, [&](std::size_t done, std::size_t all) {
    last_done = done;
    CHECK(all == 5);
  });
  CHECK(last_done == 5);
  CHECK(fake.calls == 0);  // all in other processes
  CHECK(timer.statistics().simulated == 3);
  CHECK(timer.statistics().events == 3 * 77);
  for (const std::int64_t m : {1, 2, 3})
    CHECK(equal(timer.run(query(m).op, {}), sample(static_cast<double>(m))));
  CHECK_THROWS_AS(timer.run(query(13).op, {}), core::Refusal);
  CHECK_THROWS_AS(timer.run(query(666).op, {}), std::runtime_error);
  CHECK(fake.calls == 0);
  CHECK(timer.find(query(2)).has_value());
  CHECK_FALSE(timer.find(query(99)).has_value());
  CHECK_THROWS_AS(timer.find(query(13)), core::Refusal);
}

TEST_CASE("a file that is not a cache is begun anew", "[kernel_cache]") {
  const TemporaryDirectory directory;
  Warnings warnings;
  {
    std::ofstream file{directory.path() / "kernels.sqlite"};
    for (int i = 0; i < 1000; ++i) file << "this is no database ";
  }
  KernelCache cache{directory.path(), warnings.collect()};
  REQUIRE(warnings.texts.size() == 1);
  CHECK(warnings.texts[0].find("is begun anew: ") != std::string::npos);
  cache.store("k", sample(1));
  CHECK(equal(cache.find("k").value(), sample(1)));
}

TEST_CASE("a file overwritten under a running program is begun anew", "[kernel_cache]") {
  const TemporaryDirectory directory;
  Warnings warnings;
  {
    KernelCache cache{directory.path(), warnings.collect()};
    for (int i = 0; i < 200; ++i) cache.store("key" + std::to_string(i), sample(i));
  }
  {
    std::fstream file{directory.path() / "kernels.sqlite",
                      std::ios::in | std::ios::out | std::ios::binary};
    file.seekp(4096 + 100);  // behind the header: opens, then turns out to be broken
    for (int i = 0; i < 20'000; ++i) file << '\xff';
  }
  KernelCache cache{directory.path(), warnings.collect()};
  for (int i = 0; i < 200; ++i) {
    const auto found = cache.find("key" + std::to_string(i));
    if (found) CHECK(equal(*found, sample(i)));
  }
  cache.store("key1", sample(1));
  CHECK(equal(cache.find("key1").value(), sample(1)));
  CHECK(warnings.texts.size() >= 1);
}

TEST_CASE("programs that write at the same time, one of them killed, leave a whole cache",
          "[kernel_cache]") {
  const TemporaryDirectory directory;
  Warnings warnings;
  std::vector<pid_t> children;
  for (int child = 0; child < 3; ++child) {
    const pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
      KernelCache cache{directory.path(), [](const std::string&) { _exit(3); }};
      for (int i = 0; i < 300; ++i) {
        cache.store("key" + std::to_string(i), sample(i));
        if (child == 0 && i == 150) kill(getpid(), SIGKILL);
      }
      _exit(0);
    }
    children.push_back(pid);
  }
  for (std::size_t i = 0; i < children.size(); ++i) {
    int status = 0;
    REQUIRE(waitpid(children[i], &status, 0) == children[i]);
    if (i == 0) CHECK(WIFSIGNALED(status));
    if (i != 0) CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
  }
  KernelCache cache{directory.path(), warnings.collect()};
  for (int i = 0; i < 300; ++i)
    CHECK(equal(cache.find("key" + std::to_string(i)).value(), sample(i)));
  CHECK(warnings.texts.empty());
}

TEST_CASE("a cache directory that cannot be made is an error", "[kernel_cache]") {
  const TemporaryDirectory directory;
  { std::ofstream file{directory.path() / "file"}; }
  CHECK_THROWS_AS(KernelCache(directory.path() / "file" / "x", [](const std::string&) {}),
                  std::runtime_error);
}

TEST_CASE("a survey answers what is known and lists what is not", "[kernel_cache]") {
  FakeTimer real;
  FakeTimer quick;
  CachedKernelTimer known{real, nullptr, identity()};
  (void)known.run(query(1).op, {});
  app::SurveyKernelTimer survey{known, quick};
  for (const std::int64_t m : {1, 2, 2, 3}) (void)survey.run(query(m).op, {}, "");
  CHECK(real.calls == 1);
  CHECK(quick.calls == 3);
  CHECK(survey.missing().size() == 3);
  REQUIRE(survey.asked().size() == 3);
  CHECK(survey.asked()[2].op == query(3).op);
}

TEST_CASE("key text tells devices apart by any field", "[kernel_cache]") {
  device::DeviceSpec a{};
  const std::string base = app::key_text(a);
  device::DeviceSpec b = a;
  b.hbm.reachable = 0.5;
  CHECK(app::key_text(b) != base);
  b = a;
  b.sm.tensor_flops[core::DataType::bf16] = 1024;
  CHECK(app::key_text(b) != base);
  b = a;
  b.sm.gpc_sizes = {16, 18};
  CHECK(app::key_text(b) != base);
}
